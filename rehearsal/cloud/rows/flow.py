"""From an image to its event's effect: repositories, rules, queues, functions, schedules, alarms."""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rehearsal.cloud.identities import identity_of
from rehearsal.cloud.row import Ask, Inputs, RealiseError, Row, Rows, tag_list
from rehearsal.cloud.rows.parts import ours, tag_changes, told
from rehearsal.program import Created
from rehearsal.registry.policy import Request, judge

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-policies.html
_QUEUE_POLICY_BYTES: Final = 8192
# What the poller does with the function's role.
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html#events-sqs-permissions
_MAPPING_ACTIONS: Final = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")
_AT_DELETION: Final = "counts when it is deleted"
_BUS: Final = "default"


def _untold(tags: list[Mapping[str, str]]) -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in tags}


# ECR


def _repository(ask: Ask) -> Created:
    inputs = ask.inputs
    name = inputs.needed("name")
    parameters = {**_mutability(inputs), **_scanning(inputs)}
    for block in inputs.blocks("encryptionConfigurations"):
        parameters["encryptionConfiguration"] = block.same("encryptionType", "kmsKey")
    ask.call("ecr", "create_repository", repositoryName=name, **inputs.tagged("tags"), **parameters)
    inputs.lost("imageTagMutabilityExclusionFilters", "ministack does not keep it; the registry's door does")
    inputs.leave("forceDelete", _AT_DELETION)
    return ask.done(name, **_repository_outputs(ask, name))


def _mutability(inputs: Inputs) -> dict[str, Any]:
    parameters: dict[str, Any] = inputs.same("imageTagMutability")
    filters = [each.same("filter", "filterType") for each in inputs.blocks("imageTagMutabilityExclusionFilters")]
    return {**parameters, "imageTagMutabilityExclusionFilters": filters} if filters else parameters


def _scanning(inputs: Inputs) -> dict[str, Any]:
    if not inputs.has("imageScanningConfiguration"):
        return {}
    return {"imageScanningConfiguration": {"scanOnPush": inputs.block("imageScanningConfiguration").flag("scanOnPush")}}


def _repository_outputs(ask: Ask, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "arn": ask.arn("ecr", f"repository/{name}"),
        "registryId": ask.place.account,
        # AWS's address of it, whatever the emulator calls itself: the rehearsal's registry is found under it.
        # https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html
        "repositoryUrl": f"{ask.place.account}.dkr.ecr.{ask.place.region}.amazonaws.com/{name}",
    }


