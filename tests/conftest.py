"""Shared by all tests: the three programs, each evaluated once a process."""

import gc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from rehearsal.program import Program

# Imports of the SDK and of hypothesis stand inside functions: the process that only hands tests out needs neither.

STACKS = ("dev", "stg", "prd")
EXAMPLE: Final = Path(__file__).parent / "example"
"""The platform that the library's tests are about: its stack files and services.py. No team edits it."""

# Before anything evaluates a program, and for the processes that tests start.
os.environ["SLIPWAY_PLATFORM"] = str(EXAMPLE)


def pytest_collection() -> None:
    """Let hypothesis look long enough to find what a property can break by; `--hypothesis-profile=default` looks longer."""
    from hypothesis import settings  # noqa: PLC0415 — see above

    settings.register_profile("suite", max_examples=40, deadline=None)
    settings.load_profile("suite")


# What takes long by its nature: real builds, emulators' starts and ends, whole programs made, changed and taken away in
# emulated accounts, days of promotions and releases over real Git.
SLOW: Final = (
    "checks/test_command.py",
    "bootstrap/test_check.py",
    "functions/test_handlings.py",
    "functions/test_package.py",
    "rehearsal/builds/test_image.py",
    "rehearsal/cloud/test_build_reports.py",
    "rehearsal/cloud/test_emulators.py",
    "rehearsal/cloud/test_lifecycle_flow.py",
    "rehearsal/cloud/test_lifecycle_places.py",
    "rehearsal/cloud/test_rows_eks.py",
    "rehearsal/cloud/test_rows_kubernetes.py",
    "rehearsal/cloud/test_rows_program.py",
    "rehearsal/test_refusals.py",
    "scaffold_repository/test_installed.py",
    "scaffold_repository/test_manifests.py",
    "scaffold_repository/test_model.py",
    "scaffold_repository/test_registry.py",
    "scaffold_repository/test_release.py",
    "scaffold_repository/test_verify.py",
    "test_another_company.py",
)


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Mark what `make test` leaves to `make test-slow`."""
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).as_posix() in SLOW:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Take all that is imported by now out of the collector's rounds: the SDK alone is a million objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def programs() -> "Mapping[str, Program]":
    """What each stack of the example declares."""
    from rehearsal.program import evaluate  # noqa: PLC0415 — see above

    return {stack: evaluate(stack) for stack in STACKS}


@pytest.fixture(scope="session")
def previews() -> "Mapping[str, Program]":
    """The same as a first preview sees it: every output unknown."""
    from rehearsal.program import evaluate  # noqa: PLC0415 — see above

    return {stack: evaluate(stack, preview=True) for stack in STACKS}
