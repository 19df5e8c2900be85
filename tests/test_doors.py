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


def test_a_range_of_ports_is_tried_from_its_beginning() -> None:
    assert doors.candidates("tcp://h:7700-7702") == ("tcp://h:7700", "tcp://h:7701", "tcp://h:7702")
    assert doors.candidates("tcp://[::1]:5-5") == ("tcp://[::1]:5",)
    for single in ("tcp://h:7700", "tcp://h:*", "unix:///a-b"):
        assert doors.candidates(single) == (single,)
    for bad in ("tcp://h:7702-7700", "tcp://h:0-5", "tcp://h:1-65536"):
        with pytest.raises(BindError, match="a range of ports goes from a lower to a higher one"):
            doors.candidates(bad)
    assert doors.at_ports("tcp://[::1]:0", "7700-7702") == "tcp://[::1]:7700-7702"
    assert [doors.port_of(e) for e in (NEAR, "tcp://h:0", "tcp://h:1-2", "tcp://h:*", "unix:///x")] == [
        7700,
        0,
        0,
        0,
        0,
    ]


def test_the_key_of_an_endpoint_stands_before_its_host() -> None:
    assert doors.with_key("tcp://h:1", "ab") == "tcp://ab@h:1"
    assert doors.with_key("tcp://cd@h:1", "") == "tcp://h:1"
    assert (doors.key_of("tcp://ab@h:1"), doors.key_of("tcp://h:1"), doors.key_of("unix://a@b")) == ("ab", "", "")
    assert doors.with_key("unix:///x", "ab") == "unix:///x"
    assert doors.host_of("tcp://ab@[::1]:1") == "::1"
