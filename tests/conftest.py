"""Shared by all tests: the three programs, each evaluated once a session."""

import gc
from collections.abc import Mapping

import pytest
from hypothesis import settings

from rehearsal.program import Program, evaluate

STACKS = ("dev", "stg", "prd")

# Enough to find what these properties can break by; `--hypothesis-profile=default` looks longer. A slow machine is no fault.
settings.register_profile("suite", max_examples=40, deadline=None)
settings.load_profile("suite")


def pytest_collection_finish() -> None:
    """Take all that is imported by now out of the collector's rounds: the SDK alone is a million objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def programs() -> Mapping[str, Program]:
    """What each stack declares, as the stack files stand."""
    return {stack: evaluate(stack) for stack in STACKS}


@pytest.fixture(scope="session")
def previews() -> Mapping[str, Program]:
    """The same as a first preview sees it: every output unknown."""
    return {stack: evaluate(stack, preview=True) for stack in STACKS}
