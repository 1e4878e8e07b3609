"""The pages say what the code has: arguments, dependencies, alarms, make targets; and no link leads nowhere."""

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from components.service import ServiceArgs
from rehearsal.program import Program
from tests.docs.kit import ROOT, code, rows, section, text

PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
DECISIONS = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("0*.md"))


def package(requirement: str) -> str:
    """The name in a requirement, as PyPI normalises it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement.strip())[0]).lower()


def test_every_argument_of_a_service_is_told_with_its_default() -> None:
    told = {code(cells[0]): cells[1].strip("`") for cells in rows(section("docs/add-a-service.md", "## Every argument"))}
    known = {
        each.name: "required" if each.default is dataclasses.MISSING else repr(each.default).replace("'", '"')
        for each in dataclasses.fields(ServiceArgs)
    }
    assert told == known


def modules(file: Path) -> set[str]:
    """What a go.mod asks for by name: modules of its `tool` lines, and those that it requires itself."""
    whole = file.read_text(encoding="utf-8")
    required = re.findall(r"^\s*(?:require )?(\S+) v\S+( // indirect)?$", whole, re.MULTILINE)
    names = [name for name, _ in required]
    block = re.search(r"^tool \((.*?)^\)", whole, re.MULTILINE | re.DOTALL)
    tools = block[1].split() if block else re.findall(r"^tool (\S+)$", whole, re.MULTILINE)
    owners = {max((name for name in names if f"{tool}/".startswith(f"{name}/")), key=len) for tool in tools}
    return owners | {name for name, indirect in required if not indirect}


def test_every_dependency_has_its_line_and_no_line_is_left_over() -> None:
    project = tomllib.loads(text("pyproject.toml"))
    wanted = {package(each) for each in [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]}
    lines = text("functions/gitops_writer/requirements.in").splitlines()
    wanted |= {package(line) for line in lines if line.strip() and not line.startswith("#")}
    wanted |= {name for file in (ROOT / "rehearsal" / "lab").glob("*/go.mod") for name in modules(file)}
    page = text("docs/decisions/dependencies.md").split("## Looked at")[0]
    told = [code(cells[0]) for cells in rows(page)]
    assert sorted(told) == sorted(wanted)
    assert all(len(cells) == 5 and cells[1] and cells[3] and cells[4] for cells in rows(page))


def test_every_alarm_has_its_part_in_the_runbook(programs: Mapping[str, Program]) -> None:
    alarms = {
        str(each.inputs["name"]).removeprefix("slipway-develop-")
        for each in programs["dev"].resources
        if each.type == "aws:cloudwatch/metricAlarm:MetricAlarm"
    }
    told = set(re.findall(r"^## ([a-z]+)$", text("docs/runbook.md"), re.MULTILINE))
    assert alarms
    assert told == alarms


@pytest.mark.parametrize(
    ("module", "name"), [("github.com/pulumi/pulumi/pkg/v3", "_PULUMI"), ("k8s.io/kubernetes", "_KUBERNETES")]
)
def test_the_labs_programs_are_told_the_version_that_is_built(module: str, name: str) -> None:
    pins = "".join(text(f"rehearsal/lab/{each}/go.mod") for each in ("engine", "cluster"))
    built = re.findall(rf"^\s*{re.escape(module)} (v\S+)", pins, re.MULTILINE)
    told = re.findall(rf'^{name}: Final = "(\S+)"$', text("rehearsal/lab/build.py"), re.MULTILINE)
    assert len(built) == 1
    assert told == built


def test_what_a_tear_down_leaves_is_told_and_nothing_else(programs: Mapping[str, Program]) -> None:
    kept = {each.type for program in programs.values() for each in program.resources if each.retain_on_delete}
    told = [code(cells[0]) for cells in rows(section("docs/tear-down.md", "## What stays"))]
    assert sorted(told) == sorted(kept)


def test_a_tear_down_has_the_command_for_every_protection_of_aws(programs: Mapping[str, Program]) -> None:
    commands = {
        "aws:lb/loadBalancer:LoadBalancer": "--attributes Key=deletion_protection.enabled,Value=false",
        "eks:index:Cluster": "aws eks update-cluster-config --name {name} --no-deletion-protection",
    }
    found = {
        each.type: str(each.inputs["name"])
        for each in programs["dev"].resources
        if any("deletionprotection" in key.lower() and value for key, value in each.inputs.items())
    }
    page = section("docs/tear-down.md", "## 2. Take the protection off")
    assert found.keys() == commands.keys()
    assert all(name in page and commands[type_].format(name=name) in page for type_, name in found.items())


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_that_is_named_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", text("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", text(page), re.MULTILINE))
    assert named
    assert named <= targets


def test_every_make_target_is_told_in_contributing() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):.*## ", text("Makefile"), re.MULTILINE))
    told = {code(cells[0]).removeprefix("make ") for cells in rows(section("CONTRIBUTING.md", "## Set up"))}
    assert told == targets - {"help"}


@pytest.mark.parametrize("page", PAGES)
def test_no_link_leads_nowhere(page: str) -> None:
    whole = re.sub(r"```.*?```", "", text(page), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", whole):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / page).parent / path if path else ROOT / page
        assert found.exists(), f"{page} links to {target}"
        if anchor:
            heads = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("name", DECISIONS)
def test_every_decision_has_the_same_form(name: str) -> None:
    heads = re.findall(r"^(#+ .+)$", text(f"docs/decisions/{name}"), re.MULTILINE)
    assert heads[0].startswith(f"# {name[:4]}: ")
    assert heads[1:] == ["## Context", "## Decision", "## Consequences", "## When not"]


def test_the_licence_is_whole() -> None:
    licence = Path(ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
