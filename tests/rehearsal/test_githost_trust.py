"""The Git host holds what GitHub holds of identity: whose check counts, whose approval, whose file, whose token."""

import base64
import json
from collections.abc import Generator, Mapping
from pathlib import Path

import pytest

from rehearsal.githost.identity import ACTIONS_APP, PROVIDER
from rehearsal.githost.model import Problem
from tests.rehearsal.githost_kit import DEV_APP, PROMOTER_APP, REPOSITORY, World, hostile, key, protect, ruleset, runner, world

OTHER_APP = 104
VERIFY = "verify master"


@pytest.fixture
def it(tmp_path: Path) -> Generator[World]:
    with world(tmp_path) as made:
        made.host.add_app(
            OTHER_APP,
            "other",
            key(str(OTHER_APP)).public_pem,
            installation_id=OTHER_APP + 1000,
            permissions={"contents": "write", "pull_requests": "write", "statuses": "write", "checks": "write"},
            repositories=[REPOSITORY],
        )
        yield made


def require(it: World, *, app: int | None = PROMOTER_APP) -> None:
    check = {"context": VERIFY, **({} if app is None else {"integration_id": app})}
    rule = {"type": "required_status_checks", "parameters": {"required_status_checks": [check]}}
    it.host.add_ruleset(REPOSITORY, ruleset("check", "master", rule))


# Required checks


@pytest.mark.parametrize("forger", ["person", "other App", "workflow's status", "workflow's check run"])
def test_a_required_check_of_an_app_cannot_be_forged(it: World, forger: str) -> None:
    require(it)
    head = it.host.put_file(REPOSITORY, "stg", "x", b"", "Change stg")
    alice = it.host.add_user("alice")
    number = it.propose(alice)
    workflow = it.host.job_token(REPOSITORY, {"checks": "write", "statuses": "write"})
    status = {"state": "success", "context": VERIFY}
    check = {"name": VERIFY, "head_sha": head, "conclusion": "success"}
    sent = {
        "person": ("/statuses/" + head, alice, status),
        "other App": ("/statuses/" + head, it.app_token(OTHER_APP), status),
        "workflow's status": ("/statuses/" + head, workflow, status),
        "workflow's check run": ("/check-runs", workflow, check),
    }[forger]
    assert it.repo("POST", *sent).status == 201
    assert "1 of 1 required status checks are expected." in it.merge(alice, number)
    it.host.set_status(REPOSITORY, head, VERIFY, app_id=PROMOTER_APP)
    assert it.merge(alice, number) == "merged"


def test_the_newest_status_counts_and_one_from_elsewhere_does_not_hide_a_failure(it: World) -> None:
    require(it)
    head = it.host.put_file(REPOSITORY, "stg", "x", b"", "Change stg")
    alice = it.host.add_user("alice")
    number = it.propose(alice)
    for state, app in (("success", PROMOTER_APP), ("failure", PROMOTER_APP)):
        it.host.set_status(REPOSITORY, head, VERIFY, state, app_id=app)
    it.repo("POST", f"/statuses/{head}", alice, {"state": "success", "context": VERIFY})
    assert "required status checks" in it.merge(alice, number)


def test_without_an_app_anybody_may_report_a_required_check_and_status_and_check_run_must_both_pass(it: World) -> None:
    require(it, app=None)
    head = it.host.put_file(REPOSITORY, "stg", "x", b"", "Change stg")
    alice = it.host.add_user("alice")
    number = it.propose(alice)
    it.host.set_check_run(REPOSITORY, head, VERIFY, "failure")
    it.repo("POST", f"/statuses/{head}", alice, {"state": "success", "context": VERIFY})
    assert "required status checks" in it.merge(alice, number)
    it.host.set_check_run(REPOSITORY, head, VERIFY, "success")
    assert it.merge(alice, number) == "merged"


def test_a_skipped_check_run_passes_and_one_under_way_does_not(it: World) -> None:
    require(it, app=ACTIONS_APP)
    head = it.host.put_file(REPOSITORY, "stg", "x", b"", "Change stg")
    alice = it.host.add_user("alice")
    number, workflow = it.propose(alice), it.host.job_token(REPOSITORY, {"checks": "write"})
    assert it.repo("POST", "/check-runs", workflow, {"name": VERIFY, "head_sha": head}).body["status"] == "queued"
    assert "required status checks" in it.merge(alice, number)
    it.host.set_check_run(REPOSITORY, head, VERIFY, "skipped")
    assert it.merge(alice, number) == "merged"


