"""Where nodes are to be found first: addresses that were given, names with several addresses, files that change.

    tcp://10.0.0.7:7700     itself
    tcp://nodes.lan:7700    each address that the name has, asked for again every few seconds
    file:nodes.txt          each line of the file, read again when it has changed
    lan:  lan:NAME          nodes that announce themselves on the local network (`worker --beacon`)

ZeroMQ would take the first address of a name only, and never try another. Owns the asking; what is found is for
`neighbours.py`. Runs on the loop; names are asked for in a thread.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

from zmqtasks import beacon, doors
from zmqtasks.errors import BindError, MeshError
from zmqtasks.transport.whereabouts import addresses_of

logger = logging.getLogger(__name__)

FILE = "file:"
LAN = "lan:"
HEAR_S = 3.0
"""How long a node is waited for that announces itself each second."""
AGAIN_S = 5.0
"""So long until a file is looked at again, and a name asked for; up to twice as long, so that not all ask at once."""


def is_fixed(seed: str) -> bool:
    """Tell whether a seed is an address that stays as it is."""
    if seed.startswith((FILE, LAN)):
        return False
    return doors.host_of(seed) == "localhost" or not doors.is_name(seed)


def expand(seeds: Iterable[str]) -> tuple[str, ...]:
    """Return the seeds with addresses in the places of files and networks, as they are now; names stay names.

    Raises:
        BindError: a file cannot be read, or has a line that is no address; or nobody announces himself.
    """
    return tuple([endpoint for seed in seeds for endpoint in _expanded(seed)])


def _expanded(seed: str) -> tuple[str, ...]:
    if seed.startswith(FILE):
        return _lines(seed)
    if not seed.startswith(LAN):
        return (seed,)
    try:
        found = beacon.hear_some(mesh_of(seed), HEAR_S)
    except OSError as error:
        raise BindError(f"{seed}: nothing can be heard on the local network: {error.strerror}") from error
    if not found:
        raise BindError(
            f"{seed}: no node announces itself on the local network; start one with: zmqtasks worker --beacon"
        )
    return found


def mesh_of(seed: str) -> str:
    """Return the name of the mesh that is looked for on the local network."""
    return seed.removeprefix(LAN) or beacon.NAME


class Seeds:
    """Keep asking for what changes.

    Args:
        seeds: see the module.
        on_listed: told what one of them says, first and at each change.
        chance: returns numbers in [0, 1).
        resolve: returns the addresses of a name.
    """

    def __init__(
        self,
        seeds: Sequence[str],
        on_listed: Callable[[str, Sequence[str]], object],
        chance: Callable[[], float],
        resolve: Callable[[str], Awaitable[Iterable[str]]] | None = None,
    ) -> None:
        self._seeds = tuple(dict.fromkeys(seeds))
        self._on_listed = on_listed
        self._chance = chance
        self._resolve = resolve or _resolve
        self._tasks: list[asyncio.Task[None]] = []
        self._said: dict[str, tuple[str, ...]] = {}

    def open(self) -> None:
        """Tell what stays as it is, and begin to ask for the rest."""
        for seed in self._seeds:
            if is_fixed(seed):
                self._on_listed(seed, (seed,))
            else:
                self._tasks.append(asyncio.get_running_loop().create_task(self._ask_for(seed)))

    async def close(self) -> None:
        """Ask no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask_for(self, seed: str) -> None:
        if seed.startswith(LAN):
            await beacon.listen(mesh_of(seed), functools.partial(self._on_listed, seed))
        while True:
            try:
                found = _lines(seed) if seed.startswith(FILE) else await self._endpoints(seed)
                if self._said.get(seed) != found:
                    self._said[seed] = found
                    self._on_listed(seed, found)
            except (OSError, MeshError) as error:  # what it said last holds
                logger.warning("%s: %s", seed, error)
            await asyncio.sleep(AGAIN_S * (1.0 + self._chance()))

    async def _endpoints(self, seed: str) -> tuple[str, ...]:
        """Return an endpoint for each address of a name."""
        addresses = await self._resolve(doors.host_of(seed))
        return tuple([doors.with_key(doors.at_address(seed, a), doors.key_of(seed)) for a in sorted(addresses)])


async def _resolve(name: str) -> Iterable[str]:
    """Ask the system for the addresses of a name."""
    return await asyncio.get_running_loop().run_in_executor(None, addresses_of, name)


def _lines(seed: str) -> tuple[str, ...]:
    """Return the addresses in a file: one a line; what follows # is for people.

    Raises:
        BindError: it cannot be read, or has a line that is no address.
    """
    path = Path(seed.removeprefix(FILE))
    try:
        text = path.read_text()
    except OSError as error:
        raise BindError(f"cannot read {path}: {error.strerror}") from error
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if word := line.partition("#")[0].strip():
            endpoint = word if "://" in word else f"tcp://{word}"
            if doors.ENDPOINT.fullmatch(endpoint) is None:
                raise BindError(f"{path}, line {number}: {word!r} is not an address such as 10.0.0.7:7700")
            found.append(endpoint)
    return tuple(found)
