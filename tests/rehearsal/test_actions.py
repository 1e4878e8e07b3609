"""rehearsal/actions.py: workflows run as GitHub runs them, and what is not known is refused."""

from collections.abc import Generator
from pathlib import Path

import pytest
import yaml

from rehearsal.actions import Actions, App, WorkflowError
from rehearsal.githost import GitHost
from tests.rehearsal.githost_kit import key

REPOSITORY = "example-org/gitops"
CHECKOUT = {"uses": "actions/checkout@0123"}
TOKEN = {"id": "app", "uses": "actions/create-github-app-token@0123"}


@pytest.fixture
def actions(tmp_path: Path) -> Generator[Actions]:
    with GitHost(tmp_path) as host:
        host.create_repository(REPOSITORY, auto_init=True)
        host.create_branch(REPOSITORY, "dev", source="master")
        host.add_app(
            7,
            "promoter",
            key("7").public_pem,
            installation_id=70,
            permissions={"contents": "write", "pull_requests": "write"},
            repositories=[REPOSITORY],
        )
        app = App(app_id=7, installation_id=70, slug="promoter", private_key=key("7").private_pem.decode())
        yield Actions(host=host, repository=REPOSITORY, promoter=app, say=lambda _: None)


def put(actions: Actions, name: str, on: object, *steps: object, branch: str = "master") -> None:
    text = yaml.safe_dump({"name": name, "on": on, "jobs": {"one": {"steps": list(steps)}}})
    actions.host.put_file(REPOSITORY, branch, f".github/workflows/{name}.yml", text.encode(), f"Add {name}")


def test_a_push_starts_the_workflows_of_the_pushed_branch_that_name_it(actions: Actions) -> None:
    put(actions, "promote", {"push": {"branches": ["dev"]}}, CHECKOUT, {"run": "git log -1 --format=%s"}, branch="dev")
    put(actions, "release", {"push": {"branches": ["stg"]}}, {"run": "exit 1"}, branch="dev")
    (run,) = actions.pushed("dev")
    assert (run.workflow, run.log) == ("promote", "Add release")
    assert actions.pushed("master") == []


def test_a_pushed_workflow_knows_the_commit_and_a_secret_that_is_not_set_is_empty(actions: Actions) -> None:
    step = {
        "env": {"COMMIT": "${{ github.sha }}", "TOKEN": "${{ secrets.SLIPWAY_APPLICATIONS_TOKEN }}"},
        "run": 'echo "$COMMIT [$TOKEN]"',
    }
    put(actions, "released", {"push": {"branches": ["master"]}}, CHECKOUT, step)
    head = actions.host.head(REPOSITORY, "master")
    assert [run.log for run in actions.pushed("master")] == [f"{head} []"]
    actions.applications = "t0ken"
    assert [run.log for run in actions.pushed("master")] == [f"{head} [t0ken]"]


def test_inputs_reach_a_step_by_its_environment_alone(actions: Actions) -> None:
    inputs = {"to": {"default": "previous"}, "direct": {"type": "boolean", "default": False}, "why": {"required": True}}
    step = {
        "env": {"TO": "${{ inputs.to }}", "DIRECT": "${{ inputs.direct }}", "WHY": "${{ inputs.why }}"},
        "run": 'echo "$TO $DIRECT $WHY"; echo outcome=done >> "$GITHUB_OUTPUT"; echo "# Done" >> "$GITHUB_STEP_SUMMARY"',
    }
    put(actions, "pin", {"workflow_dispatch": {"inputs": inputs}}, CHECKOUT, step)
    run = actions.dispatch("pin", why="because $(of) `this`")
    assert run.log == "previous false because $(of) `this`"
    assert run.outputs == {"outcome": "done"}
    assert run.summary == "# Done\n"


def test_the_app_s_token_may_do_what_the_step_asks_for_and_no_more(actions: Actions) -> None:
    ask = """
import os, urllib3
for path in ("pulls", "contents/README.md"):
    url = f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}/{path}"
    print(urllib3.request("GET", url, headers={"Authorization": f"Bearer {os.environ['TOKEN']}"}).status)
"""
    step = {"env": {"TOKEN": "${{ steps.app.outputs.token }}", "ASK": ask}, "run": 'python3 -c "$ASK"'}
    for asked, codes in (
        ({}, ["200", "200"]),
        ({"permission-contents": "read"}, ["403", "200"]),
        ({"permission-pull-requests": "write"}, ["200", "403"]),
    ):
        put(actions, "release", {"workflow_dispatch": None}, CHECKOUT, {**TOKEN, "with": {"client-id": "1", **asked}}, step)
        assert actions.dispatch("release").log.split() == codes
    put(actions, "release", {"workflow_dispatch": None}, {**TOKEN, "with": {"permission-statuses": "read"}})
    with pytest.raises(WorkflowError, match="not granted to this installation"):
        actions.dispatch("release")


def test_the_app_s_token_is_real_and_the_clone_keeps_none(actions: Actions) -> None:
    step = {
        "env": {"GITHUB_TOKEN": "${{ steps.app.outputs.token }}", "SLUG": "${{ steps.app.outputs.app-slug }}"},
        "run": (
            'git push -q "http://x-access-token:$GITHUB_TOKEN@${GITHUB_SERVER_URL#http://}/$GITHUB_REPOSITORY.git" '
            'HEAD:refs/heads/new\ngrep -c x-access-token .git/config || echo "none, $SLUG"'
        ),
    }
    put(actions, "release", {"workflow_dispatch": None}, CHECKOUT, TOKEN, step)
    assert actions.dispatch("release").log == "0\nnone, promoter"
    assert actions.host.head(REPOSITORY, "new") == actions.host.head(REPOSITORY, "master")


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"uses": "someone/else@0123"}, r"uses someone/else@0123: this runner knows"),
        ({"run": "echo", "env": {"A": "${{ secrets.OTHER }}"}}, r"expression \$\{\{ secrets.OTHER \}\} is not known"),
        ({"run": "echo", "env": {"A": "${{ inputs.a || 'b' }}"}}, r"is more than a name"),
        ({"name": "break", "run": "echo first\nfalse\necho never"}, r"the step 'break' ended with 1:\nfirst\n$"),
    ],
)
def test_what_is_not_known_or_fails_ends_the_run_with_its_reason(actions: Actions, step: object, message: str) -> None:
    put(actions, "release", {"workflow_dispatch": None}, CHECKOUT, step)
    with pytest.raises(WorkflowError, match=message):
        actions.dispatch("release")


def test_a_workflow_is_started_by_hand_only_with_its_own_inputs_and_all_of_them(actions: Actions) -> None:
    put(actions, "pin", {"workflow_dispatch": {"inputs": {"why": {"required": True, "description": "Why"}}}}, {"run": "true"})
    with pytest.raises(WorkflowError, match=r"has no inputs \['other'\]: \['why'\] are known"):
        actions.dispatch("pin", other="x")
    with pytest.raises(WorkflowError, match="needs the input why: Why"):
        actions.dispatch("pin")
    with pytest.raises(WorkflowError, match="has no workflow verify on master"):
        actions.dispatch("verify")
