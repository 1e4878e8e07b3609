"""Reads the documentation's tables."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def text(path: str) -> str:
    """A file of the project, as text."""
    return (ROOT / path).read_text(encoding="utf-8")


def section(path: str, heading: str) -> str:
    """What stands below a heading, up to the next one of its level or above."""
    whole = text(path)
    level = len(heading) - len(heading.lstrip("#"))
    _, found, rest = whole.partition(f"\n{heading}\n")
    assert found, f"{path} has no heading {heading!r}"
    return re.split(rf"^#{{1,{level}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(table: str) -> list[list[str]]:
    """The cells of every row of the Markdown tables in `table`, heads and rules left out."""
    found = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in table.splitlines() if line.startswith("|")]
    heads = {index - 1 for index, cells in enumerate(found) if set("".join(cells)) <= set("-|: ")}
    return [cells for index, cells in enumerate(found) if index not in heads and index - 1 not in heads]


def code(cell: str) -> str:
    """What a cell has in backquotes first."""
    match = re.search(r"`([^`]+)`", cell)
    assert match, f"{cell!r} has nothing in backquotes"
    return match[1]