def test_only_apps_make_check_runs_and_a_console_cannot_report_for_an_unknown_app(it: World) -> None:
    head = it.host.head(REPOSITORY, "stg")
    body = {"name": VERIFY, "head_sha": head, "conclusion": "success"}
    assert it.repo("POST", "/check-runs", it.host.add_user("alice"), body).status == 403
    assert it.repo("POST", "/check-runs", it.app_token(DEV_APP), body).status == 403
    assert it.repo("POST", "/check-runs", it.app_token(OTHER_APP), {**body, "conclusion": "fine"}).status == 422
    with pytest.raises(ValueError, match="no App has the id 7"):
        it.host.set_status(REPOSITORY, str(head), VERIFY, app_id=7)


# Approvals


def test_an_app_s_approval_counts_as_a_review_and_a_workflow_s_where_the_repository_lets_it(it: World) -> None:
    protect(it.host)
    alice = it.host.add_user("alice")
    it.host.put_file(REPOSITORY, "stg", "x", b"", "Change stg")
    number = it.propose(alice)
    assert it.approve(it.app_token(OTHER_APP), number).status == 200
    assert it.merge(alice, number) == "merged"
    for allowed, status in ((False, 422), (True, 200)):
        it.host.set_workflow_permissions(REPOSITORY, default="read", can_approve=allowed)
        it.host.put_file(REPOSITORY, "stg", f"y{allowed}", b"", "Change stg")
        number = it.propose(alice)
        token = it.host.job_token(REPOSITORY, {"pull_requests": "write"})
        assert it.approve(token, number).status == status
        assert (it.merge(alice, number) == "merged") is allowed
        it.repo("PATCH", f"/pulls/{number}", alice, {"state": "closed"}) if not allowed else None


def test_a_workflow_opens_no_pull_request_where_the_repository_does_not_let_it(it: World) -> None:
    it.host.put_file(REPOSITORY, "stg", "x", b"", "Change stg")
    token = it.host.job_token(REPOSITORY, {"pull_requests": "write"})
    it.host.set_workflow_permissions(REPOSITORY, default="read", can_approve=False)
    answer = it.repo("POST", "/pulls", token, {"title": "T", "head": "stg", "base": "master"})
    assert (answer.status, "not permitted to create" in answer.body["message"]) == (403, True)


@pytest.mark.parametrize(
    ("owners", "team", "merged"),
    [
        ("@example-org/platform", "push", "Waiting on code owner review from olga."),
        ("@example-org/platform @other[bot] @other", "push", "Waiting on code owner review from olga."),
        # GitHub assigns none of these, and without an owner no owner's review is required.
        ("@example-org/platform", "pull", "merged"),
        ("@example-org/nobody", "push", "merged"),
        ("@carol", "push", "merged"),
        ("@other[bot]", "push", "merged"),
    ],
)
def test_code_owners_are_people_with_write_access_and_never_apps(it: World, owners: str, team: str, merged: str) -> None:
    it.host.put_file(REPOSITORY, "master", ".github/CODEOWNERS", f"* {owners}\n".encode(), "Own everything")
    parameters = {"required_approving_review_count": 1, "require_code_owner_review": True}
    it.host.add_ruleset(REPOSITORY, ruleset("own", "master", {"type": "pull_request", "parameters": parameters}))
    alice, olga = it.host.add_user("alice"), it.host.add_user("olga")
    carol = it.host.add_user("carol", role="read")
    it.host.add_team("example-org/platform", ["olga"])
    it.host.set_team_permission(REPOSITORY, "platform", team)
    it.host.create_branch(REPOSITORY, "topic", source="master")
    it.host.put_file(REPOSITORY, "topic", "x", b"", "Change")
    number = it.propose(alice, "topic")
    it.approve(it.app_token(OTHER_APP), number)
    it.approve(carol, number)
    assert merged in it.merge(alice, number)
    if merged != "merged":
        it.approve(olga, number)
        assert it.merge(alice, number) == "merged"


