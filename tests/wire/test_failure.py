"""Exceptions on their way from the worker to whoever waits: as themselves where that is possible, never as an exit."""

from __future__ import annotations

import dataclasses
import threading
import traceback
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire import things
from tests.wire.things import TwoArguments
from zmqtasks import errors
from zmqtasks.errors import RemoteError, RemoteProtocolError, RemoteTraceback, WorkerCrashed
from zmqtasks.options import Limits
from zmqtasks.wire import exceptions
from zmqtasks.wire.payload import describe_failure, pack_failure, unpack_failure

LIMITS = Limits()


def raised(error: BaseException) -> BaseException:
    """Return the error with a traceback, as a worker catches it."""
    try:
        raise error
    except BaseException as caught:
        return caught


def arrived(error: BaseException, serializer: str = "pickle") -> Exception:
    return unpack_failure(pack_failure(error, serializer=serializer), LIMITS, serializer)


def test_an_exception_arrives_as_itself_with_its_remote_traceback() -> None:
    error = raised(ValueError("no good", 5))
    error.add_note("a note")
    got = arrived(error)
    assert type(got) is ValueError
    assert got.args == ("no good", 5)
    assert got.__notes__ == ["a note"]
    assert isinstance(got.__cause__, RemoteTraceback)
    text = "".join(traceback.format_exception(got))
    assert text.index("in raised") < text.index("direct cause") < text.rindex("ValueError: ('no good', 5)")


def test_an_exception_that_was_never_raised_has_no_traceback() -> None:
    assert arrived(ValueError("made by hand")).__cause__ is None


def test_causes_and_contexts_are_told() -> None:
    def task() -> None:
        try:
            {}["missing"]
        except KeyError:
            try:
                int("x")
            except ValueError as error:
                raise RuntimeError("at last") from error

    try:
        task()
    except RuntimeError as error:
        description = describe_failure(pack_failure(error), LIMITS)
    assert description.type_name == "RuntimeError"
    assert description.message == "at last"
    for words in (
        "KeyError: 'missing'",
        "During handling of",
        "invalid literal",
        "direct cause",
        "RuntimeError: at last",
    ):
        assert words in description.traceback


def worker_loop(function: Any, name: str | None, spec: Any) -> BaseException:
    """Call the function as code of the module `name` would."""
    code = "def loop(function):\n    return inner(function)\ndef inner(function):\n    function()\n"
    names: dict[str, Any] = {"__name__": name, "__spec__": spec}
    exec(compile(code, "the_worker_loop.py", "exec"), names)
    try:
        names["loop"](function)
    except Exception as error:
        return error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
    raise AssertionError


class Spec:
    name = "zmqtasks.processes.worker"


@pytest.mark.parametrize(
    ("name", "spec", "ours"),
    [
        ("zmqtasks.processes.worker", None, True),
        ("zmqtasks.processes", None, True),
        ("__main__", Spec(), True),
        ("zmqtasks.processes_of_mine", None, False),
        ("user.module", None, False),
        (None, None, False),
    ],
)
def test_a_traceback_starts_at_the_frames_of_the_user(name: str | None, spec: Any, ours: bool) -> None:
    def task() -> None:
        raise ValueError("mine")

    error = worker_loop(task, name, spec)
    text = describe_failure(pack_failure(error), LIMITS).traceback
    assert ("the_worker_loop.py" in text) != ours
    assert "in task" in text
    trimmed = describe_failure(pack_failure(error, our_modules=("user.module",)), LIMITS).traceback
    assert ("the_worker_loop.py" in trimmed) == (name != "user.module")


# --- what cannot travel


@pytest.mark.parametrize(
    ("error", "type_name", "message"),
    [
        (ValueError(threading.Lock()), "ValueError", "<unlocked _thread.lock object"),
        (KeyboardInterrupt("ctrl-c"), "KeyboardInterrupt", "ctrl-c"),
        (GeneratorExit(), "GeneratorExit", ""),
        (BaseExceptionGroup("both", [KeyboardInterrupt()]), "BaseExceptionGroup", "both (1 sub-exception)"),
    ],
)
def test_a_stand_in_tells_what_the_exception_was(error: BaseException, type_name: str, message: str) -> None:
    got = arrived(raised(error))
    assert type(got) is RemoteError
    assert got.type_name == type_name
    assert got.args[0].startswith(message)
    assert type_name.rpartition(".")[2] in got.traceback
    assert isinstance(got.__cause__, RemoteTraceback)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (things.Unprintable(), "(its __str__ raised RuntimeError)"),
        (things.Endless(), "(its __str__ raised RecursionError)"),
        (things.QuitsWhenPrinted(), "(its __str__ raised KeyboardInterrupt)"),
    ],
)
def test_an_exception_that_cannot_be_printed_arrives_all_the_same(error: Exception, message: str) -> None:
    body = pack_failure(raised(error))
    assert describe_failure(body, LIMITS).message == message
    assert type(unpack_failure(body, LIMITS)) is type(error)


