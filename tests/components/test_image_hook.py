"""components/image_hook.py: an image that was pushed reaches the writer, and what does not reach it is kept and rings."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components import naming
from components.image_hook import ARCHIVES, ArchiveMissingError, archive
from rehearsal.cloud.policy import may_assume, may_send
from rehearsal.program import Declared, Program, ProgramError, evaluate, stack_config
from rehearsal.registry.policy import Identity, Request, judge
from tests.components.kit import awaited, identity, may

# Stack, its account, the track it hosts, the GitOps branch that its writer commits to.
HOSTS = [("dev", "111111111111", "develop", "dev"), ("stg", "222222222222", "release", "stg")]
SERVICE = st.from_regex(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True)
FOURTEEN_DAYS = 14 * 24 * 3600


def queue_of(program: Program, purpose: str) -> Declared:
    (found,) = (each for each in program.of("sqs/queue:Queue") if each.inputs["name"].endswith(f"-{purpose}"))
    return found


def policy_of(program: Program, purpose: str) -> str:
    queue = queue_of(program, purpose)
    (found,) = (each for each in program.of("QueuePolicy") if each.inputs["queueUrl"] == queue.outputs["url"])
    return found.inputs["policy"]


def rule_arn(account: str, name: str) -> str:
    return f"arn:aws:events:eu-central-1:{account}:rule/{name}"


# What ECR tells: https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html
def pushed(repository: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 — any part of the event
    detail = {
        "result": "SUCCESS",
        "repository-name": repository,
        "image-digest": "sha256:7f5b2640fe6fb4f46592dfd3410c4a79dac4f89e4782432e0378abcd1234",
        "action-type": "PUSH",
        "image-tag": "20260102T030405Z-0123456789ab",
    }
    return {
        "source": changes.pop("source", "aws.ecr"),
        "detail-type": changes.pop("detail_type", "ECR Image Action"),
        "detail": {**detail, **changes},
    }


def matches(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    """EventBridge's matching of exact values: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html."""
    return (
        all(
            matches(cast("Mapping[str, Any]", wanted), event[key]) if isinstance(wanted, dict) else event[key] in wanted
            for key, wanted in pattern.items()
            if key in event
        )
        and pattern.keys() <= event.keys()
    )


@pytest.mark.parametrize(("stack", "account", "track", "branch"), HOSTS)
def test_a_service_s_rule_hears_of_its_own_images_and_of_nothing_else(
    stack: str, account: str, track: str, branch: str, programs: Mapping[str, Program]
) -> None:
    del account, branch
    for service in ("storefront", "invoices"):
        rule = programs[stack].one("cloudwatch/eventRule:EventRule", service)
        pattern = json.loads(rule.inputs["eventPattern"])
        repository = programs[stack].one("ecr/repository:Repository", service).inputs["name"]
        assert pattern["detail"]["repository-name"] == [repository] == [f"{track}/{service}"]
        assert matches(pattern, pushed(repository))
        assert not matches(pattern, pushed(f"{track}/other"))
        assert not matches(pattern, pushed(service))
        assert not matches(pattern, pushed(repository, **{"action-type": "DELETE"}))
        assert not matches(pattern, pushed(repository, result="FAILURE"))
        assert not matches(pattern, pushed(repository, source="aws.s3"))
        assert not matches(pattern, pushed(repository, detail_type="ECR Replication Action"))
        assert "state" not in rule.inputs or rule.inputs["state"] == "ENABLED"


@pytest.mark.parametrize(("stack", "account", "track", "branch"), HOSTS)
def test_a_rule_sends_to_the_track_s_queue_and_keeps_for_later_what_it_could_not_deliver(
    stack: str, account: str, track: str, branch: str, programs: Mapping[str, Program]
) -> None:
    del account, track, branch
    program = programs[stack]
    for service in ("storefront", "invoices"):
        target = program.one("cloudwatch/eventTarget:EventTarget", service).inputs
        assert target["rule"] == program.one("cloudwatch/eventRule:EventRule", service).inputs["name"]
        assert target["arn"] == queue_of(program, "images").outputs["arn"]
        assert target["deadLetterConfig"] == {"arn": queue_of(program, "undelivered").outputs["arn"]}
        assert target["retryPolicy"] == {"maximumEventAgeInSeconds": 86_400, "maximumRetryAttempts": 185}


