"""No handling of a fault is there for nothing: see tests/functions/handlings.py."""

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
# In a process of its own: runs are forked from it, and this one may have threads.
PROVE: Final = """
import sys
from rich.console import Console
from tests.functions.handlings import Handling, prove
for line in prove([Handling(**{given})], Console(file=sys.stderr)):
    print(line)
"""
HARMLESS: Final = {"name": "a blank", "file": "aws.py", "old": "ERRORS = (", "new": "ERRORS = ( "}


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 — the arguments are the tests' own
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_taking_any_single_handling_away_makes_a_test_fail() -> None:
    done = python("-m", "tests.functions.handlings")
    assert done.returncode == 0, done.stdout


def test_what_changes_nothing_is_reported() -> None:
    done = python("-c", PROVE.replace("{given}", repr({**HARMLESS, "tests": ("[500-once]",)})))
    assert done.stdout == "a blank: its tests are green, red is needed\n", done.stderr


def test_what_does_not_even_import_is_no_proof() -> None:
    broken = {**HARMLESS, "new": "ERRORS = (,", "tests": ("[500-once]",)}
    done = python("-c", PROVE.replace("{given}", repr(broken)))
    assert "a blank: its tests are ended with" in done.stdout
    assert "SyntaxError" in done.stdout


def test_a_text_that_is_no_longer_there_is_reported() -> None:
    done = python("-c", PROVE.replace("{given}", repr({**HARMLESS, "old": "nowhere", "tests": ("[500-once]",)})))
    assert "aws.py holds 'nowhere' 0 times: once is needed" in done.stdout
