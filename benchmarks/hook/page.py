"""The page: every figure with its limit, and how batches grew."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final

from benchmarks.hook.phases import Figure

_WIDE, _HIGH, _LEFT, _BELOW = 920, 180, 46, 28
_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
body { color: #1c2430; background: #fff }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #dde3ea; vertical-align: top }
td:first-child { width: 40% } td:nth-child(3), td:nth-child(4) { white-space: nowrap }
.good { color: #11743b } .bad { color: #b3261e; font-weight: 600 } h2 { margin-top: 2rem } .peer { color: #4a5666 }
svg { width: 100%; height: auto } text { font: 11px system-ui, sans-serif; fill: #4a5666 }
.axis { stroke: #aab4c0 } .bar { stroke: #2563a8; stroke-width: 2 }
"""


def write(path: Path, figures: Sequence[Figure], batches: Mapping[str, Sequence[tuple[float, int]]], peer: str) -> None:
    """Write it."""
    rows = "\n".join(map(_row, figures))
    pictures = "\n".join(
        f"<h2>{escape(title)}: services in each commit</h2>\n{_picture(sizes)}" for title, sizes in batches.items()
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>The image hook under load</title><style>{_STYLE}</style>'
        f"<h1>The image hook under load</h1><table><tr><th>figure<th>measured<th>limit<th></tr>\n{rows}</table>\n"
        f'<p class="peer">{escape(peer)}</p>\n{pictures}</html>\n',
        encoding="utf-8",
    )


def _row(figure: Figure) -> str:
    verdict = "" if not figure.limit else "holds" if figure.good else "does not hold"
    cells = "".join(f"<td>{escape(each)}</td>" for each in (figure.what, figure.got, figure.limit))
    return f'<tr>{cells}<td class="{"good" if figure.good else "bad"}">{verdict}</td></tr>'


def _picture(sizes: Sequence[tuple[float, int]]) -> str:
    """A bar for every commit: when it was made, and of how many services."""
    if not sizes:
        return "<p>No commit.</p>"
    last, most = max(seconds for seconds, _ in sizes) or 1.0, max(size for _, size in sizes)
    across, up = (_WIDE - _LEFT - 10) / last, (_HIGH - 10) / most
    bars = [(_LEFT + seconds * across, _HIGH - size * up) for seconds, size in sizes]
    drawn = "".join(f'<line class="bar" x1="{x:.1f}" x2="{x:.1f}" y1="{_HIGH}" y2="{y:.1f}"/>' for x, y in bars)
    ticks = "".join(
        f'<text x="{_LEFT + last * part * across:.1f}" y="{_HIGH + 16}" text-anchor="{anchor}">{last * part:.0f} s</text>'
        for part, anchor in ((0, "start"), (0.25, "middle"), (0.5, "middle"), (0.75, "middle"), (1, "end"))
    )
    axis = f'<line class="axis" x1="{_LEFT}" x2="{_WIDE}" y1="{_HIGH}" y2="{_HIGH}"/>'
    numbers = "".join(
        f'<text x="{_LEFT - 6}" y="{y}" text-anchor="end">{number}</text>' for y, number in ((14, most), (_HIGH, 0))
    )
    return f'<svg viewBox="0 0 {_WIDE} {_HIGH + _BELOW}" role="img">{axis}{drawn}{ticks}{numbers}</svg>'


__all__ = ["write"]
