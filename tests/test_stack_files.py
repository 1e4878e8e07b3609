"""The example that the tests are about is a platform that `make check` accepts; what the check refuses is in tests/checks."""

from checks import stack_files
from tests.conftest import EXAMPLE, STACKS


def test_the_examples_stack_files_agree_and_hold_no_secret() -> None:
    files = stack_files.read_all(EXAMPLE)
    assert set(files) == set(STACKS)
    assert stack_files.faults_between(files) == []
    assert stack_files.secrets_in(files.values()) == []
