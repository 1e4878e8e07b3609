"""From a pushed image to a commit: queue, writer function, sweep and alarms of one track; one event rule per service."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import pulumi
import pulumi_aws as aws

from components import iam, naming
from components.registry import Registry
from components.settings import Settings, Slack, Track

# `make package` puts the function's archive there, one per architecture (functions/package.py).
ARCHIVES: Final = Path(__file__).resolve().parent.parent / "dist"
RUNTIME: Final = "python3.13"
HANDLER: Final = "gitops_writer.handler.handler"

# The function drains what waits and retries on a moving branch: well within this, or something is wrong.
_FUNCTION_SECONDS: Final = 120
# AWS asks for six times the function's timeout, so that a throttled batch is not seen twice.
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
_VISIBILITY_SECONDS: Final = 6 * _FUNCTION_SECONDS
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html: at most 14 days
_RETENTION_SECONDS: Final = 14 * 24 * 3600
# The function puts back what it cannot commit yet, for 20 s doubling to 15 min, of which it waits half to all: twelve receives
# outlast an hour without GitHub, or nearly, and two at most.
RECEIVES: Final = 12
# Above ten a batch needs a window, which would delay every single push; the function drains the rest itself.
_BATCH: Final = 10
# The least that AWS allows. https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
_CONCURRENCY: Final = 2
_SWEEP: Final = "rate(15 minutes)"
_OLDEST_SECONDS: Final = 15 * 60
_PERIOD_SECONDS: Final = 5 * 60
_DAY_SECONDS: Final = 24 * 3600
# All that reads, changes or empties a queue; what sends in batches is SendMessage too.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html
_QUEUE_ACTIONS: Final = (
    "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:PurgeQueue",
    "sqs:ReceiveMessage",
    "sqs:SendMessage",
    "sqs:SetQueueAttributes",
)
# EventBridge's own limits: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-retry-policy.html
DELIVERY: Final[aws.cloudwatch.EventTargetRetryPolicyArgsDict] = {
    "maximum_event_age_in_seconds": 86_400,
    "maximum_retry_attempts": 185,
}


class ArchiveMissingError(pulumi.RunError):
    """The writer function has not been packaged."""


@dataclass(frozen=True, kw_only=True)
class ImageHookArgs:
    """Arguments of `ImageHook`.

    Attributes:
        account: The hosting account.
        region: Its region.
        track_name: Name of the track.
        track: The track.
        settings: The hosting stack's settings.
        boundary_arn: Permissions boundary of every role.
    """

    account: str
    region: str
    track_name: str
    track: Track
    settings: Settings
    boundary_arn: pulumi.Input[str]


class ImageHook(pulumi.ComponentResource):
    """One track's hook. Nothing is dropped: each way of failing has a queue, and each queue an alarm.

    Attributes:
        track_name: Name of the track.
        queue: Where image events wait for the writer.
        undelivered: What EventBridge could not put into `queue`.
        unprocessed: What the function could not handle in several tries.
        failures: What it gave up at once, each with its reason.
        alarms: The topic of the track's alarms.
        function: The writer.
        ready: What an event rule must wait for.
    """

    track_name: str
    queue: aws.sqs.Queue
    undelivered: aws.sqs.Queue
    unprocessed: aws.sqs.Queue
    failures: aws.sqs.Queue
    alarms: aws.sns.Topic
    function: aws.lambda_.Function
    ready: Sequence[pulumi.Resource]

    def __init__(self, name: str, args: ImageHookArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the hook of one track."""
        super().__init__("slipway:image_hook:ImageHook", name, None, opts)
        self.track_name = args.track_name
        self.undelivered = self._queue("undelivered", args)
        self.unprocessed = self._queue("unprocessed", args)
        self.failures = self._queue("failures", args)
        self.queue = self._queue(
            "images",
            args,
            visibility_timeout_seconds=_VISIBILITY_SECONDS,
            redrive_policy=pulumi.Output.json_dumps({"deadLetterTargetArn": self.unprocessed.arn, "maxReceiveCount": RECEIVES}),
        )
        images, builds = naming.image_rule(args.track_name, "*"), naming.build_rule(args.track_name, "*")
        admitted = [
            admit_rules(self, queue, f"{args.track_name}-{purpose}", args, rules)
            for queue, purpose, rules in ((self.queue, "images", [images]), (self.undelivered, "undelivered", [images, builds]))
        ]
        for queue, purpose in ((self.unprocessed, "unprocessed"), (self.failures, "failures")):
            queue_policy(self, queue, f"{args.track_name}-{purpose}")
        self.function = self._function(name, args)
        mapping = aws.lambda_.EventSourceMapping(
            name,
            event_source_arn=self.queue.arn,
            function_name=self.function.arn,
            batch_size=_BATCH,
            maximum_batching_window_in_seconds=0,
            function_response_types=["ReportBatchItemFailures"],
            scaling_config={"maximum_concurrency": _CONCURRENCY},
            opts=pulumi.ResourceOptions(parent=self),
        )
        self._sweep(name, args)
        self.alarms = self._topic(name, args)
        self._alarms(args)
        self.ready = [*admitted, mapping]
        self.register_outputs({"queue": self.queue.url, "function": self.function.name})

    def _queue(self, purpose: str, args: ImageHookArgs, **more: Any) -> aws.sqs.Queue:  # noqa: ANN401 — Queue's own arguments
        return make_queue(self, args.track_name, purpose, **more)

    def _function(self, name: str, args: ImageHookArgs) -> aws.lambda_.Function:
        settings, track = args.settings, args.track
        function_name = naming.function(args.track_name)
        own = pulumi.ResourceOptions(parent=self)
        group = aws.cloudwatch.LogGroup(
            name,
            name=f"/aws/lambda/{function_name}",
            retention_in_days=log_days(settings),
            opts=own,
        )
        role = aws.iam.Role(
            f"{name}-writer",
            name=naming.role(args.track_name, "writer"),
            permissions_boundary=args.boundary_arn,
            # No condition on the source: no page of AWS's says that Lambda sends one, and a role is passed within its account
            # only, so there is no deputy to confuse. https://docs.aws.amazon.com/lambda/latest/dg/lambda-intro-execution-role.html
            assume_role_policy=iam.document(iam.trust_service("lambda.amazonaws.com")),
            opts=own,
        )
        repositories = f"arn:aws:ecr:{args.region}:{args.account}:repository/{naming.repository_prefix(args.track_name)}*"
        secret = naming.app_key_secret(args.track_name)
        policy = aws.iam.RolePolicy(
            f"{name}-writer",
            role=role.id,
            policy=iam.document(
                iam.allow(
                    "TakeEvents",
                    actions=[
                        "sqs:ChangeMessageVisibility",
                        "sqs:DeleteMessage",
                        "sqs:GetQueueAttributes",
                        "sqs:ReceiveMessage",
                    ],
                    resources=[self.queue.arn],
                ),
                iam.allow("KeepFailures", actions=["sqs:SendMessage"], resources=[self.failures.arn]),
                iam.allow(
                    "ReadCatalogue",
                    actions=["ssm:GetParametersByPath"],
                    # The path itself, and what lies below it.
                    resources=[
                        f"arn:aws:ssm:{args.region}:{args.account}:parameter{naming.catalogue_path(args.track_name)[:-1]}",
                        f"arn:aws:ssm:{args.region}:{args.account}:parameter{naming.catalogue_path(args.track_name)}*",
                    ],
                ),
                iam.allow(
                    "ReadAppKey",
                    actions=["secretsmanager:GetSecretValue"],
                    # Secrets Manager ends every ARN with six random characters.
                    # https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_iam-permissions.html
                    resources=[f"arn:aws:secretsmanager:{args.region}:{args.account}:secret:{secret}-??????"],
                ),
                iam.allow(
                    "ReadAndMarkImages",
                    # PutImage: the sweep's marks, which are tags. Tags that name builds are immutable. Nothing is ever deleted.
                    actions=["ecr:BatchGetImage", "ecr:DescribeImages", "ecr:PutImage"],
                    resources=[repositories],
                ),
                iam.allow(
                    "Log",
                    actions=["logs:CreateLogStream", "logs:PutLogEvents"],
                    resources=[pulumi.Output.concat(group.arn, ":*")],
                ),
            ),
            opts=own,
        )
        return aws.lambda_.Function(
            name,
            name=function_name,
            description=f"Commits new images of track {args.track_name} to {settings.gitops_repository}@{track.gitops_branch}",
            code=pulumi.FileArchive(str(archive(track.architecture))),
            runtime=RUNTIME,
            handler=HANDLER,
            architectures=["arm64" if track.architecture == "arm64" else "x86_64"],
            role=role.arn,
            timeout=_FUNCTION_SECONDS,
            # CPU comes with memory: TLS and YAML of a burst want some.
            memory_size=512,
            logging_config={"log_format": "Text", "log_group": group.name},
            environment={"variables": self._variables(args, secret)},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
        )

    def _variables(self, args: ImageHookArgs, secret: str) -> Mapping[str, pulumi.Input[str]]:
        """The function's configuration; functions/gitops_writer/settings.py reads it."""
        settings, track = args.settings, args.track
        return {
            "SLIPWAY_TRACK": args.track_name,
            "SLIPWAY_BRANCH": track.gitops_branch,
            "SLIPWAY_IMAGE_FILE": track.image_file,
            "SLIPWAY_REPOSITORY_PREFIX": naming.repository_prefix(args.track_name),
            "SLIPWAY_GITOPS_REPOSITORY": settings.gitops_repository,
            "SLIPWAY_GITHUB_API_URL": settings.gitops.api_url,
            "SLIPWAY_GITHUB_APP_ID": str(track.writer.app_id),
            "SLIPWAY_GITHUB_INSTALLATION_ID": str(track.writer.installation_id),
            "SLIPWAY_GITHUB_KEY_SECRET": secret,
            "SLIPWAY_QUEUE_URL": self.queue.url,
            "SLIPWAY_FAILURE_QUEUE_URL": self.failures.url,
            "SLIPWAY_CATALOGUE_PATH": naming.catalogue_path(args.track_name),
            # New services begin where their first image does: in the overlay that one environment alone reads.
            "SLIPWAY_SCAFFOLD": "true" if track.overlay else "false",
            "SLIPWAY_ENVIRONMENTS": json.dumps({each: settings.environments[each].gitops_branch for each in track.environments}),
            "POWERTOOLS_SERVICE_NAME": naming.function(args.track_name),
            "POWERTOOLS_METRICS_NAMESPACE": naming.PROJECT,
            "POWERTOOLS_LOG_LEVEL": "INFO",
        }

    def _sweep(self, name: str, args: ImageHookArgs) -> None:
        """Events are delivered best-effort: on schedule the writer looks for itself."""
        own = pulumi.ResourceOptions(parent=self)
        schedule = naming.queue(args.track_name, "sweep")
        role = aws.iam.Role(
            f"{name}-sweep",
            name=naming.role(args.track_name, "sweep"),
            permissions_boundary=args.boundary_arn,
            assume_role_policy=iam.document(
                iam.trust_service(
                    "scheduler.amazonaws.com",
                    account=args.account,
                    # https://docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html
                    source_arn=f"arn:aws:scheduler:{args.region}:{args.account}:schedule-group/default",
                )
            ),
            opts=own,
        )
        policy = aws.iam.RolePolicy(
            f"{name}-sweep",
            role=role.id,
            policy=iam.document(
                iam.allow("Invoke", actions=["lambda:InvokeFunction"], resources=[self.function.arn]),
                iam.allow("KeepUndelivered", actions=["sqs:SendMessage"], resources=[self.undelivered.arn]),
            ),
            opts=own,
        )
        aws.scheduler.Schedule(
            name,
            name=schedule,
            schedule_expression=_SWEEP,
            flexible_time_window={"mode": "OFF"},
            target={
                "arn": self.function.arn,
                "role_arn": role.arn,
                "input": json.dumps({"slipway": "sweep"}),
                "dead_letter_config": {"arn": self.undelivered.arn},
                # The next sweep is the retry.
                "retry_policy": {"maximum_event_age_in_seconds": 600, "maximum_retry_attempts": 2},
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
        )

    def _topic(self, name: str, args: ImageHookArgs) -> aws.sns.Topic:
        """The topic of the track's alarms, and whom a setting subscribes by mail; a chat is `AlarmChat`'s."""
        topic = aws.sns.Topic(
            name,
            name=naming.queue(args.track_name, "alarms"),
            # Without a key of its own. AWS's key for topics has a policy that lets no CloudWatch in, a customer's costs by the
            # month, and alarms say no more than a queue's name and a number.
            # https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html, https://aws.amazon.com/kms/pricing/
            opts=pulumi.ResourceOptions(parent=self),
        )
        aws.sns.TopicPolicy(
            name,
            arn=topic.arn,
            policy=iam.document(
                iam.grant(
                    "AlarmsOfThisAccount",
                    to={"Service": "cloudwatch.amazonaws.com"},
                    actions=["sns:Publish"],
                    resources=[topic.arn],
                    conditions={"StringEquals": {"aws:SourceAccount": args.account}},
                ),
                # https://docs.aws.amazon.com/sns/latest/dg/sns-security-best-practices.html
                iam.deny_plain_http("TlsOnly", actions=["sns:Publish"], resources=[topic.arn]),
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        if args.settings.alarms.email:
            aws.sns.TopicSubscription(
                name,
                topic=topic.arn,
                protocol="email",
                endpoint=args.settings.alarms.email,
                opts=pulumi.ResourceOptions(parent=self),
            )
        return topic

    def _alarms(self, args: ImageHookArgs) -> None:
        for queue, purpose, meaning in (
            (self.undelivered, "undelivered", "events that EventBridge or the scheduler could not deliver"),
            (self.unprocessed, "unprocessed", "events that a function failed on again and again"),
            (self.failures, "failures", "events that a function gave up, each with its reason"),
        ):
            self._alarm(
                f"{args.track_name}-{purpose}",
                Watched(
                    text=f"The queue holds {meaning}. `make replay STACK={args.settings.stack}` shows them (docs/runbook.md).",
                    namespace="AWS/SQS",
                    metric="ApproximateNumberOfMessagesVisible",
                    dimensions={"QueueName": queue.name},
                    statistic="Maximum",
                    threshold=0,
                ),
            )
        self._alarm(
            f"{args.track_name}-oldest",
            Watched(
                text="An image event waits for a commit longer than it should: is GitHub reachable, are its limits reached?",
                namespace="AWS/SQS",
                metric="ApproximateAgeOfOldestMessage",
                dimensions={"QueueName": self.queue.name},
                statistic="Maximum",
                threshold=_OLDEST_SECONDS,
            ),
        )
        self._alarm(
            f"{args.track_name}-retrying",
            Watched(
                text="An image event is tried again and again without a commit: is GitHub well, does it take this writer?",
                # The age leaves out what was received three times without being deleted, so it hears of events that nobody
                # takes, and not of those that are given back: these are in flight at every look, and no others for this long.
                # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
                namespace="AWS/SQS",
                metric="ApproximateNumberOfMessagesNotVisible",
                dimensions={"QueueName": self.queue.name},
                statistic="Minimum",
                threshold=0,
                # A look may fall on the moment between two tries: one period may miss.
                periods=_OLDEST_SECONDS // _PERIOD_SECONDS + 1,
                breaching_periods=_OLDEST_SECONDS // _PERIOD_SECONDS,
            ),
        )
        self._alarm(
            f"{args.track_name}-errors",
            Watched(
                text="The writer function fails as a whole: its log group tells why.",
                namespace="AWS/Lambda",
                metric="Errors",
                dimensions={"FunctionName": self.function.name},
                statistic="Sum",
                threshold=0,
            ),
        )
        self._alarm(
            f"{args.track_name}-swept",
            Watched(
                text="No sweep has succeeded for a day: lost events are not mended.",
                namespace=naming.PROJECT,
                metric="swept",
                dimensions={"service": naming.function(args.track_name)},
                statistic="Sum",
                threshold=1,
                below=True,
                period_seconds=_DAY_SECONDS,
            ),
        )

    def _alarm(self, name: str, watched: "Watched") -> None:
        make_alarm(self, name, watched, self.alarms)


@dataclass(frozen=True, kw_only=True)
class Watched:
    """One metric and when it is too high (or, with `below`, too low): in `breaching_periods` of the last `periods`, or in all.

    With `ends` the topic also hears when the alarm is over.
    """

    text: str
    namespace: str
    metric: str
    dimensions: Mapping[str, pulumi.Input[str]]
    statistic: str
    threshold: int
    below: bool = False
    period_seconds: int = _PERIOD_SECONDS
    periods: int = 1
    breaching_periods: int | None = None
    ends: bool = True


class Place(Protocol):
    """What an ARN is made of."""

    @property
    def account(self) -> str: ...

    @property
    def region(self) -> str: ...


def rule_arn(place: Place, name: str) -> str:
    """ARN of an event rule on the default bus, or a pattern of such ARNs."""
    return f"arn:aws:events:{place.region}:{place.account}:rule/{name}"


def make_queue(parent: pulumi.Resource, track: str, purpose: str, **more: Any) -> aws.sqs.Queue:  # noqa: ANN401 — Queue's own arguments
    """Declare one of a track's queues."""
    return aws.sqs.Queue(
        f"{track}-{purpose}",
        name=naming.queue(track, purpose),
        message_retention_seconds=_RETENTION_SECONDS,
        # SSE-SQS: EventBridge can send without a grant on a key.
        sqs_managed_sse_enabled=True,
        opts=pulumi.ResourceOptions(parent=parent),
        **more,
    )


def admit_rules(
    parent: pulumi.Resource, queue: aws.sqs.Queue, name: str, place: Place, rules: Sequence[str]
) -> aws.sqs.QueuePolicy:
    """Let event rules send to a queue: by the pattern of their names, for a policy holds 8 KiB and not 300 rules.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-policies.html
    """
    return queue_policy(
        parent,
        queue,
        name,
        iam.grant(
            "EventsFromOurRules",
            to={"Service": "events.amazonaws.com"},
            actions=["sqs:SendMessage"],
            resources=[queue.arn],
            conditions={
                "ArnLike": {"aws:SourceArn": [rule_arn(place, each) for each in rules]},
                "StringEquals": {"aws:SourceAccount": place.account},
            },
        ),
    )


def queue_policy(parent: pulumi.Resource, queue: aws.sqs.Queue, name: str, *statements: iam.Statement) -> aws.sqs.QueuePolicy:
    """Declare a queue's policy: `statements`, and nothing over plain HTTP."""
    return aws.sqs.QueuePolicy(
        name,
        queue_url=queue.url,
        policy=iam.document(
            *statements,
            iam.deny_plain_http("TlsOnly", actions=_QUEUE_ACTIONS, resources=[queue.arn]),
        ),
        opts=pulumi.ResourceOptions(parent=parent),
    )


def make_alarm(parent: pulumi.Resource, name: str, watched: Watched, topic: aws.sns.Topic) -> None:
    """Declare an alarm that tells a track's topic."""
    aws.cloudwatch.MetricAlarm(
        name,
        name=f"{naming.PROJECT}-{name}",
        alarm_description=watched.text,
        namespace=watched.namespace,
        metric_name=watched.metric,
        dimensions=watched.dimensions,
        statistic=watched.statistic,
        comparison_operator="LessThanThreshold" if watched.below else "GreaterThanThreshold",
        threshold=watched.threshold,
        period=watched.period_seconds,
        evaluation_periods=watched.periods,
        datapoints_to_alarm=watched.breaching_periods,
        treat_missing_data="breaching" if watched.below else "notBreaching",
        alarm_actions=[topic.arn],
        ok_actions=[topic.arn] if watched.ends else None,
        opts=pulumi.ResourceOptions(parent=parent),
    )


@dataclass(frozen=True, kw_only=True)
class AlarmChatArgs:
    """Arguments of `AlarmChat`.

    Attributes:
        account: The hosting account.
        region: Its region.
        stack: Name of the stack.
        slack: The channel.
        hooks: Hooks whose alarms it hears.
        boundary_arn: Permissions boundary of every role.
    """

    account: str
    region: str
    stack: str
    slack: Slack
    hooks: Sequence[ImageHook]
    boundary_arn: pulumi.Input[str]


class AlarmChat(pulumi.ComponentResource):
    """The alarms of all tracks of a stack in one Slack channel: AWS takes a channel once an account.

    The channel is told, and does nothing: its role and its guardrail read what an alarm's picture shows.
    """

    def __init__(self, name: str, args: AlarmChatArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the channel's configuration and its role."""
        super().__init__("slipway:image_hook:AlarmChat", name, None, opts)
        own = pulumi.ResourceOptions(parent=self)
        alarms = f"arn:aws:cloudwatch:{args.region}:{args.account}:alarm:{naming.PROJECT}"
        # One document twice: what the role may, and what nobody in the channel goes beyond, whatever role they choose.
        # https://docs.aws.amazon.com/chatbot/latest/adminguide/understanding-permissions.html
        policy = aws.iam.Policy(
            name,
            name=naming.role(args.stack, "chat"),
            description="What the alarms' Slack channel may read, and the most that anybody may do from there",
            policy=iam.document(
                # Named out of AWS's template for channels that are only notified, which reads all of CloudWatch.
                # https://docs.aws.amazon.com/chatbot/latest/adminguide/chatbot-iam-policies.html
                iam.allow(
                    "ReadAlarms",
                    actions=["cloudwatch:DescribeAlarms"],
                    resources=[f"{alarms}-{each.track_name}-*" for each in args.hooks],
                ),
                iam.allow_everywhere(
                    "DrawAlarms",
                    actions=["cloudwatch:GetMetricData", "cloudwatch:GetMetricWidgetImage"],
                    because="metrics are no resources, and neither are pictures of them: "
                    "https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoncloudwatch.html",
                ),
            ),
            opts=own,
        )
        role = aws.iam.Role(
            name,
            name=naming.role(args.stack, "chat"),
            description="What the alarms' Slack channel may read",
            permissions_boundary=args.boundary_arn,
            # No condition on the source: no page of AWS's says that this service sends one.
            assume_role_policy=iam.document(iam.trust_service("chatbot.amazonaws.com")),
            opts=own,
        )
        attached = aws.iam.RolePolicyAttachment(name, role=role.name, policy_arn=policy.arn, opts=own)
        aws.chatbot.SlackChannelConfiguration(
            name,
            configuration_name=naming.queue(args.stack, "alarms"),
            slack_team_id=args.slack.workspace_id,
            slack_channel_id=args.slack.channel_id,
            sns_topic_arns=[each.alarms.arn for each in args.hooks],
            iam_role_arn=role.arn,
            # Without one it would be AdministratorAccess.
            # https://docs.aws.amazon.com/chatbot/latest/APIReference/API_CreateSlackChannelConfiguration.html
            guardrail_policy_arns=[policy.arn],
            # Nobody speaks as the channel: whoever asks for more than being told needs a role of their own.
            user_authorization_required=True,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[attached]),
        )
        self.register_outputs({"roleArn": role.arn})


@dataclass(frozen=True, kw_only=True)
class ImageRuleArgs:
    """Arguments of `ImageRule`.

    Attributes:
        hook: The track's hook.
        registry: The service's registry on that track.
        declaration: What the writer must know of the service.
    """

    hook: ImageHook
    registry: Registry
    declaration: Mapping[str, Any]


class ImageRule(pulumi.ComponentResource):
    """One service on one track: the rule that sends its images to the hook, and its entry in the writer's catalogue.

    Attributes:
        ready: What the service's pipeline must wait for.
    """

    ready: Sequence[pulumi.Resource]

    def __init__(self, name: str, args: ImageRuleArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare rule, target and catalogue entry."""
        super().__init__("slipway:image_hook:ImageRule", name, None, opts)
        hook, registry = args.hook, args.registry
        own = pulumi.ResourceOptions(parent=self)
        rule = aws.cloudwatch.EventRule(
            name,
            name=naming.image_rule(registry.track, registry.service),
            description=f"Images pushed to {registry.name}",
            event_pattern=json.dumps(image_pushed(registry.name)),
            opts=own,
        )
        target = aws.cloudwatch.EventTarget(
            name,
            rule=rule.name,
            target_id="images",
            arn=hook.queue.arn,
            dead_letter_config={"arn": hook.undelivered.arn},
            retry_policy=DELIVERY,
            opts=pulumi.ResourceOptions(parent=self, depends_on=hook.ready),
        )
        entry = aws.ssm.Parameter(
            name,
            name=f"{naming.catalogue_path(registry.track)}{registry.service}",
            description=f"What the writer of track {registry.track} knows of {registry.service}",
            type="String",
            value=json.dumps(args.declaration, sort_keys=True),
            opts=own,
        )
        self.ready = [rule, target, entry]
        self.register_outputs({"rule": rule.name})


def image_pushed(repository: str) -> dict[str, Any]:
    """The pattern of ECR's event for an image pushed to `repository`.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html
    """
    return {
        "source": ["aws.ecr"],
        "detail-type": ["ECR Image Action"],
        "detail": {"action-type": ["PUSH"], "result": ["SUCCESS"], "repository-name": [repository]},
    }


def archive(of: str) -> Path:
    """The functions' archive for images of `arm64` or `amd64`.

    Raises:
        ArchiveMissingError: it has not been built.
    """
    path = ARCHIVES / f"gitops_writer-{'arm64' if of == 'arm64' else 'x86_64'}.zip"
    if not path.is_file():
        msg = f"The writer function's archive {path.name} is missing from dist/: it must be built first. Run `make package`."
        raise ArchiveMissingError(msg)
    return path


def check_archive(settings: Settings) -> None:
    """Make sure, before anything is registered, that the function can be deployed where a track is hosted.

    Raises:
        ArchiveMissingError: the archive for a track's architecture has not been built.
    """
    for track in settings.hosted_tracks.values():
        archive(track.architecture)


def log_days(settings: Settings) -> int:
    return settings.builds.log_retention_days if settings.builds else 30


__all__ = [
    "ArchiveMissingError",
    "ImageHook",
    "ImageHookArgs",
    "ImageRule",
    "ImageRuleArgs",
    "archive",
    "check_archive",
    "image_pushed",
]
