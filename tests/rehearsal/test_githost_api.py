"""The API subset: App authentication, GraphQL against the published schema, REST, pull requests, faults."""

import base64
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
import urllib3

from rehearsal.githost import Call, Fault, GitHost, schema
from rehearsal.githost.store import StaleRefError, Store
from tests.rehearsal.githost_kit import (
    DEV_APP,
    IMAGE,
    PROMOTER_APP,
    REPOSITORY,
    STG_APP,
    World,
    key,
    protect,
    ruleset,
    world,
)

HEAD: Final = """
query Read($expression: String!) {
  repository(owner: "example-org", name: "gitops") {
    ref(qualifiedName: "refs/heads/dev") { name prefix target { oid } }
    object(expression: $expression) { oid ... on Blob { text byteSize isBinary isTruncated } }
  }
  rateLimit { cost limit remaining resetAt }
}
"""


@pytest.fixture
def it(tmp_path: Path) -> Iterator[World]:
    """A fresh host."""
    with world(tmp_path) as made:
        yield made


# App authentication


@pytest.mark.parametrize(
    ("claims", "status", "said"),
    [
        ({"exp": 601}, 401, "'Expiration time' claim ('exp') is too far in the future"),
        ({"exp": -1}, 401, "'Expiration time' claim ('exp') must be a numeric value"),
        ({"iat": 30}, 401, "'Issued at' claim ('iat') must be an Integer"),
        ({"iss": "999"}, 404, "Integration not found"),
    ],
)
def test_an_assertion_that_github_would_refuse_is_refused(it: World, claims: dict[str, Any], status: int, said: str) -> None:
    moved = {name: int(it.now) + value if isinstance(value, int) else value for name, value in claims.items()}
    answer = it.call("POST", f"/app/installations/{DEV_APP + 1000}/access_tokens", it.assertion(DEV_APP, **moved))
    assert (answer.status, said in answer.body["message"]) == (status, True), answer


@pytest.mark.parametrize("missing", ["iat", "exp"])
def test_an_assertion_without_a_time_is_refused(it: World, missing: str) -> None:
    answer = it.call("POST", f"/app/installations/{DEV_APP + 1000}/access_tokens", it.assertion(DEV_APP, **{missing: None}))
    assert answer.status == 401


def test_an_assertion_signed_with_another_apps_key_is_refused(it: World) -> None:
    forged = jwt.encode(
        {"iss": str(DEV_APP), "iat": int(it.now), "exp": int(it.now) + 60}, key(str(STG_APP)).private_pem, algorithm="RS256"
    )
    answer = it.call("POST", f"/app/installations/{DEV_APP + 1000}/access_tokens", forged)
    assert (answer.status, answer.body["message"]) == (401, "A JSON web token could not be decoded")


def test_an_assertion_signed_with_the_public_key_as_a_shared_secret_is_refused(it: World) -> None:
    claims = {"iss": str(DEV_APP), "iat": int(it.now), "exp": int(it.now) + 60}
    forged = jwt.encode(claims, "x" * 32, algorithm="HS256")
    assert it.call("POST", f"/app/installations/{DEV_APP + 1000}/access_tokens", forged).status == 401


def test_an_app_gets_no_token_for_another_apps_installation(it: World) -> None:
    answer = it.call("POST", f"/app/installations/{STG_APP + 1000}/access_tokens", it.assertion(DEV_APP))
    assert answer.status == 404


def test_a_token_can_be_narrowed_and_not_widened(it: World) -> None:
    path, assertion = f"/app/installations/{DEV_APP + 1000}/access_tokens", it.assertion(DEV_APP)
    narrow = it.call("POST", path, assertion, {"permissions": {"contents": "read"}, "repositories": ["gitops"]})
    assert narrow.body["permissions"] == {"contents": "read", "metadata": "read"}
    head = it.host.head(REPOSITORY, "dev")
    assert it.commit(narrow.body["token"], "dev", head, {"x": b""})["errors"][0]["type"] == "FORBIDDEN"
    assert it.call("POST", path, assertion, {"permissions": {"administration": "write"}}).status == 422
    assert it.call("POST", path, assertion, {"repositories": ["other"]}).status == 422


def test_an_installation_token_lasts_an_hour(it: World) -> None:
    answer = it.call("POST", f"/app/installations/{DEV_APP + 1000}/access_tokens", it.assertion(DEV_APP))
    token = answer.body["token"]
    it.now += 3599
    assert it.repo("GET", "", token).status == 200
    it.now += 1
    gone = it.repo("GET", "", token)
    assert (gone.status, gone.body["message"]) == (401, "Bad credentials")


