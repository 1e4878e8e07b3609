"""functions/gitops_writer/reporter.py: a commit's status follows its build, whatever is late, lost, twice or refused."""

import itertools
import json
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components import naming
from functions.gitops_writer import reporter
from functions.gitops_writer.settings import SettingsError, read_reporter
from rehearsal.githost.model import Call, Fault
from rehearsal.program import evaluate
from tests.components.test_settings import changed
from tests.functions.reporting import APP, LOG, PIPELINE, SERVICE_REPOSITORY, Desk, desk

CONTEXT = "slipway/develop/shop"


@pytest.fixture
def it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Desk]:
    """The develop track's reporter."""
    with desk(tmp_path, monkeypatch) as made:
        yield made


def faults(it: Desk, *given: Fault) -> None:
    """Let GitHub answer the next statuses with faults, one each."""
    left = list(given)

    def hook(call: Call) -> Fault | None:
        return left.pop(0) if "/statuses/" in call.path and left else None

    it.host.faults = hook


def test_a_commit_is_pending_while_its_image_is_built_and_then_successful_with_a_link_to_the_log(it: Desk) -> None:
    run = it.executions.start(PIPELINE)
    it.executions.fetched(run, it.source())
    assert it.deliver(*it.ours()) == []
    place = f"https://eu-central-1.console.aws.amazon.com/codesuite/codepipeline/pipelines/{PIPELINE}/executions/{run.id}"
    url = f"{place}/timeline?region=eu-central-1"
    assert it.statuses() == {CONTEXT: {"state": "pending", "url": url, "said": "The image is being built"}}
    seen = len(it.events)
    it.executions.built(run, url=LOG)
    assert it.deliver(*it.ours(since=seen)) == []
    assert it.statuses() == {CONTEXT: {"state": "success", "url": LOG, "said": "The image was built and pushed"}}
    assert it.told() == []


def test_a_failed_build_is_a_failure_on_its_commit_and_people_are_told_once(it: Desk) -> None:
    run = it.build(error="exit status 1")
    assert it.deliver(*it.ours()) == []
    assert it.statuses() == {CONTEXT: {"state": "failure", "url": LOG, "said": "The build failed: nothing was deployed"}}
    (text,) = it.told()
    for part in ("shop", "develop", f"{SERVICE_REPOSITORY}@{it.commit}", LOG, PIPELINE, run.id, "docs/runbook.md"):
        assert part in text


def test_with_a_chat_people_are_told_in_the_form_that_a_chat_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with desk(tmp_path, monkeypatch, chat=True) as it:
        it.build(error="exit status 1")
        it.deliver(*it.ours())
        (text,) = it.told()
    told = json.loads(text)
    # https://docs.aws.amazon.com/chatbot/latest/adminguide/custom-notifs.html
    assert (told["version"], told["source"], told["content"]["textType"]) == ("1.0", "custom", "client-markdown")
    assert told["content"]["title"] == "A build of shop on track develop has failed"
    assert LOG in told["content"]["description"]


@pytest.mark.parametrize(("status", "state"), [("Stopped", "error"), ("Cancelled", "error"), ("Superseded", "error")])
def test_a_build_that_ends_otherwise_does_not_stay_pending(it: Desk, status: str, state: str) -> None:
    run = it.executions.start(PIPELINE)
    it.executions.fetched(run, it.source())
    it.executions.settle(run, status)
    assert it.deliver(*it.ours()) == []
    assert it.state() == state


def test_a_build_that_is_tried_again_is_pending_again_and_then_what_it_becomes(it: Desk) -> None:
    run = it.build(error="no space left")
    it.deliver(*it.ours())
    seen = len(it.events)
    it.executions.retry(run)
    it.deliver(*it.ours(since=seen))
    assert it.state() == "pending"
    seen = len(it.events)
    it.executions.built(run, url=LOG)
    it.deliver(*it.ours(since=seen))
    assert it.state() == "success"


def test_a_source_that_cannot_be_fetched_has_no_commit_and_people_are_told(it: Desk) -> None:
    run = it.executions.start(PIPELINE)
    it.executions.source_failed(run, "[Connections] insufficient permissions")
    assert it.deliver(*it.ours()) == []
    assert (it.statuses(), it.posts(), it.hidden()) == ({}, 0, 0)
    assert it.metric("skipped_no_commit") == 1
    (text,) = it.told()
    assert run.id in text


# Late, twice, out of order


@pytest.mark.parametrize("error", ["", "exit status 1"])
def test_in_whatever_order_and_number_events_come_the_last_state_stands(it: Desk, error: str) -> None:
    it.build(error=error)
    events = it.ours()
    for order in itertools.permutations(events):
        for event in (*order, *order):
            assert it.deliver(event) == []
            assert it.state() == ("failure" if error else "success")