def _read_repository(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    answer = ask.find("ecr", "describe_repositories", "RepositoryNotFoundException", repositoryNames=[id_])
    if answer is None:
        return None
    (found,) = answer["repositories"]
    tags = ask.call("ecr", "list_tags_for_resource", resourceArn=found["repositoryArn"])["tags"]
    # Exclusion filters are lost in ministack; `forceDelete` is the provider's own.
    there = {
        **_repository_outputs(ask, id_),
        **ours(found, {"imageTagMutability": "imageTagMutability", "imageScanningConfiguration": "imageScanningConfiguration"}),
        "encryptionConfigurations": [found["encryptionConfiguration"]],
        "tags": _untold(tags),
    }
    return told(
        ask,
        there,
        imageTagMutability="MUTABLE",
        imageScanningConfiguration={"scanOnPush": False},
        encryptionConfigurations=[{"encryptionType": "AES256"}],
    )


def _update_repository(ask: Ask, id_: str) -> Created:
    inputs = ask.inputs
    if ask.changed("imageTagMutability", "imageTagMutabilityExclusionFilters"):
        parameters = {"imageTagMutability": "MUTABLE", **_mutability(inputs)}
        ask.call("ecr", "put_image_tag_mutability", repositoryName=id_, **parameters)
    if ask.changed("imageScanningConfiguration"):
        parameters = _scanning(inputs) or {"imageScanningConfiguration": {"scanOnPush": False}}
        ask.call("ecr", "put_image_scanning_configuration", repositoryName=id_, **parameters)
    outputs, (new, gone) = _repository_outputs(ask, id_), tag_changes(ask)
    if new:
        ask.call("ecr", "tag_resource", resourceArn=outputs["arn"], tags=tag_list(new))
    if gone:
        ask.call("ecr", "untag_resource", resourceArn=outputs["arn"], tagKeys=gone)
    return ask.done(id_, **outputs)


def _delete_repository(ask: Ask, id_: str) -> None:
    missing, force = "RepositoryNotFoundException", ask.inputs.flag("forceDelete")
    ask.find("ecr", "delete_repository", missing, repositoryName=id_, force=force)


def _lifecycle_policy(ask: Ask) -> Created:
    name = ask.inputs.needed("repository")
    ask.call("ecr", "put_lifecycle_policy", repositoryName=name, lifecyclePolicyText=ask.inputs.needed("policy"))
    return ask.done(name, registryId=ask.place.account)


_NO_LIFECYCLE: Final = ("LifecyclePolicyNotFoundException", "RepositoryNotFoundException")


def _read_lifecycle_policy(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = ask.find("ecr", "get_lifecycle_policy", *_NO_LIFECYCLE, repositoryName=id_)
    if found is None:
        return None
    # AWS hands the rules back in the order of their priority, whatever order they came in.
    policy: dict[str, Any] = json.loads(found["lifecyclePolicyText"])
    policy["rules"] = sorted(policy["rules"], key=lambda rule: rule["rulePriority"])
    return {"repository": id_, "registryId": ask.place.account, "policy": json.dumps(policy)}


def _delete_lifecycle_policy(ask: Ask, id_: str) -> None:
    ask.find("ecr", "delete_lifecycle_policy", *_NO_LIFECYCLE, repositoryName=id_)


def _repository_policy(ask: Ask) -> Created:
    name = ask.inputs.needed("repository")
    ask.call("ecr", "set_repository_policy", repositoryName=name, policyText=ask.inputs.needed("policy"))
    return ask.done(name, registryId=ask.place.account)


_NO_POLICY: Final = ("RepositoryPolicyNotFoundException", "RepositoryNotFoundException")


def _read_repository_policy(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = ask.find("ecr", "get_repository_policy", *_NO_POLICY, repositoryName=id_)
    return found and {"repository": id_, "registryId": ask.place.account, "policy": found["policyText"]}


def _delete_repository_policy(ask: Ask, id_: str) -> None:
    ask.find("ecr", "delete_repository_policy", *_NO_POLICY, repositoryName=id_)


# EventBridge


_RULE: Final = {
    "description": "Description",
    "eventPattern": "EventPattern",
    "roleArn": "RoleArn",
    "scheduleExpression": "ScheduleExpression",
    "state": "State",
}


def _event_rule(ask: Ask) -> Created:
    inputs = ask.inputs
    name, bus = inputs.needed("name"), inputs.text("eventBusName", _BUS)
    made = ask.call("events", "put_rule", Name=name, EventBusName=bus, **inputs.tagged("Tags"), **inputs.renamed(_RULE))
    return ask.done(name if bus == _BUS else f"{bus}/{name}", name=name, arn=made["RuleArn"], eventBusName=bus)


def _on_bus(id_: str) -> tuple[str, str]:
    """Bus and rule in an id; the default bus is not named."""
    bus, _, name = id_.rpartition("/")
    return bus or _BUS, name


def _read_event_rule(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    bus, name = _on_bus(id_)
    found = ask.find("events", "describe_rule", "ResourceNotFoundException", Name=name, EventBusName=bus)
    if found is None:
        return None
    tags = ask.call("events", "list_tags_for_resource", ResourceARN=found["Arn"])["Tags"]
    there = {"name": name, "arn": found["Arn"], "eventBusName": bus, **ours(found, _RULE), "tags": _untold(tags)}
    return told(ask, there, eventBusName=_BUS, state="ENABLED")


def _update_event_rule(ask: Ask, id_: str) -> Created:
    inputs, (bus, name) = ask.inputs, _on_bus(id_)
    # PutRule replaces all of a rule; ministack would keep a description that is not given.
    # https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html
    parameters = {"Description": "", "State": "ENABLED", **inputs.renamed(_RULE)}
    arn = ask.call("events", "put_rule", Name=name, EventBusName=bus, **parameters)["RuleArn"]
    new, gone = tag_changes(ask)
    # The same page: tags of a rule that is there already are not changed by PutRule.
    if new:
        ask.call("events", "tag_resource", ResourceARN=arn, Tags=tag_list(new))
    if gone:
        ask.call("events", "untag_resource", ResourceARN=arn, TagKeys=gone)
    return ask.done(id_, name=name, arn=arn, eventBusName=bus)


def _delete_event_rule(ask: Ask, id_: str) -> None:
    bus, name = _on_bus(id_)
    there = ask.find("events", "list_targets_by_rule", "ResourceNotFoundException", Rule=name, EventBusName=bus)
    if there and there["Targets"]:
        # ministack would take the targets away too.
        # https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DeleteRule.html
        msg = f"rule {name}: Rule can't be deleted since it has targets."
        raise RealiseError(msg)
    ask.find("events", "delete_rule", "ResourceNotFoundException", Name=name, EventBusName=bus)


_TARGET: Final = {"arn": "Arn", "input": "Input", "roleArn": "RoleArn"}


def _event_target(ask: Ask) -> Created:
    rule, target, bus = _put_target(ask)
    return ask.done(f"{rule}-{target}" if bus == _BUS else f"{bus}-{rule}-{target}")


def _put_target(ask: Ask) -> tuple[str, str, str]:
    inputs = ask.inputs
    rule, target, bus = inputs.needed("rule"), inputs.needed("targetId"), inputs.text("eventBusName", _BUS)
    parameters: dict[str, Any] = {"Id": target, **inputs.renamed(_TARGET), **_delivery(inputs)}
    answer = ask.call("events", "put_targets", Rule=rule, EventBusName=bus, Targets=[parameters])
    if answer["FailedEntryCount"]:
        msg = f"EventBridge took no target: {answer['FailedEntries']}"
        raise RealiseError(msg)
    return rule, target, bus


def _target_of(ask: Ask, id_: str) -> tuple[str, str, Mapping[str, Any]] | None:
    """Bus, rule, and the target with an id, which may be read in more than one way unless the program says it.

    An import names it with slashes: https://www.pulumi.com/registry/packages/aws/api-docs/cloudwatch/eventtarget/#import
    """
    inputs, parts = ask.inputs, id_.split("-")
    ways = [("-".join(parts[:cut]), "-".join(parts[cut:])) for cut in range(1, len(parts))]
    bus = inputs.text("eventBusName", _BUS)
    if inputs.has("rule"):
        ways = [(inputs.text("rule"), inputs.text("targetId"))]
    elif "/" in id_:
        *buses, rule, target = id_.split("/")
        bus, ways = "/".join(buses) or _BUS, [(rule, target)]
    for rule, target in ways:
        answer = ask.find("events", "list_targets_by_rule", "ResourceNotFoundException", Rule=rule, EventBusName=bus)
        for each in (answer or {}).get("Targets", []):
            if each["Id"] == target:
                return bus, rule, each
    return None


def _read_event_target(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    place = _target_of(ask, id_)
    if place is None:
        return None
    bus, rule, found = place
    there = {"rule": rule, "targetId": found["Id"], "eventBusName": bus, **ours(found, _TARGET), **_delivered(found)}
    return told(ask, there, eventBusName=_BUS)


def _update_event_target(ask: Ask, id_: str) -> Created:
    _put_target(ask)
    return ask.done(id_)


def _delete_event_target(ask: Ask, id_: str) -> None:
    place = _target_of(ask, id_)
    if place is not None:
        bus, rule, found = place
        ask.call("events", "remove_targets", Rule=rule, EventBusName=bus, Ids=[found["Id"]])


_RETRIES: Final = {
    "maximumEventAgeInSeconds": "MaximumEventAgeInSeconds",
    "maximumRetryAttempts": "MaximumRetryAttempts",
}


def _delivery(inputs: Inputs) -> dict[str, Any]:
    """Dead letters and retries, which rules and schedules spell the same."""
    found: dict[str, Any] = {}
    if inputs.has("deadLetterConfig"):
        found["DeadLetterConfig"] = inputs.block("deadLetterConfig").renamed({"arn": "Arn"})
    if inputs.has("retryPolicy"):
        found["RetryPolicy"] = inputs.block("retryPolicy").renamed(_RETRIES)
    return found


def _delivered(found: Mapping[str, Any]) -> dict[str, Any]:
    """The same the other way round."""
    there: dict[str, Any] = {}
    if "DeadLetterConfig" in found:
        there["deadLetterConfig"] = ours(found["DeadLetterConfig"], {"arn": "Arn"})
    if "RetryPolicy" in found:
        there["retryPolicy"] = ours(found["RetryPolicy"], _RETRIES)
    return there


_SCHEDULE: Final = {
    "description": "Description",
    "scheduleExpression": "ScheduleExpression",
    "scheduleExpressionTimezone": "ScheduleExpressionTimezone",
    "state": "State",
}
_WINDOW: Final = {"mode": "Mode", "maximumWindowInMinutes": "MaximumWindowInMinutes"}


def _schedule(ask: Ask) -> Created:
    return _put_schedule(ask, "create_schedule")


def _update_schedule(ask: Ask, id_: str) -> Created:
    del id_  # group and name, which the inputs say too
    # UpdateSchedule replaces all of a schedule: https://docs.aws.amazon.com/scheduler/latest/APIReference/API_UpdateSchedule.html
    return _put_schedule(ask, "update_schedule")


def _put_schedule(ask: Ask, operation: str) -> Created:
    inputs = ask.inputs
    name, group = inputs.needed("name"), inputs.text("groupName", "default")
    target = inputs.block("target")
    role = target.needed("roleArn")
    # https://docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html: the group's ARN
    ask.assumed_by(role, "scheduler.amazonaws.com", ask.arn("scheduler", f"schedule-group/{group}"))
    made = ask.call(
        "scheduler",
        operation,
        Name=name,
        GroupName=group,
        FlexibleTimeWindow=inputs.block("flexibleTimeWindow").renamed(_WINDOW),
        Target={"RoleArn": role, **target.renamed({"arn": "Arn", "input": "Input"}), **_delivery(target)},
        **inputs.renamed(_SCHEDULE),
    )
    return ask.done(f"{group}/{name}", name=name, arn=made["ScheduleArn"], groupName=group)


def _read_schedule(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    group, _, name = id_.partition("/")
    found = ask.find("scheduler", "get_schedule", "ResourceNotFoundException", Name=name, GroupName=group)
    if found is None:
        return None
    there = {
        "name": name,
        "groupName": group,
        "arn": found["Arn"],
        **ours(found, _SCHEDULE),
        "flexibleTimeWindow": ours(found["FlexibleTimeWindow"], _WINDOW),
        "target": {**ours(found["Target"], _TARGET), **_delivered(found["Target"])},
    }
    return told(ask, there, groupName="default", scheduleExpressionTimezone="UTC", state="ENABLED")


def _delete_schedule(ask: Ask, id_: str) -> None:
    group, _, name = id_.partition("/")
    ask.find("scheduler", "delete_schedule", "ResourceNotFoundException", Name=name, GroupName=group)


# SQS


_QUEUE: Final = {
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
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
_QUEUE_DEFAULTS: Final = {
    "delaySeconds": 0,
    "maxMessageSize": 262144,
    "messageRetentionSeconds": 345600,
    "receiveWaitTimeSeconds": 0,
    "visibilityTimeoutSeconds": 30,
}
_NO_QUEUE: Final = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")


def _as_attribute(value: Any) -> str:  # noqa: ANN401 — a queue's attributes are text
    return str(value).lower() if isinstance(value, bool) else str(value)


def _queue(ask: Ask) -> Created:
    inputs = ask.inputs
    name = inputs.needed("name")
    attributes = {key: _as_attribute(value) for key, value in inputs.renamed(_QUEUE).items()}
    url = ask.call("sqs", "create_queue", QueueName=name, Attributes=attributes, **_tag_map(inputs, "tags"))["QueueUrl"]
    return ask.done(url, **_queue_outputs(ask, url))


def _queue_outputs(ask: Ask, url: str) -> dict[str, Any]:
    name = url.rpartition("/")[2]
    return {"name": name, "url": url, "arn": ask.arn("sqs", name)}


def _read_queue(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    answer = ask.find("sqs", "get_queue_attributes", *_NO_QUEUE, QueueUrl=id_, AttributeNames=["All"])
    if answer is None:
        return None
    found = ours(answer["Attributes"], _QUEUE)
    there = {key: int(value) if key in _QUEUE_DEFAULTS else value for key, value in found.items()}
    if "sqsManagedSseEnabled" in there:
        there["sqsManagedSseEnabled"] = there["sqsManagedSseEnabled"] == "true"
    tags = ask.call("sqs", "list_queue_tags", QueueUrl=id_).get("Tags", {})
    # Encryption by SQS is on where nobody says otherwise.
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-configure-sqs-sse-queue.html
    return told(ask, {**_queue_outputs(ask, id_), **there, "tags": tags}, sqsManagedSseEnabled=True, **_QUEUE_DEFAULTS)


def _update_queue(ask: Ask, id_: str) -> Created:
    inputs = ask.inputs
    declared = inputs.renamed(_QUEUE)
    attributes = {
        theirs: _as_attribute(declared.get(theirs, _QUEUE_DEFAULTS.get(mine, "")))
        for mine, theirs in _QUEUE.items()
        # Nobody turns encryption off by no longer speaking of it.
        if ask.changed(mine) and (theirs in declared or mine != "sqsManagedSseEnabled")
    }
    if attributes:
        ask.call("sqs", "set_queue_attributes", QueueUrl=id_, Attributes=attributes)
    new, gone = tag_changes(ask)
    if new:
        ask.call("sqs", "tag_queue", QueueUrl=id_, Tags=new)
    if gone:
        ask.call("sqs", "untag_queue", QueueUrl=id_, TagKeys=gone)
    return ask.done(id_, **_queue_outputs(ask, id_))


def _delete_queue(ask: Ask, id_: str) -> None:
    ask.find("sqs", "delete_queue", *_NO_QUEUE, QueueUrl=id_)


def _queue_policy(ask: Ask) -> Created:
    url, policy = ask.inputs.needed("queueUrl"), ask.inputs.needed("policy")
    if len(policy.encode()) > _QUEUE_POLICY_BYTES:
        msg = f"the policy has {len(policy.encode())} bytes: a queue's holds {_QUEUE_POLICY_BYTES}; admit rules by a pattern"
        raise RealiseError(msg)
    ask.call("sqs", "set_queue_attributes", QueueUrl=url, Attributes={"Policy": policy})
    return ask.done(url)


def _read_queue_policy(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    answer = ask.find("sqs", "get_queue_attributes", *_NO_QUEUE, QueueUrl=id_, AttributeNames=["Policy"])
    policy = (answer or {}).get("Attributes", {}).get("Policy")
    return {"queueUrl": id_, "policy": policy} if policy else None


def _delete_queue_policy(ask: Ask, id_: str) -> None:
    ask.find("sqs", "set_queue_attributes", *_NO_QUEUE, QueueUrl=id_, Attributes={"Policy": ""})


# Lambda


# What the rehearsal adds, and the program does not know.
_ENDPOINT: Final = "AWS_ENDPOINT_URL_"
_FUNCTION: Final = {
    "description": "Description",
    "handler": "Handler",
    "memorySize": "MemorySize",
    "role": "Role",
    "runtime": "Runtime",
    "timeout": "Timeout",
}
_LOGGING: Final = {
    "applicationLogLevel": "ApplicationLogLevel",
    "logFormat": "LogFormat",
    "logGroup": "LogGroup",
    "systemLogLevel": "SystemLogLevel",
}
# https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html
_FUNCTION_DEFAULTS: Final = {"memorySize": 128, "timeout": 3}


def _function(ask: Ask) -> Created:
    inputs = ask.inputs
    name = inputs.needed("name")
    parameters, code = _configuration(ask, name), _archive(inputs)
    made = ask.call(
        "lambda",
        "create_function",
        FunctionName=name,
        Code={"ZipFile": code},
        **inputs.renamed({"architectures": "Architectures"}),
        **_tag_map(inputs, "Tags"),
        **parameters,
    )
    _reserve(ask, name)
    return ask.done(name, **_function_outputs(made))


def _archive(inputs: Inputs) -> bytes:
    archive = Path(inputs.block("code").needed("path"))
    if not archive.is_file():
        msg = f"code is {archive}: a zip file is allowed; build it with `make package`"
        raise RealiseError(msg)
    return archive.read_bytes()


def _configuration(ask: Ask, name: str) -> dict[str, Any]:
    """What creation and change of a function's configuration have in common."""
    inputs = ask.inputs
    ask.assumed_by(inputs.needed("role"), "lambda.amazonaws.com", ask.arn("lambda", f"function:{name}"))
    parameters = inputs.renamed(_FUNCTION)
    if inputs.has("environment"):
        # https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
        elsewhere = {f"{_ENDPOINT}{service.upper()}": url for service, url in ask.emulators.endpoints.items()}
        parameters["Environment"] = {"Variables": {**inputs.block("environment").any("variables", {}), **elsewhere}}
    if inputs.has("loggingConfig"):
        parameters["LoggingConfig"] = inputs.block("loggingConfig").renamed(_LOGGING)
    return parameters


def _reserve(ask: Ask, name: str) -> None:
    if ask.inputs.has("reservedConcurrentExecutions"):
        reserved = ask.inputs.number("reservedConcurrentExecutions")
        ask.call("lambda", "put_function_concurrency", FunctionName=name, ReservedConcurrentExecutions=reserved)


def _function_outputs(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": found["FunctionName"],
        "arn": found["FunctionArn"],
        "version": found["Version"],
        "sourceCodeHash": found["CodeSha256"],
    }


def _read_function(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    answer = ask.find("lambda", "get_function", "ResourceNotFoundException", FunctionName=id_)
    if answer is None:
        return None
    # Not the code: AWS has the archive, not the path that it came from.
    found = answer["Configuration"]
    given: Mapping[str, str] = found.get("Environment", {}).get("Variables", {})
    variables = {key: value for key, value in given.items() if not key.startswith(_ENDPOINT)}
    there = {
        **_function_outputs(found),
        **ours(found, _FUNCTION),
        **ours(found, {"architectures": "Architectures"}),
        **ours(answer.get("Concurrency", {}), {"reservedConcurrentExecutions": "ReservedConcurrentExecutions"}),
        "environment": {"variables": variables} if variables else {},
        "loggingConfig": ours(found["LoggingConfig"], _LOGGING),
        "tags": answer.get("Tags", {}),
    }
    logging = {"logFormat": "Text", "logGroup": f"/aws/lambda/{id_}"}
    return told(ask, there, architectures=["x86_64"], loggingConfig=logging, **_FUNCTION_DEFAULTS)


def _update_function(ask: Ask, id_: str) -> Created:
    inputs = ask.inputs
    if ask.changed("architectures"):
        # UpdateFunctionCode takes another architecture, and ministack drops it there: under its name a new one has the same ARN.
        # https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionCode.html
        _delete_function(ask, id_)
        return _function(ask)
    if ask.changed(*_FUNCTION, "environment", "loggingConfig"):
        parameters: dict[str, Any] = {
            "Description": "",
            "Timeout": _FUNCTION_DEFAULTS["timeout"],
            "MemorySize": _FUNCTION_DEFAULTS["memorySize"],
            "Environment": {"Variables": {}},
            "LoggingConfig": {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{id_}"},
        }
        parameters |= _configuration(ask, id_)
        ask.call("lambda", "update_function_configuration", FunctionName=id_, **parameters)
    made = ask.call("lambda", "get_function", FunctionName=id_)["Configuration"]
    code = _archive(inputs)
    # By content: the path is the same whatever `make package` puts there.
    if base64.b64encode(hashlib.sha256(code).digest()).decode() != made["CodeSha256"]:
        made = ask.call("lambda", "update_function_code", FunctionName=id_, ZipFile=code)
    if ask.changed("reservedConcurrentExecutions"):
        ask.call("lambda", "delete_function_concurrency", FunctionName=id_)
        _reserve(ask, id_)
    new, gone = tag_changes(ask)
    if new:
        ask.call("lambda", "tag_resource", Resource=made["FunctionArn"], Tags=new)
    if gone:
        ask.call("lambda", "untag_resource", Resource=made["FunctionArn"], TagKeys=gone)
    return ask.done(id_, **_function_outputs(made))


def _delete_function(ask: Ask, id_: str) -> None:
    ask.find("lambda", "delete_function", "ResourceNotFoundException", FunctionName=id_)


_MAPPING: Final = {
    "batchSize": "BatchSize",
    "enabled": "Enabled",
    "functionResponseTypes": "FunctionResponseTypes",
    "maximumBatchingWindowInSeconds": "MaximumBatchingWindowInSeconds",
}
_SCALING: Final = {"maximumConcurrency": "MaximumConcurrency"}


def _event_source_mapping(ask: Ask) -> Created:
    inputs = ask.inputs
    queue, function = inputs.needed("eventSourceArn"), inputs.needed("functionName")
    _mapping_is_allowed(ask, queue, function)
    itself = ask.by_aws("Lambda itself refuses a second mapping")
    there = itself.call("lambda", "list_event_source_mappings", EventSourceArn=queue, FunctionName=function)
    if there["EventSourceMappings"]:
        # ministack would make a second one.
        # https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html#API_CreateEventSourceMapping_Errors
        msg = (
            f"ResourceConflictException: An event source mapping with SQS arn ({queue}) and function ({function}) already "
            f"exists. Please update or delete the existing mapping with UUID {there['EventSourceMappings'][0]['UUID']}"
        )
        raise RealiseError(msg)
    parameters = _mapping_parameters(inputs)
    made = ask.call("lambda", "create_event_source_mapping", EventSourceArn=queue, FunctionName=function, **parameters)
    return ask.done(made["UUID"], uuid=made["UUID"], functionArn=made["FunctionArn"])


def _mapping_parameters(inputs: Inputs) -> dict[str, Any]:
    parameters = inputs.renamed(_MAPPING)
    if inputs.has("scalingConfig"):
        parameters["ScalingConfig"] = inputs.block("scalingConfig").renamed(_SCALING)
    return parameters


def _read_event_source_mapping(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = ask.find("lambda", "get_event_source_mapping", "ResourceNotFoundException", UUID=id_)
    if found is None:
        return None
    # Declared by name or by ARN: either is the same function.
    function, arn = ask.request.inputs.get("functionName"), str(found["FunctionArn"])
    there = {
        **ours(found, _MAPPING),
        "enabled": found["State"] in {"Enabled", "Enabling"},
        "eventSourceArn": found["EventSourceArn"],
        "functionArn": arn,
        "functionName": function if arn.endswith(f":function:{function}") else arn,
        "scalingConfig": ours(found.get("ScalingConfig", {}), _SCALING),
        "uuid": id_,
    }
    return told(ask, there, batchSize=10, enabled=True, maximumBatchingWindowInSeconds=0)


def _update_event_source_mapping(ask: Ask, id_: str) -> Created:
    inputs = ask.inputs
    queue, function = inputs.needed("eventSourceArn"), inputs.needed("functionName")
    _mapping_is_allowed(ask, queue, function)
    parameters: dict[str, Any] = {
        "BatchSize": 10,
        "Enabled": True,
        "FunctionResponseTypes": [],
        "MaximumBatchingWindowInSeconds": 0,
        "ScalingConfig": {},
        **_mapping_parameters(inputs),
    }
    made = ask.call("lambda", "update_event_source_mapping", UUID=id_, FunctionName=function, **parameters)
    return ask.done(id_, uuid=id_, functionArn=made["FunctionArn"])


def _delete_event_source_mapping(ask: Ask, id_: str) -> None:
    ask.find("lambda", "delete_event_source_mapping", "ResourceNotFoundException", UUID=id_)


def _mapping_is_allowed(ask: Ask, queue: str, function: str) -> None:
    """What Lambda looks at before it makes a mapping, and ministack does not.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
    """
    itself = ask.by_aws("Lambda itself compares function and queue")
    configuration = itself.call("lambda", "get_function_configuration", FunctionName=function)
    caller = identity_of(ask.emulators, configuration["Role"], ask.place.region)
    for action in _MAPPING_ACTIONS:
        verdict = judge(Request(caller=caller, action=action, resource=queue, context={"aws:SecureTransport": "true"}))
        if not verdict:
            msg = f"{configuration['Role']} may not read the queue: {verdict.reason}; allow it in the role's policy"
            raise RealiseError(msg)
    url = itself.call("sqs", "get_queue_url", QueueName=queue.rsplit(":", 1)[-1])["QueueUrl"]
    visible = itself.call("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["VisibilityTimeout"])
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
    inputs.lost("kmsKeyId", "ministack does not keep a log group's key")
    inputs.leave("skipDestroy", _AT_DELETION)
    return ask.done(name, name=name, arn=ask.arn("logs", f"log-group:{name}"))


def _read_log_group(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    # The group itself comes first of all that begin with its name.
    groups = ask.call("logs", "describe_log_groups", logGroupNamePrefix=id_)["logGroups"]
    found = next((each for each in groups if each["logGroupName"] == id_), None)
    if found is None:
        return None
    arn = ask.arn("logs", f"log-group:{id_}")
    tags = ask.call("logs", "list_tags_for_resource", resourceArn=arn)["tags"]
    return told(ask, {"name": id_, "arn": arn, **ours(found, {"retentionInDays": "retentionInDays"}), "tags": tags})


def _update_log_group(ask: Ask, id_: str) -> Created:
    inputs, arn = ask.inputs, ask.arn("logs", f"log-group:{id_}")
    if ask.changed("retentionInDays"):
        if inputs.has("retentionInDays"):
            ask.call("logs", "put_retention_policy", logGroupName=id_, retentionInDays=inputs.number("retentionInDays"))
        else:
            ask.call("logs", "delete_retention_policy", logGroupName=id_)
    new, gone = tag_changes(ask)
    if new:
        ask.call("logs", "tag_resource", resourceArn=arn, tags=new)
    if gone:
        ask.call("logs", "untag_resource", resourceArn=arn, tagKeys=gone)
    return ask.done(id_, name=id_, arn=arn)


def _delete_log_group(ask: Ask, id_: str) -> None:
    if not ask.inputs.flag("skipDestroy"):
        ask.find("logs", "delete_log_group", "ResourceNotFoundException", logGroupName=id_)


_ALARM: Final = {
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


def _metric_alarm(ask: Ask) -> Created:
    inputs = ask.inputs
    name = inputs.needed("name")
    _put_alarm(ask, name, **inputs.tagged("Tags"))
    arn, tags = ask.arn("cloudwatch", f"alarm:{name}"), inputs.tags()
    if tags:
        # ministack drops those of PutMetricAlarm.
        ask.call("cloudwatch", "tag_resource", ResourceARN=arn, Tags=tag_list(tags))
    return ask.done(name, name=name, arn=arn)


def _put_alarm(ask: Ask, name: str, **tags: Any) -> None:  # noqa: ANN401 — the API's own
    dimensions = [{"Name": key, "Value": value} for key, value in ask.inputs.any("dimensions", {}).items()]
    ask.call("cloudwatch", "put_metric_alarm", AlarmName=name, Dimensions=dimensions, **ask.inputs.renamed(_ALARM), **tags)


def _read_metric_alarm(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = next(iter(ask.call("cloudwatch", "describe_alarms", AlarmNames=[id_])["MetricAlarms"]), None)
    if found is None:
        return None
    tags = ask.call("cloudwatch", "list_tags_for_resource", ResourceARN=found["AlarmArn"])["Tags"]
    there = {
        "name": id_,
        "arn": found["AlarmArn"],
        **ours(found, _ALARM),
        "dimensions": {each["Name"]: each["Value"] for each in found.get("Dimensions", [])},
        "tags": _untold(tags),
    }
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    points = found["EvaluationPeriods"]
    return told(ask, there, actionsEnabled=True, datapointsToAlarm=points, treatMissingData="missing")


def _update_metric_alarm(ask: Ask, id_: str) -> Created:
    # The same page: an update replaces all of the alarm but its tags.
    _put_alarm(ask, id_)
    arn, (new, gone) = ask.arn("cloudwatch", f"alarm:{id_}"), tag_changes(ask)
    if new:
        ask.call("cloudwatch", "tag_resource", ResourceARN=arn, Tags=tag_list(new))
    if gone:
        ask.call("cloudwatch", "untag_resource", ResourceARN=arn, TagKeys=gone)
    return ask.done(id_, name=id_, arn=arn)


def _delete_metric_alarm(ask: Ask, id_: str) -> None:
    ask.find("cloudwatch", "delete_alarms", "ResourceNotFound", AlarmNames=[id_])


_TOPIC: Final = {"displayName": "DisplayName", "kmsMasterKeyId": "KmsMasterKeyId"}
_NO_TOPIC: Final = ("NotFound", "NotFoundException")
# The policy that a topic has from its making.
# https://docs.aws.amazon.com/sns/latest/dg/sns-access-policy-use-cases.html
_FIRST_POLICY: Final = "__default_policy_ID"


def _topic(ask: Ask) -> Created:
    inputs = ask.inputs
    name = inputs.needed("name")
    made = ask.call("sns", "create_topic", Name=name, Attributes=inputs.renamed(_TOPIC), **inputs.tagged("Tags"))
    return ask.done(made["TopicArn"], name=name, arn=made["TopicArn"])


def _read_topic(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = ask.find("sns", "get_topic_attributes", *_NO_TOPIC, TopicArn=id_)
    if found is None:
        return None
    tags = ask.call("sns", "list_tags_for_resource", ResourceArn=id_)["Tags"]
    there = {"name": id_.rpartition(":")[2], "arn": id_, **ours(found["Attributes"], _TOPIC), "tags": _untold(tags)}
    return told(ask, there)


def _update_topic(ask: Ask, id_: str) -> Created:
    for mine, theirs in _TOPIC.items():
        if ask.changed(mine):
            ask.call("sns", "set_topic_attributes", TopicArn=id_, AttributeName=theirs, AttributeValue=ask.inputs.text(mine))
    new, gone = tag_changes(ask)
    if new:
        ask.call("sns", "tag_resource", ResourceArn=id_, Tags=tag_list(new))
    if gone:
        ask.call("sns", "untag_resource", ResourceArn=id_, TagKeys=gone)
    return ask.done(id_, name=id_.rpartition(":")[2], arn=id_)


def _delete_topic(ask: Ask, id_: str) -> None:
    ask.find("sns", "delete_topic", *_NO_TOPIC, TopicArn=id_)


def _topic_policy(ask: Ask) -> Created:
    arn = ask.inputs.needed("arn")
    ask.call("sns", "set_topic_attributes", TopicArn=arn, AttributeName="Policy", AttributeValue=ask.inputs.needed("policy"))
    return ask.done(arn, owner=ask.place.account)


def _read_topic_policy(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = ask.find("sns", "get_topic_attributes", *_NO_TOPIC, TopicArn=id_)
    policy = str((found or {}).get("Attributes", {}).get("Policy", ""))
    declared = policy and json.loads(policy).get("Id") != _FIRST_POLICY
    return {"arn": id_, "policy": policy, "owner": ask.place.account} if declared else None


def _delete_topic_policy(ask: Ask, id_: str) -> None:
    # A topic is never without one: the provider puts the first one back.
    first = {
        "Version": "2008-10-17",
        "Id": _FIRST_POLICY,
        "Statement": [
            {
                "Sid": "__default_statement_ID",
                "Effect": "Allow",
                "Principal": {"AWS": "*"},
                "Action": ["SNS:Publish", "SNS:Subscribe", "SNS:Receive"],
                "Resource": id_,
                "Condition": {"StringEquals": {"AWS:SourceOwner": ask.place.account}},
            }
        ],
    }
    value = json.dumps(first)
    ask.find("sns", "set_topic_attributes", *_NO_TOPIC, TopicArn=id_, AttributeName="Policy", AttributeValue=value)


_SUBSCRIPTION: Final = {"topic": "TopicArn", "protocol": "Protocol", "endpoint": "Endpoint"}


def _topic_subscription(ask: Ask) -> Created:
    made = ask.call("sns", "subscribe", ReturnSubscriptionArn=True, **ask.inputs.renamed(_SUBSCRIPTION))
    return ask.done(made["SubscriptionArn"], arn=made["SubscriptionArn"], ownerId=ask.place.account)


def _read_topic_subscription(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = ask.find("sns", "get_subscription_attributes", *_NO_TOPIC, SubscriptionArn=id_)
    return found and {"arn": id_, "ownerId": found["Attributes"]["Owner"], **ours(found["Attributes"], _SUBSCRIPTION)}


def _delete_topic_subscription(ask: Ask, id_: str) -> None:
    ask.find("sns", "unsubscribe", *_NO_TOPIC, SubscriptionArn=id_)


def _tag_map(inputs: Inputs, name: str) -> dict[str, Any]:
    tags = inputs.tags()
    return {name: tags} if tags else {}


ROWS: Final[Rows] = {
    "aws:cloudwatch/eventRule:EventRule": Row(
        create=_event_rule,
        read=_read_event_rule,
        update=_update_event_rule,
        delete=_delete_event_rule,
        replaces=frozenset({"name", "eventBusName"}),
    ),
    # PutTargets replaces a target by its id: https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutTargets.html
    "aws:cloudwatch/eventTarget:EventTarget": Row(
        create=_event_target,
        read=_read_event_target,
        update=_update_event_target,
        delete=_delete_event_target,
        replaces=frozenset({"rule", "targetId", "eventBusName"}),
    ),
    "aws:cloudwatch/logGroup:LogGroup": Row(
        create=_log_group,
        read=_read_log_group,
        update=_update_log_group,
        delete=_delete_log_group,
        replaces=frozenset({"name"}),
    ),
    "aws:cloudwatch/metricAlarm:MetricAlarm": Row(
        create=_metric_alarm,
        read=_read_metric_alarm,
        update=_update_metric_alarm,
        delete=_delete_metric_alarm,
        replaces=frozenset({"name"}),
    ),
    # What is put takes the place of what was there.
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": Row(
        create=_lifecycle_policy,
        read=_read_lifecycle_policy,
        update=lambda ask, _: _lifecycle_policy(ask),
        delete=_delete_lifecycle_policy,
        replaces=frozenset({"repository"}),
    ),
    # No call changes how a repository is encrypted:
    # https://docs.aws.amazon.com/AmazonECR/latest/userguide/encryption-at-rest.html
    "aws:ecr/repository:Repository": Row(
        create=_repository,
        read=_read_repository,
        update=_update_repository,
        delete=_delete_repository,
        replaces=frozenset({"name", "encryptionConfigurations"}),
    ),
    "aws:ecr/repositoryPolicy:RepositoryPolicy": Row(
        create=_repository_policy,
        read=_read_repository_policy,
        update=lambda ask, _: _repository_policy(ask),
        delete=_delete_repository_policy,
        replaces=frozenset({"repository"}),
    ),
    # Its function may be another, its source may not:
    # https://docs.aws.amazon.com/lambda/latest/api/API_UpdateEventSourceMapping.html
    "aws:lambda/eventSourceMapping:EventSourceMapping": Row(
        create=_event_source_mapping,
        read=_read_event_source_mapping,
        update=_update_event_source_mapping,
        delete=_delete_event_source_mapping,
        replaces=frozenset({"eventSourceArn"}),
    ),
    "aws:lambda/function:Function": Row(
        create=_function,
        read=_read_function,
        update=_update_function,
        delete=_delete_function,
        replaces=frozenset({"name"}),
    ),
    "aws:scheduler/schedule:Schedule": Row(
        create=_schedule,
        read=_read_schedule,
        update=_update_schedule,
        delete=_delete_schedule,
        replaces=frozenset({"name", "groupName"}),
    ),
    "aws:sns/topic:Topic": Row(
        create=_topic,
        read=_read_topic,
        update=_update_topic,
        delete=_delete_topic,
        replaces=frozenset({"name"}),
    ),
    "aws:sns/topicPolicy:TopicPolicy": Row(
        create=_topic_policy,
        read=_read_topic_policy,
        update=lambda ask, _: _topic_policy(ask),
        delete=_delete_topic_policy,
        replaces=frozenset({"arn"}),
    ),
    # None of the three that the row maps is among what SetSubscriptionAttributes sets:
    # https://docs.aws.amazon.com/sns/latest/api/API_SetSubscriptionAttributes.html
    "aws:sns/topicSubscription:TopicSubscription": Row(
        create=_topic_subscription,
        read=_read_topic_subscription,
        delete=_delete_topic_subscription,
    ),
    "aws:sqs/queue:Queue": Row(
        create=_queue,
        read=_read_queue,
        update=_update_queue,
        delete=_delete_queue,
        replaces=frozenset({"name"}),
    ),
    "aws:sqs/queuePolicy:QueuePolicy": Row(
        create=_queue_policy,
        read=_read_queue_policy,
        update=lambda ask, _: _queue_policy(ask),
        delete=_delete_queue_policy,
        replaces=frozenset({"queueUrl"}),
    ),
}