@pytest.mark.parametrize("purpose", ["images", "undelivered"])
@pytest.mark.parametrize(("stack", "account", "track", "branch"), HOSTS)
def test_the_queue_admits_every_rule_of_its_track_and_account_and_no_other(  # noqa: PLR0913, PLR0917 — one case's parts
    stack: str, account: str, track: str, branch: str, purpose: str, programs: Mapping[str, Program]
) -> None:
    del branch
    program = programs[stack]
    queue, policy = queue_of(program, purpose), policy_of(program, purpose)
    for rule in program.of("cloudwatch/eventRule:EventRule"):
        # What becomes of builds is for another queue (tests/components/test_build_reports.py).
        admitted = purpose == "undelivered" or ".builds-" not in rule.inputs["name"]
        assert bool(may_send(policy, rule.outputs["arn"], queue.outputs["arn"])) == admitted
    other = "release" if track == "develop" else "develop"
    for foreign in (
        rule_arn(account, f"slipway-{other}-storefront"),
        rule_arn("999999999999", f"slipway-{track}-storefront"),
        rule_arn(account, "somebody-else-s-rule"),
        rule_arn(account, "slipway-storefront"),
    ):
        assert not may_send(policy, foreign, queue.outputs["arn"])


@given(SERVICE)
@settings(max_examples=50, deadline=None)
def test_the_queue_admits_the_rule_of_every_service_that_can_be_declared(programs: Mapping[str, Program], service: str) -> None:
    program = programs["stg"]
    queue, policy = queue_of(program, "images"), policy_of(program, "images")
    assert may_send(policy, rule_arn("222222222222", naming.image_rule("release", service)), queue.outputs["arn"])


@pytest.mark.parametrize("purpose", ["images", "undelivered", "unprocessed", "failures"])
@pytest.mark.parametrize(("stack", "account", "track", "branch"), HOSTS)
def test_every_queue_is_reached_over_tls_only_and_not_by_strangers(  # noqa: PLR0913, PLR0917 — one case's parts
    stack: str, account: str, track: str, branch: str, purpose: str, programs: Mapping[str, Program]
) -> None:
    del track, branch
    queue, policy = queue_of(programs[stack], purpose), policy_of(programs[stack], purpose)
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}]}

    def allowed(action: str, owner: str, tls: str) -> bool:
        caller = Identity(account=owner, principal_arn=f"arn:aws:iam::{owner}:role/x", policies=[everything])
        context = {"aws:SecureTransport": tls, "aws:SourceArn": None, "aws:SourceAccount": None}
        request = Request(caller=caller, action=action, resource=queue.outputs["arn"], context=context)
        return bool(judge(request, resource_policy=policy))

    moving = ("sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:PurgeQueue")
    for action in (*moving, "sqs:GetQueueAttributes", "sqs:SetQueueAttributes"):
        assert allowed(action, account, "true")
        assert not allowed(action, account, "false")
        assert not allowed(action, "999999999999", "true")


@pytest.mark.parametrize(("stack", "account", "track", "branch"), HOSTS)
def test_a_queue_s_policy_does_not_grow_with_the_services(
    stack: str, account: str, track: str, branch: str, programs: Mapping[str, Program]
) -> None:
    del account, track, branch
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-policies.html
    for policy in programs[stack].of("QueuePolicy"):
        assert len(policy.inputs["policy"]) < 8192
        assert "storefront" not in policy.inputs["policy"]


@pytest.mark.parametrize("stack", ["dev", "stg"])
def test_queues_encrypt_keep_for_a_fortnight_and_pass_on_what_fails_again_and_again(
    stack: str, programs: Mapping[str, Program]
) -> None:
    program = programs[stack]
    for purpose in ("images", "undelivered", "unprocessed", "failures"):
        inputs = queue_of(program, purpose).inputs
        assert inputs["messageRetentionSeconds"] == FOURTEEN_DAYS
        assert inputs["sqsManagedSseEnabled"] is True
        # A rule's dead letters must go to a standard queue, and the writer's batches come from one.
        assert "fifoQueue" not in inputs
    images = queue_of(program, "images").inputs
    redrive = json.loads(images["redrivePolicy"])
    assert redrive["deadLetterTargetArn"] == queue_of(program, "unprocessed").outputs["arn"]
    # The function puts back what it cannot commit yet, for 20 s doubling to 15 min: an hour without GitHub is outlasted.
    assert sum(min(20 * 2**tries, 900) for tries in range(redrive["maxReceiveCount"] - 1)) > 3600
    function = program.one("lambda/function:Function").inputs
    # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
    assert images["visibilityTimeoutSeconds"] >= 6 * function["timeout"]


