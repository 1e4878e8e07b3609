"""Processes of the lab: started with a log, awaited until they answer, stopped by their id; none outlives its parent."""

import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_POLL_SECONDS: Final = 0.03
_START_SECONDS: Final = 90.0
_STOP_SECONDS: Final = 8.0
_TAIL_LINES: Final = 15
# Their heaps are small and soon filled: collecting less often costs some hundred MiB, and saves much of two cores. The limit
# keeps a heap that grows from growing for ever. https://go.dev/doc/gc-guide
_GO: Final = {"GOGC": "400", "GOMEMLIMIT": "600MiB"}
# A process dies with the *thread* that started it: this one lives as long as we do.
_SPAWNER: Final = ThreadPoolExecutor(1, thread_name_prefix="spawner")
# Below what the system takes for the near end of connections: a port that was found free is not taken that way meanwhile.
# https://docs.kernel.org/networking/ip-sysctl.html (ip_local_port_range)
_LOWEST_PORT: Final = 10_000
_EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_PORT_NUMBERS: Final = itertools.count(random.randrange(2**20))  # noqa: S311 — only so that two runs begin at different ports


class ProcessError(Exception):
    """A process did not start, or has ended. The message ends with the tail of its log."""


@dataclass(kw_only=True)
class Process:
    """One process.

    Attributes:
        name: What it is called in messages.
        arguments: Its command.
        log: Where its output goes.
        environment: All of its environment.
        folder: Where it runs.
    """

    name: str
    arguments: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    folder: Path | None = None
    _process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it.

        Raises:
            ProcessError: there is no such program.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if shutil.which(self.arguments[0]) is None:
            msg = f"{self.name} does not start: there is no program {self.arguments[0]}"
            raise ProcessError(msg)
        try:
            self._process = _SPAWNER.submit(self._spawn).result()
        except OSError as error:
            msg = f"{self.name} does not start: {error}"
            raise ProcessError(msg) from error

    def _spawn(self) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as out:
            return subprocess.Popen(
                # A parent that is killed takes its processes along. Not by `preexec_fn`: handlers of a fork, such as gRPC's,
                # would run in the child.
                ["setpriv", "--pdeathsig", "KILL", *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ.get("PATH", os.defpath), **_GO, **self.environment},
                cwd=self.folder,
            )

    @property
    def pid(self) -> int | None:
        """Its id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def wait_for(self, what: str, look: Callable[[], bool], *, seconds: float = _START_SECONDS) -> None:
        """Poll until `look` is true.

        Raises:
            ProcessError: the process has ended, or the time is over.
        """
        deadline = time.monotonic() + seconds
        while not look():
            if self.pid is None:
                msg = f"{self.name} has ended before {what}.\n{self.tail()}"
                raise ProcessError(msg)
            if time.monotonic() > deadline:
                msg = f"{self.name}: waited {seconds:.0f} s in vain for {what}.\n{self.tail()}"
                raise ProcessError(msg)
            time.sleep(_POLL_SECONDS)

    def tail(self) -> str:
        """The last lines of its log."""
        if not self.log.is_file():
            return ""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:])

    def stop(self) -> None:
        """End it: asked first, then killed."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def memory(self) -> int:
        """Resident bytes; 0 once it has ended."""
        pid = self.pid
        if pid is None:
            return 0
        try:
            pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
        except OSError:
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


def free_port() -> int:
    """A port on loopback that nobody listens on, and that no other call of this process was given lately."""
    highest = int(_EPHEMERAL.read_text(encoding="ascii").split()[0])
    count = highest - _LOWEST_PORT
    if count <= 0:
        msg = f"{_EPHEMERAL} begins at {highest}: the lab's servers need ports from {_LOWEST_PORT} up to where it begins"
        raise ProcessError(msg)
    for number in itertools.islice(_PORT_NUMBERS, count):
        port = _LOWEST_PORT + number % count
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    msg = f"no port from {_LOWEST_PORT} to {highest - 1} is free on loopback"
    raise ProcessError(msg)


__all__ = ["Process", "ProcessError", "free_port"]
