"""Builds the lab if need be, then runs this folder's tests in its namespace; further arguments are pytest's."""

import sys
from pathlib import Path
from typing import Final

from rehearsal.builds import ToolError, ensure_tools
from rehearsal.githost.schema import SchemaMissingError, ensure_schema
from rehearsal.lab import PACKAGES, namespace
from rehearsal.lab.build import BuildError, build

_FOLDER: Final = Path(__file__).parent


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 — a command's output


def main() -> int:
    """Replace this process by pytest, in the namespace."""
    try:
        # What is missing comes through the network, and in the namespace there is none.
        ensure_tools(_say, packages=PACKAGES)
        ensure_schema()
        build(_say)
        namespace.enter("pytest", ["-q", "-p", "no:cacheprovider", *(sys.argv[1:] or [str(_FOLDER)])])
    except (BuildError, SchemaMissingError, ToolError, namespace.NamespaceError) as error:
        print(f"lab: {error}", file=sys.stderr)  # noqa: T201 — same
        return 1
    print("lab: this process is in the namespace already: run pytest tests/engine", file=sys.stderr)  # noqa: T201 — same
    return 1


if __name__ == "__main__":
    sys.exit(main())
