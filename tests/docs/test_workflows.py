"""The project's own workflows: pinned, least privileged, and with the names that the program gives to roles and buckets."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from components import naming
from rehearsal.builds.tools import PACKAGES
from tests.docs.kit import ROOT, text

OURS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ALL = [*OURS, *sorted((ROOT / "scaffold" / "repository" / ".github" / "workflows").glob("*.yml"))]


def read(name: str) -> Any:  # noqa: ANN401 — a workflow
    return yaml.safe_load(text(f".github/workflows/{name}.yml"))


def step(job: Any, action: str) -> Any:  # noqa: ANN401 — part of a workflow
    """The step that uses an action."""
    return next(each for each in job["steps"] if each.get("uses", "").startswith(f"{action}@"))


def test_every_action_is_pinned_by_commit_to_one_version_everywhere() -> None:
    pins: dict[str, set[tuple[str, str]]] = {}
    for path in ALL:
        for line in re.findall(r"\buses: (.+)", path.read_text(encoding="utf-8")):
            match = re.fullmatch(r"([\w.-]+/[\w.-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)", line)
            assert match, f"{path.name}: {line}"
            pins.setdefault(match[1], set()).add((match[2], match[3]))
    assert pins
    assert {action: len(found) for action, found in pins.items()} == dict.fromkeys(pins, 1)


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_nothing_is_granted_to_a_whole_workflow(path: Any) -> None:  # noqa: ANN401 — pytest's parameter
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {}
    assert all("permissions" in job for job in workflow["jobs"].values())


def test_a_platform_runs_make_check_and_nothing_else_on_its_pull_requests() -> None:
    workflow = read("check")
    assert set(workflow["jobs"]) == {"check"}
    job = workflow["jobs"]["check"]
    assert [each["run"] for each in job["steps"] if "run" in each] == ["make check"]
    assert job["permissions"] == {"contents": "read"}
    assert "secrets." not in text(".github/workflows/check.yml")
    # URNs are compared with the main branch, which a shallow clone lacks.
    assert step(job, "actions/checkout")["with"] == {"fetch-depth": 0, "persist-credentials": False}
    assert "make check" in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_a_copy_of_this_repository_does_not_run_the_librarys_suite() -> None:
    jobs = read("library")["jobs"]
    assert {job["if"] for job in jobs.values()} == {"vars.SLIPWAY_LIBRARY == 'true'"}


def test_the_suite_runs_make_targets_and_installs_no_more_than_they_would() -> None:
    job = read("library")["jobs"]["suite"]
    targets = set(re.findall(r"^([a-z0-9-]+):", text("Makefile"), re.MULTILINE))
    install, run = [each["run"] for each in job["steps"] if "run" in each]
    assert run == 'make "$TARGET"'
    # GitHub's runners are not root: what make would install there is installed before, and nothing else is.
    assert set(re.findall(r"[a-z-]+", install.rpartition("--no-install-recommends")[2])) == set(PACKAGES.values())
    assert job["strategy"]["matrix"]["target"] == ["lint", "test", "test-slow", "rehearse"]
    assert set(job["strategy"]["matrix"]["target"]) <= targets


def test_the_lab_is_checked_too_by_a_make_target_and_as_root() -> None:
    run = [each["run"] for each in read("library")["jobs"]["e2e"]["steps"] if "run" in each]
    assert run[-1] == "sudo --preserve-env=PATH make e2e test-lab"
    assert re.search(r"^e2e:", text("Makefile"), re.MULTILINE)
    assert "make e2e" in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def stacks() -> list[str]:
    """The stacks that deploy.yml names; `make check` compares them with the platform's own files."""
    return [job["env"]["STACK"] for job in read("deploy")["jobs"].values()]


def test_a_preview_runs_for_every_stack_and_never_for_a_fork() -> None:
    job = read("preview")["jobs"]["preview"]
    assert job["if"] == "vars.SLIPWAY_DEPLOY == 'true' && github.event.pull_request.head.repo.full_name == github.repository"
    assert sorted(each["stack"] for each in job["strategy"]["matrix"]["include"]) == sorted(stacks())
    assert job["permissions"] == {"contents": "read", "id-token": "write", "pull-requests": "write"}
    asked = step(job, "pulumi/actions")["with"]
    assert (asked["command"], asked["comment-on-pr"], asked["edit-pr-comment"]) == ("preview", True, True)


def test_stacks_are_deployed_one_after_another_each_in_an_environment() -> None:
    jobs = read("deploy")["jobs"]
    assert [job.get("needs") for job in jobs.values()] == [None, *list(jobs)[:-1]]
    assert all(job["environment"] for job in jobs.values())


@pytest.mark.parametrize(("workflow", "purpose"), [("preview", "preview"), ("deploy", "deploy")])
def test_roles_and_state_have_the_names_that_the_program_and_bootstrap_give_them(workflow: str, purpose: str) -> None:
    account, region = "111111111111", "eu-central-1"
    jobs = read(workflow)["jobs"]
    for stack in stacks():
        values = {
            f"{place}.{name}": value
            for place in ("matrix", "env")
            for name, value in {"account": account, "region": region, "stack": stack}.items()
        }
        job = jobs.get(stack) or jobs["preview"]

        def filled(text: str, values: Mapping[str, str] = values) -> str:
            return re.sub(r"\$\{\{ ([a-zA-Z.]+) \}\}", lambda match: values[match[1].lower()], text)

        role = filled(step(job, "aws-actions/configure-aws-credentials")["with"]["role-to-assume"])
        assert role == f"arn:aws:iam::{account}:role/{naming.role(stack, purpose)}"
        state = filled(step(job, "pulumi/actions")["with"]["cloud-url"])
        assert state == f"s3://{naming.bucket('state', account, region)}?region={region}"


def test_pulumis_command_has_the_version_of_its_sdk() -> None:
    locked = re.search(r"^pulumi==(\S+)", text("requirements.txt"), re.MULTILINE)
    assert locked
    for name in ("preview", "deploy"):
        assert set(re.findall(r"pulumi-version: (\S+)", text(f".github/workflows/{name}.yml"))) == {locked[1]}


@pytest.mark.parametrize("workflow", ["preview", "deploy"])
def test_what_is_installed_does_not_see_credentials(workflow: str) -> None:
    for job in read(workflow)["jobs"].values():
        kinds = [each.get("uses", each.get("run", "")).split("@")[0] for each in job["steps"]]
        assert kinds[:2] == ["actions/checkout", "make package"]
        assert kinds.index("make package") < kinds.index("aws-actions/configure-aws-credentials")
