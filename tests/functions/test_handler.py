"""The whole function between a real Git host and moto: one batch, one commit; conflicts; scaffold; sweep; marks."""

import base64
import json
import threading
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from functions.gitops_writer import github, handler, queues
from functions.gitops_writer.github import RefusedError, UnavailableError, assertion, graphql_url
from rehearsal.githost.model import Call, Fault
from tests.functions.kit import LONG, Bench, ecr_event, image_file, tag, written
from tests.rehearsal import githost_kit
from tests.rehearsal.githost_kit import DEV_APP, REPOSITORY

OLD = "20200101T000000Z-000000000000"
NONE = "sha256:" + "0" * 64


def settle(it: Bench, service: str, place: str = "overlays/dev") -> None:
    """Declare a service that has its directory and an old image."""
    it.declare(service)
    it.put({image_file(service, place): written(service, OLD, NONE)})


def at(seconds_ago: float, it: Bench) -> str:
    return tag(it.time(seconds_ago))


def fail(it: Bench, *faults: Fault | None, operation: str = "CommitImages") -> None:
    """Answer the next requests of an operation with faults, one each."""
    left = list(faults)

    def hook(call: Call) -> Fault | None:
        return left.pop(0) if call.operation == operation and left else None

    it.host.faults = hook


# Events


def test_one_push_becomes_one_signed_commit_with_tag_and_digest_in_two_requests(dev: Bench) -> None:
    settle(dev, "shop")
    pushed = at(20, dev)
    digest = dev.push("shop", pushed)
    assert dev.run(ecr_event("develop/shop", pushed)) == []
    assert dev.read(image_file("shop")) == written("shop", pushed, digest).decode()
    asked = [each.operation for each in dev.host.requests if "access_tokens" not in each.operation]
    assert asked == ["ReadBranch", "CommitImages"]
    (line,) = dev.lines("bumped")
    head = dev.host.head(REPOSITORY, "dev")
    said = {name: line[name] for name in ("service", "branch", "tag", "digest", "commit")}
    assert said == {"service": "shop", "branch": "dev", "tag": pushed, "digest": digest, "commit": head}
    assert dev.metric("bumped") == 1
    assert dev.waiting() == (0, 0)


def test_what_else_waits_in_the_queue_is_in_the_same_commit(dev: Bench) -> None:
    services = [f"service-{number}" for number in range(12)]
    events: list[object] = []
    for service in services:
        settle(dev, service)
        for seconds in (30, 10, 20):
            dev.push(service, at(seconds, dev))
            events.append(ecr_event(f"develop/{service}", at(seconds, dev)))
    assert dev.run(*events) == []
    assert dev.commits() == ["CommitImages"]
    for service in services:
        assert at(10, dev) in dev.read(image_file(service))
    assert dev.waiting() == (0, 0)
    assert (dev.metric("bumped"), dev.metric("skipped_superseded")) == (12, 24)


def test_the_same_event_again_and_an_older_one_make_no_commit(dev: Bench) -> None:
    settle(dev, "shop")
    for seconds in (10, 60):
        dev.push("shop", at(seconds, dev))
    newest, older = ecr_event("develop/shop", at(10, dev)), ecr_event("develop/shop", at(60, dev))
    assert dev.run(newest, newest) == []
    head = dev.host.head(REPOSITORY, "dev")
    assert dev.run(newest, older) == []
    assert dev.run(older) == []
    assert dev.host.head(REPOSITORY, "dev") == head
    assert dev.commits() == ["CommitImages"]
    assert (dev.metric("bumped"), dev.metric("skipped_duplicate"), dev.metric("skipped_older")) == (1, 1, 1)


# Conflicts and crashes; faults are in test_faults.py


