"""The iterator that `map` returns, and the mapping behind it, without a mesh."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from zmqtasks.embedded.mapping import Mapping
from zmqtasks.embedded.results import Results, results_of
from zmqtasks.errors import SerializationError
from zmqtasks.messages import Outcome, OutcomeKind
from zmqtasks.wire import payload


class Mesh:
    """A mapping, and what it asked of the mesh."""

    def __init__(self, *iterables: Any, ordered: bool = True) -> None:
        self.added: list[Sequence[Any]] = []
        self.ended = 0
        self.cancelled: list[int] = []
        self.mapping = Mapping(
            iterables,
            ordered=ordered,
            bound=None,
            serializer="pickle",
            add=lambda items, form: self.added.append(items),
            end=self._end,
            cancel=self.cancelled.append,
        )
        self.mapping.pull()

    def _end(self) -> None:
        self.ended += 1

    def succeed(self, start: int, *values: object) -> None:
        (run,) = payload.pack(values)
        assert run.body is not None
        stop = start + len(values)
        self.mapping.succeed(Outcome("p:1", 1, "n", start, stop, OutcomeKind.OK, 0.0, run.body), start, stop)

    def results(self) -> Results:
        return results_of(self.mapping, None)


def test_values_come_in_order_whatever_order_runs_come_in() -> None:
    mesh = Mesh(range(6))
    assert mesh.added == [range(6)]
    mesh.succeed(4, "e", "f")
    mesh.succeed(0, "a", "b", "c", "d")
    results = mesh.results()
    assert iter(results) is results
    assert list(results) == ["a", "b", "c", "d", "e", "f"]
    assert list(results) == []
    assert (mesh.ended, mesh.cancelled) == (1, [])


def test_they_come_as_they_arrive_where_order_is_no_matter() -> None:
    mesh = Mesh(range(4), ordered=False)
    mesh.succeed(2, "c", "d")
    mesh.succeed(0, "a", "b")
    assert list(mesh.results()) == ["c", "d", "a", "b"]


def test_an_error_comes_in_its_turn_and_ends_it() -> None:
    mesh = Mesh(range(4))
    mesh.succeed(0, "a", "b")
    mesh.mapping.fail(2, 3, ValueError("third"))
    mesh.succeed(3, "d")
    results = mesh.results()
    assert [next(results), next(results)] == ["a", "b"]
    with pytest.raises(ValueError, match="third"):
        next(results)
    assert list(results) == []
    assert mesh.cancelled == [4], "what is left is given up"


def test_what_cannot_be_opened_is_an_error_in_its_turn() -> None:
    mesh = Mesh(range(3))
    mesh.succeed(0, "a", Unopened(), "c")
    results = mesh.results()
    assert next(results) == "a"
    with pytest.raises(SerializationError):
        next(results)
    assert next(results, None) is None


class Unopened:
    def __reduce__(self) -> tuple[Any, ...]:
        return no_such_luck, ()


def no_such_luck() -> None:
    raise RuntimeError("no such luck")


@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_who_leaves_in_the_middle_gives_up_the_rest(how: str) -> None:
    mesh = Mesh(itertools.count())
    mesh.succeed(0, "a", "b", "c")
    results: Iterator[Any] = mesh.results()
    assert next(results) == "a"
    if how == "closed":
        assert isinstance(results, Results)
        results.close()
        results.close()
        assert list(results) == []
    del results
    assert mesh.cancelled == [sum(map(len, mesh.added))]
    assert mesh.ended == 1


def test_values_are_let_go() -> None:
    mesh = Mesh(range(3))
    mesh.succeed(0, {1}, {2})
    mesh.succeed(2, {3})
    results = mesh.results()
    references = [weakref.ref(next(results)) for _ in range(3)]
    assert [reference() for reference in references] == [None, None, {3}]
    assert list(results) == []
    assert references[2]() is None