def test_what_a_token_does_not_reach_is_not_there(it: World) -> None:
    it.host.create_repository("example-org/secret", auto_init=True)
    token = it.app_token(DEV_APP)
    assert it.call("GET", "/repos/example-org/secret", token).status == 404
    assert it.call("GET", f"/repos/{REPOSITORY}").status == 404
    query = '{ repository(owner: "example-org", name: "secret") { name } }'
    answer = it.graphql(token, query)
    assert answer["data"] == {"repository": None}
    assert answer["errors"][0]["type"] == "NOT_FOUND"


# GraphQL


def test_a_commit_is_one_commit_by_the_apps_bot(it: World) -> None:
    head = it.host.head(REPOSITORY, "dev")
    answer = it.commit(it.app_token(DEV_APP), "dev", head, {IMAGE: b"newTag: two\n", "new.txt": b"\0\xff"}, ["README.md"])
    made = answer["data"]["createCommitOnBranch"]["commit"]
    assert made["oid"] == it.host.head(REPOSITORY, "dev")
    assert made["message"] == "Write images\n\nstorefront"
    assert made["author"]["name"] == "writer-dev[bot]"
    assert made["author"]["email"].endswith("+writer-dev[bot]@users.noreply.github.com")
    assert it.host.read(REPOSITORY, "dev", IMAGE) == b"newTag: two\n"
    assert it.host.read(REPOSITORY, "dev", "new.txt") == b"\0\xff"
    assert it.host.read(REPOSITORY, "dev", "README.md") is None
    log = it.git("log", "--format=%H %P %cn", "-1", "dev", cwd=it.host.path(REPOSITORY)).stdout.split()
    assert log == [made["oid"], head, "GitHub"]
    assert it.git("fsck", "--strict", cwd=it.host.path(REPOSITORY)).returncode == 0


def test_a_commit_on_a_stale_head_is_refused_as_github_refuses_it(it: World) -> None:
    token, old = it.app_token(DEV_APP), it.host.head(REPOSITORY, "dev")
    new = it.host.put_file(REPOSITORY, "dev", "x", b"", "Overtake")
    answer = it.commit(token, "dev", old, {IMAGE: b"newTag: two\n"})
    assert answer["data"] == {"createCommitOnBranch": None}
    (error,) = answer["errors"]
    assert (error["type"], error["path"]) == ("STALE_DATA", ["createCommitOnBranch"])
    assert error["message"] == f'Expected branch to point to "{old}" but it did not.  Pull and try again.'
    assert it.host.head(REPOSITORY, "dev") == new
    assert it.host.requests[-1].errors == ("STALE_DATA",)


def test_of_many_commits_on_one_head_exactly_one_is_made(it: World) -> None:
    token, head = it.app_token(DEV_APP), it.host.head(REPOSITORY, "dev")

    def commit(number: int) -> Any:  # noqa: ANN401 — JSON
        return it.commit(token, "dev", head, {f"{number}.txt": b""})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(commit, range(8)))
    kinds = sorted(answer["errors"][0]["type"] if "errors" in answer else "made" for answer in answers)
    assert kinds == ["STALE_DATA"] * 7 + ["made"]
    assert it.git("rev-list", "--count", f"{head}..dev", cwd=it.host.path(REPOSITORY)).stdout.strip() == "1"


def test_a_branch_that_moved_past_the_lock_is_not_overwritten(it: World) -> None:
    store = Store(it.host.path(REPOSITORY))
    stale, head = store.commit_oid("dev~1"), store.head("dev")
    with pytest.raises(StaleRefError):
        store.update_ref("refs/heads/dev", stale, before=stale)
    with pytest.raises(StaleRefError):
        store.update_ref("refs/heads/dev", stale, before=None)
    assert store.head("dev") == head
    store.update_ref("refs/heads/dev", stale, before=head)
    assert store.head("dev") == stale


def test_dev_app_commits_past_the_rule_of_dev_and_not_of_stg(it: World) -> None:
    protect(it.host)
    token = it.app_token(DEV_APP)
    assert "errors" not in it.commit(token, "dev", it.host.head(REPOSITORY, "dev"), {IMAGE: b"newTag: two\n"})
    before = it.host.head(REPOSITORY, "stg")
    (error,) = it.commit(token, "stg", before, {IMAGE: b"newTag: two\n"})["errors"]
    assert error["type"] == "FORBIDDEN"
    assert error["message"] == "Repository rule violations found\n\nChanges must be made through a pull request.\n\n"
    assert it.host.head(REPOSITORY, "stg") == before


