"""How large and how tangled is a Python source file? The function that `make demo` runs on a whole standard library.

    zmqtasks run examples.code_metrics:analyse --paths a.py b.py -o metrics.db

Complexity is McCabe's number (T. J. McCabe, "A Complexity Measure", 1976), counted on the syntax tree: 1 for a function
plus 1 for each point where the flow may take another way:

- `if`, `elif`, `a if b else c`, `for`, `while`, `except`, `assert`;
- each `for` and each `if` of a comprehension or generator expression;
- each `and` and `or`: `a and b and c` counts 2;
- each `case` of a `match`.

`with`, `try`, `else` and `finally` open no way of their own. A nested function is scored alone; only its decorators and
its defaults, which the function around it evaluates, count there. A lambda, or a class inside a function, belongs to
the function it stands in.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from typing import Any

Function = ast.FunctionDef | ast.AsyncFunctionDef

BRANCHES = (
    ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.Assert, ast.match_case,
)  # fmt: skip


def analyse(path: str) -> dict[str, Any]:
    """Return the metrics of the Python source file at `path`.

    Returns:
        `path`; `lines`, physical lines; `functions`, methods and nested ones included; `classes`; `max_complexity`, 0
        where there is no function; `most_complex`, the qualified name of the first function that has it, or None.

    Raises:
        OSError: the file cannot be read.
        SyntaxError: it is not Python of this interpreter's version, or its bytes are not what its coding cookie says.
        ValueError: it holds a null byte (a SyntaxError from Python 3.12 on).
    """
    with open(path, "rb") as file:
        source = file.read()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a doubtful escape in somebody's string is not what is asked
        tree = ast.parse(source, filename=path)
    scores = [(name, complexity(function)) for name, function in functions(tree)]
    name, score = max(scores, key=lambda scored: scored[1], default=(None, 0))
    return {
        "path": path,
        "lines": len(source.splitlines()),
        "functions": len(scores),
        "classes": sum(isinstance(node, ast.ClassDef) for node in ast.walk(tree)),
        "max_complexity": score,
        "most_complex": name,
    }


def functions(tree: ast.AST) -> Iterator[tuple[str, Function]]:
    """Yield the qualified name and the definition of each function below `tree`, in the order of the source."""
    waiting = [("", tree)]
    while waiting:
        prefix, node = waiting.pop()
        if isinstance(node, Function):
            yield prefix + node.name, node
        if isinstance(node, Function | ast.ClassDef):
            prefix += node.name + "."
        waiting += [(prefix, child) for child in reversed(list(ast.iter_child_nodes(node)))]


def complexity(function: Function) -> int:
    """Return McCabe's number of one function, by the rules above."""
    score = 1
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        score += _ways(node)
        waiting += [node.args, *node.decorator_list] if isinstance(node, Function) else ast.iter_child_nodes(node)
    return score


def _ways(node: ast.AST) -> int:
    """Return how many further ways the flow may take at this node itself."""
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    return int(isinstance(node, BRANCHES))
