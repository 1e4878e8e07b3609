"""`make check`: whether this platform's stack files and services would pass what Slipway, AWS, DNS and GitHub ask."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape

from checks import stack_files, workflows
from checks.base import Base, NoBaseError, checked_out
from checks.programs import ROOT, Evaluated, evaluate
from checks.stack_files import StackFile, StackFileError
from checks.urns import compare

_WIDTH: Final = 160


@dataclass(kw_only=True)
class Report:
    """Shows each part as it begins and ends, and keeps what is wrong.

    Attributes:
        console: Where it is shown.
        faults: All sentences so far.
    """

    console: Console
    faults: list[str] = field(default_factory=list[str])

    @contextmanager
    def part(self, title: str) -> Generator[Callable[[str], None]]:
        """Show a part while it runs; it calls what it is given with its result."""
        results: list[str] = []
        before, began = len(self.faults), time.perf_counter()
        if self.console.is_terminal:
            with self.console.status(f"{title} …"):
                yield results.append
        else:
            yield results.append
        failed = len(self.faults) > before
        mark = "[red]fails[/]" if failed else "[green]ok[/]   "
        said = escape("; ".join(results))
        self.console.print(f"{mark} {title:<24} {said} ({time.perf_counter() - began:.1f} s)", soft_wrap=True)

    def fail(self, faults: Iterable[str]) -> None:
        """Keep what is wrong."""
        self.faults += faults

    def note(self, line: str) -> None:
        """Show a line that is no fault."""
        self.console.print(f"      {escape(line)}", soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check; 0 when nothing is wrong."""
    parser = argparse.ArgumentParser(prog="checks", description="Check this platform's stack files and services.")
    parser.add_argument(
        "--against", default="", metavar="BRANCH", help="compare URNs with this branch; the main branch by default"
    )
    asked = parser.parse_args(arguments)
    console = Console(highlight=False)
    if not console.is_terminal:
        # A log has no edge to fold at.
        console = Console(highlight=False, width=_WIDTH)
    report, began = Report(console=console), time.perf_counter()
    folder = Path(os.environ.get("SLIPWAY_PLATFORM") or ROOT).resolve()
    check(report, folder, asked.against)
    seconds = time.perf_counter() - began
    if not report.faults:
        console.print(f"check: no finding ({seconds:.1f} s)")
        return 0
    console.print()
    for fault in dict.fromkeys(report.faults):
        # A message may hold brackets of its own.
        console.print(fault, markup=False, soft_wrap=True)
    console.print(f"\ncheck: {len(dict.fromkeys(report.faults))} to correct ({seconds:.1f} s)")
    return 1


def check(report: Report, folder: Path, against: str) -> None:
    """Check a platform, part by part; later parts need the earlier ones."""
    files: Mapping[str, StackFile] = {}
    with report.part("stack files") as say:
        try:
            files = stack_files.read_all(folder)
        except StackFileError as error:
            report.fail(str(error).splitlines())
        report.fail(stack_files.project_faults(folder))
        if files:
            report.fail(stack_files.secrets_in(files.values()))
            report.fail(stack_files.faults_between(files))
            say(f"{', '.join(files)} agree" if not report.faults else ", ".join(files))
    if not files:
        return
    with report.part("workflows") as say:
        say(_workflows(report, folder, files))
    try:
        with checked_out(ROOT, folder, against) as base:
            _programs(report, folder, files, base)
    except NoBaseError as error:
        _programs(report, folder, files, None)
        report.note(f"URNs are not compared: {error}.")


def _workflows(report: Report, folder: Path, files: Mapping[str, StackFile]) -> str:
    place = folder / ".github" / "workflows"
    absent = workflows.missing(place)
    try:
        report.fail(workflows.faults(place, files))
    except StackFileError as error:
        report.fail(str(error).splitlines())
    found = [name for name in (workflows.DEPLOY, workflows.PREVIEW) if name not in absent]
    said = f"{' and '.join(found)} run every stack" if found else "none here"
    return f"{said}; not there: {', '.join(absent)}" if found and absent else said


def _programs(report: Report, folder: Path, files: Mapping[str, StackFile], base: Base | None) -> None:
    """Evaluate both versions side by side, then compare."""
    earlier = stack_files.stacks_in(base.folder) if base else []
    with ThreadPoolExecutor(2) as threads:
        before: Future[Evaluated] | None = threads.submit(evaluate, base.root, base.folder, earlier) if base else None
        with report.part("programs") as say:
            now = _evaluated(report, folder, files)
            say(", ".join(f"{stack} declares {len(each)} resources" for stack, each in now.resources.items()))
        if base is None or before is None:
            return
        with report.part("URNs") as say:
            lines = _compared(report, files, base, before.result(), now)
            say(f"compared with {base.name}")
    for line in lines:
        report.note(line)


def _evaluated(report: Report, folder: Path, files: Mapping[str, StackFile]) -> Evaluated:
    def told(stack: str, resources: int, seconds: float) -> None:
        report.note(f"{stack}: {f'{resources} resources' if resources else 'fails'} after {seconds:.1f} s")

    now = evaluate(ROOT, folder, list(files), told)
    by_fault: dict[str, list[str]] = {}
    for stack, said in now.faults.items():
        for line in said.splitlines():
            by_fault.setdefault(line, []).append(stack)
    report.fail(f"{', '.join(stacks)}: {line}" for line, stacks in by_fault.items())
    return now


def _compared(report: Report, files: Mapping[str, StackFile], base: Base, before: Evaluated, now: Evaluated) -> list[str]:
    """Compare each stack's URNs; return what to show."""
    lines: list[str] = []
    for stack in dict.fromkeys([*before.resources, *before.faults, *files]):
        if stack in before.faults:
            lines.append(f"{stack}: not compared, because the program of {base.name} does not evaluate here.")
        elif stack not in files:
            lines.append(f"{stack}: has no stack file any more. Tear it down before the merge (docs/tear-down.md).")
        elif stack not in before.resources:
            lines.append(f"{stack}: a new stack.")
        elif (one := _home(stack_files.read(base.folder, stack))) != (two := _home(files[stack])):
            # The state lies in a bucket of the account and region: another place has another state.
            lines.append(f"{stack}: not compared, because it moves from {one} to {two}, where a new state begins.")
        elif stack in now.resources:
            found = compare(stack, before.resources[stack], now.resources[stack])
            report.fail(found.faults)
            lines.append(
                f"{stack}: {found.come} resources come, {found.go} go" if found.come or found.go else f"{stack}: no URN changes"
            )
            lines += [f"  {note}" for note in found.notes]
    return lines


def _home(file: StackFile) -> str:
    """Return account and region of a stack, as its file says."""
    environments = file.get("environments")
    own = environments.get(file.stack) if isinstance(environments, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] — YAML
    return f"{own.get('account')} in {own.get('region')}" if isinstance(own, dict) else "nowhere"  # pyright: ignore[reportUnknownMemberType] — YAML


if __name__ == "__main__":
    sys.exit(main())
