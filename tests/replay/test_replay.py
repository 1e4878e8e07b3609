"""replay/: what it shows and leaves where it is, what it replays and in which order, and what it refuses."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, cast

import boto3  # pyright: ignore[reportMissingTypeStubs] — its clients are made at run time
import pytest
from moto import mock_aws
from moto.moto_server.werkzeug_app import (  # pyright: ignore[reportMissingTypeStubs] — it has none
    DomainDispatcherApplication,
    create_backend_app,
)
from werkzeug.serving import make_server

from bootstrap.bootstrap import ROOT
from components import naming
from components.image_hook import HANDLER, RUNTIME
from functions.gitops_writer.core import Message, Outcome, Reason
from functions.gitops_writer.queues import Queue
from replay.replay import DONE, INTERRUPTED, LEFT, QUEUES, REFUSED, Held, Letter, Source, main
from tests.conftest import EXAMPLE

ACCOUNTS = {"dev": "111111111111", "stg": "222222222222", "prd": "333333333333"}
SWEEP = '{"slipway": "sweep"}'
TAG = "20260102T030405Z-0123456789ab"


class CrashError(BaseException):
    """The end of the process, as far as one can have it in a test: no handler of errors sees it."""


class Account:
    """An emulated account that hosts a track, as a person's credentials find it.

    Attributes:
        calls: The API's operations that were called, in order.
        stack: Whose account it is.
        track: Its track.
    """

    def __init__(self, stack: str, track: str) -> None:
        """A session in the account of a stack."""
        self.calls: list[str] = []
        self.track = track
        self.stack = stack
        self._clients: dict[str, Any] = {}
        self._session: Any = cast("Any", boto3).Session(aws_access_key_id="testing", aws_secret_access_key="testing")
        self._session.events.register("before-call", self._note)

    def _note(self, model: Any, params: Any, **_: Any) -> None:  # noqa: ANN401 — botocore's event
        self.calls.append(model.name)
        params["headers"]["x-moto-account-id"] = ACCOUNTS[self.stack]

    def client(self, service: str, region_name: str = "eu-central-1") -> Any:  # noqa: ANN401 — boto3 makes its clients at run time
        """A client in it, as a boto3 session gives one; made once a session, for making one is what takes the time."""
        assert region_name == "eu-central-1"
        if service not in self._clients:
            self._clients[service] = self._session.client(service, region_name=region_name)
        return self._clients[service]

    @property
    def sqs(self) -> Any:  # noqa: ANN401 — same
        """SQS in it."""
        return self.client("sqs")

    def make(self) -> None:
        """Make the track's queues, as components/image_hook.py declares them."""
        made = {
            name: self.sqs.create_queue(QueueName=naming.queue(self.track, name), Attributes={"VisibilityTimeout": "720"})
            for name in (*QUEUES, "images")
        }
        arn = f"arn:aws:sqs:eu-central-1:{ACCOUNTS[self.stack]}:{naming.queue(self.track, 'unprocessed')}"
        redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 10})
        self.sqs.set_queue_attributes(QueueUrl=made["images"]["QueueUrl"], Attributes={"RedrivePolicy": redrive})

    def url(self, queue: str) -> str:
        """Where a queue is."""
        return self.sqs.get_queue_url(QueueName=naming.queue(self.track, queue))["QueueUrl"]

    def put(self, queue: str, body: str, **attributes: str) -> str:
        """Put a message into a queue; its id."""
        own = {key: {"DataType": "String", "StringValue": value} for key, value in attributes.items()}
        return self.sqs.send_message(QueueUrl=self.url(queue), MessageBody=body, MessageAttributes=own)["MessageId"]

    def give_up(self, body: str, service: str, reason: str) -> str:
        """Have the writer give a message up; the id of what it puts into its failure queue."""
        outcome = Outcome(service=service, tag="", digest="", reason=Reason.FAILED, detail=reason, message="m")
        answers: list[str] = []

        def note(parsed: Any, **_: Any) -> None:  # noqa: ANN401 — botocore's event
            answers.append(parsed["MessageId"])

        with self.on("after-call.sqs.SendMessage", note):
            Queue(client=self.sqs, url=self.url("images"), failure_url=self.url("failures")).give_up(
                Message(id="m", handle="h", body=body, receives=1), outcome
            )
        return answers[0]

    def bodies(self, queue: str) -> list[str]:
        """All that anybody sees in a queue who looks now, sorted; it is visible again after that."""
        found: dict[str, Any] = {}
        while page := self.sqs.receive_message(QueueUrl=self.url(queue), MaxNumberOfMessages=10).get("Messages", []):
            found |= {each["MessageId"]: each for each in page}
        for each in found.values():
            self.sqs.change_message_visibility(QueueUrl=self.url(queue), ReceiptHandle=each["ReceiptHandle"], VisibilityTimeout=0)
        return sorted(each["Body"] for each in found.values())

    @contextmanager
    def on(self, event: str, do: Callable[..., object]) -> Generator[None]:
        """Have `do` called on an event of botocore's: `before-call.sqs.SendMessage`."""
        events = self.client(event.split(".")[1]).meta.events
        events.register(event, do)
        try:
            yield
        finally:
            events.unregister(event, do)

    def run(self, *arguments: str, stack: str | None = None, root: Path = EXAMPLE) -> int:
        """Run replay as its command line does."""
        self.calls.clear()
        return main(["--stack", stack or self.stack, *arguments], session=self, root=root, wait_seconds=0)


