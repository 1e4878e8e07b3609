"""`make rehearse`: the play, its table, and out/rehearsal.html."""

import argparse
import sys
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from rich.console import Console

from components.settings import SettingsError
from rehearsal.builds import ToolError
from rehearsal.play import Play, prepare
from rehearsal.program import ROOT, ProgramError
from rehearsal.progress import Progress
from rehearsal.report import Findings, gather, write_report
from rehearsal.stage import Stage, StageError

_LOG_WIDTH: Final = 160


def main() -> int:
    """Play; 0 when every step came to its end."""
    parser = argparse.ArgumentParser(prog="rehearsal", description="A day from commit to production, on emulated accounts.")
    parser.add_argument("--report", type=Path, default=ROOT / "out" / "rehearsal.html", help="where the report goes")
    asked = parser.parse_args()
    console = Console(highlight=False)
    if not console.is_terminal:
        # A log has no edge to fold at.
        console = Console(highlight=False, width=_LOG_WIDTH)
    progress = Progress(console)
    failure = ""
    findings = Findings()
    try:
        with progress, ExitStack() as stack:
            prepare(progress)
            with progress.step("", "Emulated accounts, a Git host, a registry and an edge start") as step:
                stage = stack.enter_context(Stage(say=progress.say))
                step.produced = "moto, ministack, git over HTTP with GitHub's API, two doors"
            try:
                Play(stage=stage, progress=progress).run()
            finally:
                gather(stage, findings)
    except (SettingsError, StageError, ToolError, ProgramError) as error:
        failure = str(error)
    except Exception:  # noqa: BLE001 — whatever it is, the report says it and the exit status is 1
        failure = traceback.format_exc()
    console.print()
    console.print(progress.table())
    write_report(asked.report, progress.steps, findings, failure)
    console.print(f"\nreport: {asked.report.relative_to(ROOT) if asked.report.is_relative_to(ROOT) else asked.report}")
    if failure:
        console.print(f"\n[red]The rehearsal failed.[/] {failure}", markup=True)
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