def test_a_person_who_pushes_between_reading_and_writing_loses_nothing(dev: Bench) -> None:
    settle(dev, "shop")
    pushed = at(10, dev)
    dev.push("shop", pushed)
    changed = written("shop", OLD, NONE).replace(b"# people's words", b"# other words")
    left = [changed]

    def hook(call: Call) -> Fault | None:
        if call.operation == "CommitImages" and left:
            dev.put({image_file("shop"): left.pop()})
        return None

    dev.host.faults = hook
    assert dev.run(ecr_event("develop/shop", pushed)) == []
    after = dev.read(image_file("shop"))
    assert "# other words" in after
    assert pushed in after
    assert (dev.metric("conflicts"), dev.metric("retries")) == (1, 1)
    assert all(0 <= wait <= 0.3 for wait in dev.slept)


def test_a_person_who_is_faster_five_times_running_keeps_all_and_the_images_get_through(dev: Bench) -> None:
    services = [f"service-{number}" for number in range(6)]
    pushed = at(10, dev)
    for service in services:
        settle(dev, service)
        dev.push(service, pushed)
        dev.send(ecr_event(f"develop/{service}", pushed))
    records = dev.receive()
    turns = threading.Barrier(2)
    kept: list[str] = []

    def person() -> None:
        for number in range(5):
            turns.wait(timeout=20)
            dev.put({f"docs/{number}.md": b"words\n"})
            kept.append(f"docs/{number}.md")
            turns.wait(timeout=20)

    def hook(call: Call) -> Fault | None:
        # Between every reading and the commit upon it a person is faster, five times.
        if call.operation == "CommitImages" and len(kept) < 5:
            turns.wait(timeout=20)
            turns.wait(timeout=20)
        return None

    thread = threading.Thread(target=person)
    thread.start()
    dev.host.faults = hook
    assert dev.writer.write(records, lambda: LONG) == []
    thread.join()
    assert dev.metric("conflicts") == 5
    assert len(dev.commits()) == 1
    assert all(dev.read(path) for path in kept)
    assert all(pushed in dev.read(image_file(service)) for service in services)


def test_somebody_elses_commit_of_the_same_image_is_not_taken_for_ours(dev: Bench) -> None:
    settle(dev, "shop")
    pushed = at(10, dev)
    digest = dev.push("shop", pushed)

    def hook(call: Call) -> Fault | None:
        if call.operation == "CommitImages":
            dev.put({image_file("shop"): written("shop", pushed, digest)})
        return None

    dev.host.faults = hook
    assert dev.run(ecr_event("develop/shop", pushed)) == []
    assert dev.metric("conflicts") == 1
    assert dev.metric("bumped") == 0
    assert [line["reason"] for line in dev.lines("skipped")] == ["current"]


def test_a_crash_between_commit_and_acknowledgement_is_harmless(dev: Bench) -> None:
    settle(dev, "shop")
    pushed = at(10, dev)
    dev.push("shop", pushed)
    dev.send(ecr_event("develop/shop", pushed))
    records = dev.receive()
    assert dev.writer.write(records, lambda: LONG) == []
    head = dev.host.head(REPOSITORY, "dev")
    assert dev.writer.write(records, lambda: LONG) == []  # nobody had deleted it
    assert dev.host.head(REPOSITORY, "dev") == head
    assert dev.metric("skipped_current") == 1


# Identity


def test_the_token_is_kept_until_shortly_before_it_expires(dev: Bench) -> None:
    app = dev.writer.github.app
    first = app.token()
    dev.world.now += 3600 - 301
    assert app.token() == first
    dev.world.now += 2
    assert app.token() != first


def test_a_key_that_is_none_says_what_to_put_there_and_not_what_was_there() -> None:
    with pytest.raises(RefusedError, match="holds no RSA private key") as raised:
        assertion("101", "-----BEGIN NONSENSE SECRET-----", 0)
    assert "NONSENSE" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_the_assertion_verifies_with_another_library_and_with_no_other_key() -> None:
    pair = githost_kit.key(str(DEV_APP))
    signed = assertion("101", pair.private_pem.decode(), 1_000_000)
    claims = jwt.decode(signed, pair.public_pem, algorithms=["RS256"], options={"verify_exp": False, "verify_iat": False})
    assert claims == {"iss": "101", "iat": 999_940, "exp": 1_000_540}
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(signed, stranger, algorithms=["RS256"])