@cache
def account(stack: str, track: str) -> Account:
    return Account(stack, track)


@pytest.fixture
def dev() -> Iterator[Account]:
    with mock_aws():
        found = account("dev", "develop")
        found.make()
        yield found


def event(service: str = "storefront", tag: str = TAG, track: str = "develop") -> str:
    return json.dumps(
        {
            "detail-type": "ECR Image Action",
            "source": "aws.ecr",
            "detail": {"action-type": "PUSH", "result": "SUCCESS", "repository-name": f"{track}/{service}", "image-tag": tag},
        }
    )


def fill(dev: Account) -> dict[str, str]:
    """One of each kind; ids by kind."""
    return {
        "undelivered": dev.put("undelivered", event("a"), ERROR_CODE="NO_PERMISSIONS", ERROR_MESSAGE="It lets no rule in."),
        "sweep": dev.put("undelivered", SWEEP, ERROR_CODE="AWSLambdaException", SCHEDULE_ARN="arn:aws:scheduler:x"),
        "unprocessed": dev.put("unprocessed", event("b")),
        "failures": dev.give_up(event("c"), "c", "apps/c/base/image/kustomization.yaml: no entry in images"),
    }


def told(capsys: pytest.CaptureFixture[str]) -> Mapping[str, Any]:
    """What --json printed, messages by id."""
    printed = json.loads(capsys.readouterr().out)
    return {**printed, "messages": {each["id"]: each for each in printed["messages"]}}


def everything(dev: Account) -> Mapping[str, Sequence[str]]:
    return {queue: dev.bodies(queue) for queue in (*QUEUES, "images")}


