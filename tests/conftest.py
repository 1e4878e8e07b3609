"""Shared by all tests: the three programs, each evaluated once a session."""

from collections.abc import Mapping

import pytest

from rehearsal.program import Program, evaluate

STACKS = ("dev", "stg", "prd")


@pytest.fixture(scope="session")
def programs() -> Mapping[str, Program]:
    """What each stack declares, as the stack files stand."""
    return {stack: evaluate(stack) for stack in STACKS}


@pytest.fixture(scope="session")
def previews() -> Mapping[str, Program]:
    """The same as a first preview sees it: every output unknown."""
    return {stack: evaluate(stack, preview=True) for stack in STACKS}