def test_dev_cannot_write_the_branch_that_stg_reads(dev: Bench) -> None:
    head = dev.host.head(REPOSITORY, "stg")
    assert head
    with pytest.raises(RefusedError, match="rule violations") as raised:
        dev.writer.github.commit("stg", head, {"apps/shop/x.yaml": "x: 1\n"}, headline="No", body="")
    assert raised.value.access
    assert dev.host.head(REPOSITORY, "stg") == head


def test_files_that_github_reports_as_not_found_are_just_absent(dev: Bench) -> None:
    head = dev.host.head(REPOSITORY, "dev")
    found = {"type": "blob", "object": {"text": "x: 1\n", "byteSize": 5, "isBinary": False, "isTruncated": False}}
    missing = {"type": "NOT_FOUND", "path": ["repository", "commit", "target", "f1"], "message": "Could not resolve file"}
    answer = {"data": {"repository": {"commit": {"target": {"oid": head, "f0": found, "f1": None}}}}, "errors": [missing]}
    fail(dev, Fault(status=200, body=json.dumps(answer).encode()), operation="ReadBranch")
    snapshot = dev.writer.github.snapshot("dev", ["a.yaml", "b.yaml"], [])
    assert list(snapshot.files) == ["a.yaml"]


def test_a_long_list_of_files_is_read_at_one_commit(dev: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github, "_FILES_PER_QUERY", 2)
    dev.put({f"docs/{number}.md": b"before\n" for number in range(5)})
    moved: list[str] = []

    def hook(call: Call) -> Fault | None:
        if call.operation == "ReadBranch" and len(moved) < 2:
            if moved:
                dev.put({"docs/4.md": b"after\n"})
            moved.append("once")
        return None

    dev.host.faults = hook
    snapshot = dev.writer.github.snapshot("dev", [f"docs/{number}.md" for number in range(5)], ["docs", "nowhere"])
    assert {blob.text for blob in snapshot.files.values()} == {"before\n"}
    assert snapshot.directories == {"docs"}
    assert dev.read("docs/4.md") == "after\n"
    assert snapshot.head != dev.host.head(REPOSITORY, "dev")


def test_graphql_is_where_github_and_its_enterprise_server_have_it() -> None:
    assert graphql_url("https://api.github.com") == "https://api.github.com/graphql"
    assert graphql_url("https://git.example.com/api/v3") == "https://git.example.com/api/graphql"


# New services


def test_the_first_image_brings_the_services_directory_in_the_same_commit(dev: Bench) -> None:
    dev.declare("shop")
    pushed = at(10, dev)
    digest = dev.push("shop", pushed)
    assert dev.run(ecr_event("develop/shop", pushed)) == []
    assert dev.commits() == ["CommitImages"]
    assert f'newTag: "{pushed}"' in dev.read(image_file("shop"))
    assert digest in dev.read(image_file("shop"))
    assert "name: shop" in dev.read("apps/shop/base/deployment.yaml")
    assert dev.metric("scaffolded") == 1


def test_on_the_release_track_a_service_waits_for_its_promotion_and_the_sweep_mends(release: Bench) -> None:
    release.declare("shop")
    pushed = at(10, release)
    release.push("shop", pushed)
    assert release.run(ecr_event("release/shop", pushed)) == []
    assert release.metric("skipped_not_promoted") == 1
    assert release.commits() == []
    release.put({image_file("shop", "base"): b"kind: Component\nimages: []\n"})
    release.writer.sweep(lambda: LONG)
    assert f'newTag: "{pushed}"' in release.read(image_file("shop", "base"))
    assert release.metric("drift") == 1