@pytest.mark.parametrize("stack", ["dev", "stg"])
def test_the_writer_takes_events_at_once_two_at_a_time_and_returns_only_those_that_failed(
    stack: str, programs: Mapping[str, Program]
) -> None:
    program = programs[stack]
    mapping = program.one("lambda/eventSourceMapping:EventSourceMapping").inputs
    assert mapping["eventSourceArn"] == queue_of(program, "images").outputs["arn"]
    assert mapping["functionName"] == program.one("lambda/function:Function").outputs["arn"]
    assert mapping["functionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["scalingConfig"] == {"maximumConcurrency": 2}
    assert mapping["maximumBatchingWindowInSeconds"] == 0
    assert mapping["batchSize"] == 10


@pytest.mark.parametrize(("stack", "account", "track", "branch"), HOSTS)
def test_the_writer_is_told_its_track_its_branch_and_where_its_key_lies(
    stack: str, account: str, track: str, branch: str, programs: Mapping[str, Program]
) -> None:
    del account
    program = programs[stack]
    function = program.one("lambda/function:Function").inputs
    told = function["environment"]["variables"]
    develop = track == "develop"
    expected = {
        "SLIPWAY_TRACK": track,
        "SLIPWAY_BRANCH": branch,
        "SLIPWAY_IMAGE_FILE": (
            "apps/{service}/overlays/dev/image/kustomization.yaml" if develop else "apps/{service}/base/image/kustomization.yaml"
        ),
        "SLIPWAY_REPOSITORY_PREFIX": f"{track}/",
        "SLIPWAY_GITOPS_REPOSITORY": "example-org/gitops",
        "SLIPWAY_GITHUB_APP_ID": "1100001" if develop else "1100002",
        "SLIPWAY_GITHUB_INSTALLATION_ID": "51000001" if develop else "51000002",
        "SLIPWAY_GITHUB_KEY_SECRET": f"slipway/github-app/{track}",
        "SLIPWAY_QUEUE_URL": queue_of(program, "images").outputs["url"],
        "SLIPWAY_FAILURE_QUEUE_URL": queue_of(program, "failures").outputs["url"],
        "SLIPWAY_CATALOGUE_PATH": f"/slipway/{track}/services/",
        "SLIPWAY_SCAFFOLD": "true" if develop else "false",
    }
    assert {key: told[key] for key in expected} == expected
    environments = {"dev": "dev"} if develop else {"stg": "stg", "prd": "master"}
    assert json.loads(told["SLIPWAY_ENVIRONMENTS"]) == environments


@pytest.mark.parametrize(("stack", "account", "track", "branch"), HOSTS)
def test_the_writer_takes_its_own_queue_marks_its_own_track_and_reads_one_key(
    stack: str, account: str, track: str, branch: str, programs: Mapping[str, Program]
) -> None:
    del branch
    program = programs[stack]
    writer = identity(program, f"{track}-writer", account)
    region = f"eu-central-1:{account}"
    queue, failures, undelivered = (
        queue_of(program, purpose).outputs["arn"] for purpose in ("images", "failures", "undelivered")
    )
    for action in ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"):
        assert may(writer, action, queue)
        assert not may(writer, action, failures)
    assert may(writer, "sqs:SendMessage", failures)
    assert not may(writer, "sqs:SendMessage", queue)
    assert not may(writer, "sqs:SendMessage", undelivered)
    for action in ("ecr:DescribeImages", "ecr:BatchGetImage", "ecr:PutImage"):
        assert may(writer, action, f"arn:aws:ecr:{region}:repository/{track}/storefront")
        assert not may(writer, action, f"arn:aws:ecr:{region}:repository/other/storefront")
    for action in ("ecr:BatchDeleteImage", "ecr:DeleteRepository", "ecr:PutLifecyclePolicy", "ecr:InitiateLayerUpload"):
        assert not may(writer, action, f"arn:aws:ecr:{region}:repository/{track}/storefront")
    secret = f"arn:aws:secretsmanager:{region}:secret:slipway"
    assert may(writer, "secretsmanager:GetSecretValue", f"{secret}/github-app/{track}-AbC123")
    for other in (f"{secret}/github-app/{track}-other-AbC123", f"{secret}/argocd/reader-AbC123", f"{secret}/github-app/x-AbC123"):
        assert not may(writer, "secretsmanager:GetSecretValue", other)
    assert not may(writer, "secretsmanager:PutSecretValue", f"{secret}/github-app/{track}-AbC123")
    # https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-access.html: by path means the path itself
    assert may(writer, "ssm:GetParametersByPath", f"arn:aws:ssm:{region}:parameter/slipway/{track}/services")
    assert may(writer, "ssm:GetParametersByPath", f"arn:aws:ssm:{region}:parameter/slipway/{track}/services/storefront")
    assert not may(writer, "ssm:GetParametersByPath", f"arn:aws:ssm:{region}:parameter/slipway/other/services")
    assert not may(writer, "ssm:PutParameter", f"arn:aws:ssm:{region}:parameter/slipway/{track}/services/storefront")
    own_log = f"arn:aws:logs:{region}:log-group:/aws/lambda/slipway-{track}-gitops-writer:log"
    assert may(writer, "logs:PutLogEvents", own_log)
    assert not may(writer, "logs:PutLogEvents", own_log.replace("gitops-writer", "other"))
    role = program.one("iam/role:Role", f"{track}-writer")
    function = f"arn:aws:lambda:{region}:function:slipway-{track}-gitops-writer"
    assert may_assume(role.inputs["assumeRolePolicy"], role.outputs["arn"], "lambda.amazonaws.com", function)
    assert not may_assume(role.inputs["assumeRolePolicy"], role.outputs["arn"], "codebuild.amazonaws.com", function)


@pytest.mark.parametrize(("stack", "account", "track", "branch"), HOSTS)
def test_the_writer_looks_for_itself_every_quarter_of_an_hour(
    stack: str, account: str, track: str, branch: str, programs: Mapping[str, Program]
) -> None:
    del branch
    program = programs[stack]
    schedule = program.one("scheduler/schedule:Schedule").inputs
    function = program.one("lambda/function:Function").outputs["arn"]
    undelivered = queue_of(program, "undelivered").outputs["arn"]
    assert schedule["scheduleExpression"] == "rate(15 minutes)"
    assert schedule["target"]["arn"] == function
    assert json.loads(schedule["target"]["input"]) == {"slipway": "sweep"}
    assert schedule["target"]["deadLetterConfig"] == {"arn": undelivered}
    sweep = identity(program, f"{track}-sweep", account)
    assert schedule["target"]["roleArn"] == sweep.principal_arn
    assert may(sweep, "lambda:InvokeFunction", function)
    assert not may(sweep, "lambda:InvokeFunction", f"{function}-other")
    assert may(sweep, "sqs:SendMessage", undelivered)
    assert not may(sweep, "sqs:SendMessage", queue_of(program, "images").outputs["arn"])
    role = program.one("iam/role:Role", f"{track}-sweep")
    group = f"arn:aws:scheduler:eu-central-1:{account}:schedule-group/default"
    trust, arn = role.inputs["assumeRolePolicy"], role.outputs["arn"]
    assert may_assume(trust, arn, "scheduler.amazonaws.com", group)
    assert not may_assume(trust, arn, "scheduler.amazonaws.com", group.replace(account, "999999999999"))


@pytest.mark.parametrize(("stack", "account", "track", "branch"), HOSTS)
def test_every_way_of_failing_rings(stack: str, account: str, track: str, branch: str, programs: Mapping[str, Program]) -> None:
    del account, branch
    program = programs[stack]
    topic = program.one("sns/topic:Topic").outputs["arn"]
    alarms = {each.inputs["name"]: each.inputs for each in program.of("cloudwatch/metricAlarm:MetricAlarm")}
    # tests/components/test_build_reports.py
    del alarms[f"slipway-{track}-builds"]
    assert all(each["alarmActions"] == each["okActions"] == [topic] for each in alarms.values())
    seen = {
        name.removeprefix(f"slipway-{track}-"): (
            each["namespace"],
            each["metricName"],
            *each["dimensions"].values(),
            each["comparisonOperator"],
            each["threshold"],
            each["treatMissingData"],
        )
        for name, each in alarms.items()
    }
    visible, over, quiet = "ApproximateNumberOfMessagesVisible", "GreaterThanThreshold", "notBreaching"
    prefix, writer = f"slipway-{track}", f"slipway-{track}-gitops-writer"
    assert seen == {
        "undelivered": ("AWS/SQS", visible, f"{prefix}-undelivered", over, 0, quiet),
        "unprocessed": ("AWS/SQS", visible, f"{prefix}-unprocessed", over, 0, quiet),
        "failures": ("AWS/SQS", visible, f"{prefix}-failures", over, 0, quiet),
        "oldest": ("AWS/SQS", "ApproximateAgeOfOldestMessage", f"{prefix}-images", over, 900, quiet),
        "retrying": ("AWS/SQS", "ApproximateNumberOfMessagesNotVisible", f"{prefix}-images", over, 0, quiet),
        "errors": ("AWS/Lambda", "Errors", writer, over, 0, quiet),
        # The one whose silence is the alarm.
        "swept": ("slipway", "swept", writer, "LessThanThreshold", 1, "breaching"),
    }
    assert alarms[f"{prefix}-swept"]["period"] == 24 * 3600
    function = program.one("lambda/function:Function").inputs
    told = function["environment"]["variables"]
    assert (told["POWERTOOLS_METRICS_NAMESPACE"], told["POWERTOOLS_SERVICE_NAME"]) == ("slipway", writer)


@pytest.mark.parametrize(("stack", "account", "track", "branch"), HOSTS)
def test_an_event_that_is_tried_again_and_again_rings_though_its_age_is_no_longer_told(
    stack: str, account: str, track: str, branch: str, programs: Mapping[str, Program]
) -> None:
    del account, branch
    alarms = {each.inputs["name"]: each.inputs for each in programs[stack].of("cloudwatch/metricAlarm:MetricAlarm")}
    retrying = alarms[f"slipway-{track}-retrying"]
    # In flight at every look, for a quarter of an hour; one look may miss it.
    assert (retrying["statistic"], retrying["period"]) == ("Minimum", 300)
    assert (retrying["evaluationPeriods"], retrying["datapointsToAlarm"]) == (4, 3)
    # It must ring before the event is given up: after the third receipt its age is no longer told, and after the last it goes.
    redrive = json.loads(queue_of(programs[stack], "images").inputs["redrivePolicy"])
    given_back = sum(min(20 * 2**tries, 900) / 2 for tries in range(redrive["maxReceiveCount"] - 1))
    assert given_back > retrying["period"] * retrying["evaluationPeriods"]
    others = [each for name, each in alarms.items() if not name.endswith("-retrying")]
    assert {(each["evaluationPeriods"], each.get("datapointsToAlarm", 1)) for each in others} == {(1, 1)}


@pytest.mark.parametrize(("stack", "account", "track", "branch"), HOSTS)
def test_cloudwatch_of_this_account_tells_the_topic_and_nobody_does_over_plain_http(
    stack: str, account: str, track: str, branch: str, programs: Mapping[str, Program]
) -> None:
    del track, branch
    topic = programs[stack].one("sns/topic:Topic").outputs["arn"]
    policy = programs[stack].one("sns/topicPolicy:TopicPolicy").inputs["policy"]
    admitted, _ = json.loads(policy)["Statement"]
    assert admitted["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert admitted["Condition"] == {"StringEquals": {"aws:SourceAccount": account}}
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sns:*", "Resource": "*"}]}

    def allowed(owner: str, tls: str) -> bool:
        caller = Identity(account=owner, principal_arn=f"arn:aws:iam::{owner}:role/x", policies=[everything])
        context = {"aws:SecureTransport": tls, "aws:SourceAccount": None}
        request = Request(caller=caller, action="sns:Publish", resource=topic, resource_account=account, context=context)
        return bool(judge(request, resource_policy=policy))

    assert allowed(account, "true")
    assert not allowed(account, "false")
    assert not allowed("999999999999", "true")


def test_alarms_go_to_the_address_that_is_set_and_to_nobody_without_one(programs: Mapping[str, Program]) -> None:
    subscription = programs["dev"].one("sns/topicSubscription:TopicSubscription").inputs
    assert (subscription["protocol"], subscription["endpoint"]) == ("email", "platform-dev@example.com")
    silent = evaluate("dev", config={"slipway:alarms": None})
    assert silent.of("sns/topicSubscription:TopicSubscription") == []
    for program in (silent, programs["dev"]):
        assert program.of("chatbot/slackChannelConfiguration:SlackChannelConfiguration") == []


SLACK = {"slipway:alarms": {"slack": {"workspaceId": "T07EA123LEP", "channelId": "C07EZ1ABC23"}}}


@pytest.fixture(scope="module")
def chatting() -> Program:
    """A stack that hosts both tracks and tells one Slack channel."""
    tracks = json.loads(stack_config("dev")["slipway:tracks"])
    tracks["release"]["host"] = "dev"
    return evaluate("dev", config={**SLACK, "slipway:tracks": tracks})


def test_one_slack_channel_hears_of_every_track_that_the_stack_hosts(chatting: Program) -> None:
    chat = chatting.one("chatbot/slackChannelConfiguration:SlackChannelConfiguration").inputs
    topics = {each.outputs["arn"] for each in chatting.of("sns/topic:Topic")}
    assert len(topics) == 2
    assert set(chat["snsTopicArns"]) == topics
    assert (chat["slackTeamId"], chat["slackChannelId"]) == ("T07EA123LEP", "C07EZ1ABC23")
    # https://docs.aws.amazon.com/chatbot/latest/APIReference/API_CreateSlackChannelConfiguration.html
    assert re.fullmatch(r"[A-Za-z0-9-_]{1,128}", chat["configurationName"])
    assert chatting.of("sns/topicSubscription:TopicSubscription") == []


def test_the_slack_channel_reads_its_alarms_and_does_nothing(chatting: Program) -> None:
    chat = chatting.one("chatbot/slackChannelConfiguration:SlackChannelConfiguration")
    role = chatting.one("iam/role:Role", "alarms")
    policy = chatting.one("iam/policy:Policy", "alarms")
    attachments = chatting.of("iam/rolePolicyAttachment:RolePolicyAttachment")
    (attached,) = (each for each in attachments if each.inputs["role"] == role.inputs["name"])
    assert role.inputs["name"] == "slipway-dev-chat"
    assert chat.inputs["iamRoleArn"] == role.outputs["arn"]
    # Without a guardrail it is AdministratorAccess; without the other every member speaks as the channel.
    assert chat.inputs["guardrailPolicyArns"] == [policy.outputs["arn"]] == [attached.inputs["policyArn"]]
    assert chat.inputs["userAuthorizationRequired"] is True
    assert attached.urn in awaited(chatting, chat)
    assert role.inputs["permissionsBoundary"] == chatting.one("iam/policy:Policy", "boundary").outputs["arn"]
    assert may_assume(role.inputs["assumeRolePolicy"], role.outputs["arn"], "chatbot.amazonaws.com", chat.outputs["arn"])
    assert not may_assume(role.inputs["assumeRolePolicy"], role.outputs["arn"], "lambda.amazonaws.com", chat.outputs["arn"])
    caller = Identity(
        account="111111111111",
        principal_arn=role.outputs["arn"],
        policies=[policy.inputs["policy"]],
        boundary=chatting.one("iam/policy:Policy", "boundary").inputs["policy"],
    )
    alarms = "arn:aws:cloudwatch:eu-central-1:111111111111:alarm"
    for track in ("develop", "release"):
        assert may(caller, "cloudwatch:DescribeAlarms", f"{alarms}:slipway-{track}-failures")
    assert not may(caller, "cloudwatch:DescribeAlarms", f"{alarms}:somebody-else-s")
    assert may(caller, "cloudwatch:GetMetricWidgetImage", "*")
    for action in ("cloudwatch:SetAlarmState", "cloudwatch:PutMetricAlarm", "lambda:InvokeFunction", "sqs:ReceiveMessage"):
        assert not may(caller, action, "*")
    actions = {action for each in json.loads(policy.inputs["policy"])["Statement"] for action in each["Action"]}
    assert actions == {"cloudwatch:DescribeAlarms", "cloudwatch:GetMetricData", "cloudwatch:GetMetricWidgetImage"}


@pytest.mark.parametrize("stack", ["dev", "stg"])
def test_the_function_runs_the_packaged_archive_of_its_architecture(stack: str, programs: Mapping[str, Program]) -> None:
    function = programs[stack].one("lambda/function:Function").inputs
    assert function["architectures"] == ["arm64"]
    assert function["code"] == {"path": str(ARCHIVES / "gitops_writer-arm64.zip")}
    assert function["handler"] == "gitops_writer.handler.handler"
    (group,) = (each for each in programs[stack].of("LogGroup") if each.inputs["name"] == f"/aws/lambda/{function['name']}")
    assert function["loggingConfig"]["logGroup"] == group.inputs["name"]
    assert group.inputs["retentionInDays"] == 30


def test_an_archive_that_was_not_built_stops_before_any_resource(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("components.image_hook.ARCHIVES", tmp_path)
    with pytest.raises(ArchiveMissingError, match=r"gitops_writer-x86_64\.zip is missing from dist/.* Run `make package`"):
        archive("amd64")
    with pytest.raises(ProgramError, match="make package") as caught:
        evaluate("dev")
    assert caught.value.registered == ()
    # prd hosts no track and needs none.
    assert evaluate("prd").of("lambda/function:Function") == []
