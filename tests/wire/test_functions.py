"""Functions by name and by value, and what is said about names that lead nowhere."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.wire import things
from tests.wire.things import RaisesWhenPickled, Shape, double, registered
from zmqtasks.errors import RemoteProtocolError, SerializationError
from zmqtasks.wire.payload import function_name, pack_function, resolve, travels_by_name, unpack_function


@pytest.mark.parametrize(
    ("function", "body"),
    [
        (double, b"\x00tests.wire.things:double"),
        (Shape, b"\x00tests.wire.things:Shape"),
        (Shape.area, b"\x00tests.wire.things:Shape.area"),
        (Shape.unit, b"\x00tests.wire.things:Shape.unit"),
        (pow, b"\x00builtins:pow"),
        (math.sqrt, b"\x00math:sqrt"),
        (dict, b"\x00builtins:dict"),
    ],
)
def test_what_can_be_imported_travels_by_name(function: Callable[..., Any], body: bytes) -> None:
    assert pack_function(function) == body
    assert travels_by_name(body)
    assert unpack_function(body) is function
    assert unpack_function(memoryview(body)) is function


def twice(function: Callable[[int], int]) -> Callable[[int], int]:
    @functools.wraps(function)
    def call(x: int) -> int:
        return function(function(x))

    return call


@pytest.mark.parametrize(
    ("function", "result"),
    [
        (lambda x: x + 1, 6),
        (twice(double), 20),  # has the name of `double`, and is another object
        (functools.partial(pow, 2), 32),
        (Shape(4).area, None),
        ("x".__mul__, "xxxxx"),
    ],
)
def test_anything_else_travels_by_value(function: Callable[..., Any], result: Any) -> None:
    body = pack_function(function)
    assert not travels_by_name(body)
    unpacked = unpack_function(body)
    assert (unpacked() if result is None else unpacked(5)) == (16 if result is None else result)


def test_a_function_of_main_travels_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    def local(x: int) -> int:
        return x * 3

    local.__module__, local.__qualname__ = "__main__", "local"
    monkeypatch.setattr(sys.modules["__main__"], "local", local, raising=False)
    unpacked = unpack_function(pack_function(local))
    assert unpacked is not local
    assert unpacked(5) == 15


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(2)])
def test_a_function_that_cannot_be_pickled(error: BaseException) -> None:
    with pytest.raises(SerializationError, match="cannot pickle pow: ") as caught:
        pack_function(functools.partial(pow, RaisesWhenPickled(error)))
    assert caught.value.__cause__ is error


def test_a_function_that_cannot_be_unpickled() -> None:
    with pytest.raises(SerializationError, match="the function cannot be unpickled: ValueError: no"):
        unpack_function(pack_function(functools.partial(pow, things.RaisesWhenUnpickled(ValueError("no")))))


# --- safe mode


def test_safe_mode_takes_a_task_by_name() -> None:
    assert unpack_function(pack_function(registered, "msgpack"), "msgpack") is registered


def test_safe_mode_takes_no_other_function() -> None:
    with pytest.raises(SerializationError, match=r"function 'tests\.wire\.things:double' is not a @task"):
        pack_function(double, "msgpack")
    with pytest.raises(SerializationError, match=r"function 'tests\.wire\.things:double' is not a @task"):
        unpack_function(pack_function(double), "msgpack")
    with pytest.raises(SerializationError, match="<lambda> has no name a worker could import it by"):
        pack_function(lambda: None, "msgpack")


def test_safe_mode_opens_no_pickle() -> None:
    body = pack_function(functools.partial(pow, things.RaisesWhenUnpickled(AssertionError("it was opened"))))
    with pytest.raises(RemoteProtocolError, match="function: expected a name, got kind 01"):
        unpack_function(body, "msgpack")


@pytest.mark.parametrize("call", [lambda name: pack_function(double, name), lambda name: unpack_function(b"", name)])
def test_an_unknown_serializer_is_refused(call: Callable[[str], Any]) -> None:
    with pytest.raises(ValueError, match="serializer must be pickle or msgpack, not 'json'"):
        call("json")


# --- hostile bodies


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "function: expected a name or a value, got kind nothing"),
        (b"\x02abc", "function: expected a name or a value, got kind 02"),
        (b"\x00\xff\xfe", "function: expected a name in UTF-8"),
        (b"\x01\x80\x05N.", "function: expected something to call, got a NoneType"),
    ],
)
def test_a_malformed_body_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        unpack_function(body)
    assert words in str(caught.value)


# --- names


@pytest.mark.parametrize("name", ["", ":", "os", "os:", ":f", ".os:getcwd", "..:f", "os.path", "a\0b:f", "os:get\ncwd"])
def test_a_text_that_names_nothing(name: str) -> None:
    with pytest.raises(ImportError, match="does not name a function: write MODULE:FUNCTION"):
        resolve(name)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("no_such_module:f", ModuleNotFoundError, "No module named 'no_such_module'"),
        ("os.path.deeper:f", ModuleNotFoundError, "is not a package"),
        ("os:no_such", AttributeError, "module 'os' has no function 'no_such'"),
        ("tests.wire.things:Shape.missing", AttributeError, "has no function 'Shape.missing'"),
        ("tests.wire.things:NOT_CALLABLE", TypeError, "is of type list, which cannot be called"),
    ],
)
def test_a_name_that_leads_nowhere(name: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        unpack_function(b"\x00" + name.encode())
    assert words in str(caught.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the text may be the name of an old module
@example("/")
@given(st.text(max_size=20))
def test_any_text_ends_in_one_of_three_errors(text: str) -> None:
    with pytest.raises((ImportError, AttributeError, TypeError)):
        resolve("tests.wire.things:" + text if ":" in text else text + ":nothing here")


@pytest.fixture
def module_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Write the module `written_for_a_test`, importable until the test ends."""
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda text: (tmp_path / "written_for_a_test.py").write_text(text) and None
    sys.modules.pop("written_for_a_test", None)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("import no_such_dependency", ModuleNotFoundError, "No module named 'no_such_dependency'"),
        ("1/0", ZeroDivisionError, "division by zero"),
        ("def f(:", SyntaxError, "invalid syntax"),
    ],
)
def test_an_import_that_fails_stays_what_it_is_and_says_where(
    module_text: Callable[[str], None], text: str, error: type[Exception], words: str
) -> None:
    module_text(text)
    with pytest.raises(error) as caught:
        unpack_function(b"\x00written_for_a_test:f")
    assert words in str(caught.value)
    (note,) = caught.value.__notes__
    assert note.startswith("while importing module 'written_for_a_test' for 'written_for_a_test:f'; sys.path is [")


def test_a_module_that_exits_does_not_end_the_worker(module_text: Callable[[str], None]) -> None:
    module_text("import sys; sys.exit(3)")
    with pytest.raises(ImportError, match=r"module 'written_for_a_test' called sys.exit\(\) while it was imported"):
        resolve("written_for_a_test:f")


def test_a_partial_of_a_module_that_is_not_there(module_text: Callable[[str], None]) -> None:
    module_text("def f(x): return x")
    body = pack_function(functools.partial(resolve("written_for_a_test:f"), 1))
    module_text("raise ImportError('gone')")
    del sys.modules["written_for_a_test"]
    with pytest.raises(ImportError) as caught:
        unpack_function(body)
    assert caught.value.__notes__[0].startswith("while unpickling a function; sys.path is [")


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (double, "tests.wire.things.double"),
        (pow, "pow"),
        (Shape, "tests.wire.things.Shape"),
        (Shape().area, "tests.wire.things.Shape.area"),
        (functools.partial(functools.partial(double), 1), "tests.wire.things.double"),
        ("x".upper, "str.upper"),
        (things.TwoArguments(1, "x"), "tests.wire.things.TwoArguments"),
    ],
)
def test_names_for_people(function: Any, name: str) -> None:
    assert function_name(function) == name
