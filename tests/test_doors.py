"""Where a program may listen."""

from __future__ import annotations

import pytest

from zmqtasks import doors
from zmqtasks.errors import BindError, MeshError, NotAuthorised

FAR, NEAR = "tcp://192.0.2.7:7700", "tcp://127.0.0.1:7700"


@pytest.mark.parametrize("endpoint", [NEAR, "tcp://localhost:1", "tcp://[::1]:1", "tcp://127.9.9.9:0", "unix:///x"])
def test_on_this_host_anybody_may_listen(endpoint: str) -> None:
    assert doors.is_local(endpoint)
    doors.check((endpoint,), (), key=None, insecure=False)


@pytest.mark.parametrize("endpoint", [FAR, "tcp://0.0.0.0:0", "tcp://[::]:0", "tcp://[fe80::1%eth0]:1", "tcp://eth0:*"])
def test_elsewhere_a_key_is_needed(endpoint: str) -> None:
    assert not doors.is_local(endpoint)
    with pytest.raises(NotAuthorised, match="zmqtasks keygen"):
        doors.check((endpoint,), (FAR,), key=None, insecure=False)
    doors.check((endpoint,), (FAR,), key="mesh.key", insecure=False)
    doors.check((endpoint,), (FAR,), key=None, insecure=True)


def test_all_addresses_are_no_address_to_tell_others() -> None:
    with pytest.raises(BindError, match="--advertise HOST:PORT"):
        doors.check(("tcp://*:0",), (), key="mesh.key", insecure=False)


def test_answers_come_where_partners_are_looked_at_from() -> None:
    assert doors.choose((), key=None, insecure=False) == ()
    assert doors.choose(("unix:///x",), key=None, insecure=False) == ()
    assert doors.choose((NEAR,), key=None, insecure=False) == ("tcp://127.0.0.1:0",)
    with pytest.raises(NotAuthorised, match="has to connect back"):
        doors.choose((NEAR, FAR), key=None, insecure=False)
    assert doors._towards("tcp://127.0.0.1:7700") == "tcp://127.0.0.1:0"
    assert doors._towards("tcp://[::1]:7700") == "tcp://[::1]:0"
    for nowhere in ("tcp://no such host:1", "tcp://256.1.1.1:1"):
        with pytest.raises(MeshError, match=r"malformed|no way"):
            doors.choose((nowhere,), key="mesh.key", insecure=False)
