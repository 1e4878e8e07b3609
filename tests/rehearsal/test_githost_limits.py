"""The Git host's limits: what GitHub publishes, held by the host's own clock."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from rehearsal.githost import Fault, Limits
from rehearsal.githost.identity import iso
from tests.rehearsal.githost_kit import COMMIT, DEV_APP, IMAGE, PROMOTER_APP, REPOSITORY, Answer, World, world

READ = '{ repository(owner: "example-org", name: "gitops") { name } rateLimit { remaining resetAt } }'
BOTH = "query Read { viewer { login } } " + COMMIT


@pytest.fixture
def it(tmp_path: Path) -> Iterator[World]:
    """A host that holds nobody to a limit yet, at the beginning of a clock's hour."""
    with world(tmp_path) as made:
        made.now = made.now // 3600 * 3600 + 3600.25
        yield made


def write(it: World, token: str, *, operation: str = "Write", query: str = COMMIT) -> Answer:
    """One commit on dev's head."""
    asked = {
        "branch": {"repositoryNameWithOwner": REPOSITORY, "branchName": "dev"},
        "message": {"headline": "Write"},
        "expectedHeadOid": it.host.head(REPOSITORY, "dev"),
        "fileChanges": {"additions": [{"path": IMAGE, "contents": ""}]},
    }
    return it.call("POST", "/graphql", token, {"query": query, "variables": {"input": asked}, "operationName": operation})


def test_the_defaults_are_what_github_publishes() -> None:
    published = Limits()
    assert (published.content_per_minute, published.content_per_hour, published.points_per_hour) == (80, 500, 5000)


def test_a_limit_that_allows_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"content_per_hour is 0: at least 1 is allowed\. Leave `limits` None"):
        Limits(content_per_hour=0)


def test_nobody_is_limited_unless_it_is_asked_for(it: World) -> None:
    token = it.app_token(DEV_APP)
    assert it.host.limits is None
    assert [write(it, token).status for _ in range(82)] == [200] * 82


def test_the_write_after_the_last_one_of_a_minute_is_refused_in_githubs_words_and_changes_nothing(it: World) -> None:
    token = it.app_token(DEV_APP)
    it.host.limits = Limits(content_per_minute=3)
    for _ in range(3):
        assert write(it, token).status == 200
        it.now += 10
    head = it.host.head(REPOSITORY, "dev")
    refused = write(it, token)
    assert refused.status == 403
    assert refused.body["message"] == (
        "You have exceeded a secondary rate limit and have been temporarily blocked from content creation. "
        "Please retry your request again later."
    )
    assert refused.headers["Retry-After"] == "30"
    assert refused.headers["X-RateLimit-Remaining"] == "4997"
    assert it.host.head(REPOSITORY, "dev") == head
    record = it.host.requests[-1]
    assert (record.status, record.limited, record.content, record.fault) == (403, "secondary", True, False)
    assert [each.limited for each in it.host.requests].count("") == 4  # the token and three writes


def test_a_minute_slides_and_retry_after_is_when_there_is_room(it: World) -> None:
    token = it.app_token(DEV_APP)
    it.host.limits = Limits(content_per_minute=2)
    for _ in range(2):
        assert write(it, token).status == 200
        it.now += 25.5
    wait = int(write(it, token).headers["Retry-After"])
    assert wait == 9
    it.now += wait - 1
    assert write(it, token).headers["Retry-After"] == "1"
    it.now += 1
    assert write(it, token).status == 200  # the first one has left the window
    assert write(it, token).headers["Retry-After"] == "26"  # the second one has not


def test_an_hour_has_its_own_limit_and_the_longer_wait_counts(it: World) -> None:
    token = it.app_token(DEV_APP)
    it.host.limits = Limits(content_per_minute=2, content_per_hour=4)
    for pause in (0, 1800, 0, 0):
        assert write(it, token).status == 200
        it.now += pause
    refused = write(it, token)  # of the last minute there are two, of the last hour four
    assert (refused.status, refused.headers["Retry-After"]) == (403, "1800")
    it.now += 1800
    assert [write(it, it.app_token(DEV_APP)).status for _ in range(3)] == [200, 200, 403]


def test_reads_tokens_and_git_are_not_content(it: World) -> None:
    token, alice = it.app_token(DEV_APP), it.host.add_user("alice")
    it.host.limits = Limits(content_per_minute=1)
    assert it.graphql(token, READ)["data"]
    assert write(it, token).status == 200
    assert write(it, token).status == 403
    assert it.graphql(token, READ)["data"]
    assert write(it, token, operation="Read", query=BOTH).status == 200  # of the two operations the query
    assert it.repo("GET", f"/contents/{IMAGE}", token).status == 200
    assert it.app_token(DEV_APP)
    assert it.repo("POST", "/git/refs", alice, {"ref": "refs/heads/one", "sha": it.host.head(REPOSITORY, "dev")}).status == 201
    copy = it.clone(alice, "copy")
    for number in range(3):
        it.change(copy, "docs/words.md", f"{number}\n")
        assert it.git("push", "-q", "origin", "dev", cwd=copy).returncode == 0
    it.host.put_file(REPOSITORY, "dev", "docs/console.md", b"", "Change by hand")
    assert write(it, token, operation="Write", query=BOTH).headers["Retry-After"] == "60"


