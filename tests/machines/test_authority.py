"""Which key may say what, for each role and each message."""

from __future__ import annotations

from typing import get_args

import pytest

from tests.wire.samples import SAMPLES
from zmqtasks.machines.authority import KeyRole, Member, names_only_own, objection, signed
from zmqtasks.messages import Hello, Message, Role, Status
from zmqtasks.records import replace

HELLO = SAMPLES["hello"]
assert isinstance(HELLO, Hello)
MESSAGES: dict[str, Message] = {
    **{f"HELLO {role}": replace(HELLO, role=role) for role in Role},
    **{
        name.upper(): SAMPLES[name]
        for name in ("tasks", "cancel", "query", "results", "output", "errands", "stored", "tend", "tended")
    },
    "STATUS": SAMPLES["status-without-have"],
    "DRAIN": SAMPLES["status-that-asks-for-a-drain"],
}
MAY = {
    "submit": {
        "HELLO ventilator",
        "HELLO observer",
        "TASKS",
        "CANCEL",
        "QUERY",
        "RESULTS",
        "ERRANDS",
        "STATUS",
        "TENDED",
    },
    "node": {"HELLO node", "RESULTS", "OUTPUT", "ERRANDS", "STATUS", "DRAIN"},
    "sink": {"HELLO sink", "STORED", "STATUS"},
    "admin": {"HELLO observer", "HELLO steward", "STATUS", "DRAIN", "TEND"},
}


def member(*roles: str) -> Member:
    return Member("somebody", "ab" * 32, frozenset(map(KeyRole, roles)))


def action(name: str) -> str:
    """Return what a refusal says of a message."""
    if name == "DRAIN":
        return "ask a node to drain"
    return f"open the session of a {name[6:]}" if name.startswith("HELLO") else f"send {name}"


@pytest.mark.parametrize("role", MAY)
@pytest.mark.parametrize("name", MESSAGES)
def test_a_role_may_say_what_it_is_for_and_nothing_else(role: str, name: str) -> None:
    why = objection(member(role), MESSAGES[name])
    assert (why == "") == (name in MAY[role])
    if why:
        assert why == f"its key has no role but {role}, and may not {action(name)}"


def test_each_message_of_the_protocol_is_judged() -> None:
    """One that is new may be sent by nobody until the table names who may."""
    assert {type(message) for message in MESSAGES.values()} == set(get_args(Message))


def test_roles_add_up_and_none_is_nothing() -> None:
    assert not objection(member("node", "submit"), MESSAGES["TASKS"])
    assert not objection(member("node", "submit"), MESSAGES["OUTPUT"])
    assert objection(member(), MESSAGES["STATUS"]) == "its key has no role but none, and may not send STATUS"


@pytest.mark.parametrize("name", ["TASKS", "CANCEL", "QUERY", "RESULTS"])
def test_a_ventilator_speaks_of_its_own_jobs_alone(name: str) -> None:
    assert names_only_own(MESSAGES[name], "00112233445566aa")
    assert not names_only_own(MESSAGES[name], "ffeeddccbbaa9988")
    assert names_only_own(MESSAGES["STATUS"], "ffeeddccbbaa9988")


def test_who_says_where_it_is_is_reached_there_only_with_its_own_key() -> None:
    for message in (HELLO, SAMPLES["status"]):
        assert isinstance(message, Hello | Status)
        lying = replace(message, address=message.address._replace(endpoints=("tcp://cd@10.0.0.1:1", "unix:///x")))
        found = signed(lying, member("node"))
        assert isinstance(found, Hello | Status)
        assert found.address.endpoints == (f"tcp://{'ab' * 32}@10.0.0.1:1", "unix:///x")
    assert signed(SAMPLES["tasks"], member("node")) is SAMPLES["tasks"]
