"""Our own key, and those that are known here: one that all members share, or a folder with one for each peer.

A folder has files `NAME.pub`, TOML with `public` and `roles`. Owns the reading of it, also when it changes. Judges no
message. Called by `doorkeeper.py`, `inbox.py` and `network.py`.
"""

from __future__ import annotations

import logging
import tomllib
from pathlib import Path

from zmqtasks import doors
from zmqtasks.errors import KeyFileError, NotAuthorised
from zmqtasks.machines.authority import KeyRole, Member
from zmqtasks.transport.keys import KeyPair, key_in

logger = logging.getLogger(__name__)

EVERYTHING = frozenset(KeyRole)


class Keyring:
    """The keys of one peer.

    Args:
        pair: our own.
        folder: with those of others; None where all members have ours.
    """

    def __init__(self, pair: KeyPair, folder: Path | None = None) -> None:
        self.pair = pair
        self.folder = folder
        self._members: dict[str, Member] = {}
        self._seen: object = None
        if folder is None:
            own = pair.public.hex()
            self._members = {own: Member("a member", own, EVERYTHING)}
        else:
            self.reload()
            if not self._members:
                logger.warning("no key is known in %s: nobody can connect", folder)

    @property
    def is_shared(self) -> bool:
        """Tell whether all members have the same key."""
        return self.folder is None

    @property
    def own_key(self) -> str:
        """Return what stands before our own endpoints: our public key, or nothing where it is everybody's."""
        return "" if self.is_shared else self.pair.public.hex()

    def member(self, key: str) -> Member | None:
        """Return who has this public key, in hexadecimal digits; None where it is not known here."""
        return self._members.get(key)

    def server(self, endpoint: str) -> bytes | None:
        """Return the key that has to be proved at an endpoint; None where none that is known here would do."""
        if self.is_shared:
            return self.pair.public
        member = self._members.get(doors.key_of(endpoint))
        return None if member is None else bytes.fromhex(member.key)

    def complete(self, endpoint: str) -> str:
        """Return an endpoint with the key of who is there, where it was given by name or not at all.

        Raises:
            NotAuthorised: no key is known for it, or it is not clear which one.
        """
        if self.is_shared or not endpoint.startswith("tcp://"):
            return endpoint
        given = doors.key_of(endpoint)
        if given in self._members:
            return endpoint
        known = [m for m in self._members.values() if not m.roles.isdisjoint((KeyRole.NODE, KeyRole.SINK))]
        # Who submits is asked by a steward alone, and only by name.
        meant = [m for m in self._members.values() if m.name == given] if given else known
        if len(meant) != 1:
            names = ", ".join(sorted(m.name for m in known)) or "none"
            raise NotAuthorised(
                f"whose key is to be proved at {endpoint}? Write NAME@HOST:PORT; the nodes and sinks that are known in "
                f"{self.folder} are: {names}"
            )
        return doors.with_key(endpoint, meant[0].key)

    def reload(self) -> frozenset[str]:
        """Read the folder again if it has changed; return the keys that were revoked, or lost a role."""
        if self.folder is None or (seen := _look(self.folder)) == self._seen:
            return frozenset()
        self._seen = seen
        before, self._members = self._members, _read(self.folder)
        return frozenset(
            key for key, member in before.items() if key not in self._members or member.roles - self._members[key].roles
        )


def _look(folder: Path) -> object:
    """Return what changes whenever a key comes, goes or changes."""
    try:
        return sorted((path.name, (s := path.stat()).st_mtime_ns, s.st_size, s.st_ino) for path in folder.glob("*.pub"))
    except OSError:  # a file left meanwhile: look again next time
        return None


def _read(folder: Path) -> dict[str, Member]:
    members: dict[str, Member] = {}
    for path in sorted(folder.glob("*.pub")):
        try:
            with path.open("rb") as file:
                member = _member(path.stem, tomllib.load(file), path)
        except (OSError, ValueError, KeyFileError) as error:
            logger.error("the key %s is left out: %s", path, error)
            continue
        if twin := members.get(member.key):
            member = Member(twin.name, member.key, twin.roles | member.roles)
        members[member.key] = member
    return members


def _member(name: str, content: dict[str, object], path: Path) -> Member:
    roles = content.get("roles", [])
    known = {role.value for role in KeyRole}
    if not isinstance(roles, list) or not roles or not known.issuperset(map(str, roles)):
        raise KeyFileError(f'it has no roles such as roles = ["submit"]; there are {", ".join(KeyRole)}')
    return Member(name, key_in(content, "public", str(path)).hex(), frozenset(map(KeyRole, roles)))
