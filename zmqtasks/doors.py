"""Where a program may listen: the rules about addresses that others can reach.

Without a key, only where nobody but this host can connect; with one, anywhere. Owns these rules and the parts of an
endpoint. Opens no door. Called by the commands and by `embedded`.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable

from zmqtasks.errors import BindError, NotAuthorised

MOST_PORT = 65535
WILDCARDS = ("*", "0.0.0.0", "::")
ENDPOINT = re.compile(
    r"tcp://((?P<key>[^@/\s]+)@)?(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^\[\]:/@\s]+):(?P<port>[0-9]{1,5}(-[0-9]{1,5})?|\*)"
)


def host_of(endpoint: str) -> str:
    """Return the host of a tcp endpoint, without brackets; "" where there is none."""
    match = ENDPOINT.fullmatch(endpoint)
    return match["host"].strip("[]") if match else ""


def port_of(endpoint: str) -> int:
    """Return the port of a tcp endpoint; 0 where it is any, one of a range, or none is named."""
    match = ENDPOINT.fullmatch(endpoint)
    return int(match["port"]) if match and match["port"].isdecimal() else 0


def is_name(endpoint: str) -> bool:
    """Tell whether the host of a tcp endpoint is a name: it may have several addresses, and others tomorrow."""
    host = host_of(endpoint)
    if not host or host in WILDCARDS:
        return False
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return True
    return False


def at_address(endpoint: str, address: str) -> str:
    """Return where a tcp endpoint leads at one of the addresses of its name; without its key."""
    return f"tcp://{f'[{address}]' if ':' in address else address}:{endpoint.rpartition(':')[2]}"


def candidates(endpoint: str) -> tuple[str, ...]:
    """Return the endpoints that a bound one may become: for a range of ports, "tcp://HOST:7700-7720", one a port.

    Raises:
        BindError: the range is none.
    """
    match = ENDPOINT.fullmatch(endpoint)
    if match is None or "-" not in match["port"]:
        return (endpoint,)
    first, last = map(int, match["port"].split("-"))
    if not 0 < first <= last <= MOST_PORT:
        raise BindError(f"{endpoint}: a range of ports goes from a lower to a higher one, 1 to {MOST_PORT}")
    where = endpoint.rpartition(":")[0]
    return tuple(f"{where}:{port}" for port in range(first, last + 1))


def at_ports(endpoint: str, ports: str | None) -> str:
    """Return an endpoint with other ports, such as "7700-7720"; the same for None."""
    return endpoint if ports is None else f"{endpoint.rpartition(':')[0]}:{ports}"


def key_of(endpoint: str) -> str:
    """Return whose key has to be proved at an endpoint, `tcp://KEY@HOST:PORT`; "" where it does not say."""
    return endpoint.removeprefix("tcp://").rpartition("@")[0] if endpoint.startswith("tcp://") else ""


def with_key(endpoint: str, key: str) -> str:
    """Return a tcp endpoint where this key has to be proved, or where none has to be for ""; another as it is."""
    if not endpoint.startswith("tcp://"):
        return endpoint
    return f"tcp://{key}{'@' if key else ''}{endpoint.removeprefix('tcp://').rpartition('@')[2]}"


def is_local(endpoint: str) -> bool:
    """Tell whether an endpoint can only be reached from this host."""
    host = host_of(endpoint)
    return endpoint.startswith(("ipc://", "unix://")) or host in ("localhost", "::1") or host.startswith("127.")


def check(bind: Iterable[str], advertise: Iterable[str], *, key: str | None, insecure: bool) -> None:
    """Make sure that no stranger can connect there, and that others can be told where it is.

    Raises:
        NotAuthorised: an address is not of this host alone, and there is no key.
        BindError: nobody could connect to it by that name.
    """
    for endpoint in bind:
        if is_local(endpoint):
            continue
        if key is None and not insecure:
            raise NotAuthorised(
                f"{endpoint} can be reached from other machines, and whoever can connect could run code as this user; "
                "give all members the key that zmqtasks keygen makes (--key FILE, key=, ZMQTASKS_KEY), or say so with "
                "--insecure (insecure=True) where the network is yours alone"
            )
        if host_of(endpoint) in WILDCARDS and not tuple(advertise):
            raise BindError(
                f"{endpoint} is every address of this machine; say with --advertise HOST:PORT (advertise=) which one "
                "others connect to"
            )


def choose(partners: Iterable[str], *, key: str | None, insecure: bool) -> tuple[str, ...]:
    """Return where to listen so that these partners can answer: on this host, or where they are looked at from.

    Raises:
        NotAuthorised: one is on another host, and there is no key.
        BindError: there is no way to it.
    """
    partners = tuple(partners)
    far = [partner for partner in partners if not is_local(partner)]
    if far and key is None and not insecure:
        raise NotAuthorised(
            f"{far[0]} is on another machine and has to connect back to this one; give all members the key that "
            "zmqtasks keygen makes (--key FILE, key=, ZMQTASKS_KEY), or say so with --insecure (insecure=True) where "
            "the network is yours alone"
        )
    if far:
        return tuple(dict.fromkeys(_towards(partner) for partner in far))
    return ("tcp://127.0.0.1:0",) if any(partner.startswith("tcp://") for partner in partners) else ()


def _towards(endpoint: str) -> str:
    """Return the endpoint of our own address on the way to another; nothing is sent for that."""
    match = ENDPOINT.fullmatch(endpoint)
    if match is None:
        raise BindError(f'{endpoint} is malformed; write "tcp://HOST:PORT"')
    why: Exception | None = None
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            match["host"].strip("[]"), int(match["port"]), type=socket.SOCK_DGRAM
        ):
            try:
                with socket.socket(family, kind, protocol) as probe:
                    probe.connect(address)
                    return at_address("tcp://:0", probe.getsockname()[0])
            except OSError as error:  # there may be a way to another address of that name
                why = why or error
    except (OSError, ValueError) as error:
        why = error
    raise BindError(f"there is no way from here to {endpoint}: {why}") from why
