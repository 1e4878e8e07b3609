"""rehearsal/flow.py: the way of a commit follows from settings, whatever the environments are called."""

from typing import Any

import pytest
import yaml

from components.settings import Settings, parse
from rehearsal.flow import NoFlowError, flow_of
from tests.conftest import EXAMPLE
from tests.test_another_company import COMPANY


def settings(folder: Any = EXAMPLE, **changes: Any) -> dict[str, Settings]:  # noqa: ANN401 — a path, and YAML
    found: dict[str, Settings] = {}
    for path in sorted(folder.glob("Pulumi.*.yaml")):
        stack = path.name.split(".")[1]
        config = yaml.safe_load(path.read_text(encoding="utf-8"))["config"]
        given = {key.removeprefix("slipway:"): value for key, value in config.items() if key.startswith("slipway:")}
        for key, change in changes.items():
            change(given[key], given)
        found[stack] = parse(given, stack=stack)
    return found


def test_the_examples_way_leads_from_develop_by_release_to_prd() -> None:
    flow = flow_of(settings())
    assert flow.stacks == ("prd", "dev", "stg")
    assert flow.environments == ("dev", "stg", "prd")
    assert flow.early is not None
    assert (flow.early.track, flow.early.environment, flow.early.branch, flow.early.source) == (
        "develop",
        "dev",
        "dev",
        "develop",
    )
    assert (flow.base.track, flow.base.environment, flow.base.branch, flow.base.source) == ("release", "stg", "stg", "master")
    assert flow.target is not None
    assert (flow.target.environment, flow.target.branch) == ("prd", "master")
    assert flow.skipped == []


def test_another_companys_way_has_its_own_names() -> None:
    flow = flow_of(settings(COMPANY))
    assert flow.stacks == ("live", "trial", "accept")
    assert [lane.branch for lane in flow.lanes] == ["env/trial", "env/accept"]
    assert [lane.source for lane in flow.lanes] == ["main", "trunk"]
    assert flow.target is not None
    assert flow.target.branch == "main"


def test_without_an_early_track_a_change_enters_at_the_base() -> None:
    flow = flow_of({name: each for name, each in settings().items() if name != "dev"})
    assert flow.early is None
    assert flow.first == flow.base
    assert any("promotion is not played" in line for line in flow.skipped)


def test_without_a_release_target_releases_are_left_out_with_the_reason() -> None:
    def one_environment(tracks: Any, _: Any) -> None:  # noqa: ANN401 — YAML
        tracks["release"]["environments"] = ["stg"]

    def tooling(_: Any, given: Any) -> None:  # noqa: ANN401 — YAML
        if given["access"]["deployEnvironment"] == "prd":
            # The owner of the GitOps repository has a branch of its own, and no clusters.
            del given["network"], given["clusters"]

    flow = flow_of(settings(tracks=one_environment, access=tooling))
    assert flow.target is None
    (line,) = flow.skipped
    assert line.startswith("release, rollback and hotfix are not played: no environment runs the images of track release")


def test_an_owner_without_a_stack_file_is_named() -> None:
    with pytest.raises(NoFlowError, match=r"slipway:gitops.owner is 'prd', and there is no Pulumi.prd.yaml"):
        flow_of({name: each for name, each in settings().items() if name != "prd"})
