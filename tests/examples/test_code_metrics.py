"""The demo's function, on sources small enough to count by hand."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from examples.code_metrics import analyse, complexity, functions


def score(body: str) -> int:
    """Return the complexity of a function with this body, given in one or more unindented lines."""
    lines = "\n".join("    " + line for line in body.splitlines())
    ((_, function),) = functions(ast.parse(f"async def f(x):\n{lines}\n"))
    return complexity(function)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("pass", 1),
        ("if x: pass", 2),
        ("if x: pass\nelse: pass", 2),
        ("if x: pass\nelif x > 1: pass\nelse: pass", 3),
        ("for i in x: pass", 2),
        ("async for i in x: pass", 2),
        ("while x: pass\nelse: pass", 2),
        ("with x: pass", 1),
        ("try: pass\nfinally: pass", 1),
        ("try: pass\nexcept OSError: pass\nexcept ValueError: pass\nelse: pass", 3),
        ("assert x", 2),
        ("return 1 if x else 2", 2),
        ("return x and x > 1 and x > 2", 3),
        ("return x and x > 1 or x > 2", 3),
        ("return [i for i in x]", 2),
        ("return {i: j for i in x if i for j in i if j if j > 1}", 6),
        ("return lambda y: y or x", 2),
        ("match x:\n    case 1: pass\n    case _: pass", 3),
        ("class C:\n    if x: pass", 2),
    ],
)
def test_each_rule_of_the_count(body: str, expected: int) -> None:
    assert score(body) == expected


SAMPLE = '''\
"""A module."""

class Shape:
    def area(self, x):
        if x and x > 1:
            return x
        return 0

    class Inner:
        async def grow(self): ...

def outer(x, y=lambda: 1):
    @decorate(x or 1)
    def inner(z):
        for i in z:
            while i: i -= 1
        return z if z else None
    return inner
'''


def test_a_sample_counted_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "sample.py"
    path.write_text(SAMPLE)
    scores = {name: complexity(function) for name, function in functions(ast.parse(SAMPLE))}
    assert scores == {"Shape.area": 3, "Shape.Inner.grow": 1, "outer": 2, "outer.inner": 4}
    assert analyse(str(path)) == {
        "path": str(path),
        "lines": 18,
        "functions": 4,
        "classes": 2,
        "max_complexity": 4,
        "most_complex": "outer.inner",
    }


def test_the_first_of_equals_is_named(tmp_path: Path) -> None:
    path = tmp_path / "equals.py"
    path.write_text("def b(): pass\ndef a(): pass\n")
    assert analyse(str(path))["most_complex"] == "b"


@pytest.mark.parametrize(("source", "lines"), [(b"", 0), (b"x = 1", 1), (b"x = 1\r\ny = 2\r\n", 2), (b"'a\x0cb'\n", 1)])
def test_a_file_without_functions(tmp_path: Path, source: bytes, lines: int) -> None:
    path = tmp_path / "plain.py"
    path.write_bytes(source)
    metrics = analyse(str(path))
    assert metrics["lines"] == lines
    assert (metrics["functions"], metrics["max_complexity"], metrics["most_complex"]) == (0, 0, None)


def test_the_coding_cookie_is_obeyed(tmp_path: Path) -> None:
    path = tmp_path / "latin.py"
    path.write_bytes("# coding: latin-1\ndef grün(): return 'ü'\n".encode("latin-1"))
    assert analyse(str(path))["most_complex"] == "grün"


@pytest.mark.parametrize(
    "source", [b"def f(:\n", b"x = '\xfc'\n", b"# coding: klingon\n", b"print 'two'\n", b"x = 1\0"]
)
def test_what_is_no_python_is_the_tasks_own_failure(tmp_path: Path, source: bytes) -> None:
    path = tmp_path / "broken.py"
    path.write_bytes(source)
    with pytest.raises((SyntaxError, ValueError)):
        analyse(str(path))


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        analyse("/nowhere/at/all.py")


def test_doubtful_escapes_are_not_our_matter(tmp_path: Path) -> None:
    path = tmp_path / "escape.py"
    path.write_text(r"x = '\d'" + "\n")
    assert analyse(str(path))["lines"] == 1


def test_a_long_chain_does_not_exhaust_the_stack(tmp_path: Path) -> None:
    path = tmp_path / "chain.py"
    path.write_text("def f(x):\n    return " + " + ".join(["x"] * 2_000) + "\n")
    assert analyse(str(path))["max_complexity"] == 1
