"""Random life, in short: `python -m tests.scaffold_repository.model` lives longer."""

from hypothesis import HealthCheck, settings

from tests.scaffold_repository.model import Life

TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=4,
    stateful_step_count=25,
    deadline=None,
    # The same lives each time: what a new one finds is for whoever looks for it, and no reason to hold back another change.
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