def test_an_approval_for_one_base_does_not_count_for_another(it: World) -> None:
    protect(it.host)
    it.host.put_file(REPOSITORY, "dev", "x", b"", "Change dev")
    alice, bob = it.host.add_user("alice"), it.host.add_user("bob")
    number = it.propose(alice, "dev", "stg")
    assert it.approve(bob, number).status == 200
    assert it.repo("PATCH", f"/pulls/{number}", it.app_token(PROMOTER_APP), {"base": "master"}).body["base"]["ref"] == "master"
    assert [each["state"] for each in it.repo("GET", f"/pulls/{number}/reviews", alice).body] == ["DISMISSED"]
    assert "At least 1 approving review" in it.merge(alice, number)


def test_a_person_who_may_only_read_does_not_move_other_people_s_pull_requests(it: World) -> None:
    it.host.put_file(REPOSITORY, "dev", "x", b"", "Change dev")
    number = it.propose(it.host.add_user("alice"), "dev", "stg")
    reader = it.host.add_user("reader", role="read")
    assert it.repo("PATCH", f"/pulls/{number}", reader, {"base": "master"}).status == 403


# Tokens of workflow runs


def test_a_job_s_token_reaches_its_repository_with_its_permissions_and_never_workflow_files(it: World) -> None:
    it.host.create_repository("example-org/other", auto_init=True)
    token = it.host.job_token(REPOSITORY, {"contents": "write"})
    assert it.repo("GET", "/contents/README.md", token).status == 200
    assert it.call("GET", "/repos/example-org/other/contents/README.md", token).status == 404
    for path, status in (("x", 201), (".github/workflows/x.yml", 403)):
        body = {"message": "Add", "content": base64.b64encode(b"x").decode(), "branch": "dev"}
        assert it.repo("PUT", f"/contents/{path}", token, body).status == status
    assert it.repo("GET", "/pulls", token).status == 403
    assert it.repo("GET", "/hooks", token).status == 403
    assert it.host.pushed_by(REPOSITORY, "dev") == "github-actions[bot]"
    it.host.revoke_token(token)
    assert it.repo("GET", "/contents/README.md", token).status == 401


def test_an_app_cannot_move_a_branch_to_workflow_files_that_no_branch_holds(it: World) -> None:
    alice = it.host.add_user("alice")
    it.host.create_branch(REPOSITORY, "topic", source="dev")
    made = it.host.put_file(REPOSITORY, "topic", ".github/workflows/x.yml", b"on: push\n", "Add a workflow")
    it.host.delete_branch(REPOSITORY, "topic")
    for token, status in ((it.app_token(OTHER_APP), 403), (alice, 201)):
        assert it.repo("POST", "/git/refs", token, {"ref": "refs/heads/back", "sha": made}).status == status


# Files through the contents API


def test_the_contents_api_holds_an_owner_to_the_branch_s_rules(it: World) -> None:
    protect(it.host)
    admin = it.host.add_user("admin", role="admin", owner=True)
    body: Mapping[str, object] = {"message": "Add", "content": base64.b64encode(b"x").decode(), "branch": "master"}
    refused = it.repo("PUT", "/contents/x", admin, body)
    assert (refused.status, refused.body["message"]) == (
        409,
        "Repository rule violations found\n\nChanges must be made through a pull request.\n\n",
    )
    with pytest.raises(Problem, match="Changes must be made through a pull request"):
        it.host.put_contents(REPOSITORY, "master", {"x": b"x"}, "Add", actor=PROVIDER)
    with pytest.raises(Problem, match="Cannot delete this branch"):
        it.host.delete_branch(REPOSITORY, "stg", actor=PROVIDER)


def test_the_contents_api_asks_for_the_blob_that_is_replaced(it: World) -> None:
    alice = it.host.add_user("alice")
    body = {"message": "Change", "content": base64.b64encode(b"x").decode(), "branch": "dev"}
    made = it.repo("PUT", "/contents/x", alice, body)
    assert made.status == 201
    assert it.repo("PUT", "/contents/x", alice, body).status == 422
    assert it.repo("PUT", "/contents/x", alice, {**body, "sha": "0" * 40}).status == 409
    sha = made.body["content"]["sha"]
    assert it.repo("PUT", "/contents/x", alice, {**body, "sha": sha}).status == 200
    assert it.repo("DELETE", "/contents/x", alice, {"message": "Delete", "branch": "dev", "sha": sha}).status == 200
    assert it.host.read(REPOSITORY, "dev", "x") is None


