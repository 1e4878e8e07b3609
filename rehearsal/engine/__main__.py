"""`make e2e`: builds the lab, plays the day under the real engine and real Argo CD, and writes out/e2e.html."""

import argparse
import functools
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks import engine as benchmark
from rehearsal.__main__ import KNOWN
from rehearsal.builds import ensure_tools
from rehearsal.engine.cli import EngineError
from rehearsal.engine.play import EnginePlay
from rehearsal.engine.stage import EngineStage
from rehearsal.githost.schema import ensure_schema
from rehearsal.lab import PACKAGES, namespace
from rehearsal.lab.build import Binaries, BuildError, build
from rehearsal.play import prepare
from rehearsal.program import ROOT
from rehearsal.progress import Progress
from rehearsal.report import Findings, Lab, gathering
from rehearsal.show import show
from rehearsal.stage import StageError

_MEMORY_LIMIT: Final = 10 * 2**30
"""The issue's limit, in bytes."""
_KNOWN: Final = (*KNOWN, BuildError, EngineError, namespace.NamespaceError)


def main() -> int:
    """Build, play, report; 0 when every step came to its end."""
    parser = argparse.ArgumentParser(prog="e2e", description="The rehearsal's day, under the real engine and real Argo CD.")
    parser.add_argument("--report", type=Path, default=ROOT / "out" / "e2e.html", help="where the report goes")
    parser.add_argument("--no-measure", action="store_true", help="leave out how long the engine takes for 2 and 40 services")
    asked = parser.parse_args()
    return show(asked.report, "The play failed.", _KNOWN, functools.partial(_perform, measured=not asked.no_measure))


def _perform(progress: Progress, findings: Findings, *, measured: bool) -> None:
    if not namespace.inside():
        _prepare(progress)
        # What is missing has come through the network by now; from here on there is none.
        namespace.enter("rehearsal.engine", sys.argv[1:])
    with progress, ExitStack() as stack:
        _play(progress, stack, build(progress.say), findings, measured=measured)


def _prepare(progress: Progress) -> None:
    with progress:
        prepare(progress)
        with progress.step("", "Tools of the lab") as step:
            ensure_tools(progress.say, packages=PACKAGES)
            # The lab's own network reaches no registry.
            ensure_schema()
            step.produced = f"{', '.join(PACKAGES)}, GitHub's GraphQL schema"
        with progress.step("", "The lab's programs are built from their Go modules") as step:
            build(progress.say)
            step.produced = step.log[-1] if step.log else "all there from an earlier run"


def _play(progress: Progress, stack: ExitStack, binaries: Binaries, findings: Findings, *, measured: bool) -> None:
    findings.lab = lab = Lab()
    with progress.step(
        "", "Emulated accounts, a Git host, a registry, an edge and plugins start; control planes begin to"
    ) as step:
        stage = stack.enter_context(EngineStage(say=progress.say, binaries=binaries))
        step.produced = "moto, ministack, git over HTTP with GitHub's API, two doors, five plugins, three control planes"
    play = EnginePlay(stage=stage, progress=progress)
    try:
        with gathering(stage, findings):
            play.run()
    finally:
        lab.states, lab.latencies, lab.outcomes = play.states, play.latencies, stage.outcomes
        lab.peak = stage.peak
    stack.close()
    if measured:
        with progress.step("", "The engine is timed for 2 and 40 services, beside as many bare resources") as step:
            lab.measured = benchmark.measure(binaries.pulumi, progress.say)
            ratio = benchmark.ratio(lab.measured)
            step.produced = f"no-op preview at {benchmark.SIZES[-1]} services: {ratio:.2f} of a bare program's"
            if ratio > benchmark.RATIO_LIMIT:
                msg = (
                    f"a no-op preview takes {ratio:.2f} times as long as that of as many bare resources: "
                    f"at most {benchmark.RATIO_LIMIT} is allowed"
                )
                raise StageError(msg)
    if lab.peak > _MEMORY_LIMIT:
        msg = f"the lab took {lab.peak / 2**30:.1f} GiB of memory: at most {_MEMORY_LIMIT / 2**30:.0f} are allowed"
        raise StageError(msg)


if __name__ == "__main__":
    sys.exit(main())
