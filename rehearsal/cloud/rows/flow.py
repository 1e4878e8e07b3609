"""From an image to its event's effect: repositories, rules, queues, functions, schedules, alarms."""

from pathlib import Path
from typing import Any, Final

from rehearsal.cloud.identities import identity_of
from rehearsal.cloud.row import Ask, Inputs, RealiseError, Row, Rows
from rehearsal.program import Created
from rehearsal.registry.policy import Request, judge

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-policies.html
_QUEUE_POLICY_BYTES: Final = 8192
# What the poller does with the function's role.
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html#events-sqs-permissions
_MAPPING_ACTIONS: Final = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")
_AT_DELETION: Final = "counts when it is deleted"


# ECR


def _repository(ask: Ask) -> Created:
    inputs = ask.inputs
    name = inputs.needed("name")
    parameters: dict[str, Any] = inputs.same("imageTagMutability")
    filters = [each.same("filter", "filterType") for each in inputs.blocks("imageTagMutabilityExclusionFilters")]
    if filters:
        parameters["imageTagMutabilityExclusionFilters"] = filters
    if inputs.has("imageScanningConfiguration"):
        parameters["imageScanningConfiguration"] = {"scanOnPush": inputs.block("imageScanningConfiguration").flag("scanOnPush")}
    for block in inputs.blocks("encryptionConfigurations"):
        parameters["encryptionConfiguration"] = block.same("encryptionType", "kmsKey")
    made = ask.call("ecr", "create_repository", repositoryName=name, **inputs.tagged("tags"), **parameters)["repository"]
    inputs.lost("imageTagMutabilityExclusionFilters", "ministack does not keep it; the registry's door does")
    inputs.leave("forceDelete", _AT_DELETION)
    return ask.done(
        name,
        name=name,
        arn=made["repositoryArn"],
        registryId=made["registryId"],
        # AWS's address of it, whatever the emulator calls itself: the rehearsal's registry is found under it.
        # https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html
        repositoryUrl=f"{ask.place.account}.dkr.ecr.{ask.place.region}.amazonaws.com/{name}",
    )


def _lifecycle_policy(ask: Ask) -> Created:
    name = ask.inputs.needed("repository")
    ask.call("ecr", "put_lifecycle_policy", repositoryName=name, lifecyclePolicyText=ask.inputs.needed("policy"))
    return ask.done(name, registryId=ask.place.account)


def _repository_policy(ask: Ask) -> Created:
    name = ask.inputs.needed("repository")
    ask.call("ecr", "set_repository_policy", repositoryName=name, policyText=ask.inputs.needed("policy"))
    return ask.done(name, registryId=ask.place.account)


# EventBridge


def _event_rule(ask: Ask) -> Created:
    inputs = ask.inputs
    name = inputs.needed("name")
    made = ask.call(
        "events",
        "put_rule",
        Name=name,
        **inputs.tagged("Tags"),
        **inputs.renamed(
            {
                "description": "Description",
                "eventBusName": "EventBusName",
                "eventPattern": "EventPattern",
                "roleArn": "RoleArn",
                "scheduleExpression": "ScheduleExpression",
                "state": "State",
            }
        ),
    )
    return ask.done(name, name=name, arn=made["RuleArn"])


def _event_target(ask: Ask) -> Created:
    inputs = ask.inputs
    rule, target = inputs.needed("rule"), inputs.needed("targetId")
    parameters: dict[str, Any] = {"Id": target, **inputs.renamed({"arn": "Arn", "input": "Input", "roleArn": "RoleArn"})}
    parameters.update(_delivery(inputs))
    bus = inputs.renamed({"eventBusName": "EventBusName"})
    answer = ask.call("events", "put_targets", Rule=rule, Targets=[parameters], **bus)
    if answer["FailedEntryCount"]:
        msg = f"EventBridge took no target: {answer['FailedEntries']}"
        raise RealiseError(msg)
    return ask.done(f"{rule}-{target}")