def test_a_late_pending_does_not_stand_over_a_state_that_came_in_between(it: Desk) -> None:
    run = it.executions.start(PIPELINE)
    it.executions.fetched(run, it.source())
    late = it.ours()

    def end_meanwhile(call: Call) -> Fault | None:
        # The build ends, and another invocation reports it, between this one's look and its post.
        if "/statuses/" in call.path and run.status == "InProgress":
            it.executions.built(run, url=LOG)
        return None

    it.host.faults = end_meanwhile
    assert it.deliver(*late) == []
    assert it.state() == "success"
    assert [line["state"] for line in it.lines("reported")] == ["pending", "success"]


def test_an_older_run_of_the_same_commit_does_not_stand_over_a_newer_one(it: Desk) -> None:
    it.build(error="no space left")
    failed = it.ours()
    seen = len(it.events)
    it.build()
    assert it.deliver(*it.ours(since=seen)) == []
    assert it.deliver(*failed) == []
    assert it.state() == "success"
    assert it.metric("skipped_repeated") == 1


def test_a_newer_run_of_another_commit_leaves_the_older_one_its_state(it: Desk) -> None:
    it.build(error="exit status 1")
    other = it.host.put_files(SERVICE_REPOSITORY, "develop", {"a": b"b"}, "Mend")
    run = it.executions.start(PIPELINE)
    it.executions.fetched(run, it.source(other))
    it.executions.built(run, url=LOG)
    assert it.deliver(*it.ours()) == []
    assert it.state() == "failure"
    assert it.statuses(other)[CONTEXT]["state"] == "success"


def test_events_of_one_run_in_one_batch_are_one_status(it: Desk) -> None:
    it.build()
    it.deliver(*it.ours(), *it.ours())
    assert it.posts() == 1


def test_a_history_that_lags_behind_its_event_is_asked_again(it: Desk) -> None:
    run = it.executions.start(PIPELINE)
    it.executions.fetched(run, it.source())
    event = it.ours()
    whole, run.actions = run.actions, []
    assert len(it.deliver(*event)) == 1
    assert (it.statuses(), it.hidden()) == ({}, 1)
    run.actions = whole
    it.world.now += 3600
    assert len(it.lines("back to the queue")) == 1


# What is none of ours


@pytest.mark.parametrize(
    "pipeline", ["payments", "slipway-develop-shop", naming.pipeline("release", "shop"), naming.pipeline("b-develop", "shop")]
)
def test_another_track_s_or_team_s_run_is_left_alone(it: Desk, pipeline: str) -> None:
    run = it.executions.start(pipeline)
    it.executions.fetched(run, it.source())
    it.executions.built(run, url=LOG, error="exit status 1")
    assert it.deliver(*it.ours()) == []
    assert (it.statuses(), it.told(), it.failures()) == ({}, [], [])
    assert it.metric("skipped_foreign") == 3


def test_a_pipeline_that_is_gone_is_no_error(it: Desk) -> None:
    it.build()
    events = it.ours()
    gone = naming.pipeline("develop", "gone")
    assert it.deliver(*({**each, "detail": {**each["detail"], "pipeline": gone}} for each in events[:1])) == []
    assert it.metric("skipped_gone") == 1


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("{", "no JSON"),
        ("[]", "no `detail`"),
        ('{"detail": 1}', "no `detail`"),
        ("[" * 100_000, "no JSON"),
        (
            json.dumps(
                {
                    "detail-type": "CodePipeline Pipeline Execution State Change",
                    "detail": {"pipeline": PIPELINE, "execution-id": "x"},
                }
            ),
            "the id of a run",
        ),
    ],
)
def test_what_is_no_event_is_given_up_with_its_reason_and_the_rest_is_done(it: Desk, message: str, said: str) -> None:
    it.build()
    assert it.deliver(message, *it.ours()) == []
    (kept,) = it.failures()
    assert said in kept["reason"]
    assert it.state() == "success"


# GitHub and AWS in trouble


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=502),
        Fault(drop=True),
        Fault(status=504, after=True),
        Fault(status=403, headers={"Retry-After": "30"}, body=b'{"message": "secondary rate limit"}'),
        Fault(status=429),
    ],
)
def test_trouble_of_github_sends_the_event_back_and_the_next_try_reports(it: Desk, fault: Fault) -> None:
    it.build()
    faults(it, fault)
    events = it.ours()
    assert len(it.deliver(*events)) == len(events)
    assert it.hidden() == len(events)
    assert it.lines("back to the queue")
    it.host.faults = None
    it.world.now += 3600
    it.reporter.pace.hold(float("-inf"))
    assert it.deliver(events[-1]) == []
    assert it.state() == "success"


def test_a_refused_token_is_replaced(it: Desk) -> None:
    it.build()
    faults(it, Fault(status=401, body=b'{"message": "Bad credentials"}'))
    assert it.deliver(*it.ours()) == []
    assert it.state() == "success"


def test_while_github_wants_to_be_left_alone_it_is(it: Desk) -> None:
    it.build()
    faults(it, Fault(status=403, headers={"Retry-After": "600"}, body=b'{"message": "secondary rate limit"}'))
    it.deliver(it.ours()[0])
    posts = it.posts()
    assert len(it.deliver(it.ours()[-1])) == 1
    assert it.posts() == posts