@pytest.mark.parametrize(
    ("branch", "additions", "deletions", "said"),
    [
        ("nowhere", {"x": b""}, [], "No such branch"),
        ("dev", {}, ["missing.txt"], "A path was requested for deletion which does not exist"),
        ("dev", {"README.md": b""}, ["README.md"], "Path must be unique: README.md"),
        ("dev", {"../x": b""}, [], "not valid"),
        ("dev", {".github/workflows/x.yml": b""}, [], "without `workflows` permission"),
    ],
)
def test_a_commit_that_cannot_be_made_says_why(
    it: World, branch: str, additions: dict[str, bytes], deletions: list[str], said: str
) -> None:
    head = it.host.head(REPOSITORY, "dev")
    answer = it.commit(it.app_token(DEV_APP), branch, head, additions, deletions)
    assert answer["data"] == {"createCommitOnBranch": None}
    assert said in answer["errors"][0]["message"]
    assert it.host.head(REPOSITORY, "dev") == head


def test_a_query_reads_head_and_files(it: World) -> None:
    answer = it.graphql(it.app_token(DEV_APP), HEAD, {"expression": f"dev:{IMAGE}"})["data"]
    assert answer["repository"]["ref"] == {
        "name": "dev",
        "prefix": "refs/heads/",
        "target": {"oid": it.host.head(REPOSITORY, "dev")},
    }
    shown = answer["repository"]["object"]
    assert (shown["text"], shown["byteSize"], shown["isBinary"]) == ("newTag: one\n", 12, False)
    assert answer["rateLimit"]["limit"] - answer["rateLimit"]["remaining"] == 1


def test_a_query_walks_trees_and_history(it: World) -> None:
    it.host.put_file(REPOSITORY, "dev", IMAGE, b"newTag: two\n", "Write images\n\nbody")
    query = """{ repository(owner: "example-org", name: "gitops") {
      defaultBranchRef { name }
      object(expression: "dev:apps/storefront") { ... on Tree { entries { name type path mode object { __typename } } } }
      missing: object(expression: "dev:apps/none") { oid }
      gone: ref(qualifiedName: "refs/heads/none") { name }
      ref(qualifiedName: "dev") { target { ... on Commit {
        messageHeadline messageBody
        file(path: "apps/storefront/base/kustomization.yaml") { name object { ... on Blob { text } } }
        history(first: 2, path: "apps/storefront/overlays") { totalCount nodes { messageHeadline } pageInfo { hasNextPage } }
        tree { entries { name } }
      } } }
    } }"""
    answer = it.graphql(it.app_token(DEV_APP), query)
    assert "errors" not in answer
    shown = answer["data"]["repository"]
    assert shown["defaultBranchRef"] == {"name": "master"}
    assert (shown["missing"], shown["gone"]) == (None, None)
    assert shown["object"]["entries"][0] == {
        "name": "base",
        "type": "tree",
        "path": "apps/storefront/base",
        "mode": 0o40000,
        "object": {"__typename": "Tree"},
    }
    commit = shown["ref"]["target"]
    assert (commit["messageHeadline"], commit["messageBody"]) == ("Write images", "body")
    assert commit["file"]["object"]["text"] == "resources: []\n"
    assert commit["history"] == {
        "totalCount": 2,
        "nodes": [{"messageHeadline": "Write images"}, {"messageHeadline": "Scaffold storefront"}],
        "pageInfo": {"hasNextPage": False},
    }
    assert [entry["name"] for entry in commit["tree"]["entries"]] == ["README.md", "apps"]


def test_a_field_that_github_does_not_have_is_refused_in_githubs_words(it: World) -> None:
    answer = it.graphql(it.app_token(DEV_APP), 'query Q { repository(owner: "a", name: "b") { head } }')
    assert "data" not in answer
    (error,) = answer["errors"]
    assert error["message"] == "Field 'head' doesn't exist on type 'Repository'"
    assert error["extensions"] == {"code": "undefinedField", "typeName": "Repository", "fieldName": "head"}
    assert error["path"] == ["query Q", "repository", "head"]


def test_a_field_that_github_has_and_the_host_does_not_serve_is_an_error_and_no_null(it: World) -> None:
    answer = it.graphql(it.app_token(DEV_APP), '{ repository(owner: "example-org", name: "gitops") { forkCount } }')
    assert answer["errors"][0]["type"] == "NOT_SERVED"
    assert "Repository.forkCount" in answer["errors"][0]["message"]


@pytest.mark.parametrize(
    "query",
    [
        '{ repository(owner: 1, name: "b") { name } }',
        'mutation { createCommitOnBranch(input: {expectedHeadOid: "x"}) { commit { oid } } }',
        "{ repository( }",
        "",
    ],
)
def test_a_query_that_does_not_fit_the_schema_gets_errors_and_no_data(it: World, query: str) -> None:
    answer = it.graphql(it.app_token(DEV_APP), query)
    assert answer["errors"]
    assert not answer.get("data")