def _delivery(inputs: Inputs) -> dict[str, Any]:
    """Dead letters and retries, which rules and schedules spell the same."""
    found: dict[str, Any] = {}
    if inputs.has("deadLetterConfig"):
        found["DeadLetterConfig"] = inputs.block("deadLetterConfig").renamed({"arn": "Arn"})
    if inputs.has("retryPolicy"):
        found["RetryPolicy"] = inputs.block("retryPolicy").renamed(
            {
                "maximumEventAgeInSeconds": "MaximumEventAgeInSeconds",
                "maximumRetryAttempts": "MaximumRetryAttempts",
            }
        )
    return found


def _schedule(ask: Ask) -> Created:
    inputs = ask.inputs
    name, group = inputs.needed("name"), inputs.text("groupName", "default")
    target = inputs.block("target")
    role = target.needed("roleArn")
    # https://docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html: the group's ARN
    ask.assumed_by(role, "scheduler.amazonaws.com", ask.arn("scheduler", f"schedule-group/{group}"))
    window = inputs.block("flexibleTimeWindow").renamed({"mode": "Mode", "maximumWindowInMinutes": "MaximumWindowInMinutes"})
    made = ask.call(
        "scheduler",
        "create_schedule",
        Name=name,
        GroupName=group,
        FlexibleTimeWindow=window,
        Target={"RoleArn": role, **target.renamed({"arn": "Arn", "input": "Input"}), **_delivery(target)},
        **inputs.renamed(
            {
                "description": "Description",
                "scheduleExpression": "ScheduleExpression",
                "scheduleExpressionTimezone": "ScheduleExpressionTimezone",
                "state": "State",
            }
        ),
    )
    return ask.done(f"{group}/{name}", name=name, arn=made["ScheduleArn"], groupName=group)


# SQS


def _queue(ask: Ask) -> Created:
    inputs = ask.inputs
    name = inputs.needed("name")
    attributes = inputs.renamed(
        {
            "delaySeconds": "DelaySeconds",
            "kmsMasterKeyId": "KmsMasterKeyId",
            "maxMessageSize": "MaximumMessageSize",
            "messageRetentionSeconds": "MessageRetentionPeriod",
            "receiveWaitTimeSeconds": "ReceiveMessageWaitTimeSeconds",
            "redriveAllowPolicy": "RedriveAllowPolicy",
            "redrivePolicy": "RedrivePolicy",
            "sqsManagedSseEnabled": "SqsManagedSseEnabled",
            "visibilityTimeoutSeconds": "VisibilityTimeout",
        }
    )
    made = ask.call(
        "sqs",
        "create_queue",
        QueueName=name,
        Attributes={key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in attributes.items()},
        **_tag_map(inputs, "tags"),
    )
    return ask.done(made["QueueUrl"], name=name, url=made["QueueUrl"], arn=ask.arn("sqs", name))


def _queue_policy(ask: Ask) -> Created:
    url, policy = ask.inputs.needed("queueUrl"), ask.inputs.needed("policy")
    if len(policy.encode()) > _QUEUE_POLICY_BYTES:
        msg = f"the policy has {len(policy.encode())} bytes: a queue's holds {_QUEUE_POLICY_BYTES}; admit rules by a pattern"
        raise RealiseError(msg)
    ask.call("sqs", "set_queue_attributes", QueueUrl=url, Attributes={"Policy": policy})
    return ask.done(url)


# Lambda