# Environments


def test_secrets_of_an_environment_need_the_environment_and_survive_its_change(it: World) -> None:
    host = it.host
    with pytest.raises(ValueError, match="has no environment 'slipway-promoter'"):
        host.set_environment_secret(REPOSITORY, "slipway-promoter", "KEY", "k")
    host.set_environment(REPOSITORY, "slipway-promoter", branches=["master"])
    host.set_environment_secret(REPOSITORY, "slipway-promoter", "KEY", "k")
    host.set_environment(REPOSITORY, "slipway-promoter", branches=["main"], can_admins_bypass=False)
    found = host.environments(REPOSITORY)["slipway-promoter"]
    assert (found.branches, found.can_admins_bypass, found.secrets) == (("main",), False, {"KEY": "k"})
    host.delete_environment(REPOSITORY, "slipway-promoter")
    assert host.environments(REPOSITORY) == {}


# Attacks with a workflow that somebody pushes


ASK = """python3 - <<'END'
import json, os, urllib.error, urllib.request
method, path, body = json.loads(os.environ["ASKED"])
url = f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}{path}"
headers = {"Authorization": "Bearer " + os.environ["TOKEN"]}
try:
    print(urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers, method=method)).status)
except urllib.error.HTTPError as error:
    print(error.code)
END
"""


def asking(method: str, path: str, body: object) -> Mapping[str, str]:
    return {"ASKED": json.dumps([method, path, body])}


def test_a_pushed_workflow_forges_a_check_of_the_actions_app_and_none_of_another(it: World) -> None:
    alice = it.host.add_user("alice")
    assert it.branch(alice, "topic", "master").status == 201
    text = hostile("true", on="pull_request", job=VERIFY, permissions={})
    assert it.write(alice, "topic", ".github/workflows/hostile.yml", text).status == 201
    number = it.propose(alice, "topic")
    runner(it).verified(number)
    require(it)
    assert "required status checks" in it.merge(alice, number)
    it.host.delete_ruleset(REPOSITORY, max(it.host.repository(REPOSITORY).rulesets))  # pyright: ignore[reportOptionalMemberAccess]
    require(it, app=ACTIONS_APP)
    # This is why no branch may be gated by a check of that App.
    assert it.merge(alice, number) == "merged"


@pytest.mark.parametrize(
    ("branches", "log"), [(None, "k"), (["master"], "")], ids=["any branch's runs", "the default branch's runs alone"]
)
def test_a_pushed_workflow_reads_the_secrets_of_the_environments_that_its_branch_may_use(
    it: World, branches: list[str] | None, log: str
) -> None:
    it.host.set_environment(REPOSITORY, "slipway-promoter", branches=branches)
    it.host.set_environment_secret(REPOSITORY, "slipway-promoter", "KEY", "k")
    alice = it.host.add_user("alice")
    text = hostile('echo "$KEY"', environment="slipway-promoter", env={"KEY": "${{ secrets.KEY }}"})
    assert it.write(alice, "dev", ".github/workflows/hostile.yml", text).status == 201
    (run,) = runner(it).pushed("dev", check=False)
    assert run.log == log


def test_a_pushed_workflow_is_held_to_the_branches_rules_like_everybody(it: World) -> None:
    protect(it.host)
    alice = it.host.add_user("alice")
    assert it.branch(alice, "topic", "master").status == 201
    body = {"message": "m", "content": "eA==", "branch": "master"}
    text = hostile(ASK, env=asking("PUT", "/contents/x", body))
    assert it.write(alice, "topic", ".github/workflows/hostile.yml", text).status == 201
    (run,) = runner(it).pushed("topic")
    assert run.log == "409"


def test_an_app_s_key_does_what_the_app_may_and_no_more(it: World) -> None:
    protect(it.host)
    body = {"message": "m", "content": "eA==", "branch": "dev"}
    assert it.act(DEV_APP, "PUT", "/contents/x", body).status == 201
    assert it.act(DEV_APP, "PUT", "/contents/x", {**body, "branch": "stg"}).status == 409
    assert it.act(DEV_APP, "PUT", "/contents/y", body, contents="read").status == 403
    assert it.act(DEV_APP, "GET", "/pulls").status == 403
