"""docs/adopt.md: its settings are the settings, its example is accepted, and its commands run or a table says why not."""

import json
import re
import shlex
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

import botocore.session
import pytest
import yaml
from awscli.customizations.eks.update_kubeconfig import UpdateKubeconfigCommand  # pyright: ignore[reportMissingTypeStubs]
from botocore import xform_name
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from bootstrap.apps import SCOPES
from bootstrap.bootstrap import command_line, read_settings
from bootstrap.checks_github import make_environment, runner_variables, wanted_variables
from bootstrap.first_day import without_connection
from bootstrap.report import Step
from components.settings import Settings, parse
from rehearsal.first_day import commands as played
from tests.conftest import EXAMPLE as COMPANY
from tests.docs.kit import code, rows, section, text

PAGE, TABLE, EXAMPLE = "docs/adopt.md", "### Every key", "### A filled example"
# Given by the stack's name, and no key of its file.
NO_KEYS = {"stack"}


def bare(annotation: Any) -> Any:  # noqa: ANN401 — any annotation
    """An annotation without `Annotated` and `| None`."""
    if get_origin(annotation) is Annotated:
        return bare(get_args(annotation)[0])
    if get_origin(annotation) in {types.UnionType, Union}:
        return bare(next(each for each in get_args(annotation) if each is not types.NoneType))
    return annotation


def default(field: FieldInfo) -> str:
    """A field's default as the table writes it."""
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return "{}"
    if value is None:
        return "none"
    return json.dumps(value, default=list)


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every key below `model` with its default; `<>` stands for a name that is chosen."""
    for name, field in model.model_fields.items():
        if not prefix and name in NO_KEYS:
            continue
        key = prefix + (field.alias or name)
        yield key, default(field)
        annotation = bare(field.annotation)
        if get_origin(annotation) in {Mapping, dict} or get_origin(annotation) is Mapping:
            annotation = bare(get_args(annotation)[1])
            key += ".<>"
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from keys(annotation, f"{key}.")


def documented() -> dict[str, str]:
    found: dict[str, str] = {}
    for cells in rows(section(PAGE, TABLE)):
        assert len(cells) == 4, f"not key, type, default, meaning: {cells}"
        assert all(cells), f"an empty cell: {cells}"
        key = re.sub(r"<[a-z]+>", "<>", code(cells[0]))
        assert key not in found, f"{key} stands twice"
        found[key] = cells[2].strip("`")
    return found


def test_every_setting_is_in_the_table_and_the_table_names_no_other() -> None:
    known, told = dict(keys(Settings)), documented()
    assert sorted(known.keys() - told.keys()) == [], "missing in docs/adopt.md"
    assert sorted(told.keys() - known.keys()) == [], "in docs/adopt.md, and no setting"


def test_the_table_tells_the_true_defaults() -> None:
    known, told = dict(keys(Settings)), documented()
    assert {key: told[key] for key in known} == known


def test_the_example_is_accepted() -> None:
    block = re.search(r"```yaml\n(.*?)```", section(PAGE, EXAMPLE), re.DOTALL)
    assert block
    config = yaml.safe_load(block[1])["config"]
    given = {key.removeprefix("slipway:"): value for key, value in config.items() if key.startswith("slipway:")}
    settings = parse(given, stack="dev")
    assert config["aws:allowedAccountIds"] == [settings.environment.account]
    assert config["aws:region"] == settings.environment.region
    assert config["github:owner"] == settings.organization.name


# Commands of the order of the first day

_NO_GITHUB = "GitHub's own: the Git host gets the same by its own interface"
_ENGINE = "make e2e runs pulumi with a state of its own (rehearsal/engine/cli.py)"
NOT_PLAYED: Mapping[str, str] = {
    r"export [A-Z_]+=\S+( [A-Z_]+=\S+)*": "sets the environment of the reader's shell",
    r"export GITHUB_TOKEN=\$\(gh auth token\)": "the play's people have tokens of the Git host",
    r"gh auth login .*": "signs a person in",
    r"gh repo create .*": _NO_GITHUB,
    r"git (remote|push) .*": "copies this repository, which the play evaluates where it is",
    r"make setup": "the play runs in the environment that it has made",
    r"make package": "make rehearse and make e2e depend on it",
    r"gh api .*": _NO_GITHUB,
    r"gh (secret|variable) set .*": _NO_GITHUB,
    r"aws iam get-role .*": "shows the reader's own role",
    r"aws codeconnections .*": "no emulator has CodeConnections, and a person finishes the handshake",
    r"aws eks update-kubeconfig .*": "the lab's clusters are reached by files of its own",
    r"kubectl get .*": "looks into a cluster",
    r"aws cloudwatch set-alarm-state .*": "needs a Slack channel",
    r"dig .*": "the emulated zones are in no public DNS",
    r"pulumi (login|stack init|up) .*": _ENGINE,
    r"\.venv/bin/python -m bootstrap --check --stack prd.*": "the same command as for dev, with prd's account",
}


def commands() -> list[str]:
    """Every command in the page's shell blocks, without comments."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text(PAGE), re.DOTALL | re.MULTILINE)
    lines = [re.sub(r"\s+#.*", "", line).strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line]


