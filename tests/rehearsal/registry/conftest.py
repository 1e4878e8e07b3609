"""One emulated ECR a session; each test has a region of its own choosing or a fresh repository."""

from collections.abc import Iterator

import pytest

from tests.rehearsal.registry.kit import ministack


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a ministack."""
    with ministack(tmp_path_factory.mktemp("ministack")) as url:
        yield url
