"""The whole program, for each stack: what holds for every resource in it."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from rehearsal.program import Program
from tests.conftest import EXAMPLE, STACKS

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("stack", STACKS)
def test_every_stack_previews_with_every_output_unknown(
    stack: str, previews: Mapping[str, Program], programs: Mapping[str, Program]
) -> None:
    assert set(previews[stack].urns()) == set(programs[stack].urns())


@pytest.mark.parametrize("stack", STACKS)
def test_a_second_evaluation_declares_the_very_same(stack: str, programs: Mapping[str, Program]) -> None:
    from rehearsal.program import evaluate  # noqa: PLC0415 — only here

    again = evaluate(stack)
    assert {urn: each.inputs for urn, each in again.urns().items()} == {
        urn: each.inputs for urn, each in programs[stack].urns().items()
    }


@pytest.mark.parametrize("stack", STACKS)
def test_every_child_stands_below_a_component_of_ours(stack: str, programs: Mapping[str, Program]) -> None:
    for each in programs[stack].resources:
        if not each.type.startswith("slipway:"):
            assert "slipway:" in each.parent, each.urn


@pytest.mark.parametrize("stack", STACKS)
def test_component_tokens_name_file_and_class(stack: str, programs: Mapping[str, Program]) -> None:
    for each in programs[stack].resources:
        if each.type.startswith("slipway:"):
            _, module, name = each.type.split(":")
            text = (ROOT / "components" / f"{module}.py").read_text(encoding="utf-8")
            assert re.search(rf"^class {name}\b", text, re.MULTILINE), each.type


@pytest.mark.parametrize("stack", STACKS)
def test_the_program_warns_of_nothing(stack: str, programs: Mapping[str, Program]) -> None:
    assert programs[stack].warnings == ()


@pytest.mark.parametrize("stack", STACKS)
def test_the_account_is_compared_before_anything_else(stack: str, programs: Mapping[str, Program]) -> None:
    assert programs[stack].calls[0].token == "aws:index/getCallerIdentity:getCallerIdentity"


def test_the_wiring_fits_sixty_lines_and_knows_no_environment_by_name() -> None:
    text = (ROOT / "__main__.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    for path in [ROOT / "__main__.py", EXAMPLE / "services.py", *(ROOT / "components").glob("*.py")]:
        code = re.sub(r'""".*?"""|#[^\n]*', "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not re.search(r"""["'](dev|stg|prd|develop|release)["']""", code), path.name