def _function(ask: Ask) -> Created:
    inputs = ask.inputs
    name, role = inputs.needed("name"), inputs.needed("role")
    ask.assumed_by(role, "lambda.amazonaws.com", ask.arn("lambda", f"function:{name}"))
    archive = Path(inputs.block("code").needed("path"))
    if not archive.is_file():
        msg = f"code is {archive}: a zip file is allowed; build it with `make package`"
        raise RealiseError(msg)
    parameters = inputs.renamed(
        {
            "architectures": "Architectures",
            "description": "Description",
            "handler": "Handler",
            "memorySize": "MemorySize",
            "reservedConcurrentExecutions": "ReservedConcurrentExecutions",
            "runtime": "Runtime",
            "timeout": "Timeout",
        }
    )
    reserved = parameters.pop("ReservedConcurrentExecutions", None)
    if inputs.has("environment"):
        parameters["Environment"] = {"Variables": inputs.block("environment").any("variables", {})}
    if inputs.has("loggingConfig"):
        parameters["LoggingConfig"] = inputs.block("loggingConfig").renamed(
            {
                "applicationLogLevel": "ApplicationLogLevel",
                "logFormat": "LogFormat",
                "logGroup": "LogGroup",
                "systemLogLevel": "SystemLogLevel",
            }
        )
    made = ask.call(
        "lambda",
        "create_function",
        FunctionName=name,
        Role=role,
        Code={"ZipFile": archive.read_bytes()},
        **_tag_map(inputs, "Tags"),
        **parameters,
    )
    if reserved is not None:
        ask.call("lambda", "put_function_concurrency", FunctionName=name, ReservedConcurrentExecutions=reserved)
    return ask.done(name, name=name, arn=made["FunctionArn"], version=made["Version"], sourceCodeHash=made["CodeSha256"])


def _event_source_mapping(ask: Ask) -> Created:
    inputs = ask.inputs
    queue, function = inputs.needed("eventSourceArn"), inputs.needed("functionName")
    parameters = inputs.renamed(
        {
            "batchSize": "BatchSize",
            "enabled": "Enabled",
            "functionResponseTypes": "FunctionResponseTypes",
            "maximumBatchingWindowInSeconds": "MaximumBatchingWindowInSeconds",
        }
    )
    if inputs.has("scalingConfig"):
        parameters["ScalingConfig"] = inputs.block("scalingConfig").renamed({"maximumConcurrency": "MaximumConcurrency"})
    _mapping_is_allowed(ask, queue, function)
    made = ask.call("lambda", "create_event_source_mapping", EventSourceArn=queue, FunctionName=function, **parameters)
    return ask.done(made["UUID"], uuid=made["UUID"], functionArn=made["FunctionArn"])


def _mapping_is_allowed(ask: Ask, queue: str, function: str) -> None:
    """What Lambda looks at before it makes a mapping, and ministack does not.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
    """
    configuration = ask.call("lambda", "get_function_configuration", FunctionName=function)
    caller = identity_of(ask.emulators, configuration["Role"], ask.place.region)
    for action in _MAPPING_ACTIONS:
        verdict = judge(Request(caller=caller, action=action, resource=queue, context={"aws:SecureTransport": "true"}))
        if not verdict:
            msg = f"{configuration['Role']} may not read the queue: {verdict.reason}; allow it in the role's policy"
            raise RealiseError(msg)
    url = ask.call("sqs", "get_queue_url", QueueName=queue.rsplit(":", 1)[-1])["QueueUrl"]
    visible = ask.call("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["VisibilityTimeout"])
    seconds = int(visible["Attributes"]["VisibilityTimeout"])
    if seconds < configuration["Timeout"]:
        msg = (
            f"the queue's visibility timeout is {seconds} s, the function's timeout {configuration['Timeout']} s: "
            "at least as much is allowed; raise visibilityTimeoutSeconds"
        )
        raise RealiseError(msg)


# Logs and alarms


def _log_group(ask: Ask) -> Created:
    inputs = ask.inputs
    name = inputs.needed("name")
    ask.call("logs", "create_log_group", logGroupName=name, **_tag_map(inputs, "tags"), **inputs.same("kmsKeyId"))
    if inputs.has("retentionInDays"):
        ask.call("logs", "put_retention_policy", logGroupName=name, retentionInDays=inputs.number("retentionInDays"))
    inputs.leave("skipDestroy", _AT_DELETION)
    return ask.done(name, name=name, arn=ask.arn("logs", f"log-group:{name}"))


def _metric_alarm(ask: Ask) -> Created:
    inputs = ask.inputs
    name = inputs.needed("name")
    ask.call(
        "cloudwatch",
        "put_metric_alarm",
        AlarmName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in inputs.any("dimensions", {}).items()],
        **inputs.tagged("Tags"),
        **inputs.renamed(
            {
                "actionsEnabled": "ActionsEnabled",
                "alarmActions": "AlarmActions",
                "alarmDescription": "AlarmDescription",
                "comparisonOperator": "ComparisonOperator",
                "datapointsToAlarm": "DatapointsToAlarm",
                "evaluationPeriods": "EvaluationPeriods",
                "insufficientDataActions": "InsufficientDataActions",
                "metricName": "MetricName",
                "namespace": "Namespace",
                "okActions": "OKActions",
                "period": "Period",
                "statistic": "Statistic",
                "threshold": "Threshold",
                "treatMissingData": "TreatMissingData",
                "unit": "Unit",
            }
        ),
    )
    return ask.done(name, name=name, arn=ask.arn("cloudwatch", f"alarm:{name}"))


