"""The three stack files: what they share reads the same in each."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
STACKS = ("dev", "stg", "prd")


def read(stack: str) -> dict[str, object]:
    return yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text(encoding="utf-8"))["config"]


@pytest.mark.parametrize("key", ["organization", "environments", "tracks", "gitops"])
def test_what_all_stacks_must_know_reads_the_same_in_every_stack_file(key: str) -> None:
    dev, stg, prd = (read(stack)[f"slipway:{key}"] for stack in STACKS)
    assert dev == stg == prd


def test_no_stack_file_holds_a_secret() -> None:
    for stack in STACKS:
        text = (ROOT / f"Pulumi.{stack}.yaml").read_text(encoding="utf-8")
        assert "secure:" not in text
        assert "PRIVATE KEY" not in text