def test_graphql_needs_a_token(it: World) -> None:
    assert it.call("POST", "/graphql", body={"query": "{ viewer { login } }"}).status == 401


# REST


def test_rest_reads_the_repository_branches_refs_and_contents(it: World) -> None:
    token, head = it.app_token(DEV_APP), it.host.head(REPOSITORY, "dev")
    assert it.repo("GET", "", token).body["default_branch"] == "master"
    assert it.repo("GET", "/branches/dev", token).body["commit"]["sha"] == head
    assert it.repo("GET", "/git/ref/heads/dev", token).body["object"]["sha"] == head
    assert [it.repo("GET", path, token).status for path in ("/git/ref/heads/none", "/branches/none", "/contents/none")] == [
        404
    ] * 3
    file = it.repo("GET", f"/contents/{IMAGE}?ref=dev", token).body
    assert base64.b64decode(file["content"]) == b"newTag: one\n"
    assert it.repo("GET", f"/contents/{IMAGE}", token, Accept="application/vnd.github.raw+json").body == b"newTag: one\n"
    assert [entry["path"] for entry in it.repo("GET", "/contents/apps", token).body] == ["apps/storefront"]
    rate = it.call("GET", "/rate_limit", token)
    assert rate.body["rate"]["used"] == int(rate.headers["X-RateLimit-Used"]) == 9


def test_refs_are_made_moved_and_deleted_unless_the_rules_refuse(it: World) -> None:
    alice, head = it.host.add_user("alice"), it.host.head(REPOSITORY, "dev")
    assert it.repo("POST", "/git/refs", alice, {"ref": "refs/heads/topic", "sha": head}).status == 201
    assert (
        it.repo("POST", "/git/refs", alice, {"ref": "refs/heads/topic", "sha": head}).body["message"]
        == "Reference already exists"
    )
    assert (
        it.repo("POST", "/git/refs", alice, {"ref": "refs/heads/other", "sha": "0" * 40}).body["message"]
        == "Object does not exist"
    )
    old = it.git("rev-parse", "dev~1", cwd=it.host.path(REPOSITORY)).stdout.strip()
    assert it.repo("PATCH", "/git/refs/heads/topic", alice, {"sha": old}).body["message"] == "Update is not a fast forward"
    assert it.repo("PATCH", "/git/refs/heads/topic", alice, {"sha": old, "force": True}).status == 200
    assert it.repo("DELETE", "/git/refs/heads/topic", alice).status == 204
    assert it.repo("DELETE", "/git/refs/heads/topic", alice).status == 422
    protect(it.host)
    refused = it.repo("DELETE", "/git/refs/heads/stg", alice)
    assert (refused.status, refused.body["message"]) == (
        422,
        "Repository rule violations found\n\nCannot delete this branch\n\n",
    )
    assert it.host.head(REPOSITORY, "stg")


def test_a_comparison_tells_what_one_branch_has_that_the_other_lacks(it: World) -> None:
    token, base = it.app_token(DEV_APP), it.host.head(REPOSITORY, "stg")
    assert it.repo("GET", "/compare/stg...dev", token).body["status"] == "identical"
    it.host.put_files(REPOSITORY, "dev", {IMAGE: b"newTag: two\n", "README.md": None}, "Change dev")
    ahead = it.repo("GET", "/compare/stg...dev", token).body
    assert (ahead["status"], ahead["ahead_by"], ahead["behind_by"]) == ("ahead", 1, 0)
    assert ahead["merge_base_commit"]["sha"] == base
    assert [(file["filename"], file["status"]) for file in ahead["files"]] == [("README.md", "removed"), (IMAGE, "modified")]
    assert ahead["files"][1]["patch"] == "@@ -1 +1 @@\n-newTag: one\n+newTag: two"
    it.host.put_file(REPOSITORY, "stg", "x", b"", "Change stg")
    diverged = it.repo("GET", "/compare/stg...dev", token).body
    assert (diverged["status"], diverged["ahead_by"], diverged["behind_by"]) == ("diverged", 1, 1)


# Pull requests


def _open(it: World, token: str, head: str = "stg", base: str = "master") -> int:
    answer = it.repo("POST", "/pulls", token, {"title": "Release", "head": head, "base": base})
    assert answer.status == 201, answer
    return answer.body["number"]