def test_the_sweep_scaffolds_all_new_services_in_one_commit_and_never_touches_what_exists(dev: Bench) -> None:
    for service in ("one", "two", "mine"):
        dev.declare(service)
    dev.declare("worker", port=None, health_path=None, hosts={})
    dev.put({"apps/mine/README.md": b"my own\n"})
    dev.writer.sweep(lambda: LONG)
    assert dev.commits() == ["CommitImages"]
    assert dev.read("apps/one/base/service.yaml")
    assert dev.read("apps/two/overlays/prd/kustomization.yaml")
    assert dev.read("apps/worker/base/deployment.yaml")
    assert not dev.read("apps/worker/base/service.yaml")
    assert not dev.read("apps/mine/base/kustomization.yaml")
    head = dev.host.head(REPOSITORY, "dev")
    dev.writer.sweep(lambda: LONG)
    assert dev.host.head(REPOSITORY, "dev") == head


def test_what_people_deleted_is_not_scaffolded_again(dev: Bench) -> None:
    dev.declare("shop")
    dev.put({"apps/shop/README.md": b"mine\n"})
    dev.put({"apps/shop/README.md": None})
    head = dev.host.head(REPOSITORY, "dev")
    dev.push("shop", at(10, dev))
    assert dev.run(ecr_event("develop/shop", at(10, dev))) == []
    dev.writer.sweep(lambda: LONG)
    assert dev.host.head(REPOSITORY, "dev") == head
    assert dev.metric("skipped_removed") == 2


def test_two_writers_that_scaffold_at_once_make_one_directory(dev: Bench) -> None:
    dev.declare("shop")
    first = dev.writer.github.commit

    def late(branch: str, head: str, changes: Any, *, headline: str, body: str) -> str:  # noqa: ANN401 — files by path
        if not dev.commits():
            first(branch, head, {**changes, "apps/shop/README.md": "the other writer's\n"}, headline="Other", body="")
        return first(branch, head, changes, headline=headline, body=body)

    object.__setattr__(dev.writer.github, "commit", late)
    dev.writer.sweep(lambda: LONG)
    assert dev.commits() == ["CommitImages"]
    assert dev.read("apps/shop/README.md") == "the other writer's\n"
    assert dev.metric("conflicts") == 1


# Pins, sweep, marks


def test_a_pinned_service_is_written_beneath_its_pin_which_stays(dev: Bench) -> None:
    settle(dev, "shop")
    pin = f'kind: Component\nimages:\n  - name: shop\n    newTag: "{OLD}"\n'.encode()
    dev.put({"apps/shop/overlays/dev/pin/kustomization.yaml": pin})
    pushed = at(10, dev)
    dev.push("shop", pushed)
    assert dev.run(ecr_event("develop/shop", pushed)) == []
    assert pushed in dev.read(image_file("shop"))
    assert dev.read("apps/shop/overlays/dev/pin/kustomization.yaml").encode() == pin
    assert dev.lines("pinned: written beneath the pin")[0]["pinned"] == "dev"
    assert dev.metric("pinned") == 1


def test_the_sweep_mends_what_a_lost_event_left_and_a_second_one_finds_nothing(dev: Bench) -> None:
    for service in ("one", "two"):
        settle(dev, service)
        for seconds in (50, 10):
            dev.push(service, at(seconds, dev))
    assert dev.writer.sweep(lambda: LONG) == {"services": 2, "marked": 2}
    assert dev.commits() == ["CommitImages"]
    assert all(at(10, dev) in dev.read(image_file(service)) for service in ("one", "two"))
    assert (dev.metric("drift"), dev.metric("swept")) == (2, 1)
    assert dev.writer.sweep(lambda: LONG) == {"services": 2, "marked": 0}
    assert dev.commits() == ["CommitImages"]


def marked(it: Bench, service: str) -> dict[str, str]:
    """Build tag by mark."""
    details = it.client("ecr").describe_images(repositoryName=f"{it.track}/{service}")["imageDetails"]
    return {
        mark: next(each for each in detail["imageTags"] if not each.startswith("slipway-keep-"))
        for detail in details
        for mark in detail["imageTags"]
        if mark.startswith("slipway-keep-")
    }


