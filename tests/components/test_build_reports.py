"""components/build_reports.py: a failed build is seen, by whom, and what the reporter may do."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, cast

import pytest

from components import naming
from components.build_reports import HANDLER
from components.image_hook import RUNTIME
from rehearsal.cloud.policy import may_send
from rehearsal.program import Program, evaluate
from rehearsal.registry.policy import Request, Service, judge
from tests.components.kit import awaited, identity, may
from tests.components.test_settings import changed

# Stack, its account, the track that it hosts.
HOSTS: Final = [("dev", "111111111111", "develop"), ("stg", "222222222222", "release")]
RUN: Final = "11111111-2222-3333-4444-555555555555"
REPORTER: Final = {"appId": 7, "installationId": 70}


@pytest.fixture(scope="module")
def reporting() -> Mapping[str, Program]:
    """Both hosts with an App that reports builds."""
    return {stack: evaluate(stack, config=changed("slipway:builds", "reporter", REPORTER, stack)) for stack in ("dev", "stg")}


def event(pipeline: str, state: str, *, kind: str = "Pipeline", **more: Any) -> dict[str, Any]:  # noqa: ANN401 — any part of the event
    """CodePipeline's event.

    https://docs.aws.amazon.com/codepipeline/latest/userguide/detect-state-changes-cloudwatch-events.html
    """
    detail = {"pipeline": pipeline, "execution-id": RUN, "state": state, "version": 1.0}
    return {"source": "aws.codepipeline", "detail-type": f"CodePipeline {kind} Execution State Change", "detail": detail} | more


def matches(pattern: Mapping[str, Any], told: Mapping[str, Any]) -> bool:
    """Whether an event matches a pattern of plain values and of `wildcard`, as EventBridge matches it."""

    def one(wanted: Any, value: Any) -> bool:  # noqa: ANN401 — JSON
        if isinstance(wanted, dict):
            wild = str(cast("dict[str, str]", wanted)["wildcard"])
            return re.fullmatch(".*".join(map(re.escape, wild.split("*"))), value) is not None
        return bool(wanted == value)

    return all(
        matches(cast("dict[str, Any]", wanted), told.get(key, {}))
        if isinstance(wanted, dict)
        else key in told and any(one(each, told[key]) for each in wanted)
        for key, wanted in pattern.items()
    )


def pattern_of(program: Program, purpose: str) -> dict[str, Any]:
    text = str(program.one("cloudwatch/eventRule:EventRule", f"builds-{purpose}").inputs["eventPattern"])
    # https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html#API_PutRule_RequestSyntax
    assert len(text) <= 2048
    return json.loads(text)


@pytest.mark.parametrize(("stack", "account", "track"), HOSTS)
def test_a_failed_build_of_the_track_raises_its_alarm_and_no_other_event_does(
    stack: str, account: str, track: str, programs: Mapping[str, Program]
) -> None:
    program = programs[stack]
    pattern = pattern_of(program, "failed")
    for pipeline in program.of("codepipeline/pipeline:Pipeline"):
        name = pipeline.inputs["name"]
        assert matches(pattern, event(name, "FAILED"))
        for state in ("STARTED", "SUCCEEDED", "STOPPED", "SUPERSEDED"):
            assert not matches(pattern, event(name, state))
        assert not matches(pattern, event(name, "FAILED", kind="Action"))
        assert not matches(pattern, event(name, "FAILED", source="ours"))
    alarm = program.one("cloudwatch/metricAlarm:MetricAlarm", f"{track}-builds").inputs
    rule = program.one("cloudwatch/eventRule:EventRule", "builds-failed").inputs["name"]
    assert (alarm["namespace"], alarm["metricName"], alarm["dimensions"]) == ("AWS/Events", "TriggeredRules", {"RuleName": rule})
    assert (alarm["statistic"], alarm["comparisonOperator"], alarm["threshold"]) == ("Sum", "GreaterThanThreshold", 0)
    assert (alarm["evaluationPeriods"], alarm["treatMissingData"]) == (1, "notBreaching")
    topic = f"arn:aws:sns:eu-central-1:{account}:slipway-{track}-alarms"
    # Its end is no news: a quarter of an hour without a build repairs nothing.
    assert (alarm["alarmActions"], alarm.get("okActions")) == ([topic], None)
    assert "codesuite/codepipeline/pipelines" in alarm["alarmDescription"]
    assert "docs/runbook.md" in alarm["alarmDescription"]


@pytest.mark.parametrize(("one", "other"), [("a", "b-a"), ("a", "a-b"), ("a", "a-a"), ("develop", "release")])
def test_the_events_of_another_track_or_team_are_not_this_track_s(one: str, other: str, programs: Mapping[str, Program]) -> None:
    for purpose in ("failed",):
        text = json.dumps(pattern_of(programs["dev"], purpose))
        pattern = json.loads(text.replace(naming.pipelines("develop"), naming.pipelines(one)))
        for service in ("shop", "a", "a-a", "b-a"):
            assert matches(pattern, event(naming.pipeline(one, service), "FAILED"))
            assert not matches(pattern, event(naming.pipeline(other, service), "FAILED"))
        for foreign in (f"payments-{one}-shop", f"slipway-{one}-shop", f"team-{naming.pipeline(one, 'shop')}", f"{one}.shop"):
            assert not matches(pattern, event(foreign, "FAILED"))


def test_eventbridge_may_not_write_to_the_topic(programs: Mapping[str, Program]) -> None:
    # It states no source to a topic's policy: whoever let it in would let in every rule of every account.
    # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html#eb-sns-permissions
    for stack, account, track in HOSTS:
        topic = programs[stack].one("sns/topic:Topic", track).outputs["arn"]
        request = Request(
            caller=Service(name="events.amazonaws.com"),
            action="sns:Publish",
            resource=topic,
            context={"aws:SourceArn": None, "aws:SourceAccount": account, "aws:SecureTransport": "true"},
        )
        assert not judge(request, resource_policy=programs[stack].one("sns/topicPolicy:TopicPolicy", track).inputs["policy"])
        assert all(each.inputs["arn"] != topic for each in programs[stack].of("cloudwatch/eventTarget:EventTarget"))


@pytest.mark.parametrize(("stack", "account", "track"), HOSTS)
def test_without_an_app_nothing_reports(stack: str, account: str, track: str, programs: Mapping[str, Program]) -> None:
    del account
    program = programs[stack]
    assert [each.name for each in program.of("lambda/function:Function")] == [track]
    assert naming.queue(track, "builds") not in {each.inputs["name"] for each in program.of("sqs/queue:Queue")}
    rules = {each.inputs["name"] for each in program.of("cloudwatch/eventRule:EventRule")}
    assert naming.build_rule(track, "changed") not in rules


@pytest.mark.parametrize(("stack", "account", "track"), HOSTS)
def test_the_reporter_hears_of_every_build_that_has_found_its_commit_or_has_ended(
    stack: str, account: str, track: str, reporting: Mapping[str, Program]
) -> None:
    program = reporting[stack]
    pattern = pattern_of(program, "changed")
    name = naming.pipeline(track, "storefront")
    for state in ("SUCCEEDED", "FAILED", "STOPPED", "CANCELED", "SUPERSEDED", "RESUMED"):
        assert matches(pattern, event(name, state))
    assert matches(pattern, event(name, "SUCCEEDED", kind="Action"))
    assert not matches(pattern, event(name, "SUCCEEDED", kind="Stage"))
    assert not matches(pattern, event(naming.pipeline(f"b-{track}", "storefront"), "SUCCEEDED"))
    target = program.one("cloudwatch/eventTarget:EventTarget", "builds-changed").inputs
    queue = program.one("sqs/queue:Queue", f"{track}-builds")
    undelivered = program.one("sqs/queue:Queue", f"{track}-undelivered")
    assert target["arn"] == queue.outputs["arn"]
    assert target["deadLetterConfig"] == {"arn": undelivered.outputs["arn"]}
    assert target["retryPolicy"] == {"maximumEventAgeInSeconds": 86_400, "maximumRetryAttempts": 185}
    rules = f"arn:aws:events:eu-central-1:{account}:rule"
    own = f"{rules}/{naming.build_rule(track, 'changed')}"
    for declared in (queue, undelivered):
        policy = program.one("sqs/queuePolicy:QueuePolicy", declared.name).inputs["policy"]
        assert may_send(policy, own, declared.outputs["arn"])
        assert not may_send(policy, own.replace(account, "999999999999"), declared.outputs["arn"])
        assert not may_send(policy, f"{rules}/{naming.build_rule('other', 'changed')}", declared.outputs["arn"])
    builds = program.one("sqs/queuePolicy:QueuePolicy", queue.name).inputs["policy"]
    assert not may_send(builds, f"{rules}/{naming.image_rule(track, 'builds-changed')}", queue.outputs["arn"])


@pytest.mark.parametrize(("stack", "account", "track"), HOSTS)
def test_what_cannot_be_reported_ends_where_the_track_s_other_failures_do(
    stack: str, account: str, track: str, reporting: Mapping[str, Program]
) -> None:
    del account
    program = reporting[stack]
    queue = program.one("sqs/queue:Queue", f"{track}-builds").inputs
    unprocessed = program.one("sqs/queue:Queue", f"{track}-unprocessed")
    function = program.one("lambda/function:Function", f"{track}-reporter").inputs
    assert json.loads(queue["redrivePolicy"]) == {"deadLetterTargetArn": unprocessed.outputs["arn"], "maxReceiveCount": 12}
    assert queue["visibilityTimeoutSeconds"] >= 6 * function["timeout"]
    assert queue["sqsManagedSseEnabled"] is True
    assert queue["messageRetentionSeconds"] == 14 * 24 * 3600
    mapping = program.one("lambda/eventSourceMapping:EventSourceMapping", f"{track}-reporter").inputs
    assert mapping["functionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["scalingConfig"] == {"maximumConcurrency": 2}
    errors = program.one("cloudwatch/metricAlarm:MetricAlarm", f"{track}-reporter-errors").inputs
    assert errors["dimensions"] == {"FunctionName": naming.reporter(track)}
    assert errors["alarmActions"]
    variables = function["environment"]["variables"]
    assert variables["SLIPWAY_FAILURE_QUEUE_URL"] == program.one("sqs/queue:Queue", f"{track}-failures").outputs["url"]


@pytest.mark.parametrize(("stack", "account", "track"), HOSTS)
def test_the_reporter_reads_its_track_s_runs_and_one_key_and_tells_one_topic(
    stack: str, account: str, track: str, reporting: Mapping[str, Program]
) -> None:
    program = reporting[stack]
    reporter = identity(program, f"{track}-reporter", account)
    pipelines = f"arn:aws:codepipeline:eu-central-1:{account}"
    for each in ("GetPipelineExecution", "ListActionExecutions", "ListPipelineExecutions"):
        assert may(reporter, f"codepipeline:{each}", f"{pipelines}:{naming.pipeline(track, 'storefront')}")
        assert not may(reporter, f"codepipeline:{each}", f"{pipelines}:{naming.pipeline(f'b-{track}', 'storefront')}")
        assert not may(reporter, f"codepipeline:{each}", f"{pipelines}:payments-{track}-shop")
    for each in ("StartPipelineExecution", "StopPipelineExecution", "UpdatePipeline", "GetPipeline"):
        assert not may(reporter, f"codepipeline:{each}", f"{pipelines}:{naming.pipeline(track, 'storefront')}")
    keys = f"arn:aws:secretsmanager:eu-central-1:{account}:secret:slipway/github-app"
    assert may(reporter, "secretsmanager:GetSecretValue", f"{keys}/builds/reporter-AbCdEf")
    for other in (track, "promoter", "builds/reporter-2", "builds"):
        assert not may(reporter, "secretsmanager:GetSecretValue", f"{keys}/{other}-AbCdEf")
    writer = identity(program, f"{track}-writer", account)
    assert not may(writer, "secretsmanager:GetSecretValue", f"{keys}/builds/reporter-AbCdEf")
    queues = f"arn:aws:sqs:eu-central-1:{account}:slipway-{track}"
    assert may(reporter, "sqs:ReceiveMessage", f"{queues}-builds")
    assert may(reporter, "sqs:SendMessage", f"{queues}-failures")
    assert not may(reporter, "sqs:ReceiveMessage", f"{queues}-images")
    assert not may(reporter, "sqs:SendMessage", f"{queues}-images")
    assert may(reporter, "sns:Publish", f"arn:aws:sns:eu-central-1:{account}:slipway-{track}-alarms")
    assert not may(reporter, "sns:Publish", f"arn:aws:sns:eu-central-1:{account}:payments")
    for each in ("ecr:PutImage", "ecr:DescribeImages"):
        assert not may(reporter, each, f"arn:aws:ecr:eu-central-1:{account}:repository/{track}/storefront")


@pytest.mark.parametrize(("stack", "account", "track"), HOSTS)
def test_the_reporter_comes_from_the_writer_s_archive_and_is_told_its_app(
    stack: str, account: str, track: str, reporting: Mapping[str, Program]
) -> None:
    program = reporting[stack]
    function = program.one("lambda/function:Function", f"{track}-reporter")
    writer = next(each for each in program.of("lambda/function:Function") if each.name == track)
    assert function.inputs["code"] == writer.inputs["code"]
    assert (function.inputs["runtime"], function.inputs["handler"]) == (RUNTIME, HANDLER)
    variables = function.inputs["environment"]["variables"]
    assert (variables["SLIPWAY_GITHUB_APP_ID"], variables["SLIPWAY_GITHUB_INSTALLATION_ID"]) == ("7", "70")
    assert variables["SLIPWAY_GITHUB_KEY_SECRET"] == "slipway/github-app/builds/reporter"
    assert variables["SLIPWAY_TOPIC_ARN"] == f"arn:aws:sns:eu-central-1:{account}:slipway-{track}-alarms"
    assert variables["SLIPWAY_CHAT"] == "false"
    target = program.one("cloudwatch/eventTarget:EventTarget", "builds-changed")
    before = awaited(program, target)
    assert program.one("sqs/queuePolicy:QueuePolicy", f"{track}-builds").urn in before
    assert program.one("lambda/eventSourceMapping:EventSourceMapping", f"{track}-reporter").urn in before


def test_with_a_chat_the_reporter_writes_what_the_chat_shows() -> None:
    slack = {"slack": {"workspaceId": "T012ABCDE", "channelId": "C012ABCDE"}}
    config = {**changed("slipway:builds", "reporter", REPORTER), "slipway:alarms": slack}
    variables = evaluate("dev", config=config).one("lambda/function:Function", "develop-reporter").inputs["environment"]
    assert variables["variables"]["SLIPWAY_CHAT"] == "true"