def test_every_way_of_writing_through_rest_is_content(it: World) -> None:
    token, head = it.app_token(PROMOTER_APP), it.host.put_file(REPOSITORY, "dev", "x", b"", "Change dev")
    it.host.limits = Limits(content_per_minute=1)
    ref = {"ref": "refs/heads/topic", "sha": head}
    assert it.repo("POST", "/git/refs", token, ref).status == 201
    for method, path, body in (
        ("POST", "/git/refs", {**ref, "ref": "refs/heads/other"}),
        ("PATCH", "/git/refs/heads/topic", ref),
        ("DELETE", "/git/refs/heads/topic", None),
        ("POST", "/pulls", {"title": "Promote", "head": "dev", "base": "stg"}),
    ):
        answer = it.repo(method, path, token, body)
        assert (answer.status, answer.headers.get("Retry-After")) == (403, "60"), (method, path)
    assert it.host.head(REPOSITORY, "topic") == head
    assert it.repo("GET", "/pulls", token).body == []


def test_each_actor_has_limits_of_its_own(it: World) -> None:
    it.host.limits = Limits(content_per_minute=1)
    for token in (it.app_token(DEV_APP), it.app_token(PROMOTER_APP), it.host.add_user("alice")):
        assert [write(it, token).status for _ in range(2)] == [200, 403]
    again = it.app_token(DEV_APP)  # another token is the same actor
    assert write(it, again).status == 403


def test_a_write_that_fails_counts_and_one_that_a_fault_swallowed_does_not(it: World) -> None:
    token = it.app_token(DEV_APP)
    it.host.limits = Limits(content_per_minute=1)
    it.host.faults = lambda _: Fault(status=502)
    assert write(it, token).status == 502
    it.host.faults = None
    assert it.commit(token, "dev", "0" * 40, {"x": b""})["errors"][0]["type"] == "STALE_DATA"
    assert write(it, token).status == 403


def test_what_was_written_before_the_limit_was_set_counts(it: World) -> None:
    token = it.app_token(DEV_APP)
    assert [write(it, token).status for _ in range(3)] == [200] * 3
    it.host.limits = Limits(content_per_minute=2)
    assert write(it, token).status == 403
    it.host.limits = None
    assert write(it, token).status == 200


def test_limits_can_be_given_when_the_host_is_made(tmp_path: Path) -> None:
    with world(tmp_path, limits=Limits(content_per_minute=1)) as it:
        token = it.app_token(DEV_APP)
        assert [write(it, token).status for _ in range(2)] == [200, 403]


# The primary limit


def test_over_graphql_an_exhausted_allowance_answers_200_with_rate_limited_until_the_hour_is_over(it: World) -> None:
    token, head = it.app_token(DEV_APP), it.host.head(REPOSITORY, "dev")
    it.host.limits = Limits(points_per_hour=2)
    assert it.graphql(token, READ)["data"]["rateLimit"] == {"remaining": 1, "resetAt": iso(it.now + 3599.75)}
    assert it.graphql(token, READ)["data"]["rateLimit"]["remaining"] == 0
    refused = write(it, token)
    assert (refused.status, [error["type"] for error in refused.body["errors"]]) == (200, ["RATE_LIMITED"])
    assert refused.body["errors"][0]["message"].startswith("API rate limit exceeded for user ID ")
    assert "data" not in refused.body
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    assert refused.headers["X-RateLimit-Used"] == refused.headers["X-RateLimit-Limit"] == "2"
    assert "Retry-After" not in refused.headers
    assert it.host.head(REPOSITORY, "dev") == head
    record = it.host.requests[-1]
    assert (record.limited, record.errors) == ("primary", ("RATE_LIMITED",))
    it.now = float(refused.headers["X-RateLimit-Reset"]) - 1
    token = it.app_token(DEV_APP)
    assert write(it, token).body["errors"]
    it.now += 1
    assert write(it, token).body["data"]


def test_rest_has_an_allowance_of_its_own_and_answers_403(it: World) -> None:
    token = it.app_token(DEV_APP)
    it.host.limits = Limits(points_per_hour=2)
    assert all(it.app_token(DEV_APP) for _ in range(3))  # asked for by nobody yet
    assert [it.repo("GET", "", token).status for _ in range(3)] == [200, 200, 403]
    refused = it.repo("GET", "", token)
    assert refused.body["message"].startswith("API rate limit exceeded")
    assert (refused.headers["X-RateLimit-Remaining"], refused.headers["X-RateLimit-Resource"]) == ("0", "core")
    assert it.graphql(token, READ)["data"]
    shown = it.call("GET", "/rate_limit", token)  # costs nothing, and is never refused
    assert (shown.status, shown.body["rate"]["remaining"], shown.body["resources"]["graphql"]["remaining"]) == (200, 0, 1)


# What else fault suites need of the host


def test_a_cut_answer_announces_more_than_it_sends(it: World) -> None:
    token = it.app_token(DEV_APP)
    it.host.faults = lambda _: Fault(status=200, body=b'{"data": {"createCommit', cut=True)
    with pytest.raises(urllib3.exceptions.ProtocolError, match="23 bytes read, 24 more expected"):
        write(it, token)
    it.host.faults = None
    assert write(it, token).status == 200


def test_the_host_knows_every_token_given_and_every_credential_shown(it: World) -> None:
    assert it.host.credentials == frozenset()
    asserted = it.assertion(DEV_APP)
    token = it.call("POST", f"/app/installations/{DEV_APP + 1000}/access_tokens", asserted).body["token"]
    assert it.host.credentials == {asserted, token}
    assert it.call("GET", "/rate_limit", "ghs_stranger").status == 401
    assert it.call("GET", "/rate_limit").status == 200
    assert it.host.credentials == {asserted, token, "ghs_stranger"}
