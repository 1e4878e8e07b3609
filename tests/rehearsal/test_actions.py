"""rehearsal/actions.py: workflows run as GitHub runs them, and what is not known is refused."""

import json
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from rehearsal.actions import Actions, WorkflowError
from rehearsal.githost import GitHost
from tests.rehearsal.githost_kit import key

REPOSITORY = "example-org/gitops"
CHECKOUT: Mapping[str, Any] = {"uses": "actions/checkout@0123", "with": {"persist-credentials": False}}
TOKEN: Mapping[str, Any] = {
    "id": "app",
    "uses": "actions/create-github-app-token@0123",
    "with": {"client-id": "${{ vars.APP }}", "private-key": "${{ secrets.KEY }}"},
}
READ = {"contents": "read"}
# Prints the status of each path that TOKEN is used on, by method.
ASK = """
import json, os, urllib.error, urllib.request
for line in os.environ["ASKED"].splitlines():
    method, path, *body = line.split(" ", 2)
    request = urllib.request.Request(
        f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}/{path}",
        method=method, data=body[0].encode() if body else None, headers={"Authorization": "Bearer " + os.environ["TOKEN"]},
    )
    try:
        print(urllib.request.urlopen(request).status)
    except urllib.error.HTTPError as error:
        print(error.code)
"""


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
        host.set_variable(REPOSITORY, "APP", "7")
        host.set_secret(REPOSITORY, "KEY", key("7").private_pem.decode())
        yield Actions(host=host, repository=REPOSITORY)


def put(actions: Actions, file: str, /, on: object, *steps: object, branch: str = "master", **job: object) -> str:
    """Put a workflow of one job on a branch; keys of the job come by name, with _ for -."""
    body = {"permissions": READ, **{each.replace("_", "-"): value for each, value in job.items()}, "steps": list(steps)}
    return write(actions, file, {"name": file, "on": on, "jobs": {"one": body}}, branch=branch)


def write(actions: Actions, name: str, workflow: object, *, branch: str = "master") -> str:
    path, text = f".github/workflows/{name}.yml", yaml.safe_dump(workflow, sort_keys=False)
    return actions.host.put_file(REPOSITORY, branch, path, text.encode(), f"Add {name}")


def ask(*lines: str, token: str = "${{ github.token }}") -> object:  # noqa: S107 — an expression
    return {"env": {"ASK": ASK, "ASKED": "\n".join(lines), "TOKEN": token}, "run": 'python3 -c "$ASK"'}