def function(dev: Account) -> None:
    """A function of the writer's name: moto needs an archive and a role, and runs nothing here."""
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}}]}
    role = dev.client("iam").create_role(RoleName="writer", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as whole:
        whole.writestr("handler.py", "")
    dev.client("lambda").create_function(
        FunctionName="slipway-develop-gitops-writer",
        Runtime=RUNTIME,
        Role=role,
        Handler=HANDLER,
        Code={"ZipFile": archive.getvalue()},
    )


def built(service: str = "storefront", state: str = "FAILED") -> str:
    """CodePipeline's event of a build, as components/build_reports.py sends it."""
    detail = {"pipeline": naming.pipeline("develop", service), "execution-id": "11111111-2222-3333-4444-555555555555"}
    kind = "CodePipeline Pipeline Execution State Change"
    return json.dumps({"detail-type": kind, "source": "aws.codepipeline", "detail": {**detail, "state": state}})


def test_an_event_of_a_build_goes_back_to_the_reporter_and_one_of_an_image_to_the_writer(
    dev: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    dev.sqs.create_queue(QueueName=naming.queue("develop", "builds"))
    id_ = dev.put("unprocessed", built())
    dev.put("undelivered", built("a"), ERROR_CODE="NO_PERMISSIONS", ERROR_MESSAGE="It lets no rule in.")
    dev.give_up(built("c"), "c", "the App is not installed")
    dev.put("unprocessed", event("b"))
    assert dev.run() == DONE
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(id_[:8])).split()
    assert " ".join(row[6:]) == "storefront FAILED received 10 times and given back each time: the reporter's log says why"
    assert dev.run("--send-all") == DONE
    assert dev.bodies("builds") == sorted(map(built, ("a", "c", "storefront")))
    assert dev.bodies("images") == [event("b")]
    assert [dev.bodies(queue) for queue in QUEUES] == [[], [], []]


def test_an_event_of_a_build_stays_where_nothing_reports_builds(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    dev.put("unprocessed", built())
    assert dev.run("--send-all") == LEFT
    assert "not replayed: it is about a build, and without builds.reporter nothing reports builds" in capsys.readouterr().out
    assert dev.bodies("unprocessed") == [built()]
    assert dev.bodies("images") == []


# Showing


def test_a_table_says_of_each_message_where_it_lies_what_it_is_and_why(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    ids = fill(dev)
    assert dev.run() == DONE
    lines = capsys.readouterr().out.splitlines()
    rows = {kind: next(line for line in lines if line.startswith(id_[:8])).split() for kind, id_ in ids.items()}
    assert rows["undelivered"][1:3] == ["develop", "undelivered"]
    assert rows["undelivered"][6:] == ["a", TAG, "NO_PERMISSIONS:", "It", "lets", "no", "rule", "in."]
    assert rows["sweep"][6:] == ["(sweep)", "AWSLambdaException"]
    assert " ".join(rows["unprocessed"][6:]) == f"b {TAG} received 10 times and given back each time: the writer's log says why"
    assert " ".join(rows["failures"][6:]) == f"c {TAG} apps/c/base/image/kustomization.yaml: no entry in images"
    assert "develop undelivered: 2 seen of about 2" in lines
    assert "develop failures: 1 seen of about 1" in lines
    assert any(line.startswith("Nothing was taken out.") for line in lines)


def test_json_has_whole_bodies_and_attributes(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    ids = fill(dev)
    assert dev.run("--json") == DONE
    printed = told(capsys)
    assert printed["messages"].keys() == set(ids.values())
    first = printed["messages"][ids["undelivered"]]
    assert (first["body"], first["attributes"]["ERROR_CODE"]) == (event("a"), "NO_PERMISSIONS")
    assert (first["service"], first["tag"], first["receives"], first["replayed"]) == ("a", TAG, 1, False)
    assert [(each["queue"], each["seen"], each["about"]) for each in printed["queues"]] == [
        ("undelivered", 2, 2),
        ("unprocessed", 1, 1),
        ("failures", 1, 1),
    ]


def test_what_was_shown_is_where_it_was_and_visible(dev: Account) -> None:
    fill(dev)
    before = everything(dev)
    assert dev.run() == DONE
    assert everything(dev) == before
    assert not {"DeleteMessage", "DeleteMessageBatch", "SendMessage", "Invoke", "PurgeQueue"} & set(dev.calls)


@pytest.mark.parametrize("receives", [1, 3, 9])
def test_an_interrupted_listing_leaves_all_visible(dev: Account, receives: int, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(25):
        dev.put("undelivered", event(f"s{number}"))
    fill(dev)
    before = everything(dev)

    def interrupt(**_: Any) -> None:  # noqa: ANN401 — botocore's event
        if dev.calls.count("ReceiveMessage") == receives:
            raise KeyboardInterrupt

    with dev.on("before-call.sqs.ReceiveMessage", interrupt):
        assert dev.run() == INTERRUPTED
    assert "interrupted" in capsys.readouterr().err
    assert everything(dev) == before


@contextmanager
def served(account_id: str, meanwhile: Callable[[str, int], None]) -> Generator[str]:
    """The emulated accounts for other processes, which all are this one's; the address.

    Between a call's effect and its answer `meanwhile` hears of it: the operation, and how often it was called.
    """
    backend = DomainDispatcherApplication(create_backend_app)
    counts: Counter[str] = Counter()

    def application(environ: dict[str, Any], start: Any) -> Any:  # noqa: ANN401 — WSGI's own
        answer = backend({**environ, "HTTP_X_MOTO_ACCOUNT_ID": account_id}, start)
        operation = str(environ.get("HTTP_X_AMZ_TARGET", "")).rpartition(".")[2]
        counts[operation] += 1
        meanwhile(operation, counts[operation])
        return answer

    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()


def process(*arguments: str, address: str) -> subprocess.Popen[bytes]:
    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_ENDPOINT_URL": address}
    command = [sys.executable, "-m", "replay", "--stack", "dev", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **keys})  # noqa: S603 — our own module


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """A process that is started here hears SIGINT, also where these tests run in a shell's background, which ignores it."""
    was = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, was)


def end(dev: Account, *arguments: str, moments: Mapping[tuple[str, int], Callable[[subprocess.Popen[bytes]], object]]) -> int:
    """Run it as a process to which something happens between calls' effects and their answers; how it ended."""
    processes: list[subprocess.Popen[bytes]] = []

    def meanwhile(*moment: Any) -> None:  # noqa: ANN401 — operation and number
        if moment in moments:
            moments[moment](processes[0])

    with served(ACCOUNTS[dev.stack], meanwhile) as address:
        processes.append(process(*arguments, address=address))
        return processes[0].wait(timeout=60)


# A page is hidden already and the process does not know of it; somebody is impatient while all is made visible.
@pytest.mark.parametrize(
    ("number", "moments"),
    [
        (signal.SIGINT, [("ReceiveMessage", 2)]),
        (signal.SIGTERM, [("ReceiveMessage", 2), ("ChangeMessageVisibilityBatch", 1)]),
    ],
)
def test_a_process_that_is_told_to_end_leaves_all_visible(
    dev: Account, number: int, moments: Sequence[tuple[str, int]], capfd: pytest.CaptureFixture[str]
) -> None:
    for each in range(12):
        dev.put("undelivered", event(f"s{each}"))
    assert end(dev, moments={moment: lambda process: process.send_signal(number) for moment in moments}) == INTERRUPTED
    assert "interrupted. What was not replayed is in its queue, and visible." in capfd.readouterr().err
    assert len(dev.bodies("undelivered")) == 12


def test_a_process_that_is_told_twice_waits_for_no_answer(dev: Account) -> None:
    ends: list[int] = []

    def twice(process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        # There is no answer before it is gone.
        ends.append(process.wait(timeout=20))

    assert end(dev, moments={("ReceiveMessage", 1): twice}) == INTERRUPTED
    assert ends == [INTERRUPTED]


def test_a_process_that_is_told_to_end_between_sending_and_deleting_does_both(dev: Account) -> None:
    bodies = sorted(event(f"s{number}") for number in range(3))
    for body in bodies:
        dev.put("unprocessed", body)

    def tell(process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGINT)

    assert end(dev, "--queue", "unprocessed", "--send-all", moments={("SendMessage", 1): tell}) == INTERRUPTED
    assert len(dev.bodies("images")) == 1
    assert sorted([*dev.bodies("images"), *dev.bodies("unprocessed")]) == bodies


def test_more_than_a_page_and_what_comes_twice_is_shown_once_each(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    ids = {dev.put("failures", event(f"s{number}")) for number in range(37)}
    again: list[Any] = []

    def repeat(parsed: Any, **_: Any) -> None:  # noqa: ANN401 — botocore's event: a standard queue delivers at least once
        messages = parsed.get("Messages", [])
        parsed["Messages"] = [*messages, *again]
        again[:] = messages[:2] or again

    with dev.on("after-call.sqs.ReceiveMessage", repeat):
        assert dev.run("--queue", "failures", "--json") == DONE
    printed = told(capsys)
    assert printed["messages"].keys() == ids
    assert [(each["queue"], each["seen"]) for each in printed["queues"]] == [("failures", 37)]


def test_an_empty_answer_is_not_believed_at_once(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    ids = {dev.put("failures", event(f"s{number}")) for number in range(12)}

    def short(parsed: Any, **_: Any) -> None:  # noqa: ANN401 — botocore's event: a short poll asks some of the servers only
        if dev.calls.count("ReceiveMessage") % 3:
            handles = [each["ReceiptHandle"] for each in parsed.pop("Messages", [])]
            for handle in handles:
                dev.sqs.change_message_visibility(QueueUrl=dev.url("failures"), ReceiptHandle=handle, VisibilityTimeout=0)

    with dev.on("after-call.sqs.ReceiveMessage", short):
        assert dev.run("--queue", "failures", "--json") == DONE
    assert told(capsys)["messages"].keys() == ids


def test_what_somebody_else_is_reading_is_counted(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    fill(dev)
    dev.put("failures", event())
    dev.sqs.receive_message(QueueUrl=dev.url("failures"), MaxNumberOfMessages=1)
    assert dev.run("--queue", "failures") == DONE
    assert "develop failures: 1 seen of about 1; 1 more are hidden, for somebody is reading them" in capsys.readouterr().out


def test_empty_queues_show_that_nothing_is_there(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert dev.run() == DONE
    assert capsys.readouterr().out.splitlines() == [f"develop {queue}: 0 seen of about 0" for queue in QUEUES]


POISON = [
    "no JSON at all",
    '{"detail": ',
    "[" * 3000,
    "17",
    "null",
    '{"detail": "text", "event": 3}',
    '{"event": null, "reason": ["a", "list"], "service": {"b": 1}}',
]


@pytest.mark.parametrize("queue", QUEUES)
def test_a_message_that_is_no_event_is_shown_and_left(dev: Account, queue: str, capsys: pytest.CaptureFixture[str]) -> None:
    ids = {dev.put(queue, body): body for body in POISON}
    assert dev.run() == DONE
    said = capsys.readouterr().out
    assert all(id_[:8] in said for id_ in ids)
    assert dev.run("--json") == DONE
    assert {id_: each["body"] for id_, each in told(capsys)["messages"].items()} == ids
    assert dev.bodies(queue) == sorted(POISON)


def test_a_message_cannot_command_the_terminal(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    dev.put("undelivered", event(tag="[red]x[/]\u001b[31m\u0007"), ERROR_CODE="\u202e[bold]")
    assert dev.run() == DONE
    said = capsys.readouterr().out
    assert "[red]x[/]\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}" in said
    assert "\N{REPLACEMENT CHARACTER}[bold]" in said
    assert "\x1b" not in said


# Replaying


def test_an_event_goes_to_the_writer_s_queue_as_it_was_and_leaves_its_own(dev: Account) -> None:
    ids = fill(dev)
    for kind, service in (("undelivered", "a"), ("unprocessed", "b"), ("failures", "c")):
        assert dev.run("--send", ids[kind]) == DONE
        assert dev.calls.index("SendMessage") < dev.calls.index("DeleteMessage")
        assert event(service) in dev.bodies("images")
    assert dev.bodies("images") == sorted(event(service) for service in "abc")
    assert dev.bodies("undelivered") == [SWEEP]
    assert dev.bodies("unprocessed") == dev.bodies("failures") == []


def test_ids_may_be_shortened_and_the_others_stay(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    ids = fill(dev)
    assert dev.run("--send", ids["unprocessed"][:8], ids["failures"][:12], "--json") == DONE
    assert {id_ for id_, each in told(capsys)["messages"].items() if each["replayed"]} == {ids["unprocessed"], ids["failures"]}
    assert dev.bodies("images") == sorted([event("b"), event("c")])
    assert len(dev.bodies("undelivered")) == 2


def test_one_that_is_named_twice_is_sent_once(dev: Account) -> None:
    ids = fill(dev)
    assert dev.run("--send", ids["unprocessed"], ids["unprocessed"][:8]) == DONE
    assert dev.bodies("images") == [event("b")]


def test_all_are_replayed_however_many(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    bodies = sorted(event(f"s{number}") for number in range(34))
    for body in bodies:
        dev.put("unprocessed", body)
    assert dev.run("--send-all") == DONE
    said = capsys.readouterr()
    assert "Replayed 34 of 34." in said.out
    assert said.err == ""
    assert "ChangeMessageVisibilityBatch" not in dev.calls
    assert dev.bodies("images") == bodies
    assert dev.bodies("unprocessed") == []


def test_a_queue_can_be_named_and_the_others_are_left_alone(dev: Account) -> None:
    fill(dev)
    before = everything(dev)
    assert dev.run("--queue", "unprocessed", "--send-all") == DONE
    assert everything(dev) == {**before, "unprocessed": [], "images": [event("b")]}


@pytest.mark.parametrize("body", [SWEEP, '{"FunctionName": "x", "Payload": "y"}'])
def test_the_scheduler_s_message_invokes_the_writer_once_a_track_and_is_no_image_s_event(dev: Account, body: str) -> None:
    function(dev)
    for _ in range(3):
        dev.put("undelivered", body, ERROR_CODE="AWSLambdaException", SCHEDULE_ARN="arn:aws:scheduler:x")
    asked: list[tuple[str, str, bytes]] = []

    def answer(params: Any, **_: Any) -> Any:  # noqa: ANN401 — botocore's event; moto would run it in a container
        asked.append((params["url_path"], params["headers"]["X-Amz-Invocation-Type"], params["body"]))
        return type("Answer", (), {"status_code": 202})(), {"StatusCode": 202}

    with dev.on("before-call.lambda.Invoke", answer):
        assert dev.run("--send-all") == DONE
    assert asked == [("/2015-03-31/functions/slipway-develop-gitops-writer/invocations", "Event", SWEEP.encode())]
    assert list(everything(dev).values()) == [[], [], [], []]


def test_without_the_writer_a_sweep_stays_and_the_rest_goes_on(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    ids = fill(dev)
    assert dev.run("--send-all", "--json") == LEFT
    printed = told(capsys)["messages"]
    assert "ResourceNotFoundException" in printed[ids["sweep"]]["fault"]
    assert {id_ for id_, each in printed.items() if each["replayed"]} == set(ids.values()) - {ids["sweep"]}
    assert dev.bodies("undelivered") == [SWEEP]
    assert dev.bodies("images") == sorted(event(service) for service in "abc")


def test_a_crash_between_sending_and_deleting_leaves_the_message_and_a_second_run_makes_a_duplicate(dev: Account) -> None:
    ids = fill(dev)

    def crash(**_: Any) -> None:  # noqa: ANN401 — botocore's event
        raise CrashError

    with dev.on("before-call.sqs.DeleteMessage", crash), pytest.raises(CrashError):
        dev.run("--send", ids["unprocessed"])
    assert dev.bodies("images") == dev.bodies("unprocessed") == [event("b")]
    assert dev.run("--send", ids["unprocessed"]) == DONE
    assert dev.bodies("images") == [event("b"), event("b")]
    assert dev.bodies("unprocessed") == []


def test_an_interruption_tells_how_far_it_came_and_loses_nothing(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    bodies = sorted(event(f"s{number}") for number in range(9))
    for body in bodies:
        dev.put("unprocessed", body)

    def interrupt(**_: Any) -> None:  # noqa: ANN401 — botocore's event
        if dev.calls.count("SendMessage") == 4:
            raise KeyboardInterrupt

    with dev.on("before-call.sqs.SendMessage", interrupt):
        assert dev.run("--send-all") == INTERRUPTED
    said = capsys.readouterr()
    assert "Replayed 4 of 9." in said.out
    assert "interrupted" in said.err
    assert len(dev.bodies("images")) == 4
    assert sorted([*dev.bodies("images"), *dev.bodies("unprocessed")]) == bodies


def refuse(operation: str, number: int) -> tuple[str, Callable[..., object]]:
    """Have AWS refuse one call of an operation."""
    count = 0

    def answer(**_: Any) -> Any:  # noqa: ANN401 — botocore's event
        nonlocal count
        count += 1
        if count != number:
            return None
        response = {"Error": {"Code": "AccessDenied", "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
        return type("Answer", (), {"status_code": 403})(), response

    return f"before-call.sqs.{operation}", answer


def test_what_cannot_be_sent_stays_and_does_not_hold_back_the_rest(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        dev.put("unprocessed", event(f"s{number}"))
    with dev.on(*refuse("SendMessage", 2)):
        assert dev.run("--send-all") == LEFT
    said = capsys.readouterr().out
    assert "not replayed: An error occurred (AccessDenied) when calling the SendMessage operation" in said
    assert "Replayed 2 of 3." in said
    assert (len(dev.bodies("images")), len(dev.bodies("unprocessed"))) == (2, 1)


def test_what_was_sent_and_cannot_be_deleted_is_told_as_sent(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    dev.put("unprocessed", event())
    with dev.on(*refuse("DeleteMessage", 1)):
        assert dev.run("--send-all") == LEFT
    assert "replayed, and still here: " in capsys.readouterr().out
    assert dev.bodies("images") == dev.bodies("unprocessed") == [event()]


@pytest.mark.parametrize("body", ["no JSON at all", '{"detail": ', "17"])
def test_what_the_writer_gave_up_for_its_form_is_replayed_in_the_very_form(dev: Account, body: str) -> None:
    dev.give_up(body, "", "it is no event of ECR")
    dev.put("unprocessed", body)
    assert dev.run("--send-all") == DONE
    assert dev.bodies("images") == [body, body]


def test_a_failure_without_an_event_is_left_where_it_is(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    dev.put("failures", "put here by hand")
    dev.give_up(event("c"), "c", "no entry")
    assert dev.run("--send-all", "--json") == LEFT
    printed = told(capsys)["messages"]
    assert {each["body"]: each["fault"] for each in printed.values() if not each["replayed"]} == {
        "put here by hand": "not replayed: it holds no event"
    }
    assert len(printed) == 2
    assert dev.run("--send-all") == LEFT
    assert "not replayed: it holds no event" in capsys.readouterr().out
    assert (dev.bodies("failures"), dev.bodies("images")) == (["put here by hand"], [event("c")])


def test_every_track_of_a_stack_is_shown_and_each_message_goes_to_its_own(
    dev: Account, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (EXAMPLE / "Pulumi.dev.yaml").read_text(encoding="utf-8")
    (tmp_path / "Pulumi.dev.yaml").write_text(whole.replace("host: stg", "host: dev"), encoding="utf-8")
    release = account("dev", "release")
    release.make()
    dev.put("unprocessed", event("a"))
    release.put("unprocessed", event("a", track="release"))
    assert dev.run("--track", "release", "--json", root=tmp_path) == DONE
    assert [(each["track"], each["service"]) for each in told(capsys)["messages"].values()] == [("release", "a")]
    assert dev.run("--send-all", root=tmp_path) == DONE
    assert dev.bodies("images") == [event("a")]
    assert release.bodies("images") == [event("a", track="release")]


# Refusing

REFUSALS = [
    ("an unknown id", ["--send", "zzz"], "--send names 'zzz', which no message has (seen: 4 messages)", "Run it without --send"),
    ("no id", ["--send", ""], "--send names '', which no message has", "Run it without --send"),
    ("another stack", ["--stack", "qa", "--send-all"], "There is no file Pulumi.qa.yaml for the stack 'qa'", "Name one"),
    (
        "a stack without a track",
        ["--stack", "prd", "--send-all"],
        "--stack is 'prd', which hosts no track: one of dev, stg is",
        "Name the",
    ),
    (
        "another stack's track",
        ["--track", "release", "--send-all"],
        "--track is 'release': one of develop is allowed",
        "Name one",
    ),
    (
        "another stack's account",
        ["--stack", "stg", "--send-all"],
        "belong to account 111111111111",
        "Take that account's credentials",
    ),
]
CHANGES = {"DeleteMessage", "SendMessage", "Invoke"}


@pytest.mark.parametrize(
    ("arguments", "what", "fix"), [each[1:] for each in REFUSALS], ids=[each[0].replace(" ", "-") for each in REFUSALS]
)
def test_what_makes_no_sense_is_refused_before_anything_changes(
    dev: Account, arguments: Sequence[str], what: str, fix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(dev)
    before = everything(dev)
    assert dev.run(*arguments) == REFUSED
    said = capsys.readouterr()
    assert said.out == ""
    assert what in said.err
    assert fix in said.err
    assert not CHANGES & set(dev.calls)
    assert everything(dev) == before


def test_an_id_that_fits_several_is_refused_with_all_that_it_fits(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    ids = [dev.put("unprocessed", event(f"s{number}")) for number in range(17)]
    prefix = next(each for each in "0123456789abcdef" if sum(id_.startswith(each) for id_ in ids) > 1)
    fitting = sorted(id_ for id_ in ids if id_.startswith(prefix))
    assert dev.run("--send", ids[0], prefix) == REFUSED
    assert f"'{prefix}', which begins several ids: the beginning of one is allowed. Write more of it: {', '.join(fitting)}." in (
        capsys.readouterr().err
    )
    assert not CHANGES & set(dev.calls)
    assert len(dev.bodies("unprocessed")) == 17


def test_a_message_without_an_event_is_refused_when_it_is_named(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    id_ = dev.put("failures", "put here by hand")
    other = dev.put("unprocessed", event())
    assert dev.run("--send", other, id_) == REFUSED
    assert "a message of develop failures that holds no event" in capsys.readouterr().err
    assert not CHANGES & set(dev.calls)


def test_wrong_settings_are_told_line_by_line_as_the_program_tells_them(
    dev: Account, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (EXAMPLE / "Pulumi.dev.yaml").read_text(encoding="utf-8")
    wrong = whole.replace("days: 14", "days: 0").replace("host: dev", "host: dev\n      architecture: riscv")
    (tmp_path / "Pulumi.dev.yaml").write_text(wrong, encoding="utf-8")
    assert dev.run(root=tmp_path) == REFUSED
    first, second = capsys.readouterr().err.splitlines()
    assert "lifecycle.days is 0" in first
    assert "develop.architecture is 'riscv'" in second
    assert dev.calls == []


def test_queues_that_were_not_made_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with mock_aws():
        assert account("dev", "develop").run() == REFUSED
    said = capsys.readouterr().err
    assert "There is no queue slipway-develop-images in account 111111111111" in said
    assert "pulumi up --stack dev" in said


def test_what_aws_refuses_is_told_and_leaves_all_visible(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    fill(dev)
    before = everything(dev)
    with dev.on(*refuse("ReceiveMessage", 6)):
        assert dev.run("--send-all") == REFUSED
    assert "AWS says: An error occurred (AccessDenied) when calling the ReceiveMessage" in capsys.readouterr().err
    assert everything(dev) == before


def test_what_cannot_be_made_visible_at_once_is_told(dev: Account, capsys: pytest.CaptureFixture[str]) -> None:
    fill(dev)
    with dev.on(*refuse("ChangeMessageVisibilityBatch", 1)):
        assert dev.run() == DONE
    assert "Not made visible at once, but after 120 s: 2." in capsys.readouterr().err

    def fail(parsed: Any, **_: Any) -> None:  # noqa: ANN401 — botocore's event
        parsed["Failed"] = [{"Id": "0", "SenderFault": False, "Code": "InternalError"}]

    dev.put("failures", event())
    with dev.on("after-call.sqs.ChangeMessageVisibilityBatch", fail):
        assert dev.run("--queue", "failures") == DONE
    assert "Not made visible at once, but after 120 s: 1." in capsys.readouterr().err


def test_an_id_is_shown_as_long_as_tells_it_from_the_others() -> None:
    def letter(id_: str) -> Letter:
        source = Source(track="develop", queue="failures", url="u", images_url="i", most_receives="10")
        return Letter(
            source=source, id=id_, handle="h", sent_at=datetime.fromtimestamp(0, tz=UTC), receives=1, body="", attributes={}
        )

    assert Held(letters={id_: letter(id_) for id_ in ("0123456789", "0123456780", "1123456789")}).shown == {
        "0123456789": "0123456789",
        "0123456780": "0123456780",
        "1123456789": "1123456789",
    }
    assert Held(letters={id_: letter(id_) for id_ in ("0123456789", "1123456789")}).shown["0123456789"] == "01234567"
    assert Held().shown == {}


def test_no_credentials_are_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    assert main(["--stack", "dev"]) == REFUSED
    assert "There are no AWS credentials: those of stack dev's account are allowed. Log in" in capsys.readouterr().err


def test_all_and_some_at_once_are_refused(dev: Account) -> None:
    with pytest.raises(SystemExit) as caught:
        dev.run("--send-all", "--send", "abc")
    assert caught.value.code == REFUSED
    assert dev.calls == []