def test_a_release_needs_a_review_by_another_person_and_is_a_merge_commit(it: World) -> None:
    protect(it.host)
    before = it.host.head(REPOSITORY, "master")
    head = it.host.put_file(REPOSITORY, "stg", "x", b"", "Change stg")
    alice, bob, reader = it.host.add_user("alice"), it.host.add_user("bob"), it.host.add_user("carol", role="read")
    number = _open(it, it.app_token(PROMOTER_APP))
    merge = f"/pulls/{number}/merge"
    refused = it.repo("PUT", merge, alice, {})
    assert refused.status == 405
    assert "At least 1 approving review is required by reviewers with write access." in refused.body["message"]
    assert it.repo("POST", f"/pulls/{number}/reviews", reader, {"event": "APPROVE"}).status == 200
    assert it.repo("PUT", merge, alice, {}).status == 405
    it.repo("POST", f"/pulls/{number}/reviews", bob, {"event": "APPROVE"})
    squash = it.repo("PUT", merge, alice, {"merge_method": "squash"})
    assert (squash.status, "squash" in squash.body["message"]) == (405, True)
    assert it.repo("PUT", merge, alice, {"sha": before}).status == 409
    done = it.repo("PUT", merge, alice, {"sha": head})
    assert (done.status, done.body["merged"]) == (200, True)
    parents = it.git("log", "-1", "--format=%P", "master", cwd=it.host.path(REPOSITORY)).stdout.split()
    assert parents == [before, head]
    shown = it.repo("GET", f"/pulls/{number}", alice).body
    assert (shown["state"], shown["merged"], shown["merge_commit_sha"]) == ("closed", True, done.body["sha"])
    assert it.repo("PUT", merge, alice, {}).status == 405


def test_no_one_approves_their_own_pull_request(it: World) -> None:
    it.host.put_file(REPOSITORY, "stg", "x", b"", "Change stg")
    alice = it.host.add_user("alice")
    answer = it.repo("POST", f"/pulls/{_open(it, alice)}/reviews", alice, {"event": "APPROVE"})
    assert (answer.status, answer.body["errors"][0]["message"]) == (422, "Can not approve your own pull request")


def test_a_new_commit_dismisses_the_approval_of_the_old_one(it: World) -> None:
    protect(it.host)
    it.host.put_file(REPOSITORY, "stg", "x", b"", "Change stg")
    alice, bob = it.host.add_user("alice"), it.host.add_user("bob")
    number = _open(it, alice)
    it.repo("POST", f"/pulls/{number}/reviews", bob, {"event": "APPROVE"})
    new = it.host.put_file(REPOSITORY, "stg", "y", b"", "Change it again")
    assert it.repo("GET", f"/pulls/{number}", alice).body["head"]["sha"] == new
    assert it.repo("GET", f"/pulls/{number}/reviews", alice).body[0]["state"] == "DISMISSED"
    assert it.repo("PUT", f"/pulls/{number}/merge", alice, {}).status == 405


def test_a_code_owner_must_agree_to_what_they_own(it: World) -> None:
    it.host.put_file(REPOSITORY, "master", ".github/CODEOWNERS", b"/.github/ @example-org/platform\n", "Own the workflows")
    rule = {"type": "pull_request", "parameters": {"required_approving_review_count": 1, "require_code_owner_review": True}}
    it.host.add_ruleset(REPOSITORY, ruleset("own", "master", rule))
    tokens = {name: it.host.add_user(name) for name in ("alice", "bob", "olga")}
    it.host.add_team("example-org/platform", ["olga"])
    it.host.set_team_permission(REPOSITORY, "platform", "push")
    it.host.create_branch(REPOSITORY, "topic", source="master")
    it.host.put_file(REPOSITORY, "topic", ".github/workflows/x.yml", b"", "Change a workflow")
    number = _open(it, tokens["alice"], "topic")
    it.repo("POST", f"/pulls/{number}/reviews", tokens["bob"], {"event": "APPROVE"})
    refused = it.repo("PUT", f"/pulls/{number}/merge", tokens["alice"], {})
    assert "Waiting on code owner review from olga." in refused.body["message"]
    it.repo("POST", f"/pulls/{number}/reviews", tokens["olga"], {"event": "APPROVE"})
    assert it.repo("PUT", f"/pulls/{number}/merge", tokens["alice"], {}).status == 200


def test_required_checks_must_have_passed_on_the_head(it: World) -> None:
    checks = {"required_status_checks": [{"context": "verify"}], "strict_required_status_checks_policy": False}
    it.host.add_ruleset(REPOSITORY, ruleset("check", "master", {"type": "required_status_checks", "parameters": checks}))
    head = it.host.put_file(REPOSITORY, "stg", "x", b"", "Change stg")
    alice = it.host.add_user("alice")
    number = _open(it, alice)
    refused = it.repo("PUT", f"/pulls/{number}/merge", alice, {})
    assert "1 of 1 required status checks are expected." in refused.body["message"]
    it.repo("POST", f"/statuses/{head}", alice, {"state": "success", "context": "verify"})
    assert it.repo("PUT", f"/pulls/{number}/merge", alice, {}).status == 200


