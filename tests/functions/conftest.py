"""A writer of each track, between a real Git host and moto."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.functions.kit import Bench, bench


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Bench]:
    """The develop track's writer."""
    with bench(tmp_path, monkeypatch) as it:
        yield it


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Bench]:
    """The release track's writer."""
    with bench(tmp_path, monkeypatch, track="release") as it:
        yield it