def test_marks_follow_what_stg_and_prd_reference_and_the_pin_wins(release: Bench) -> None:
    release.declare("shop")
    old, middle, new = (at(seconds, release) for seconds in (300, 200, 10))
    digests = {each: release.push("shop", each) for each in (old, middle, new)}
    release.put({image_file("shop", "base"): written("shop", middle, digests[middle])}, "stg")
    release.put({image_file("shop", "base"): written("shop", middle, digests[middle])}, "master")
    release.writer.sweep(lambda: LONG)
    assert marked(release, "shop") == {"slipway-keep-stg": new, "slipway-keep-prd": middle}
    pin = "apps/shop/overlays/prd/pin/kustomization.yaml"
    release.put({pin: written("shop", old, digests[old])}, "master")
    release.writer.sweep(lambda: LONG)
    assert marked(release, "shop") == {"slipway-keep-stg": new, "slipway-keep-prd": old}
    release.put({pin: None, image_file("shop", "base"): None}, "master")
    release.writer.sweep(lambda: LONG)
    assert marked(release, "shop") == {"slipway-keep-stg": new, "slipway-keep-prd": old}
    assert len(release.client("ecr").describe_images(repositoryName="release/shop")["imageDetails"]) == 3


def test_a_sweep_without_time_for_the_marks_says_so_and_the_next_goes_on(release: Bench) -> None:
    settle(release, "shop", "base")
    release.push("shop", at(10, release))
    assert release.writer.sweep(lambda: 1.0)["marked"] is None
    assert release.metric("swept") == 0
    assert at(10, release) in release.read(image_file("shop", "base"))
    release.writer.sweep(lambda: LONG)
    assert release.metric("swept") == 1
    assert marked(release, "shop") == {"slipway-keep-stg": at(10, release)}


# Lambda's entry


class Context:
    """What of Lambda's context is used."""

    def get_remaining_time_in_millis(self) -> int:
        """Plenty."""
        return 100_000


def test_lambda_gets_what_it_must_retry_and_metrics_carry_the_functions_name(
    dev: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    maker: Callable[[], handler.Writer] = lambda: dev.writer  # noqa: E731 — a stand-in
    monkeypatch.setattr(handler, "_writer", maker)
    settle(dev, "shop")
    dev.push("shop", at(10, dev))
    dev.send(ecr_event("develop/shop", at(10, dev)))
    assert handler.handler({"Records": dev.receive()}, Context()) == {"batchItemFailures": []}
    assert handler.handler({"slipway": "sweep"}, Context())["services"] == 1
    with pytest.raises(ValueError, match="is needed"):
        handler.handler({"other": 1}, Context())
    blobs = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    assert len(blobs) == 2
    for blob in blobs:
        assert blob["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "slipway"
        assert blob["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["service"]]
        assert blob["service"] == "slipway-develop-gitops-writer"
    assert blobs[1]["swept"] == [1.0]


def test_a_commit_says_which_images_it_brings(dev: Bench) -> None:
    sent: list[Any] = []

    def hook(call: Call) -> Fault | None:
        if call.operation == "CommitImages":
            sent.append(json.loads(call.body)["variables"]["input"])
        return None

    for service in ("one", "two"):
        settle(dev, service)
        dev.push(service, at(10, dev))
    dev.host.faults = hook
    dev.run(ecr_event("develop/one", at(10, dev)), ecr_event("develop/two", at(10, dev)))
    assert sent[0]["message"] == {
        "headline": "Write images of 2 services",
        "body": f"one {at(10, dev)}\ntwo {at(10, dev)}",
    }
    assert [each["path"] for each in sent[0]["fileChanges"]["additions"]] == [image_file("one"), image_file("two")]
    assert base64.b64decode(sent[0]["fileChanges"]["additions"][0]["contents"]).startswith(b"apiVersion")


def test_time_to_wait_grows_with_each_receipt_and_has_an_end() -> None:
    assert 10 <= queues.back_off(1, 0) <= 20
    assert 80 <= queues.back_off(4, 0) <= 160
    assert queues.back_off(50, 0) <= 900
    assert queues.back_off(1, 10**9) == 12 * 3600


def test_trouble_carries_how_long_github_wants_to_be_left_alone() -> None:
    assert UnavailableError("x", after_seconds=7).after_seconds == 7
