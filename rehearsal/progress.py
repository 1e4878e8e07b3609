"""What the rehearsal shows while it runs, and the table at its end."""

import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

_LINES: Final = 6
_WIDE: Final = 110


@dataclass(frozen=True, kw_only=True)
class Page:
    """A pull request, or a release, as people see it on GitHub.

    Attributes:
        title: Its title.
        mark: A pull request's number, or a release's tag.
        state: `Open`, `Merged` or `Closed`; `Release` for a release.
        by: Who made it.
        text: What it says, in Markdown.
        target: Branch that a pull request goes to; "" for a release.
        source: Branch that it comes from, likewise.
    """

    title: str
    mark: str
    state: str
    by: str
    text: str
    target: str = ""
    source: str = ""


@dataclass(kw_only=True)
class Step:
    """One step of the play.

    Attributes:
        environment: Where it happens; "" for what belongs to none.
        title: What is done.
        produced: What came of it, in a line.
        seconds: How long it took.
        began: When it began, in seconds of a clock that only runs.
        failed: Whether it did not come to its end.
        log: Lines that were said on the way.
        details: Longer texts for the report, by heading: plain ones, and pages of GitHub's.
    """

    environment: str
    title: str
    produced: str = ""
    seconds: float = 0.0
    began: float = 0.0
    failed: bool = False
    log: list[str] = field(default_factory=list[str])
    details: dict[str, str | Page] = field(default_factory=dict[str, "str | Page"])


class Progress:
    """The live display: steps done, those under way, and the last lines of the latest.

    On a terminal it redraws in place; elsewhere each step is a line. Each thread has a step under way of its own.

    Attributes:
        steps: All steps begun so far.
    """

    def __init__(self, console: Console | None = None) -> None:
        """Prepare; `console` is standard output unless given."""
        self.steps: list[Step] = []
        self._running: list[Step] = []
        self._of_thread = threading.local()
        self._console = console or Console(highlight=False)
        self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        """Begin to draw."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop drawing."""
        if self._console.is_terminal:
            self._live.stop()

    @contextmanager
    def step(self, environment: str, title: str) -> Generator[Step]:
        """Time a step; what it raises goes on, and the step is marked as failed."""
        step = Step(environment=environment, title=title, began=time.perf_counter())
        self.steps.append(step)
        self._running.append(step)
        self._of_thread.step = step
        try:
            yield step
        except BaseException as error:
            step.failed = True
            step.produced = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise
        finally:
            step.seconds = time.perf_counter() - step.began
            self._running.remove(step)
            if not self._console.is_terminal:
                self._console.print(_line(step), soft_wrap=True)

    def say(self, line: str) -> None:
        """Add a line to this thread's step; what no step's thread says belongs to the latest."""
        step: Step | None = getattr(self._of_thread, "step", None)
        if step not in self._running:
            step = self.steps[-1] if self.steps else None
        if step is not None:
            step.log.append(line)

    def _render(self) -> Group:
        running = list(self._running) or [Step(environment="", title="starting")]
        done = [Text.from_markup(_line(step)) for step in list(self.steps) if step not in running]
        spinners = [Spinner("dots", Text.from_markup(f" {_where(step)} {escape(step.title)}")) for step in running]
        said = [Text(f"      {line[:_WIDE]}", style="dim") for line in running[-1].log[-_LINES:]]
        return Group(*done, *spinners, *said)

    def table(self) -> Table:
        """Steps, what each produced, and how long it took."""
        return table(self.steps)


def table(steps: Sequence[Step]) -> Table:
    """The closing table."""
    made = Table(title="A day from commit to production", title_justify="left", show_edge=False, pad_edge=False)
    made.add_column("", width=1)
    made.add_column("where", no_wrap=True)
    made.add_column("step")
    made.add_column("produced", overflow="fold")
    made.add_column("seconds", justify="right", no_wrap=True)
    for step in steps:
        mark = "[red]✗[/]" if step.failed else "[green]✓[/]"
        made.add_row(mark, _where(step), escape(step.title), escape(step.produced), f"{step.seconds:.2f}")
    made.add_section()
    made.add_row("", "", "in all", "", f"{elapsed(steps):.2f}")
    return made


def elapsed(steps: Sequence[Step]) -> float:
    """Seconds from the first step's beginning to the last one's end: some run side by side."""
    if not steps:
        return 0.0
    return max(step.began + step.seconds for step in steps) - min(step.began for step in steps)


def _where(step: Step) -> str:
    return f"[bold]{escape(step.environment):<3}[/]" if step.environment else "—  "


def _line(step: Step) -> str:
    mark = "[red]✗[/]" if step.failed else "[green]✓[/]"
    return f"{mark} {_where(step)} {escape(step.title)}: {escape(step.produced)} [dim]({step.seconds:.2f} s)[/]"


__all__ = ["Page", "Progress", "Step", "elapsed", "table"]
