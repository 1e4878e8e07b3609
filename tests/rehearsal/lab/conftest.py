"""Tests of real control planes run only where nothing but loopback is: `python -m tests.rehearsal.lab` takes them there."""

import pytest

from rehearsal.lab import namespace


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "lab: real control planes and Argo CD; python -m tests.rehearsal.lab runs it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave them out anywhere else, and count them so."""
    if namespace.inside():
        return
    left_out = [each for each in items if each.get_closest_marker("lab") is not None]
    if left_out:
        items[:] = [each for each in items if each not in left_out]
        config.hook.pytest_deselected(items=left_out)