def pull(actions: Actions, head: str = "topic", base: str = "dev") -> int:
    host = actions.host
    if host.head(REPOSITORY, head) is None:
        host.create_branch(REPOSITORY, head, source=base)
        host.put_file(REPOSITORY, head, "change", b"", "Change")
    token = host.add_user(f"author-of-{head}")
    import urllib3  # noqa: PLC0415 — here alone

    answer = urllib3.request(
        "POST",
        f"{host.url}/repos/{REPOSITORY}/pulls",
        json={"title": "Change", "head": head, "base": base},
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status == 201, answer.data
    return int(answer.json()["number"])


# Which file an event takes


def test_a_push_starts_the_workflows_of_the_pushed_branch_that_name_it(actions: Actions) -> None:
    put(actions, "promote", {"push": {"branches": ["dev"]}}, CHECKOUT, {"run": "git log -1 --format=%s"}, branch="dev")
    put(actions, "release", {"push": {"branches": ["stg"]}}, {"run": "exit 1"}, branch="dev")
    (run,) = actions.pushed("dev")
    assert (run.workflow, run.log) == ("promote", "Add release")
    assert actions.pushed("master") == []


@pytest.mark.parametrize(
    ("filter_", "starts"),
    [
        ({"branches": ["d*"]}, True),
        ({"branches": ["*", "!dev"]}, False),
        ({"branches": ["!dev", "**"]}, True),
        ({"branches-ignore": ["dev"]}, False),
        ({"branches-ignore": ["stg"]}, True),
        ({"branches": ["de?v"]}, True),
        (None, True),
    ],
)
def test_branches_are_filtered_by_pattern(actions: Actions, filter_: object, starts: bool) -> None:
    put(actions, "any", {"push": filter_}, {"run": "true"}, branch="dev")
    assert bool(actions.pushed("dev")) is starts


def test_any_file_of_the_pushed_branch_runs_whatever_its_name(actions: Actions) -> None:
    put(actions, "hostile", "push", {"run": "echo ${{ github.ref }} $GITHUB_SHA"}, branch="dev")
    (run,) = actions.pushed("dev")
    assert run.log == f"refs/heads/dev {actions.host.head(REPOSITORY, 'dev')}"


def test_workflow_run_takes_the_default_branch_s_file_after_a_run_of_any_branch_s_file(actions: Actions) -> None:
    on = {"workflow_run": {"workflows": ["moved"], "types": ["completed"], "branches": ["dev"]}}
    said = "echo ${{ github.event.workflow_run.head_branch }} ${{ github.event.workflow_run.conclusion }} ${{ github.ref }}"
    for branch, mark in (("master", "trusted"), ("dev", "hostile")):
        put(actions, "promote", on, CHECKOUT, {"run": f"{said} {mark}; cat mark"}, branch=branch)
        actions.host.put_file(REPOSITORY, branch, "mark", mark.encode(), "Mark")
    put(actions, "other", {"push": {"branches": ["dev"]}}, {"run": "true"}, branch="dev")
    # Its file has another name, and it fails: both change nothing.
    write(
        actions,
        "whatever",
        {"name": "moved", "on": "push", "permissions": {}, "jobs": {"one": {"steps": [{"run": "exit 3"}]}}},
        branch="dev",
    )
    with pytest.raises(WorkflowError, match="ended with 3"):
        actions.pushed("dev")
    runs = actions.pushed("dev", check=False)
    assert [(run.workflow, run.event, run.conclusion) for run in runs] == [
        ("other", "push", "success"),
        ("whatever", "push", "failure"),
        ("promote", "workflow_run", "success"),
    ]
    assert runs[-1].log == "dev failure refs/heads/master trusted\ntrusted"


def test_workflow_run_filters_the_branch_of_the_run_that_it_follows(actions: Actions) -> None:
    put(actions, "moved", "push", {"run": "true"})
    put(
        actions,
        "promote",
        {"workflow_run": {"workflows": ["moved"], "types": ["completed"], "branches": ["dev"]}},
        {"run": "true"},
    )
    assert [run.workflow for run in actions.pushed("master")] == ["moved"]


def test_workflow_runs_follow_each_other_three_deep_at_most(actions: Actions) -> None:
    put(actions, "again", {"push": None, "workflow_run": {"workflows": ["again"], "types": ["completed"]}}, {"run": "true"})
    assert [run.event for run in actions.pushed("master")] == ["push", *["workflow_run"] * 3]


def test_a_pull_request_brings_its_own_file_and_pull_request_target_takes_the_default_branch_s(actions: Actions) -> None:
    said = {"run": "echo ${{ github.event_name }} ${{ github.ref }} ${{ github.base_ref }} ${{ github.head_ref }}; cat mark"}
    for branch in ("master", "dev"):
        put(actions, "target", "pull_request_target", CHECKOUT, said, branch=branch)
        actions.host.put_file(REPOSITORY, branch, "mark", branch.encode(), "Mark")
    actions.host.create_branch(REPOSITORY, "topic", source="dev")
    put(actions, "own", "pull_request", CHECKOUT, said, branch="topic")
    put(actions, "target", "pull_request_target", {"run": "echo hostile"}, branch="topic")
    number = pull(actions)
    assert [run.log for run in actions.verified(number)] == [
        f"pull_request refs/pull/{number}/merge dev topic\ndev",
        "pull_request_target refs/heads/master dev topic\nmaster",
    ]
    assert actions.verified(number, action="edited") == []


def test_a_run_by_hand_takes_the_given_branch_s_file_if_the_default_branch_has_one(actions: Actions) -> None:
    put(actions, "by-hand", {"workflow_dispatch": None}, {"run": "echo dev ${{ github.ref_name }}"}, branch="dev")
    with pytest.raises(WorkflowError, match="no workflow by-hand on master"):
        actions.dispatch("by-hand", ref="dev")
    put(actions, "by-hand", {"workflow_dispatch": None}, {"run": "echo master ${{ github.actor }}"})
    assert actions.dispatch("by-hand", ref="dev").log == "dev dev"
    assert actions.dispatch("by-hand", actor="alice").log == "master alice"


# Tokens


def test_the_token_of_a_job_is_the_actions_app_s_with_the_permissions_of_the_job(actions: Actions) -> None:
    head = actions.host.head(REPOSITORY, "dev")
    asked = ask(
        "GET contents/README.md",
        "GET pulls",
        f'POST statuses/{head} {{"state": "success", "context": "verify"}}',
        f'POST check-runs {{"name": "verify", "head_sha": "{head}", "conclusion": "success"}}',
        'PUT contents/.github/workflows/x.yml {"message": "m", "content": "eA==", "branch": "dev"}',
        "GET hooks",
    )
    for permissions, log in (
        ({}, "403 403 403 403 403 403"),
        (READ, "200 403 403 403 403 403"),
        ({"statuses": "write"}, "403 403 201 403 403 403"),
        ("write-all", "200 200 201 201 403 403"),
    ):
        put(actions, "any", {"workflow_dispatch": None}, asked, permissions=permissions)
        assert actions.dispatch("any").log.split() == log.split()
    status = actions.host.repository(REPOSITORY)
    assert status is not None
    assert status.statuses[str(head)]["verify"].creator.app_id == 15368


def test_without_permissions_the_repository_s_default_counts_and_the_job_goes_before_the_workflow(actions: Actions) -> None:
    steps = [ask("GET contents/README.md", 'POST git/refs {"ref": "refs/heads/n", "sha": "no"}')]
    one: dict[str, Any] = {"steps": steps}
    workflow: dict[str, Any] = {"name": "any", "on": {"workflow_dispatch": None}, "jobs": {"one": one}}
    write(actions, "any", workflow)
    actions.host.set_workflow_permissions(REPOSITORY, default="write", can_approve=False)
    assert actions.dispatch("any").log.split() == ["200", "422"]
    actions.host.set_workflow_permissions(REPOSITORY, default="read", can_approve=False)
    assert actions.dispatch("any").log.split() == ["200", "403"]
    write(actions, "any", {**workflow, "permissions": {}})
    assert actions.dispatch("any").log.split() == ["403", "403"]
    write(actions, "any", {**workflow, "permissions": {}, "jobs": {"one": {**one, "permissions": {"contents": "write"}}}})
    assert actions.dispatch("any").log.split() == ["200", "422"]


@pytest.mark.parametrize("scope", ["administration", "workflows", "secrets"])
def test_no_workflow_can_ask_for_what_a_workflow_s_token_cannot_have(actions: Actions, scope: str) -> None:
    put(actions, "any", {"workflow_dispatch": None}, {"run": "true"}, permissions={scope: "write"})
    with pytest.raises(WorkflowError, match=f"Unexpected value '{scope}: write'"):
        actions.dispatch("any")


def test_the_token_ends_with_its_job(actions: Actions) -> None:
    put(actions, "any", {"workflow_dispatch": None}, {"run": "echo ${{ github.token }}"}, permissions="write-all")
    token = actions.dispatch("any").log
    assert token.startswith("ghs_")
    import urllib3  # noqa: PLC0415 — here alone

    answer = urllib3.request("GET", f"{actions.host.url}/repos/{REPOSITORY}", headers={"Authorization": f"Bearer {token}"})
    assert answer.status == 401


def test_what_a_job_s_own_token_does_starts_no_run(actions: Actions) -> None:
    put(actions, "any", "push", {"run": "true"}, branch="dev")
    write_ = ask('PUT contents/x {"message": "m", "content": "eA==", "branch": "dev"}')
    put(actions, "write", {"workflow_dispatch": None}, write_, permissions="write-all")
    assert actions.dispatch("write").log == "201"
    assert actions.pushed("dev") == []
    actions.host.put_file(REPOSITORY, "dev", "y", b"", "Change")
    assert [run.workflow for run in actions.pushed("dev")] == ["any"]


# Secrets and environments


def test_a_repository_secret_is_read_by_any_pushed_workflow_and_one_that_is_not_set_is_empty(actions: Actions) -> None:
    step = {"env": {"KEY": "${{ secrets.TOKEN }}"}, "run": 'echo "[$KEY]"'}
    put(actions, "hostile", "push", step, branch="dev")
    assert actions.pushed("dev")[0].log == "[]"
    actions.host.set_secret(REPOSITORY, "TOKEN", "t0ken")
    assert actions.pushed("dev")[0].log == "[t0ken]"


def test_an_environment_s_secret_is_there_for_runs_of_its_branches_alone(actions: Actions) -> None:
    actions.host.set_environment(REPOSITORY, "slipway-promoter", branches=["master"])
    actions.host.set_environment_secret(REPOSITORY, "slipway-promoter", "TOKEN", "t0ken")
    step = {"env": {"KEY": "${{ secrets.TOKEN }}"}, "run": 'echo "[$KEY]"'}
    named = {"name": "slipway-promoter", "url": "https://example.com"}
    on = {"push": None, "workflow_dispatch": None, "pull_request": None}
    for branch in ("master", "dev"):
        put(actions, "with", on, step, branch=branch, environment=named)
        put(actions, "without", on, step, branch=branch)
    assert [run.log for run in actions.pushed("master")] == ["[t0ken]", "[]"]
    refused = 'Branch "dev" is not allowed to deploy to slipway-promoter due to environment protection rules.'
    for run in (actions.pushed("dev", check=False)[0], actions.dispatch("with", ref="dev", check=False)):
        assert (run.conclusion, run.log, run.error) == ("failure", "", refused)
    found = {run.workflow: run for run in actions.verified(pull(actions), check=False)}
    assert found["with"].error == refused.replace("dev", "refs/pull/1/merge")
    assert found["without"].log == "[]"


def test_workflow_run_and_pull_request_target_are_judged_by_the_default_branch(actions: Actions) -> None:
    actions.host.set_environment(REPOSITORY, "slipway-promoter", branches=["master"])
    actions.host.set_environment_secret(REPOSITORY, "slipway-promoter", "TOKEN", "t0ken")
    step = {"env": {"KEY": "${{ secrets.TOKEN }}"}, "run": 'echo "[$KEY]"'}
    on = {"workflow_run": {"workflows": ["moved"], "types": ["completed"]}, "pull_request_target": None}
    put(actions, "trusted", on, step, environment="slipway-promoter")
    put(actions, "moved", "push", {"run": "true"}, branch="dev")
    assert actions.pushed("dev")[1].log == "[t0ken]"
    assert [run.log for run in actions.verified(pull(actions))] == ["[t0ken]"]


def test_an_environment_that_is_not_there_is_made_without_protection(actions: Actions) -> None:
    put(actions, "any", {"workflow_dispatch": None}, {"run": "true"}, environment="new")
    actions.dispatch("any")
    assert actions.host.environments(REPOSITORY)["new"].branches is None


@pytest.mark.parametrize(
    ("ids", "prefix"), [(None, "repo:example-org/gitops"), ((11, 22), "repo:example-org@11/gitops@22")], ids=["names", "ids"]
)
def test_the_identity_of_a_job_names_its_environment_else_its_ref(
    actions: Actions, ids: tuple[int, int] | None, prefix: str
) -> None:
    actions.ids = ids
    code = (
        "import base64, json, os, urllib.request as u; "
        "r = u.Request(os.environ['ACTIONS_ID_TOKEN_REQUEST_URL'] + '&audience=a', "
        "headers={'Authorization': 'Bearer ' + os.environ['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}); "
        "t = json.load(u.urlopen(r))['value'].split('.')[1]; "
        "print(json.loads(base64.urlsafe_b64decode(t + '=='))['sub'])"
    )
    step = {"env": {"CODE": code}, "run": 'python3 -c "$CODE"'}
    asked = {"id-token": "write"}
    on = {"push": None, "pull_request": None}
    put(actions, "named", on, step, branch="dev", environment="slipway-verify", permissions=asked)
    put(actions, "plain", on, step, branch="dev", permissions=asked)
    put(actions, "without", on, {"run": 'echo "[$ACTIONS_ID_TOKEN_REQUEST_URL]"'}, branch="dev")
    put(actions, "target", "pull_request_target", step, permissions=asked)
    named = f"{prefix}:environment:slipway-verify"
    assert [run.log for run in actions.pushed("dev")] == [named, f"{prefix}:ref:refs/heads/dev", "[]"]
    logs = [run.log for run in actions.verified(pull(actions))]
    assert logs == [named, f"{prefix}:pull_request", "[]", f"{prefix}:ref:refs/heads/master"]


# Jobs and steps


def test_jobs_wait_for_those_that_they_need_and_pass_outputs_on(actions: Actions) -> None:
    out = {"id": "say", "run": 'echo "word=hello" >> "$GITHUB_OUTPUT"; echo x > file'}
    jobs = {
        "last": {"needs": ["first"], "steps": [{"run": "echo ${{ needs.first.outputs.word }}; ls"}]},
        "first": {"outputs": {"word": "${{ steps.say.outputs.word }}"}, "steps": [out]},
    }
    write(actions, "any", {"name": "any", "on": {"workflow_dispatch": None}, "permissions": {}, "jobs": jobs})
    # The second job has a folder of its own: `ls` shows nothing.
    assert actions.dispatch("any").log == "hello"


def test_after_a_failure_only_what_asks_for_it_runs(actions: Actions) -> None:
    jobs = {
        "judge": {"steps": [{"run": "exit 1"}, {"run": "echo never"}, {"if": "always()", "run": "echo cleaned"}]},
        "next": {"needs": "judge", "steps": [{"run": "echo never"}]},
        "conditional": {"needs": "judge", "if": "needs.judge.result == 'failure'", "steps": [{"run": "echo never"}]},
        "report": {"needs": "judge", "if": "always()", "steps": [{"run": "echo ${{ needs.judge.result }}"}]},
        "failed": {"needs": "judge", "if": "${{ failure() && github.ref_name != 'dev' }}", "steps": [{"run": "echo seen"}]},
    }
    write(actions, "any", {"name": "any", "on": {"workflow_dispatch": None}, "permissions": {}, "jobs": jobs})
    run = actions.dispatch("any", check=False)
    assert run.log == "cleaned\nfailure\nseen"
    assert run.jobs == {
        "judge": "failure",
        "next": "skipped",
        "conditional": "skipped",
        "report": "success",
        "failed": "success",
    }
    assert run.conclusion == "failure"


def test_every_job_is_a_check_run_of_the_actions_app_on_the_head(actions: Actions) -> None:
    number = pull(actions, base="master")
    put(actions, "forge", "pull_request", {"run": "true"}, branch="topic", name="verify ${{ github.base_ref }}")
    put(actions, "skip", "pull_request", {"run": "true"}, branch="topic", **{"if": "false"})
    actions.verified(number)
    repo = actions.host.repository(REPOSITORY)
    assert repo is not None
    found = [(each.name, each.conclusion, each.app.app_id, each.commit) for each in repo.checks.values()]
    head = actions.host.head(REPOSITORY, "topic")
    assert found == [("verify master", "success", 15368, head), ("one", "skipped", 15368, head)]


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


def test_an_expression_in_a_script_is_put_in_as_text_as_github_does(actions: Actions) -> None:
    inputs = {"why": {"required": True}}
    put(actions, "pin", {"workflow_dispatch": {"inputs": inputs}}, {"run": "echo ${{ inputs.why }}"})
    assert actions.dispatch("pin", why="$(echo injected)").log == "injected"


def test_a_checkout_takes_the_ref_and_history_that_it_asks_for_and_needs_contents(actions: Actions) -> None:
    shown = {"run": "git rev-list --count HEAD; git rev-parse --abbrev-ref HEAD; git branch -r --format='%(refname:short)'"}
    actions.host.put_file(REPOSITORY, "master", "x", b"", "Change")
    for given, log in (
        ({}, "1 master origin/master"),
        ({"ref": "dev", "fetch-depth": 0}, "1 dev origin/dev origin/master"),
    ):
        put(actions, "any", {"workflow_dispatch": None}, {**CHECKOUT, "with": {**CHECKOUT["with"], **given}}, shown)
        assert actions.dispatch("any").log.split() == log.split()
    put(actions, "any", {"workflow_dispatch": None}, CHECKOUT, permissions={})
    assert "actions/checkout failed" in actions.dispatch("any", check=False).error


def test_a_checkout_leaves_the_token_behind_unless_told_not_to(actions: Actions) -> None:
    shown = {"run": "git push -q origin HEAD:refs/heads/new && echo pushed || echo refused"}
    for given, log in (({"persist-credentials": False}, "refused"), ({}, "pushed")):
        put(
            actions,
            "any",
            {"workflow_dispatch": None},
            {**CHECKOUT, "with": given},
            shown,
            permissions={"contents": "write"},
        )
        assert actions.dispatch("any").log.splitlines()[-1] == log


def test_the_app_s_token_may_do_what_the_step_asks_for_and_no_more(actions: Actions) -> None:
    asked = ask("GET pulls", "GET contents/README.md", token="${{ steps.app.outputs.token }}")
    for more, codes in (
        ({}, ["200", "200"]),
        ({"permission-contents": "read"}, ["403", "200"]),
        ({"permission-pull-requests": "write"}, ["200", "403"]),
    ):
        put(actions, "release", {"workflow_dispatch": None}, {**TOKEN, "with": {**TOKEN["with"], **more}}, asked)
        assert actions.dispatch("release").log.split() == codes
    put(actions, "release", {"workflow_dispatch": None}, {**TOKEN, "with": {**TOKEN["with"], "permission-statuses": "read"}})
    with pytest.raises(WorkflowError, match="not granted to this installation"):
        actions.dispatch("release")


def test_the_app_s_token_needs_the_key_that_the_job_has(actions: Actions) -> None:
    put(actions, "release", {"workflow_dispatch": None}, TOKEN, {"run": "echo ${{ steps.app.outputs.app-slug }}"})
    assert actions.dispatch("release").log == "promoter"
    actions.host.set_secret(REPOSITORY, "KEY", key("other").private_pem.decode())
    assert "A JSON web token could not be decoded" in actions.dispatch("release", check=False).error
    actions.host.set_secret(REPOSITORY, "KEY", None)
    with pytest.raises(WorkflowError, match="Input required and not supplied: private-key"):
        actions.dispatch("release")


def test_packages_are_there_only_in_a_python_that_was_made_for_them_by_hash(actions: Actions) -> None:
    put(actions, "any", {"workflow_dispatch": None}, {"run": "python3 -c 'import yaml'"})
    assert "No module named 'yaml'" in actions.dispatch("any", check=False).error
    python = '"$RUNNER_TEMP/tools/bin/python"'
    made = 'python3 -m venv "$RUNNER_TEMP/tools"'
    lock = f"printf 'pyyaml=={yaml.__version__} --hash=x\\n' > lock.txt"
    install = f"{python} -m pip install --quiet --require-hashes --only-binary :all: \\\n  --requirement lock.txt"
    use = f"{python} -c 'import yaml; print(1)'"
    put(actions, "any", {"workflow_dispatch": None}, {"run": f"{lock}\n{made}\n{install}\n{use}"})
    assert actions.dispatch("any").log == "1"
    for wrong, message in (
        (install.replace("--require-hashes ", ""), "this runner installs nothing"),
        (f"echo 'pyyaml==0.1 ' > lock.txt\n{install}", "the step installs pyyaml 0.1"),
    ):
        put(actions, "any", {"workflow_dispatch": None}, {"run": f"{made}\n{lock}\n{wrong}"})
        assert message in actions.dispatch("any", check=False).error


# Refusals


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"uses": "someone/else@0123"}, r"uses someone/else@0123: this runner knows"),
        ({"run": "echo", "env": {"A": "${{ matrix.os }}"}}, r"matrix.os }} is not known here"),
        ({"run": "echo", "env": {"A": "${{ github.nothing }}"}}, r"'nothing' is none of"),
        ({"run": "echo", "env": {"A": "${{ inputs.a }}"}}, r"'a' is none of"),
        ({"run": "echo", "env": {"A": "${{ steps.none.outputs.a }}"}}, r"'none' is none of"),
        ({"run": "echo", "env": {"A": "${{ hashFiles('x') }}"}}, r"uses hashFiles\(\)"),
        ({"run": "echo", "env": {"A": "${{ 'a' 'b' }}"}}, r"where it should end"),
        ({"run": "echo", "shell": "pwsh"}, r"this runner knows bash"),
        ({"run": "echo", "surprise": 1}, r"has \['surprise'\]"),
        ({**CHECKOUT, "with": {"submodules": True}}, r"has \['submodules'\]"),
        ({"name": "break", "run": "echo first\nfalse\necho never"}, r"the step 'break' ended with 1:\nfirst\n$"),
    ],
)
def test_what_is_not_known_or_fails_ends_the_run_with_its_reason(actions: Actions, step: object, message: str) -> None:
    put(actions, "release", {"workflow_dispatch": None}, step)
    with pytest.raises(WorkflowError, match=message):
        actions.dispatch("release")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"jobs": {"one": {"uses": "./x.yml"}}}, r"job one has \['uses'\]"),
        ({"jobs": {"one": {"steps": [], "strategy": {}}}}, r"job one has \['strategy'\]"),
        ({"jobs": {"one": {"steps": [], "needs": "two"}}}, r"\['one'\] need jobs that are not there"),
        ({"permissions": "admin"}, r"permissions is 'admin'"),
        ({"surprise": 1}, r"has \['surprise'\]"),
        ({"on": {"push": {"paths": ["x"]}}}, r"push has \['paths'\]"),
        ({"on": {"push": {"branches": ["a"], "branches-ignore": ["b"]}}}, r"has both"),
    ],
)
def test_a_workflow_with_keys_that_are_not_known_is_refused(actions: Actions, change: Mapping[str, object], message: str) -> None:
    job = {"steps": [{"run": "true"}]}
    write(actions, "any", {"name": "any", "on": "push", "permissions": {}, "jobs": {"one": job}, **change})
    with pytest.raises(WorkflowError, match=message):
        actions.pushed("master")


