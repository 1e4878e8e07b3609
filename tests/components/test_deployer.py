"""components/deployer.py: the deployer's token reaches what its stack declares at GitHub, and no more."""

from collections.abc import Mapping
from typing import Any

import pytest

from bootstrap import deployer as command
from components import deployer
from components.platform import Platform
from components.service import Service, ServiceArgs
from rehearsal.program import Program, evaluate, read_services
from tests.conftest import EXAMPLE, STACKS


def declared(program: Program) -> Mapping[str, set[str]]:
    """Types by repository of all that a stack declares at GitHub and that the workflow may change."""
    found: dict[str, set[str]] = {}
    for each in program.resources:
        if each.type.startswith("github:") and each.type not in deployer.BY_PEOPLE:
            repository = str(each.inputs.get("repository") or each.inputs["name"])
            found.setdefault(repository, set()).add(each.type)
    return found


def asked(capsys: pytest.CaptureFixture[str], stack: str, catalogue: Any = None) -> Mapping[str, str]:  # noqa: ANN401 — services()
    """What the command prints for the workflow."""
    assert command.main(["--stack", stack], services=catalogue or read_services(EXAMPLE), root=EXAMPLE) == 0
    return dict(line.split("=") for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_s_token_is_limited_to_what_it_declares(
    stack: str, programs: Mapping[str, Program], capsys: pytest.CaptureFixture[str]
) -> None:
    given = asked(capsys, stack)
    wanted = declared(programs[stack])
    needed: dict[str, str] = {}
    for types in wanted.values():
        for type_ in types:
            needed |= {name.replace("_", "-"): level for name, level in deployer.PERMISSIONS[type_].items()}
    assert given == {"repositories": ",".join(sorted(wanted)), **needed}


@pytest.mark.parametrize("stack", ["dev", "stg"])
def test_only_the_owner_s_token_can_administer_anything(stack: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(capsys, stack) == {"repositories": "gitops", "repository-hooks": "write"}


def test_the_owner_s_token_covers_each_protected_repository_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    def catalogue(platform: Platform) -> None:
        Service("shop", ServiceArgs(platform=platform, repository="store", port=8080))
        Service("work", ServiceArgs(platform=platform, repository="jobs", protect_repository=False))

    assert asked(capsys, "prd", catalogue)["repositories"] == "gitops,store"
    assert set(declared(evaluate("prd", catalogue=catalogue))) == {"gitops", "store"}


def test_every_row_is_of_a_type_that_is_declared(programs: Mapping[str, Program]) -> None:
    types = {each.type for program in programs.values() for each in program.resources if each.type.startswith("github:")}
    assert types <= deployer.PERMISSIONS.keys() | deployer.BY_PEOPLE.keys()


def test_a_stack_without_a_file_is_refused_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--stack", "qa"], services=read_services(EXAMPLE), root=EXAMPLE) == 1
    assert "There is no file Pulumi.qa.yaml for the stack 'qa'" in capsys.readouterr().err
