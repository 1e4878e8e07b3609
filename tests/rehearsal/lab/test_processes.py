"""Processes of the lab: awaited, told of in errors, ended for good."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rehearsal.lab import processes
from rehearsal.lab.processes import Process, ProcessError

WAITS: Final = "import signal; print('ready', flush=True); signal.pause()"
STUBBORN: Final = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAITS}"
# Starts one of ours, says its id, and waits to be killed.
PARENT: Final = f"""
import signal, sys
from pathlib import Path
from rehearsal.lab.processes import Process
child = Process(name="child", arguments=[sys.executable, "-ISEc", {WAITS!r}], log=Path(sys.argv[1]))
child.start()
child.wait_for("a word", lambda: "ready" in child.tail())
print(child.pid, flush=True)
signal.pause()
"""


class Started:
    """Starts programs of a few words, and ends them."""

    def __init__(self, folder: Path) -> None:
        """Keep their logs below `folder`."""
        self._folder = folder
        self.all: list[Process] = []

    def __call__(self, program: str, *, await_ready: bool = True, **environment: str) -> Process:
        """Run Python on `program`."""
        log = self._folder / "logs" / f"{len(self.all)}.log"
        made = Process(name="keeper", arguments=[sys.executable, "-ISEc", program], log=log, environment=environment)
        self.all.append(made)
        made.start()
        if await_ready:
            made.wait_for("a word", lambda: "ready" in made.tail())
        return made


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    """Nothing outlives its test."""
    made = Started(tmp_path)
    yield made
    for each in made.all:
        each.stop()


def test_one_that_ends_before_it_is_ready_says_so_with_the_last_lines_of_its_log(started: Started) -> None:
    process = started(
        "for i in range(40): print('line', i, flush=True)\nraise SystemExit('no such flag: --colour')", await_ready=False
    )
    with pytest.raises(ProcessError) as caught:
        process.wait_for("its port", lambda: False)
    said, *tail = str(caught.value).splitlines()
    assert said == "keeper has ended before its port."
    assert (len(tail), tail[0], tail[-1]) == (15, "line 26", "no such flag: --colour")


def test_one_that_never_gets_ready_is_waited_for_no_longer_than_allowed(started: Started) -> None:
    process = started(WAITS)
    with pytest.raises(ProcessError, match=r"^keeper: waited 0 s in vain for its port\.\nready$"):
        process.wait_for("its port", lambda: False, seconds=0.1)
    assert process.pid is not None


def test_a_program_that_is_not_there_does_not_start(tmp_path: Path) -> None:
    process = Process(name="keeper", arguments=[str(tmp_path / "none")], log=tmp_path / "log")
    with pytest.raises(ProcessError, match=r"^keeper does not start: .*none"):
        process.start()
    assert (process.pid, process.memory()) == (None, 0)
    process.stop()


def test_one_that_does_not_heed_the_request_to_end_is_killed(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_STOP_SECONDS", 0.1)
    process = started(STUBBORN)
    pid = process.pid
    assert pid is not None
    line = os.pidfd_open(pid)
    try:
        process.stop()
        assert select.select([line], [], [], 0)[0] == [line]
    finally:
        os.close(line)
    assert process.pid is None


def test_one_that_heeds_it_ends_in_its_own_way(started: Started) -> None:
    process = started(
        "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit('bye'))\n"
        "print('ready', flush=True)\nsignal.pause()"
    )
    process.stop()
    assert process.tail() == "ready\nbye"
    # Once more does no harm.
    process.stop()


def test_memory_is_that_of_a_process_that_runs(started: Started) -> None:
    process = started(f"held = bytearray(64 << 20); {WAITS}")
    assert process.memory() > 64 << 20
    process.stop()
    assert process.memory() == 0


def test_it_gets_the_callers_path_and_how_go_collects_and_nothing_else_of_its_environment(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "somebody's")
    process = started(f"import os; print(sorted(set(os.environ) - {{'LC_CTYPE'}})); {WAITS}", COLOUR="blue")
    assert process.tail().splitlines()[0] == "['COLOUR', 'GOGC', 'GOMEMLIMIT', 'PATH']"


def test_none_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path / "log")]
    with subprocess.Popen(  # noqa: S603 — this very interpreter
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    ) as parent:
        assert parent.stdout is not None
        line = os.pidfd_open(int(parent.stdout.readline()))
        try:
            assert select.select([line], [], [], 0)[0] == []
            parent.kill()
            assert select.select([line], [], [], 10)[0] == [line]
        finally:
            os.close(line)
    assert parent.returncode == -signal.SIGKILL