def test_a_workflow_is_started_by_hand_only_with_its_own_inputs_and_all_of_them(actions: Actions) -> None:
    inputs = {
        "why": {"required": True, "description": "Why"},
        "action": {"type": "choice", "options": ["pin", "unpin"], "default": "pin"},
        "direct": {"type": "boolean", "default": False},
    }
    put(actions, "pin", {"workflow_dispatch": {"inputs": inputs}}, {"run": "true"})
    with pytest.raises(WorkflowError, match=r"has no inputs \['other'\]: \['action', 'direct', 'why'\] are known"):
        actions.dispatch("pin", other="x")
    with pytest.raises(WorkflowError, match="needs the input why: Why"):
        actions.dispatch("pin")
    with pytest.raises(WorkflowError, match="choose one of"):
        actions.dispatch("pin", why="x", action="drop")
    with pytest.raises(WorkflowError, match="give true or false"):
        actions.dispatch("pin", why="x", direct="yes")
    with pytest.raises(WorkflowError, match="has no workflow verify on master"):
        actions.dispatch("verify")


def test_the_event_is_in_a_file(actions: Actions) -> None:
    put(actions, "any", {"workflow_dispatch": None}, {"run": 'cat "$GITHUB_EVENT_PATH"'})
    event = json.loads(actions.dispatch("any").log)
    assert (event["ref"], event["repository"]["default_branch"]) == ("refs/heads/master", "master")
