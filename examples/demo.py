"""Read what `make demo` has stored, and show it: any program that speaks SQLite can do the same.

python examples/demo.py metrics.db
"""

from __future__ import annotations

import sqlite3
import sys
import sysconfig
from collections.abc import Iterable
from contextlib import closing
from pathlib import PurePath

TOTALS = """
    SELECT COUNT(*), COUNT(*) FILTER (WHERE status = 'ok'),
           TOTAL(json_extract(value, '$.lines')), TOTAL(json_extract(value, '$.functions')), TOTAL(elapsed_s)
    FROM results
"""

SPAN_S = """
    SELECT MAX(0.001, (julianday(MAX(recorded_at)) - julianday((SELECT MIN(opened_at) FROM jobs))) * 86400) FROM results
"""

FAILURES = "SELECT COALESCE(error_type, status), COUNT(*) FROM failures GROUP BY 1 ORDER BY 2 DESC, 1"

MOST_COMPLEX = """
    SELECT json_extract(value, '$.max_complexity') AS complexity, json_extract(value, '$.most_complex'),
           json_extract(value, '$.path')
    FROM results WHERE status = 'ok' AND complexity > 0 ORDER BY complexity DESC, 3 LIMIT 5
"""


def report(database: str) -> Iterable[str]:
    """Yield the lines of the report on `database`."""
    with closing(sqlite3.connect(database)) as connection:
        files, analysed, lines, functions, work_s = connection.execute(TOTALS).fetchone()
        if not files:
            raise SystemExit(f"{database} has no results")
        (span_s,) = connection.execute(SPAN_S).fetchone()
        failures = connection.execute(FAILURES).fetchall()
        most_complex = connection.execute(MOST_COMPLEX).fetchall()
    yield f"{files:,} files in {span_s:.1f} s: {files / span_s:,.0f} tasks/s, {work_s:.1f} s of work in the workers"
    yield f"{analysed:,} analysed: {lines:,.0f} lines, {functions:,.0f} functions"
    yield f"{files - analysed:,} failed" + (", by type of error:" if failures else "")
    yield from table(failures)
    yield ""
    yield "The five files whose worst function is most complex:"
    yield from table(
        (("complexity", "function", "file"), *((n, name, shorten(path)) for n, name, path in most_complex))
    )


def table(rows: Iterable[Iterable[object]]) -> Iterable[str]:
    """Yield the rows as aligned lines: numbers to the right, text to the left, as the last row has them."""
    cells = [[*row] for row in rows]
    widths = [max(len(str(cell)) for cell in column) for column in zip(*cells, strict=True)]
    for row in cells:
        aligned = (
            f"{cell!s:>{width}}" if isinstance(sample, int) else f"{cell!s:<{width}}"
            for cell, width, sample in zip(row, widths, cells[-1], strict=True)
        )
        yield "  " + "  ".join(aligned).rstrip()


def shorten(path: str) -> str:
    """Return `path` as seen from the standard library, where it lies in it."""
    stdlib = PurePath(sysconfig.get_path("stdlib"))
    return str(PurePath(path).relative_to(stdlib)) if PurePath(path).is_relative_to(stdlib) else path


if __name__ == "__main__":
    print(*report(sys.argv[1]), sep="\n")