def test_a_traceback_that_cannot_be_formatted_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(traceback, "TracebackException", fail)
    text = describe_failure(pack_failure(raised(ValueError())), LIMITS).traceback
    monkeypatch.undo()
    assert text.startswith("Traceback (most recent call last):\n")
    assert text.endswith("\nValueError: \n(the rest of its traceback cannot be formatted: KeyboardInterrupt)")


def test_an_exception_with_other_arguments_than_it_keeps() -> None:
    got = arrived(raised(TwoArguments(404, "not found")))
    assert type(got) is TwoArguments
    assert got.code == 404
    assert str(got) == "404: not found"


@pytest.mark.parametrize("cls", [things.ReducesToText, things.QuitsWhenRebuilt])
def test_an_exception_whose_own_reduce_is_wrong(cls: type[Exception]) -> None:
    got = arrived(raised(cls("x")))
    assert type(got) is cls
    assert got.args == ("x",)


def test_an_exception_of_a_class_made_on_the_fly() -> None:
    class Local(Exception):
        pass

    got = arrived(raised(Local("by value")))
    assert type(got) is Local
    assert got.args == ("by value",)


def test_an_exception_that_refuses_attributes() -> None:
    @dataclasses.dataclass(frozen=True)
    class Frozen(Exception):
        code: int

    got = arrived(raised(Frozen(5)))
    assert isinstance(got, Frozen)
    assert got.code == 5
    assert isinstance(got.__cause__, RemoteTraceback)


def test_a_class_that_is_not_there_on_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    body = pack_failure(raised(TwoArguments(404, "not found")))
    monkeypatch.delattr(things, "TwoArguments")
    got = unpack_failure(body, LIMITS)
    assert type(got) is RemoteError
    assert str(got) == "tests.wire.things.TwoArguments: 404: not found"
    assert "cannot be unpickled here: AttributeError" in got.__notes__[0]


def test_a_group_arrives_with_stand_ins_for_members_that_cannot() -> None:
    lock = threading.Lock()
    inner = ExceptionGroup("inner", [OSError(2, "gone"), RuntimeError(lock)])
    got = arrived(raised(ExceptionGroup("outer", [ValueError("fine"), inner])))
    assert isinstance(got, ExceptionGroup)
    assert [type(member) for member in got.exceptions] == [ValueError, ExceptionGroup]
    assert [type(member) for member in got.exceptions[1].exceptions] == [FileNotFoundError, RemoteError]
    assert got.exceptions[1].exceptions[1].type_name == "RuntimeError"


def test_large_texts_lose_their_middle() -> None:
    body = pack_failure(raised(ValueError("a" + "x" * 50_000_000 + "z")))
    assert len(body) < 1_200_000
    got = unpack_failure(body, LIMITS)
    assert type(got) is RemoteError
    assert got.args[0].startswith("axxx")
    assert got.args[0].endswith("xxxz")
    assert "characters left out" in got.args[0]
    assert len(got.traceback) < 66_000
    assert got.traceback.startswith("Traceback")


def test_text_that_is_no_unicode() -> None:
    assert describe_failure(pack_failure(ValueError("\udcff")), LIMITS).message == "\\udcff"


# --- our own errors, and exits

OWN: list[Exception] = [
    WorkerCrashed("killed", signal=9, output="last words", stack="File x"),
    WorkerCrashed("gone", exit_code=70),
    errors.TaskTimeout("too long", stack="File x"),
    errors.MemoryLimitExceeded("too much", peak_bytes=2**40),
    errors.TaskLost("who knows"),
    errors.NodeKiller("three nodes"),
    errors.TooBig("1 TiB"),
    errors.SerializationError("a lock"),
    errors.RemoteError("x", type_name="a.B", traceback="File x"),
    errors.NoNodes("none"),
    errors.RemoteProtocolError("odd"),
]


