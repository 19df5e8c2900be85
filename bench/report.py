"""What the bench has found, for people: tables in Markdown, charts in SVG, and the rows of the page on performance.

    python -m bench.report [--results bench/results] [--out bench/report] [--page docs/design/performance.md]

Of each peer the newest record counts, and of each thing asked for the newest run that has all it compares. Measures
nothing. Called by `make bench`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench import records
from bench.cases import asked
from bench.cases.case import FUTURES, Case, Reach, median
from bench.chart import chart

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- rows: begin -->\n", "<!-- rows: end -->\n"
Record = dict[str, Any]
Runs = dict[str, dict[tuple[str, str, str], Record]]


def grouped(found: Iterable[Record]) -> Runs:
    """Return records by run, the newest run first; and in it by case, variant and peer."""
    runs: Runs = {}
    for record in found:
        runs.setdefault(record["run"], {})[record["case"], record["variant"], record["peer"]] = record
    return dict(reversed(runs.items()))


def newest(runs: Runs, case: Case, variant: str) -> list[Record]:
    """Return the newest record of each peer, the best first; one that is comparable goes before one that is not."""
    chosen = []
    for peer in case.peers:
        key = (case.name, variant, peer)
        having = [run for run in runs.values() if key in run]
        compared = [run for run in having if (case.name, variant, FUTURES) in run]
        chosen += [run[key] for run in (compared or having)[:1]]
    return sorted(chosen, key=lambda record: record["median"], reverse=not case.less_is_better)


def table(found: list[Record], less_is_better: bool) -> str:
    """Return records as a table."""
    figure = found[0]["figure"].replace("_", " ")
    lines = [f"| | {figure} | least to most | concurrent.futures = 1 | size | chunk | versions |"]
    lines += ["|---|--:|--:|--:|--:|--:|---|"]
    for record in found:
        ratio = record["times_as_fast_as_concurrent_futures"]
        cells = [
            record["peer"],
            number(record["median"]),
            f"{number(record['least'])} to {number(record['most'])}",
            f"{number(ratio['median'])} x" if ratio else "",
            number(record["size"]),
            number(record["chunk"]) if record["chunk"] else "",
            ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def further(found: list[Record]) -> str:
    """Return the medians of the figures beside the one that is compared; nothing where there are none."""
    names = [name for name in dict.fromkeys(n for r in found for n in r["figures"]) if name != found[0]["figure"]]
    names = [name for name in names if name != "seconds"]
    if not names:
        return ""
    lines = [f"\n| | {' | '.join(name.replace('_', ' ') for name in names)} |", f"|---|{'--:|' * len(names)}"]
    for record in found:
        cells = [number(median(record["figures"][n])) if n in record["figures"] else "" for n in names]
        lines.append(f"| {record['peer']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def number(value: float) -> str:
    """Return a figure with three or four digits, and thousands apart."""
    if abs(value) >= 1000:
        return f"{records.significant(value):,.0f}"
    return f"{value:.3g}"


def reached(runs: Runs, case: Case, reach: Reach) -> tuple[list[float], Record] | None:
    """Return what was measured of a thing asked for, in the newest run that has it, and a record of that run."""
    for run in runs.values():
        used: list[Record] = []

        def at(peer: str, figure: str, variant: str = "", run: Any = run, used: list[Record] = used) -> list[float]:
            record = run[case.name, variant, peer]
            used.append(record)
            return record["figures"][figure]  # type: ignore[no-any-return]

        try:
            return reach.value(at), used[0]
        except KeyError:
            continue
    return None


def row(runs: Runs, case: Case, reach: Reach) -> str:
    """Return a line of the table of what is asked for."""
    answer = reached(runs, case, reach)
    asked_for = f"| {case.number} | {case.name} | {reach.text} | {_bound(reach)} |"
    if answer is None:
        return f"{asked_for} not measured | | |"
    values, record = answer
    middle = median(values)
    verdict = "" if not _bound(reach) else "yes" if reach.reached(middle) else "**no**"
    spread = f"{number(min(values))} to {number(max(values))}"
    return f"{asked_for} {number(middle)} {reach.unit} ({spread}) | {verdict} | {_when(record)} |"


def _when(record: Record) -> str:
    return " ".join(filter(None, (record["date"], record["time"][:5], record.get("commit"))))


def _bound(reach: Reach) -> str:
    least, most = (number(bound) if abs(bound) < 1e300 else "" for bound in (reach.least, reach.most))
    return f"&ge; {least}" if least else f"&le; {most}" if most else ""


def rows(runs: Runs, cases: list[Case]) -> str:
    """Return the table of what is asked for, and what was measured."""
    lines = ["| row | case | in terms of | asked for | median (least to most) | reached | measured |"]
    lines += ["|---|---|---|--:|--:|---|---|"]
    lines += [row(runs, case, reach) for case in cases for reach in case.reaches]
    return "\n".join(lines) + "\n"


def write(runs: Runs, cases: list[Case], folder: Path) -> None:
    """Write all tables into README.md of a folder, and a chart for each beside it."""
    folder.mkdir(exist_ok=True)
    parts = ["# What the bench has found\n\nWritten by `python -m bench.report`. ", _where(runs), rows(runs, cases)]
    for case in cases:
        parts.append(f"\n## {case.number} {case.name}\n\n{case.question[0].upper()}{case.question[1:]}.\n")
        for variant in case.variants:
            found = newest(runs, case, variant)
            if not found:
                parts.append(f"\n{variant}: not measured.\n" if variant else "\nNot measured.\n")
                continue
            name = "-".join(f"{case.name} {variant}".replace(",", "").replace("^", "").split()) + ".svg"
            (folder / name).write_text(chart(f"{case.number} {case.question}" + f": {variant}" * bool(variant), found))
            heading = f"\n### {variant}\n" if variant else ""
            parts.append(f"{heading}\n{table(found, case.less_is_better)}{further(found)}\n![{name}]({name})\n")
    (folder / "README.md").write_text("".join(parts))


def _where(runs: Runs) -> str:
    newest_run = next(iter(runs.values()), {})
    for record in newest_run.values():
        return (
            f"Newest run: {record['date']}, {record['processor']}, {record['cores']} cores, {record['machine']}, Python"
            f" {record['python']}.\n\n"
        )
    return "\n\n"


def put_rows(page: Path, text: str) -> None:
    """Replace what stands between the marks of a page."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{page} has no {BEGIN.strip()} ... {END.strip()}")
    page.write_text(f"{before}{BEGIN}{text}{END}{after}")


def main(words: list[str] | None = None) -> int:
    """Write the report."""
    parser = argparse.ArgumentParser(prog="bench.report", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--results", type=Path, default=records.RESULTS)
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "report")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "design" / "performance.md")
    given = parser.parse_args(words)
    runs, cases = grouped(records.read(given.results)), asked(())
    write(runs, cases, given.out)
    put_rows(given.page, rows(runs, cases))
    print(given.out / "README.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
