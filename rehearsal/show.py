"""What both plays show around themselves: live progress, the table at the end, the report, and how it ended."""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.console import Console

from checks.explain import explain
from rehearsal.cloud.row import RealiseError
from rehearsal.program import ROOT, ProgramError, platform_folder
from rehearsal.progress import Progress
from rehearsal.report import Findings, write_report

_LOG_WIDTH: Final = 160


def show(report: Path, failed: str, known: tuple[type[Exception], ...], perform: Callable[[Progress, Findings], None]) -> int:
    """Perform a play, and show how it went; 0 when it came to its end.

    Args:
        report: Where the page goes.
        failed: What a failure is called.
        known: Errors whose message says all; any other is shown with the way to it.
        perform: Plays, showing its steps and noting what it finds.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        # A log has no edge to fold at.
        console = Console(highlight=False, width=_LOG_WIDTH)
    progress, findings, failure = Progress(console), Findings(), ""
    try:
        perform(progress, findings)
    except known as error:
        failure = reason(error)
    except Exception:  # noqa: BLE001 — whatever it is, the report says it and the exit status is 1
        failure = traceback.format_exc()
    console.print()
    console.print(progress.table())
    write_report(report, progress.steps, findings, failure)
    console.print(f"\nreport: {report.relative_to(ROOT) if report.is_relative_to(ROOT) else report}")
    if failure:
        console.print(f"\n[red]{failed}[/]")
        # A message may hold brackets of its own.
        console.print(failure, markup=False)
    return 1 if failure else 0


def reason(error: BaseException) -> str:
    """Return why a play failed, with the line of the team's own code where that is what failed."""
    cause = error.cause if isinstance(error, ProgramError) else error
    if isinstance(error, ProgramError) and not isinstance(cause, RealiseError):
        return explain(cause, platform_folder())
    return str(cause)


__all__ = ["reason", "show"]
