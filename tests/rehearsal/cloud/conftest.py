"""Emulators once a session; a test takes accounts of its own in them."""

import itertools
from collections.abc import Iterator

import pytest

from rehearsal.cloud import Emulators
from tests.rehearsal.cloud.kit import Accounts


@pytest.fixture(scope="session")
def emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulators]:
    """Running emulators."""
    with Emulators(tmp_path_factory.mktemp("emulators")) as running:
        yield running


@pytest.fixture(scope="session")
def accounts() -> Accounts:
    """Account ids that no test has used yet."""
    return (f"{number:012}" for number in itertools.count(444400000001))