def test_an_app_that_is_not_installed_on_the_repository_is_that_service_s_fault_alone(it: Desk) -> None:
    other = naming.pipeline("develop", "other")
    run = it.executions.start(other)
    source = it.source()
    it.executions.fetched(run, replace(source, variables={**source.variables, "FullRepositoryName": "example-org/gitops"}))
    it.build()
    assert it.deliver(*it.ours()) == []
    (kept,) = it.failures()
    assert kept["service"] == "other"
    assert f"App {APP} must be installed" in kept["reason"]
    assert kept["event"]["detail"]["pipeline"] == other
    assert it.state() == "success"


def test_a_key_that_github_does_not_take_waits_for_a_person_and_fails_no_event(it: Desk) -> None:
    it.build()
    from tests.functions.kit import aws  # noqa: PLC0415 — moto must be on

    aws("secretsmanager").put_secret_value(SecretId="key", SecretString="no key")
    events = it.ours()
    assert len(it.deliver(*events)) == len(events)
    assert (it.failures(), it.hidden()) == ([], len(events))
    assert it.lines("GitHub refuses this reporter")
    assert it.metric("refused") == 1


@pytest.mark.parametrize("operation", ["ListActionExecutions", "ListPipelineExecutions", "GetPipelineExecution", "Publish"])
def test_trouble_of_aws_sends_the_event_back_without_a_word_of_the_request(it: Desk, operation: str) -> None:
    it.build(error="exit status 1")
    it.refusals[operation] = ["AccessDeniedException"]
    events = it.ours()
    assert len(it.deliver(*events)) == len(events)
    assert it.hidden() == len(events)
    assert "AccessDenied" in it.lines("back to the queue")[0]["detail"]


def test_what_cannot_be_given_up_stays(it: Desk) -> None:
    it.refusals["SendMessage"] = ["AccessDenied"]
    sent = it.deliver("{")
    assert len(sent) == 1
    assert it.lines("not given up: no room in the failure queue")


def test_a_queue_that_does_not_put_back_harms_nothing(it: Desk) -> None:
    it.build()
    it.refusals["ChangeMessageVisibilityBatch"] = ["AccessDenied"]
    it.refusals["GetPipelineExecution"] = ["AccessDeniedException"]
    events = it.ours()
    assert len(it.deliver(*events)) == len(events)
    assert it.lines("not put back: seen again after the visibility timeout")


def test_no_status_is_begun_without_time_for_it(it: Desk) -> None:
    it.build()
    assert len(it.deliver(it.ours()[-1], remaining=1.0)) == 1
    assert it.posts() == 0


def test_many_builds_at_once_stay_within_what_github_allows(it: Desk) -> None:
    for number in range(12):
        name = naming.pipeline("develop", f"shop-{number}")
        run = it.executions.start(name)
        it.executions.fetched(run, it.source())
    it.deliver(*it.ours()[:10])
    # Two at once, then one every one and a half seconds (functions/gitops_writer/pace.py).
    assert it.posts() == 10
    assert sum(it.slept) >= 8 * 1.5 - 0.001


# Lambda's entry


class Context:
    """What of Lambda's context is used."""

    def get_remaining_time_in_millis(self) -> int:
        """Plenty."""
        return 100_000


def test_lambda_gets_what_it_must_retry(it: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    made: Any = lambda: it.reporter  # noqa: E731 — a stand-in
    monkeypatch.setattr(reporter, "_reporter", made)
    record = {"messageId": "1", "receiptHandle": "h", "body": json.dumps({"detail-type": "other", "detail": {}})}
    assert reporter.handler({"Records": [record]}, Context()) == {"batchItemFailures": []}
    (blob,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    assert (blob["service"], blob["skipped_foreign"]) == ("slipway-develop-build-reporter", [1.0])


def test_a_variable_that_is_missing_is_told_with_the_component_that_declares_it() -> None:
    with pytest.raises(SettingsError, match=r"(?s)SLIPWAY_TRACK is missing.*AWS_REGION is missing.*components/build_reports\.py"):
        read_reporter({})


def test_the_declared_function_can_be_configured_so() -> None:
    config = changed("slipway:builds", "reporter", {"appId": 7, "installationId": 70})
    function = evaluate("dev", config=config).one("lambda/function:Function", "develop-reporter").inputs
    variables: dict[str, str] = function["environment"]["variables"]
    settings = read_reporter({**variables, "AWS_REGION": "eu-central-1"})
    assert (settings.track, settings.app_id, settings.key_secret) == ("develop", "7", naming.reporter_key_secret())
    module, _, name = function["handler"].removeprefix("gitops_writer.").partition(".")
    assert (module, name) == (reporter.__name__.rpartition(".")[2], "handler")
    with pytest.raises(SettingsError, match="SLIPWAY_CHAT is 'maybe'"):
        read_reporter({**variables, "AWS_REGION": "eu-central-1", "SLIPWAY_CHAT": "maybe"})
