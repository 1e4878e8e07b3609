"""Write access to an application's repository, and an AWS connection that can write to it, under the rules that prd declares."""

import base64
import time
from collections.abc import Generator
from pathlib import Path
from typing import Final, cast

import pytest

from rehearsal.cloud import CloudWorld, Emulators
from rehearsal.githost import GitHost
from rehearsal.program import Request, evaluate
from tests.rehearsal.githost_kit import Answer, World, key

REPOSITORY: Final = "example-org/storefront"
# The App of AWS's connections. The page calls it: https://docs.aws.amazon.com/dtconsole/latest/userguide/connections-create-github.html
CONNECTION: Final = 1100009


@pytest.fixture
def it(tmp_path: Path) -> Generator[World]:
    """Return the repository of a service as it is declared by default: its production branch is protected."""
    now = time.time()
    with GitHost(tmp_path, clock=lambda: now) as host:
        host.create_repository(REPOSITORY, auto_init=True)
        host.create_branch(REPOSITORY, "develop", source="master")
        permissions = {"contents": "write", "pull_requests": "write"}
        host.add_app(
            CONNECTION,
            "connection",
            key(str(CONNECTION)).public_pem,
            installation_id=CONNECTION + 1000,
            permissions=permissions,
            repositories=[REPOSITORY],
        )
        cloud = CloudWorld(cast("Emulators", None), github=host)
        rulesets = [each for each in evaluate("prd").resources if each.inputs.get("repository") == "storefront"]
        assert {each.type.rpartition(":")[2] for each in rulesets} == {"RepositoryRuleset"}
        for each in rulesets:
            cloud.create(
                Request(stack="prd", type=each.type, name=each.name, inputs=each.inputs, custom=True, parent=each.parent)
            )
        yield World(host=host, folder=tmp_path, now=now)


def asked(it: World, method: str, path: str, token: str, body: object) -> Answer:
    return it.call(method, f"/repos/{REPOSITORY}{path}", token, body)


def commit(it: World, token: str, branch: str) -> int:
    body = {"message": "Change", "content": base64.b64encode(b"RUN evil\n").decode(), "branch": branch}
    return asked(it, "PUT", "/contents/Containerfile", token, body).status


@pytest.mark.parametrize("who", ["connection", "person"])
def test_write_access_changes_develop_s_source_and_no_branch_whose_images_reach_production(it: World, who: str) -> None:
    token = it.app_token(CONNECTION) if who == "connection" else it.host.add_user("mallory")
    before = it.host.head(REPOSITORY, "master")
    assert commit(it, token, "develop") == 201
    assert commit(it, token, "master") == 409
    evil = it.host.head(REPOSITORY, "develop")
    assert asked(it, "PATCH", "/git/refs/heads/master", token, {"sha": evil, "force": True}).status == 422
    assert asked(it, "DELETE", "/git/refs/heads/master", token, None).status == 422
    opened = asked(it, "POST", "/pulls", token, {"title": "Change", "head": "develop", "base": "master"})
    number = opened.body["number"]
    assert asked(it, "POST", f"/pulls/{number}/reviews", token, {"event": "APPROVE"}).status == 422
    assert asked(it, "PUT", f"/pulls/{number}/merge", token, {"merge_method": "merge"}).status == 405
    assert it.host.head(REPOSITORY, "master") == before


def test_a_connection_s_approval_counts_as_a_review_as_the_page_admits(it: World) -> None:
    """Whoever makes this red has closed it: take the admission out of docs/security.md with it."""
    mallory = it.host.add_user("mallory")
    assert commit(it, mallory, "develop") == 201
    number = asked(it, "POST", "/pulls", mallory, {"title": "Change", "head": "develop", "base": "master"}).body["number"]
    assert asked(it, "POST", f"/pulls/{number}/reviews", it.app_token(CONNECTION), {"event": "APPROVE"}).status == 200
    assert asked(it, "PUT", f"/pulls/{number}/merge", mallory, {"merge_method": "merge"}).status == 200


@pytest.mark.parametrize("permission", ["statuses", "repository_hooks"])
def test_an_app_that_reports_or_declares_webhooks_changes_no_code(it: World, permission: str) -> None:
    app = 1100010
    it.host.add_app(
        app,
        "small",
        key(str(app)).public_pem,
        installation_id=app + 1000,
        permissions={permission: "write"},
        repositories=[REPOSITORY],
    )
    token, person = it.app_token(app), it.host.add_user("alice")
    assert commit(it, person, "develop") == 201
    number = asked(it, "POST", "/pulls", person, {"title": "Change", "head": "develop", "base": "master"}).body["number"]
    evil = it.host.head(REPOSITORY, "develop")
    before = {branch: it.host.head(REPOSITORY, branch) for branch in ("develop", "master")}
    for method, path, body in (
        ("PUT", "/contents/Containerfile", {"message": "x", "content": "eA==", "branch": "develop"}),
        ("POST", "/git/refs", {"ref": "refs/heads/mine", "sha": evil}),
        ("POST", f"/pulls/{number}/reviews", {"event": "APPROVE"}),
        ("PUT", f"/pulls/{number}/merge", {"merge_method": "merge"}),
    ):
        assert asked(it, method, path, token, body).status == 403, path
    assert {branch: it.host.head(REPOSITORY, branch) for branch in before} == before
    status = asked(it, "POST", f"/statuses/{evil}", token, {"state": "success", "context": "slipway"}).status
    assert status == (201 if permission == "statuses" else 403)
