"""Webhooks: what is sent, how it is signed, and that a deaf receiver harms nobody."""

import hashlib
import hmac
import json
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.rehearsal.githost_kit import DEV_APP, IMAGE, REPOSITORY, World, world

SECRET = "s3cret"


@dataclass
class Receiver:
    """Collects what is delivered."""

    url: str = ""
    got: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list[tuple[Mapping[str, str], bytes]])

    def payloads(self, event: str) -> list[Any]:
        """Bodies of one kind of event, in order."""
        return [json.loads(body) for headers, body in self.got if headers["X-GitHub-Event"] == event]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on loopback."""
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.got.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — http.server's name
            del format, args

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_port}/api/webhook"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture
def it(tmp_path: Path) -> Iterator[World]:
    """A fresh host."""
    with world(tmp_path) as made:
        yield made


def test_a_push_is_delivered_signed_over_its_very_bytes(it: World, receiver: Receiver) -> None:
    it.host.add_webhook(REPOSITORY, url=receiver.url, content_type="json", secret=SECRET)
    before = it.host.head(REPOSITORY, "dev")
    it.commit(it.app_token(DEV_APP), "dev", before, {IMAGE: b"newTag: two\n", "new": b""}, ["README.md"])
    it.host.drain()
    assert [headers["X-GitHub-Event"] for headers, _ in receiver.got] == ["ping", "push"]
    headers, body = receiver.got[1]
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Hub-Signature-256"] == "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert headers["X-GitHub-Delivery"] == it.host.deliveries[1].guid
    push = json.loads(body)
    assert (push["ref"], push["before"], push["after"]) == ("refs/heads/dev", before, it.host.head(REPOSITORY, "dev"))
    assert push["repository"]["html_url"] == f"{it.host.url}/{REPOSITORY}"
    assert push["repository"]["default_branch"] == "master"
    (commit,) = push["commits"]
    assert (commit["added"], commit["modified"], commit["removed"]) == (["new"], [IMAGE], ["README.md"])
    assert (push["pusher"]["name"], push["sender"]["type"]) == ("writer-dev[bot]", "Bot")


def test_a_form_carries_the_payload_in_a_field(it: World, receiver: Receiver) -> None:
    it.host.add_webhook(REPOSITORY, url=receiver.url, content_type="form", secret=SECRET)
    it.host.drain()
    headers, body = receiver.got[0]
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert json.loads(urllib.parse.parse_qs(body.decode())["payload"][0])["hook_id"]
    assert headers["X-Hub-Signature-256"] == "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


def test_a_pull_requests_life_is_delivered_in_order(it: World, receiver: Receiver) -> None:
    it.host.add_webhook(REPOSITORY, url=receiver.url, content_type="json", events=["pull_request"])
    alice = it.host.add_user("alice")
    it.host.put_file(REPOSITORY, "dev", IMAGE, b"newTag: two\n", "Write images")
    number = it.repo("POST", "/pulls", alice, {"title": "Promote", "head": "dev", "base": "stg"}).body["number"]
    it.host.put_file(REPOSITORY, "dev", IMAGE, b"newTag: three\n", "Write images")
    assert it.repo("PUT", f"/pulls/{number}/merge", alice, {}).status == 200
    it.host.drain()
    events = receiver.payloads("pull_request")
    assert [(event["action"], event["pull_request"]["merged"]) for event in events] == [
        ("opened", False),
        ("synchronize", False),
        ("closed", True),
    ]
    assert events[1]["after"] == it.host.head(REPOSITORY, "dev")
    assert not receiver.payloads("push")


def test_a_new_branch_is_delivered_as_created_with_what_the_default_branch_lacks(it: World, receiver: Receiver) -> None:
    it.host.add_webhook(REPOSITORY, url=receiver.url, content_type="json")
    head = it.host.put_file(REPOSITORY, "dev", "x", b"", "Change dev")
    it.host.create_branch(REPOSITORY, "topic", source="dev")
    it.repo("DELETE", "/git/refs/heads/topic", it.host.add_user("alice"))
    it.host.drain()
    made, gone = receiver.payloads("push")[1:]
    assert (made["created"], made["before"], [commit["id"] for commit in made["commits"]]) == (True, "0" * 40, [head])
    assert (gone["deleted"], gone["after"], gone["head_commit"]) == (True, "0" * 40, None)


def test_a_receiver_that_is_gone_is_recorded_and_harms_nobody(it: World, receiver: Receiver) -> None:
    it.host.add_webhook(REPOSITORY, url="http://127.0.0.1:1/", content_type="json")
    it.host.add_webhook(REPOSITORY, url=receiver.url, content_type="json")
    it.host.put_file(REPOSITORY, "dev", "x", b"", "Change dev")
    it.host.drain()
    assert [(one.event, one.status) for one in it.host.deliveries] == [
        ("ping", None),
        ("ping", 204),
        ("push", None),
        ("push", 204),
    ]
    assert it.host.deliveries[0].error


def test_only_an_admin_sees_webhooks_and_never_the_secret(it: World, receiver: Receiver) -> None:
    body = {"config": {"url": receiver.url, "content_type": "json", "secret": SECRET}, "events": ["push"]}
    assert it.repo("POST", "/hooks", it.app_token(DEV_APP), body).status == 403
    admin = it.host.add_user("admin", role="admin")
    assert it.repo("POST", "/hooks", admin, body).status == 201
    (shown,) = it.repo("GET", "/hooks", admin).body
    assert shown["config"] == {"url": receiver.url, "content_type": "json", "insecure_ssl": "0", "secret": "********"}
