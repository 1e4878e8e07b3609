"""deploy.yml and preview.yml against the stack files, each fault by file and fix."""

import shutil
from pathlib import Path

import pytest

from checks import stack_files, workflows
from checks.stack_files import StackFileError
from tests.checks.kit import ROOT
from tests.conftest import EXAMPLE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Workflows of the tests' own, which fit the example."""
    shutil.copy(EXAMPLE / "workflows" / "deploy.yml", tmp_path)
    shutil.copy(EXAMPLE / "workflows" / "preview.yml", tmp_path)
    return tmp_path


def faults(folder: Path) -> list[str]:
    return workflows.faults(folder, stack_files.read_all(EXAMPLE))


def edit(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text(encoding="utf-8")
    assert old in text
    (folder / name).write_text(text.replace(old, new), encoding="utf-8")


def test_workflows_that_fit_have_no_fault(folder: Path) -> None:
    assert faults(folder) == []
    assert workflows.missing(folder) == []


def test_a_platform_may_have_no_such_workflows(tmp_path: Path) -> None:
    assert faults(tmp_path) == []
    assert workflows.missing(tmp_path) == ["deploy.yml", "preview.yml"]


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        (
            "preview.yml",
            ", {stack: stg}",
            "",
            "preview.yml leaves out stack stg, which has Pulumi.stg.yaml. Add it to the matrix.",
        ),
        ("preview.yml", "{stack: stg}", "{stack: sgt}", "preview.yml names stack 'sgt', and there is no Pulumi.sgt.yaml."),
        ("deploy.yml", "STACK: stg", "STACK: sgt", "deploy.yml leaves out stack stg, which has Pulumi.stg.yaml. Add a job"),
        (
            "deploy.yml",
            "environment: prd",
            "environment: live",
            "deploy.yml runs stack prd in the GitHub environment 'live', and",
        ),
        (
            "deploy.yml",
            "environment: prd",
            "environment: {name: live}",
            "deploy.yml runs stack prd in the GitHub environment 'live'",
        ),
        ("deploy.yml", "environment: prd", "", "deploy.yml runs stack prd in the GitHub environment None"),
    ],
)
def test_a_workflow_that_does_not_fit_is_told_how(folder: Path, name: str, old: str, new: str, expected: str) -> None:
    edit(folder, name, old, new)
    assert any(fault.startswith(expected) for fault in faults(folder)), faults(folder)


@pytest.mark.parametrize(("text", "expected"), [("", "deploy.yml has no jobs"), ("jobs: [\n", "deploy.yml, line ")])
def test_a_workflow_that_cannot_be_read_is_named(folder: Path, text: str, expected: str) -> None:
    (folder / "deploy.yml").write_text(text, encoding="utf-8")
    with pytest.raises(StackFileError, match=f"^{expected}"):
        faults(folder)


def test_the_repositorys_own_workflows_are_readable_this_way() -> None:
    assert workflows.missing(ROOT / ".github" / "workflows") == []
