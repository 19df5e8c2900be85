"""A chart of records as SVG: a bar a peer, with its spread; written by hand, because that is all there is to it.

Owns the drawing. Called by `report.py`.
"""

from __future__ import annotations

import math
from html import escape
from typing import Any

WIDTH, LEFT, RIGHT, ROW, TOP = 760, 190, 130, 24, 56
OURS, THEIRS = "#c2410c", "#64748b"
LOGARITHMIC_FROM = 50
"""Where the longest bar is so many times the shortest, lengths are logarithms; the chart says so."""


def chart(title: str, found: list[dict[str, Any]]) -> str:
    """Return the chart of records, in their order."""
    most = max(record["most"] for record in found) or 1.0
    least = min(record["least"] for record in found)
    logarithmic = least > 0 and most / least > LOGARITHMIC_FROM
    low = 10 ** math.floor(math.log10(least)) if logarithmic else 0.0

    def at(value: float) -> float:
        share = math.log(value / low) / math.log(most / low) if logarithmic else value / most
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    figure = found[0]["figure"].replace("_", " ") + (", logarithmic" if logarithmic else "")
    height = TOP + ROW * len(found) + 12
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="12" y="22" font-size="13" font-weight="bold">{escape(title)}</text>',
        f'<text x="{LEFT}" y="44" font-size="11" fill="#475569">{escape(figure)}</text>',
    ]
    for index, record in enumerate(found):
        lines += _bar(record, TOP + ROW * index, at(record["median"]), at(record["least"]), at(record["most"]))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _bar(record: dict[str, Any], y: int, end: float, least: float, most: float) -> list[str]:
    middle = y + ROW / 2 - 2
    colour = OURS if record["peer"].startswith("zmqtasks") else THEIRS
    return [
        f'<text x="{LEFT - 8}" y="{middle + 4}" font-size="12" text-anchor="end">{escape(record["peer"])}</text>',
        f'<rect x="{LEFT}" y="{y}" width="{max(1.0, end - LEFT):.1f}" height="{ROW - 6}" fill="{colour}"/>',
        f'<line x1="{least:.1f}" y1="{middle}" x2="{most:.1f}" y2="{middle}" stroke="black" stroke-width="1.5"/>',
        f'<text x="{most + 6:.1f}" y="{middle + 4}" font-size="12">{_shown(record["median"])}</text>',
    ]


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
