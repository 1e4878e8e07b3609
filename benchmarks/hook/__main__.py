"""`make bench-hook`: one push, bursts, sweeps, and an hour of load with faults, against GitHub's latency and limits.

Prints every figure with its limit, writes out/hook.html, and exits 1 if anything was lost, written twice or reverted.

    python -m benchmarks.hook [--only one-push|burst|people|sweep|load]
"""

import argparse
import contextlib
import functools
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.hook import page, phases
from benchmarks.hook.clock import Clock
from benchmarks.hook.host import LATENCY_SECONDS, Host
from benchmarks.hook.phases import Figure, World
from benchmarks.hook.writers import Images, hooked, key
from rehearsal.githost.schema import ensure_schema
from rehearsal.program import ROOT
from rehearsal.progress import Progress

_PEER: Final = (
    "Argo CD Image Updater 1.0, measured on the same job (local registry and Git without added latency): one image after 5 to "
    "103 s by its poll, .3 to .4 s by its webhook; 100 services within 10 s are done after 118 s by its poll, 43 s by its "
    "webhook with 6 lost until the next poll, always one commit a service; with two people on the branch 63 pushes fail and 91 "
    "of 100 are through after 200 s."
)

Phase = Callable[[World, Callable[[str], None]], list[Figure]]
_BURST: Final = f"{phases.BURST_PUSHES} pushes over {phases.BURST_SERVICES} services within {phases.BURST_SECONDS:.0f} s"
_LOAD: Final = (
    f"{phases.SOAK_EVENTS:,} events over {phases.SOAK_SERVICES} services in an hour that takes {60 / phases.SOAK_SPEED:.0f} min, "
    f"{phases.FAULTS:.0%} faults, two people"
)
PHASES: Final[Mapping[str, tuple[str, Phase]]] = {
    "one-push": (f"{phases.SINGLES} pushes, one after another", phases.one_push),
    "burst": (_BURST, functools.partial(phases.burst, people=False)),
    "people": (f"{_BURST}, while two people push to the branch every second", functools.partial(phases.burst, people=True)),
    "sweep": (f"A sweep of {phases.SWEPT_SERVICES} services that are new, and one more", phases.sweep),
    "load": (_LOAD, phases.soak),
}


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(prog="bench-hook", description="What the image hook does under load and faults.")
    parser.add_argument("--only", choices=list(PHASES), action="append", help="leave out all other phases")
    parser.add_argument("--page", type=Path, default=ROOT / "out" / "hook.html", help="where the page goes")
    asked = parser.parse_args()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ[name] = "testing"
    os.environ["AWS_DEFAULT_REGION"] = os.environ["AWS_REGION"] = "eu-central-1"
    os.environ.pop("AWS_ENDPOINT_URL", None)
    os.environ.pop("AWS_PROFILE", None)
    ensure_schema()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    progress, figures, batches = Progress(console), list[Figure](), dict[str, list[tuple[float, int]]]()
    with progress, ExitStack() as stack:
        world = _world(stack)
        # The writers' metrics are lines on standard output, as Lambda wants them.
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        for name, (title, phase) in PHASES.items():
            if asked.only and name not in asked.only:
                continue
            with progress.step("", title) as step:
                found = phase(world, progress.say)
                figures += found
                step.produced = "nothing lost" if all(each.good for each in found if each.vital) else "NOT WELL, see below"
        batches = world.batches
        if not asked.only:
            with progress.step("", "A function starts cold") as step:
                seconds = _cold()
                step.produced = f"{seconds:.2f} s"
                figures.append(Figure(what="cold start: imports and clients, before any request", got=step.produced))
    console.print(_table(figures))
    console.print(f"GitHub answers after {1000 * LATENCY_SECONDS:.0f} ms and holds its limits. {_PEER}")
    page.write(asked.page, figures, batches, _PEER)
    console.print(f"\npage: {asked.page.relative_to(ROOT) if asked.page.is_relative_to(ROOT) else asked.page}")
    return 0 if all(each.good for each in figures if each.vital) else 1


def _world(stack: ExitStack) -> World:
    clock = Clock()
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slipway-hook-")))
    (folder / "host").mkdir()
    private, public = key()
    host = stack.enter_context(
        Host(folder=folder / "host", clock=clock, key=public, files={"README.md": b"GitOps\n"}, people=phases.PEOPLE)
    )
    hook = stack.enter_context(hooked(clock, host.url, private))
    return World(clock=clock, host=host, hook=hook, folder=folder, images=Images(clock=clock))


def _cold() -> float:
    """Seconds that a new process takes until the function could begin."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import functions.gitops_writer.handler"], cwd=ROOT, check=True)
    return time.perf_counter() - began


def _table(figures: list[Figure]) -> Table:
    made = Table(title="The image hook under load", title_justify="left", show_edge=False, pad_edge=False)
    made.add_column("", width=1)
    made.add_column("figure")
    made.add_column("measured", overflow="fold")
    made.add_column("limit", no_wrap=True)
    for each in figures:
        mark = "" if not each.limit else "[green]✓[/]" if each.good else "[red]✗[/]"
        made.add_row(mark, each.what, each.got, each.limit)
    return made


if __name__ == "__main__":
    sys.exit(main())