def words(command: str) -> list[str]:
    """A command's words, without redirections."""
    return shlex.split(command.partition(" < ")[0])


def test_every_command_is_played_or_a_reason_says_why_not() -> None:
    used: set[str] = set()
    # The play runs these in every account (tests/rehearsal/test_first_day.py).
    run = played(read_settings("dev", COMPANY))
    for command in commands():
        reasons = [pattern for pattern in NOT_PLAYED if re.fullmatch(pattern, command)]
        if command in run:
            used.add(command)
        else:
            assert reasons, f"nobody plays {command!r}, and no reason says why"
            used.update(reasons)
    assert {*run, *NOT_PLAYED} - used == set(), "on no line of the page"


def test_bootstrap_knows_the_options_that_the_page_gives() -> None:
    found = [words(each)[3:] for each in commands() if each.startswith(".venv/bin/python -m bootstrap")]
    assert len(found) > 5
    for arguments in found:
        assert command_line().parse_args(arguments).stack in {"dev", "stg", "prd"}


def test_make_knows_the_targets_that_the_page_gives() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", text("Makefile"), re.MULTILINE))
    asked = {words(each)[1] for each in commands() if each.startswith("make ")}
    assert asked
    assert asked <= targets


@pytest.mark.parametrize("command", [each for each in commands() if each.startswith("aws ")])
def test_the_aws_command_line_knows_what_the_page_gives(command: str) -> None:
    _, service, operation, *rest = words(command)
    options = {each.removeprefix("--") for each in rest if each.startswith("--")} - {"region", "query", "output", "profile"}
    if (service, operation) == ("eks", "update-kubeconfig"):
        assert options <= {str(each["name"]) for each in UpdateKubeconfigCommand.ARG_TABLE}
        return
    model = botocore.session.get_session().get_service_model(service)
    names = {xform_name(each, "-"): each for each in model.operation_names}
    shape = model.operation_model(names[operation]).input_shape
    assert shape is not None
    known = {xform_name(each, "-"): each for each in shape.members}
    assert options <= known.keys()
    assert {known[each] for each in options} >= set(shape.required_members)


# https://cli.github.com/manual/: each subcommand's options
GH_OPTIONS: Mapping[str, set[str]] = {
    "api": {"--method", "--jq", "-f", "-F"},
    "auth login": {"--scopes"},
    "repo create": {"--private"},
    "secret set": {"--env", "--repo"},
    "variable set": {"--env", "--repo", "--body"},
}


def test_the_github_command_line_knows_what_the_page_gives() -> None:
    seen: set[str] = set()
    for command in commands():
        if not command.startswith("gh "):
            continue
        given = words(command)
        name = given[1] if given[1] == "api" else " ".join(given[1:3])
        seen.add(name)
        assert {each for each in given if each.startswith("-")} <= GH_OPTIONS[name], command
    assert seen == GH_OPTIONS.keys()


def test_the_environments_are_made_as_the_check_says() -> None:
    page = commands()
    for repository, name, branch in (("platform", "dev", "main"), ("gitops", "slipway-promoter", "master")):
        for command in make_environment(f"example-org/{repository}", name, branch).split(" && "):
            assert command in page


def test_the_variables_are_those_that_the_check_looks_for() -> None:
    config = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", section(PAGE, EXAMPLE), re.DOTALL)[0])["config"]
    given = {key.removeprefix("slipway:"): value for key, value in config.items() if key.startswith("slipway:")}
    settings = parse(given, stack="dev")
    set_here = {words(each)[3]: words(each)[-1] for each in commands() if each.startswith("gh variable set")}
    assert {name: set_here.get(name) for name in wanted_variables(settings)} == wanted_variables(settings)
    assert set(runner_variables("dev")) <= set_here.keys()


def test_the_steps_are_those_that_the_check_names() -> None:
    headings = re.findall(r"^### (\d+\. .*)$", section(PAGE, "## The order of the first day"), re.MULTILINE)
    assert headings == [step.value for step in Step]


def test_the_apps_table_is_the_table_of_scopes() -> None:
    slugs = {"commit statuses": "statuses", "webhooks": "repository_hooks", "variables": "actions_variables"}
    names = {
        "reader, with `gitops.reportHealth`": "reader that reports health",
        "reporter, with `builds.reporter`": "reporter",
        "deployer of prd, the owner": "deployer of the owner",
    }
    found: dict[str, dict[str, str]] = {}
    for app, permissions, _ in rows(section(PAGE, "### 3. GitHub Apps")):
        pairs = [each.split(": ") for each in permissions.split(", ")]
        scope = {slugs.get(name, name.replace(" ", "_")): level for name, level in pairs}
        name = names.get(app) or app.split(" ")[0]
        assert found.setdefault(name, scope) == scope
    assert found == {name: dict(scope) for name, scope in SCOPES.items()}


def test_the_example_needs_no_connection_for_bootstrap() -> None:
    config = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", section(PAGE, EXAMPLE), re.DOTALL)[0])["config"]
    given = {key.removeprefix("slipway:"): value for key, value in config.items() if key.startswith("slipway:")}
    del given["builds"]
    assert parse(without_connection(given, "dev"), stack="dev").builds is not None
