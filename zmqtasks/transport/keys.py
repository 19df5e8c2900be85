"""Key pairs of CURVE, and the files they are kept in.

A file is TOML with `public` and `secret`, 64 hexadecimal digits each. Owns the format, the making of pairs and who may
read such a file. Loads ZeroMQ only to make a pair or to check one. Called by `place.py` and by `zmqtasks keygen`.
"""

from __future__ import annotations

import os
import stat
import tomllib

from zmqtasks.errors import KeyFileError
from zmqtasks.records import Value

KEY_BYTES = 32
"""Of Curve25519. Source: RFC 26/CURVEZMQ."""
_HEADING = """\
# A key of a zmqtasks mesh: whoever has this file can run code on each of its nodes.
# Bring it to other members over a safe way only, such as scp, and keep it readable for its owner alone.
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


def write_pair(path: str, pair: KeyPair) -> None:
    """Write a new file that only its owner can read.

    Raises:
        KeyFileError: there is such a file already, or none can be made there.
    """
    text = f'{_HEADING}public = "{pair.public.hex()}"\nsecret = "{pair.secret.hex()}"\n'
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
    except FileExistsError:
        raise KeyFileError(
            f"{path} exists already and is left as it is; members of a mesh share one key, so copy it to them, "
            "or remove it first"
        ) from None
    except OSError as error:
        raise KeyFileError(f"cannot write {path}: {error.strerror}") from error


def read_pair(path: str) -> KeyPair:
    """Return the pair in a file.

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
    pair = KeyPair(_key_in(content, "public", path), _key_in(content, "secret", path))
    if pair.public != _public_of(pair.secret):
        raise KeyFileError(f"the two keys in {path} do not belong together; make a pair with: zmqtasks keygen FILE")
    return pair


def _no_key(path: str) -> str:
    return f"{path} is not a key as zmqtasks keygen writes it"


def _key_in(content: dict[str, object], name: str, path: str) -> bytes:
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
