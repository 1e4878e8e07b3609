"""`make rehearse`: the play, its table, and out/rehearsal.html."""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from checks.stack_files import StackFileError
from components.image_hook import ArchiveMissingError
from components.settings import SettingsError
from rehearsal.actions import WorkflowError
from rehearsal.builds import ToolError
from rehearsal.flow import NoFlowError
from rehearsal.githost.schema import SchemaMissingError
from rehearsal.play import Play, prepare
from rehearsal.program import ROOT, ProgramError
from rehearsal.progress import Progress
from rehearsal.report import Findings, gathering
from rehearsal.show import show
from rehearsal.stage import Stage, StageError, read_settings

KNOWN: Final = (
    ArchiveMissingError,
    NoFlowError,
    ProgramError,
    SchemaMissingError,
    SettingsError,
    StackFileError,
    StageError,
    ToolError,
    WorkflowError,
)
"""Errors whose message says all: no traceback is shown for them."""


def main() -> int:
    """Play; 0 when every step came to its end."""
    parser = argparse.ArgumentParser(prog="rehearsal", description="A day from commit to production, on emulated accounts.")
    parser.add_argument("--report", type=Path, default=ROOT / "out" / "rehearsal.html", help="where the report goes")
    asked = parser.parse_args()
    return show(asked.report, "The rehearsal failed.", KNOWN, _perform)


def _perform(progress: Progress, findings: Findings) -> None:
    with progress, ExitStack() as stack:
        read_settings()
        prepare(progress)
        with progress.step("", "Emulated accounts, a Git host, a registry and an edge start") as step:
            stage = stack.enter_context(Stage(say=progress.say))
            step.produced = "moto, ministack, git over HTTP with GitHub's API, two doors"
        with gathering(stage, findings):
            Play(stage=stage, progress=progress).run()


if __name__ == "__main__":
    sys.exit(main())