@pytest.mark.parametrize("error", OWN, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("serializer", ["pickle", "msgpack"])
def test_our_own_errors_arrive_without_a_pickle(error: Exception, serializer: str) -> None:
    body = pack_failure(error, serializer=serializer)
    assert set(msgpack.unpackb(body)) == set("nmbo")
    got = unpack_failure(body, LIMITS, serializer)
    assert type(got) is type(error)
    assert got.args == error.args
    assert vars(got) == vars(error)
    assert str(got) == str(error)


def test_one_of_ours_with_something_that_is_not_plain_is_pickled() -> None:
    got = arrived(errors.TaskLost({1, 2}))
    assert type(got) is errors.TaskLost
    assert got.args == ({1, 2},)


def test_a_subclass_of_one_of_ours_is_the_users() -> None:
    class Mine(errors.TaskError):
        pass

    assert type(arrived(Mine("x"))) is Mine
    assert type(arrived(Mine("x"), "msgpack")) is RemoteError


@pytest.mark.parametrize(
    ("code", "message", "exit_code"),
    [
        (3, "the task called sys.exit(3)", 3),
        (None, "the task called sys.exit(0)", 0),
        (True, "the task called sys.exit(1)", 1),
        ("bad input", "the task called sys.exit('bad input')", 1),
        ([1], "the task called sys.exit(<list>)", 1),
    ],
)
@pytest.mark.parametrize("serializer", ["pickle", "msgpack"])
def test_an_exit_arrives_as_a_crash(code: Any, message: str, exit_code: int, serializer: str) -> None:
    got = arrived(raised(SystemExit(code)), serializer)
    assert type(got) is WorkerCrashed
    assert (got.args, got.exit_code) == ((message,), exit_code)
    assert "SystemExit" in str(got.__cause__)


# --- safe mode and hostile bodies


def test_safe_mode_pickles_nothing_and_opens_no_pickle() -> None:
    assert type(arrived(raised(ValueError("x")), "msgpack")) is RemoteError
    assert "p" not in msgpack.unpackb(pack_failure(ValueError("x"), serializer="msgpack"))
    assert type(unpack_failure(pack_failure(ValueError("x")), LIMITS, "msgpack")) is RemoteError


def failure_of(**values: Any) -> bytes:
    packed: bytes = msgpack.packb({"n": "E", "m": "text", "b": ""} | values)
    return packed


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        b"\x80\x05N.",
        b"\x80\x05\x8c\x08builtins\x8c\nSystemExit\x93)R.",
        b"\x80\x05\x8c\x08builtins\x8c\x11KeyboardInterrupt\x93)R.",
    ],
)
def test_a_pickle_that_gives_no_exception_gives_a_stand_in(pickled: bytes) -> None:
    assert type(unpack_failure(failure_of(p=pickled), LIMITS)) is RemoteError


@pytest.mark.parametrize("own", [["NoSuchError", [], {}], ["WorkerCrashed", [1, 2], {}], ["str", [], {}]])
def test_an_error_this_version_does_not_have_gives_a_stand_in(own: Any) -> None:
    got = unpack_failure(failure_of(o=own), LIMITS)
    assert type(got) is RemoteError
    assert str(got) == "E: text"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "failure: expected one msgpack map"),
        (failure_of(n=5), "failure.n: expected a string, got int 5"),
        (failure_of(b=None), "failure.b: expected a string"),
        (failure_of(p="text"), "failure.p: expected bytes, got str 'text'"),
        (failure_of(o=5), "failure.o: expected an array of at least 3 entries"),
        (failure_of(o=[5, [], {}]), "failure.o.class: expected a string"),
        (failure_of(o=["TooBig", {}, {}]), "failure.o.args: expected an array"),
        (failure_of(o=["TooBig", [], []]), "failure.o: expected a map"),
        (failure_of(o=["TooBig", [], {b"x": 1}]), "failure.o.attribute: expected a string"),
    ],
)
def test_a_malformed_failure_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        unpack_failure(body, LIMITS)
    assert words in str(caught.value)


def test_a_failure_beyond_the_limit_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="failure: expected at most 10 bytes, got"):
        describe_failure(failure_of(), Limits(message_bytes=10))


@given(st.binary(max_size=100), st.data())
def test_any_bytes(random_bytes: bytes, data: st.DataObject) -> None:
    body = bytearray(pack_failure(OWN[0]))
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    for candidate in (random_bytes, bytes(body)):
        try:
            error = unpack_failure(candidate, LIMITS, "msgpack")
        except RemoteProtocolError:
            continue
        assert isinstance(error, Exception)


def test_every_bound_is_positive_and_a_failure_fits_a_message() -> None:
    bounds = exceptions.MOST_NAME_CHARS, exceptions.MOST_MESSAGE_CHARS, exceptions.MOST_TRACEBACK_CHARS
    assert all(bounds)
    assert 4 * sum(bounds) + exceptions.MOST_PICKLE_BYTES < LIMITS.message_bytes