def test_a_pull_request_whose_head_was_merged_and_pushed_with_git_counts_as_merged(it: World) -> None:
    it.host.put_file(REPOSITORY, "dev", "x", b"1\n", "Change dev")
    alice = it.host.add_user("alice")
    number = _open(it, alice, "dev", "stg")
    copy = it.clone(alice, "copy", "stg")
    assert it.git("merge", "-q", "--no-ff", "-m", "Merge dev", "origin/dev", cwd=copy).returncode == 0
    assert it.git("push", "origin", "stg", cwd=copy).returncode == 0
    shown = it.repo("GET", f"/pulls/{number}", alice).body
    assert (shown["state"], shown["merged"], shown["merge_commit_sha"]) == ("closed", True, it.host.head(REPOSITORY, "stg"))


def test_a_conflict_is_no_merge(it: World) -> None:
    it.host.put_file(REPOSITORY, "stg", "x", b"1\n", "Change stg")
    it.host.put_file(REPOSITORY, "master", "x", b"2\n", "Change master")
    alice = it.host.add_user("alice")
    number = _open(it, alice)
    assert it.repo("GET", f"/pulls/{number}", alice).body["mergeable"] is False
    refused = it.repo("PUT", f"/pulls/{number}/merge", alice, {})
    assert (refused.status, refused.body["message"]) == (405, "Pull Request is not mergeable")


def test_pull_requests_are_listed_edited_and_closed(it: World) -> None:
    it.host.put_file(REPOSITORY, "dev", IMAGE, b"newTag: two\n", "Write images")
    alice = it.host.add_user("alice")
    number = _open(it, alice, "dev", "stg")
    again = it.repo("POST", "/pulls", alice, {"title": "Again", "head": "dev", "base": "stg"})
    assert (again.status, "already exists" in again.body["errors"][0]["message"]) == (422, True)
    empty = it.repo("POST", "/pulls", alice, {"title": "Empty", "head": "stg", "base": "master"})
    assert empty.body["errors"][0]["message"] == "No commits between master and stg"
    assert [file["filename"] for file in it.repo("GET", f"/pulls/{number}/files", alice).body] == [IMAGE]
    assert it.repo("PATCH", f"/pulls/{number}", alice, {"title": "Promote", "state": "closed"}).body["title"] == "Promote"
    assert it.repo("GET", "/pulls", alice).body == []
    listed = it.repo("GET", "/pulls?state=all&head=example-org:dev&base=stg", alice).body
    assert [pull["number"] for pull in listed] == [number]


def test_an_app_that_may_not_open_pull_requests_does_not(it: World) -> None:
    it.host.put_file(REPOSITORY, "stg", "x", b"", "Change stg")
    answer = it.repo("POST", "/pulls", it.app_token(DEV_APP), {"title": "Release", "head": "stg", "base": "master"})
    assert (answer.status, answer.body["message"]) == (403, "Resource not accessible by integration")


# Releases


def _tag(it: World, token: str, name: str) -> str:
    copy = it.clone(token, f"copy-{name}", "master")
    assert it.git("tag", "--annotate", "--message=Release", name, cwd=copy).returncode == 0
    done = it.git("push", "origin", f"refs/tags/{name}", cwd=copy)
    assert done.returncode == 0, done.stderr
    return it.git("rev-parse", f"{name}^{{commit}}", cwd=it.host.path(REPOSITORY)).stdout.strip()


def test_a_tag_that_was_pushed_gets_one_release(it: World) -> None:
    token = it.app_token(PROMOTER_APP)
    assert _tag(it, token, "release-1") == it.host.head(REPOSITORY, "master")
    assert it.repo("GET", "/releases/tags/release-1", token).status == 404
    asked = {"tag_name": "release-1", "name": "First", "body": "# Note"}
    made = it.repo("POST", "/releases", token, asked)
    assert (made.status, made.body["author"]["login"]) == (201, "promoter[bot]")
    assert made.body["html_url"].endswith(f"/{REPOSITORY}/releases/tag/release-1")
    again = it.repo("POST", "/releases", token, asked)
    assert (again.status, again.body["errors"][0]["code"]) == (422, "already_exists")
    found = it.repo("GET", "/releases/tags/release-1", token).body
    assert {key: found[key] for key in asked} == asked
    assert [each["name"] for each in it.repo("GET", "/releases", token).body] == ["First"]


