"""Evaluates stacks in processes of their own, side by side. A program that ends its process ends no other."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from checks.urns import Resource

ROOT: Final = Path(__file__).resolve().parent.parent
_SECONDS: Final = 180
_LAST_LINES: Final = 3


@dataclass(kw_only=True)
class Evaluated:
    """What the stacks of one checkout declare.

    Attributes:
        resources: By stack, where the program came to its end.
        faults: By stack, where it did not: one line per fault.
    """

    resources: dict[str, Sequence[Resource]] = field(default_factory=dict[str, Sequence[Resource]])
    faults: dict[str, str] = field(default_factory=dict[str, str])


def evaluate(root: Path, folder: Path, stacks: Sequence[str], told: Callable[[str, int, float], None] | None = None) -> Evaluated:
    """Evaluate stacks one after another in one process, because the SDK takes longer to import than a stack to evaluate.

    Args:
        root: The checkout whose program runs.
        folder: Its stack files and services.py.
        stacks: Names of the stacks.
        told: Called with stack, number of resources and seconds as each is done.
    """
    found = Evaluated()
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", "checks.worker", str(root), str(folder), str(writer), *stacks],
            cwd=ROOT,
            pass_fds=[writer],
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore"},
        )
        os.close(writer)
        watch = threading.Timer(_SECONDS, process.kill)
        watch.start()
        try:
            with os.fdopen(reader, encoding="utf-8") as answers:
                for line in answers:
                    answer = cast("dict[str, Any]", json.loads(line))
                    stack = str(answer["stack"])
                    if "fault" in answer:
                        found.faults[stack] = str(answer["fault"])
                    else:
                        found.resources[stack] = answer["resources"]
                    if told is not None:
                        told(stack, len(answer.get("resources", ())), float(answer["seconds"]))
            status = process.wait()
        finally:
            watch.cancel()
            process.kill()
            process.wait()
        for stack in stacks:
            if stack not in found.resources and stack not in found.faults:
                found.faults[stack] = _ended(status, printed)
    return found


def _ended(status: int, printed: Any) -> str:  # noqa: ANN401 — an open file
    printed.seek(0)
    lines = [line for line in printed.read().decode(errors="replace").splitlines() if line.strip()]
    said = f" It printed last: {' / '.join(lines[-_LAST_LINES:])}" if lines else ""
    if status < 0:
        return f"The program did not come to its end within {_SECONDS} s, or was killed (signal {-status}).{said}"
    return f"The program ended its process (exit {status}) before it had declared everything.{said}"


__all__ = ["ROOT", "Evaluated", "evaluate"]