def _topic(ask: Ask) -> Created:
    inputs = ask.inputs
    name = inputs.needed("name")
    attributes = inputs.renamed({"displayName": "DisplayName", "kmsMasterKeyId": "KmsMasterKeyId"})
    made = ask.call("sns", "create_topic", Name=name, Attributes=attributes, **inputs.tagged("Tags"))
    return ask.done(made["TopicArn"], name=name, arn=made["TopicArn"])


def _topic_policy(ask: Ask) -> Created:
    arn = ask.inputs.needed("arn")
    ask.call("sns", "set_topic_attributes", TopicArn=arn, AttributeName="Policy", AttributeValue=ask.inputs.needed("policy"))
    return ask.done(arn, owner=ask.place.account)


def _topic_subscription(ask: Ask) -> Created:
    made = ask.call(
        "sns",
        "subscribe",
        ReturnSubscriptionArn=True,
        **ask.inputs.renamed({"topic": "TopicArn", "protocol": "Protocol", "endpoint": "Endpoint"}),
    )
    return ask.done(made["SubscriptionArn"], arn=made["SubscriptionArn"], ownerId=ask.place.account)


def _tag_map(inputs: Inputs, name: str) -> dict[str, Any]:
    tags = inputs.tags()
    return {name: tags} if tags else {}


ROWS: Final[Rows] = {
    "aws:cloudwatch/eventRule:EventRule": Row(create=_event_rule),
    "aws:cloudwatch/eventTarget:EventTarget": Row(create=_event_target),
    "aws:cloudwatch/logGroup:LogGroup": Row(create=_log_group),
    "aws:cloudwatch/metricAlarm:MetricAlarm": Row(create=_metric_alarm),
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": Row(create=_lifecycle_policy),
    "aws:ecr/repository:Repository": Row(create=_repository),
    "aws:ecr/repositoryPolicy:RepositoryPolicy": Row(create=_repository_policy),
    "aws:lambda/eventSourceMapping:EventSourceMapping": Row(create=_event_source_mapping),
    "aws:lambda/function:Function": Row(create=_function),
    "aws:scheduler/schedule:Schedule": Row(create=_schedule),
    "aws:sns/topic:Topic": Row(create=_topic),
    "aws:sns/topicPolicy:TopicPolicy": Row(create=_topic_policy),
    "aws:sns/topicSubscription:TopicSubscription": Row(create=_topic_subscription),
    "aws:sqs/queue:Queue": Row(create=_queue),
    "aws:sqs/queuePolicy:QueuePolicy": Row(create=_queue_policy),
}