def test_a_release_needs_a_tag_that_is_there_and_the_permission_to_write(it: World) -> None:
    token = it.app_token(PROMOTER_APP)
    missing = it.repo("POST", "/releases", token, {"tag_name": "release-1"})
    assert (missing.status, "there is no release-1" in missing.body["message"]) == (422, True)
    assert it.repo("POST", "/releases", token, {"name": "First"}).status == 422
    _tag(it, token, "release-1")
    narrow = it.app_token(PROMOTER_APP, {"permissions": {"contents": "read"}})
    assert it.repo("POST", "/releases", narrow, {"tag_name": "release-1"}).status == 403


# Faults and the record


def test_a_fault_answers_in_place_of_the_host(it: World) -> None:
    token, head = it.app_token(DEV_APP), it.host.head(REPOSITORY, "dev")
    seen: list[Call] = []

    def refuse(call: Call) -> Fault:
        seen.append(call)
        return Fault(status=403, headers={"Retry-After": "7"}, body=b'{"message": "You have exceeded a secondary rate limit."}')

    it.host.faults = refuse
    answer = it.call("POST", "/graphql", token, {"query": HEAD, "variables": {"expression": "dev"}})
    assert (answer.status, answer.headers["Retry-After"]) == (403, "7")
    assert (seen[0].operation, seen[0].actor, seen[0].path) == ("Read", "writer-dev[bot]", "/graphql")
    assert it.host.head(REPOSITORY, "dev") == head
    assert it.host.requests[-1].fault


@pytest.mark.parametrize("fault", [Fault(after=True), Fault(after=True, drop=True)])
def test_a_fault_afterwards_hides_that_the_work_was_done(it: World, fault: Fault) -> None:
    token, head = it.app_token(DEV_APP), it.host.head(REPOSITORY, "dev")
    it.host.faults = lambda call: fault if call.operation == "Write" else None
    with pytest.raises((urllib3.exceptions.ProtocolError, AssertionError)):
        it.commit(token, "dev", head, {"x": b""})
    assert it.host.head(REPOSITORY, "dev") != head
    assert it.host.requests[-1].status == (0 if fault.drop else 502)


def test_a_dropped_request_is_not_carried_out(it: World) -> None:
    token, head = it.app_token(DEV_APP), it.host.head(REPOSITORY, "dev")
    it.host.faults = lambda _: Fault(drop=True)
    with pytest.raises(urllib3.exceptions.ProtocolError):
        it.commit(token, "dev", head, {"x": b""})
    assert it.host.head(REPOSITORY, "dev") == head


def test_the_record_names_operation_actor_and_status(it: World) -> None:
    token = it.app_token(DEV_APP)
    it.graphql(token, "{ viewer { login } rateLimit { cost } }")
    it.repo("GET", "/git/ref/heads/none", token)
    shown = [(one.method, one.operation, one.actor, one.status) for one in it.host.requests]
    assert shown == [
        ("POST", "/app/installations/<int:installation_id>/access_tokens", "", 201),
        ("POST", "viewer+rateLimit", "writer-dev[bot]", 200),
        ("GET", "/repos/<owner>/<name>/git/ref/<path:ref>", "writer-dev[bot]", 404),
    ]


def test_latency_is_waited_before_each_request(tmp_path: Path) -> None:
    with world(tmp_path, latency_seconds=0.05) as it:
        it.call("GET", "/rate_limit")
        assert it.host.requests[0].seconds >= 0.05


def test_the_schema_is_said_to_be_missing_when_there_is_no_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "SCHEMA", tmp_path / "schema.graphql")

    def nowhere(_: str) -> None:
        return None

    monkeypatch.setattr("shutil.which", nowhere)
    monkeypatch.setattr(schema, "find_spec", nowhere)
    with pytest.raises(schema.SchemaMissingError, match="there is no npm"), GitHost(tmp_path):
        pass


