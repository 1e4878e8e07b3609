"""The play's first day runs what docs/adopt.md shows, and bootstrap's check decides whether it goes on."""

from collections.abc import Iterator

import pytest

from rehearsal.first_day import commands
from rehearsal.stage import REVIEWER, Stage, StageError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A stage whose GitHub and whose first account are prepared."""
    with Stage(say=lambda _: None) as made:
        made.prepare_github()
        made.prepare_account(made.flow.stacks[0])
        yield made


def test_every_command_of_the_page_is_run_in_its_order(stage: Stage) -> None:
    owner = stage.flow.stacks[0]
    assert stage.performed == list(commands(stage.settings[owner]))


def test_the_check_goes_on_while_nothing_is_missing(stage: Stage) -> None:
    found = stage.checked(stage.flow.stacks[0])
    assert found.faults == []
    assert set(found.unanswered) <= {"api", "connection", "delegation", "quota", "slack"}


def test_an_app_without_a_permission_stops_the_play(stage: Stage) -> None:
    owner = stage.flow.stacks[0]
    reader = stage.settings[owner].gitops.reader
    granted = dict(stage.host.permissions(reader.app_id))
    stage.host.grant(reader.app_id, {"statuses": "write"})
    try:
        with pytest.raises(StageError, match="reader lacks contents: read"):
            stage.checked(owner)
        stage.host.grant(reader.app_id, {**granted, "administration": "write"})
        with pytest.raises(StageError, match="reader may do more than it needs: administration: write"):
            stage.checked(owner)
    finally:
        stage.host.grant(reader.app_id, granted)
    assert stage.checked(owner).faults == []


def test_a_team_that_is_too_small_stops_the_play(stage: Stage) -> None:
    owner = stage.flow.stacks[0]
    settings = stage.settings[owner]
    name = f"{settings.organization.name}/{settings.gitops.team}"
    members = sorted(stage.host.members(name))
    stage.host.add_team(name, [REVIEWER])
    try:
        with pytest.raises(StageError, match=f"team {settings.gitops.team} has 1 members"):
            stage.checked(owner)
    finally:
        stage.host.add_team(name, members)


def test_an_environment_for_any_branch_stops_the_play_only_once_the_stack_is_up(stage: Stage) -> None:
    owner = stage.flow.stacks[0]
    access = stage.settings[owner].access
    name = f"{stage.settings[owner].organization.name}/{access.repository.name}"
    stage.host.set_environment(name, access.deploy_environment)
    found = stage.checked(owner)
    later = [row.text for row in found.report.rows if row.key == f"environment:{access.deploy_environment}"]
    assert len(later) == 1
    assert later[0].endswith(f"of {name} gives its secrets to any branch that may push to it, not to main alone")
    stage.host.set_environment(name, access.deploy_environment, branches=["main"])
