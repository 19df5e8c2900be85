"""Key pairs of CURVE, and the files they are kept in.

A file is TOML with `public` and `secret`, 64 hexadecimal digits each; of a peer with a key of its own it says as well
which folder has the keys of others (`keyring.py`). Owns the format, the making of pairs and who may
read such a file. Loads ZeroMQ only to make a pair or to check one. Called by `place.py` and by `zmqtasks keygen`.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Sequence
from pathlib import Path

from zmqtasks.errors import KeyFileError
from zmqtasks.records import Value

KEY_BYTES = 32
"""Of Curve25519. Source: RFC 26/CURVEZMQ."""
AUTHORIZED = "authorized_keys.d"
"""Folder beside the file of a peer's own key, with the public keys of those it knows."""
_SHARED = """\
# A key of a zmqtasks mesh: whoever has this file can run code on each of its nodes.
# Bring it to other members over a safe way only, such as scp, and keep it readable for its owner alone.
"""
_OWN = """\
# The key of one peer of a zmqtasks mesh. It stays here, readable for its owner alone; others get its public half.
"""
_PUBLIC = f"""\
# The public key of a peer of a zmqtasks mesh. Whoever has it in {AUTHORIZED} lets that peer in, in these roles.
"""


class KeyPair(Value):
    """A public and a secret key, as bytes; the secret is not shown."""

    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"<KeyPair {self.public.hex()}>"


def new_pair() -> KeyPair:
    """Return a pair that nobody else has."""
    import zmq
    from zmq.utils import z85

    public, secret = zmq.curve_keypair()
    return KeyPair(z85.decode(public), z85.decode(secret))


def write_pair(path: str, pair: KeyPair, roles: Sequence[str] = ()) -> str:
    """Write a new file that only its owner can read; return the path of the public half, or "" where there is none.

    Args:
        path: of the file.
        pair: what it has.
        roles: of a peer with a key of its own; none for a key that all members share.

    Raises:
        KeyFileError: there is such a file already, or none can be made there.
    """
    public = f'public = "{pair.public.hex()}"\n'
    secret = f'secret = "{pair.secret.hex()}"\n'
    if not roles:
        _write(path, f"{_SHARED}{public}{secret}", 0o600)
        return ""
    beside = os.path.splitext(path)[0] + ".pub"
    names = ", ".join(f'"{role}"' for role in roles)
    _write(path, f'{_OWN}{public}{secret}authorized = "{AUTHORIZED}"\n', 0o600)
    _write(beside, f"{_PUBLIC}{public}roles = [{names}]\n", 0o644)
    return beside


def _write(path: str, text: str, mode: int) -> None:
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(text)
    except FileExistsError:
        raise KeyFileError(
            f"{path} exists already and is left as it is; where members of a mesh share one key, copy it to them, "
            "else remove it first"
        ) from None
    except OSError as error:
        raise KeyFileError(f"cannot write {path}: {error.strerror}") from error


def read_pair(path: str) -> tuple[KeyPair, Path | None]:
    """Return the pair in a file, and the folder with the keys of others; None where all have this one.

    Raises:
        KeyFileError: it cannot be read, is not a key, or everybody can read it.
    """
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = tomllib.load(file)
    except OSError as error:
        raise KeyFileError(
            f"cannot read the key {path}: {error.strerror}; make one with: zmqtasks keygen FILE"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise KeyFileError(_no_key(path)) from None
    if mode & stat.S_IROTH:
        raise KeyFileError(f"everybody on this host can read the key {path}; say: chmod 600 {path}")
    pair = KeyPair(key_in(content, "public", path), key_in(content, "secret", path))
    if pair.public != _public_of(pair.secret):
        raise KeyFileError(f"the two keys in {path} do not belong together; make a pair with: zmqtasks keygen FILE")
    folder = content.get("authorized")
    if folder is None:
        return pair, None
    if not isinstance(folder, str) or not folder:
        raise KeyFileError(_no_key(path))
    return pair, Path(path).parent / folder


def _no_key(path: str) -> str:
    return f"{path} is not a key as zmqtasks keygen writes it"


def key_in(content: dict[str, object], name: str, path: str) -> bytes:
    """Return a key from what stands in a file.

    Raises:
        KeyFileError: there is none by that name.
    """
    value = content.get(name)
    try:
        key = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyFileError(_no_key(path))
    return key


def _public_of(secret: bytes) -> bytes:
    import zmq
    from zmq.utils import z85

    return z85.decode(zmq.curve_public(z85.encode(secret)))