def test_nothing_is_left_running_when_the_host_is_left(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with world(tmp_path) as it:
        it.call("GET", "/rate_limit")  # keeps its connection alive
        assert it.host.path(REPOSITORY).is_dir()
    assert set(threading.enumerate()) == before


# Commit statuses

REPORTER: Final = 104
HISTORY: Final = """
query History($ref: String!, $after: String) {
  repository(owner: "example-org", name: "gitops") {
    ref(qualifiedName: $ref) {
      target {
        ... on Commit {
          history(first: 2, after: $after) {
            pageInfo { hasNextPage endCursor }
            nodes { oid status { contexts { context state description createdAt targetUrl creator { login } } } }
          }
        }
      }
    }
  }
}
"""


def reporter(it: World, **permissions: str) -> str:
    """A token of an App that may read contents, and what is named."""
    it.host.add_app(
        REPORTER,
        "reporter",
        key(str(REPORTER)).public_pem,
        installation_id=REPORTER + 1000,
        permissions={"contents": "read", **permissions},
        repositories=[REPOSITORY],
    )
    return it.app_token(REPORTER)


def test_the_newest_status_of_each_context_is_found_along_a_branchs_history(it: World) -> None:
    token = reporter(it, statuses="write")
    older = it.host.head(REPOSITORY, "dev")
    newer = it.host.put_file(REPOSITORY, "dev", "x", b"1\n", "Change dev")
    for number, (commit, state, context) in enumerate(
        ((older, "success", "health a"), (newer, "pending", "health a"), (newer, "failure", "health a"), (newer, "success", "b"))
    ):
        it.now += 1
        body = {"state": state, "context": context, "description": f"{number}", "target_url": "https://example.com/a"}
        answer = it.repo("POST", f"/statuses/{commit}", token, body)
        assert (answer.status, answer.body["state"], answer.body["context"]) == (201, state, context)
    found = it.graphql(token, HISTORY, {"ref": "refs/heads/dev"})["data"]["repository"]["ref"]["target"]["history"]
    assert [each["oid"] for each in found["nodes"]] == [newer, older]
    assert found["pageInfo"]["hasNextPage"] is True
    told = [[(one["context"], one["state"], one["description"]) for one in each["status"]["contexts"]] for each in found["nodes"]]
    assert told == [[("b", "SUCCESS", "3"), ("health a", "FAILURE", "2")], [("health a", "SUCCESS", "0")]]
    first, last = (found["nodes"][0]["status"]["contexts"][1], found["nodes"][1]["status"]["contexts"][0])
    assert first["createdAt"] > last["createdAt"]
    assert (first["targetUrl"], first["creator"]["login"]) == ("https://example.com/a", "reporter[bot]")
    rest = it.graphql(token, HISTORY, {"ref": "refs/heads/dev", "after": found["pageInfo"]["endCursor"]})
    assert [each["status"] for each in rest["data"]["repository"]["ref"]["target"]["history"]["nodes"]] == [None]


def test_a_status_is_set_and_read_with_the_permission_for_it_alone(it: World) -> None:
    head = it.host.head(REPOSITORY, "dev")
    body = {"state": "success", "context": "health a"}
    for permissions, status in (({}, 403), ({"statuses": "read"}, 403), ({"statuses": "write"}, 201)):
        token = reporter(it, **permissions)
        assert it.repo("POST", f"/statuses/{head}", token, body).status == status
        told = it.graphql(token, HISTORY, {"ref": "refs/heads/dev"})
        assert [each["type"] for each in told.get("errors", [])] == ([] if permissions else ["FORBIDDEN"] * 2)


def test_a_client_that_takes_the_host_for_an_enterprise_server_asks_below_another_path(it: World) -> None:
    token, head = reporter(it, statuses="write"), it.host.head(REPOSITORY, "dev")
    answer = it.call("POST", f"/api/v3/repos/{REPOSITORY}/statuses/{head}", token, {"state": "success", "context": "a"})
    assert answer.status == 201
    assert it.host.requests[-1].operation == "/repos/<owner>/<name>/statuses/<oid>"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"state": "healthy"}, "state is not included in the list"),
        ({"context": "x" * 256}, "context is too long (maximum is 255 characters)"),
        ({"description": "x" * 141}, "description is too long (maximum is 140 characters)"),
        ({"target_url": ""}, "target_url must use http(s) scheme"),
    ],
)
def test_a_status_that_github_would_refuse_is_refused(it: World, change: dict[str, str], said: str) -> None:
    token, head = reporter(it, statuses="write"), it.host.head(REPOSITORY, "dev")
    answer = it.repo("POST", f"/statuses/{head}", token, {"state": "success", "context": "a", **change})
    assert (answer.status, [each["message"] for each in answer.body["errors"]]) == (422, [said])


def test_a_status_of_a_commit_that_is_not_there_is_refused(it: World) -> None:
    answer = it.repo("POST", f"/statuses/{'0' * 40}", reporter(it, statuses="write"), {"state": "success"})
    assert (answer.status, answer.body["message"]) == (422, f"No commit found for SHA: {'0' * 40}")


def test_a_context_has_a_thousand_statuses_on_one_commit_and_no_more(it: World) -> None:
    token, head = reporter(it, statuses="write"), it.host.head(REPOSITORY, "dev")
    answers = [it.repo("POST", f"/statuses/{head}", token, {"state": "success", "context": "a"}).status for _ in range(1001)]
    assert answers == [201] * 1000 + [422]
    assert it.repo("POST", f"/statuses/{head}", token, {"state": "success", "context": "b"}).status == 201
