"""Builds the lab if need be, then runs the tests marked `lab` in a network namespace; further arguments are pytest's."""

import sys
from pathlib import Path
from typing import Final

from rehearsal.githost import schema
from rehearsal.lab import namespace
from rehearsal.lab.build import BuildError, build

_FOLDER: Final = Path(__file__).parent


def main() -> int:
    """Replace this process by pytest, in the namespace."""
    try:
        # What is missing comes through the network, and in the namespace there is none.
        schema.ensure_schema()
        build(lambda line: print(line, flush=True))  # noqa: T201 — a command's output
        namespace.enter("pytest", ["-m", "lab", "-p", "no:cacheprovider", str(_FOLDER), *sys.argv[1:]])
    except (BuildError, namespace.NamespaceError) as error:
        print(f"lab: {error}", file=sys.stderr)  # noqa: T201 — same
        return 1
    print("lab: this process is in the namespace already: run pytest -m lab", file=sys.stderr)  # noqa: T201 — same
    return 1


if __name__ == "__main__":
    sys.exit(main())
