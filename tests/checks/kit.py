"""A platform of the tests' own in a folder, and the command that a team runs on it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.conftest import EXAMPLE

ROOT: Final = Path(__file__).resolve().parents[2]
STACKS: Final = ("dev", "prd", "stg")


def copy_example(folder: Path) -> Path:
    """Write the example platform into a folder."""
    for path in sorted(EXAMPLE.iterdir()):
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def replace(folder: Path, name: str, old: str, new: str, *, times: int | None = 1) -> None:
    """Replace text of one file; it must be there as often as `times` says."""
    path = folder / name
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == times or (times is None and old in text), f"{name} has {old!r} {text.count(old)} times"
    path.write_text(text.replace(old, new), encoding="utf-8")


def replace_everywhere(folder: Path, old: str, new: str) -> None:
    """Replace text in every stack file."""
    for stack in STACKS:
        replace(folder, f"Pulumi.{stack}.yaml", old, new, times=None)


def check(folder: Path, *options: str, root: Path = ROOT) -> tuple[int, str]:
    """Run `make check`'s command; its status and all that it printed."""
    done = subprocess.run(  # noqa: S603 — our own module
        [sys.executable, "-m", "checks", *options],
        cwd=root,
        env={**os.environ, "SLIPWAY_PLATFORM": str(folder), "GITHUB_BASE_REF": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    return done.returncode, done.stdout + done.stderr


def finding(folder: Path) -> str:
    """Run the check on a platform that it must refuse; all that it printed, without a traceback."""
    status, said = check(folder)
    assert status == 1, said
    assert "Traceback" not in said
    assert 'File "' not in said
    assert "pydantic" not in said
    return said
