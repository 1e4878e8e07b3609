"""From a pipeline's events to people: the alarm of one track's failed builds, and a status on each built commit."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from components import iam, naming
from components.image_hook import (
    DELIVERY,
    RECEIVES,
    RUNTIME,
    ImageHook,
    Watched,
    admit_rules,
    archive,
    log_days,
    make_alarm,
    make_queue,
)
from components.settings import App, Settings

HANDLER: Final = "gitops_writer.reporter.handler"

_PIPELINE_EVENT: Final = "CodePipeline Pipeline Execution State Change"
_ACTION_EVENT: Final = "CodePipeline Action Execution State Change"
# https://docs.aws.amazon.com/codepipeline/latest/userguide/detect-state-changes-cloudwatch-events.html
# STARTED is left out: no commit is known before the source action has succeeded, which is an event of its own.
_STATES: Final = ("CANCELED", "FAILED", "RESUMED", "STOPPED", "SUCCEEDED", "SUPERSEDED")

_FUNCTION_SECONDS: Final = 60
# AWS asks for six times the function's timeout.
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
_VISIBILITY_SECONDS: Final = 6 * _FUNCTION_SECONDS
# Each event is a handful of calls: the reserve of the function (functions/gitops_writer/reporter.py) is for one at a time.
_BATCH: Final = 5
# The least that AWS allows. https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
_CONCURRENCY: Final = 2


@dataclass(frozen=True, kw_only=True)
class BuildReportsArgs:
    """Arguments of `BuildReports`.

    Attributes:
        account: The hosting account.
        region: Its region.
        track_name: Name of the track.
        settings: The hosting stack's settings.
        hook: The track's hook, whose topic hears of failed builds and whose queues keep the failures of reporting.
        boundary_arn: Permissions boundary of every role.
    """

    account: str
    region: str
    track_name: str
    settings: Settings
    hook: ImageHook
    boundary_arn: pulumi.Input[str]


class BuildReports(pulumi.ComponentResource):
    """One track's builds: a failed one raises an alarm; with an App for it, each one is a status of its commit."""

    def __init__(self, name: str, args: BuildReportsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare rules, alarm and, with an App, the reporter."""
        super().__init__("slipway:build_reports:BuildReports", name, None, opts)
        self._tell_of_failures(args)
        reporter = args.settings.builds.reporter if args.settings.builds else None
        if reporter is not None:
            self._report(args, reporter)
        self.register_outputs({})

    def _tell_of_failures(self, args: BuildReportsArgs) -> None:
        """An alarm on the rule that matches failed runs. The rule is there to be counted and has no target.

        It cannot send to the topic: a topic's policy would have to let every rule of every account in, because EventBridge
        states no source there ("You can't use Condition blocks in Amazon SNS topic policies for EventBridge").
        https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html#eb-sns-permissions
        """
        track = args.track_name
        rule = aws.cloudwatch.EventRule(
            f"{track}-builds-failed",
            name=naming.build_rule(track, "failed"),
            description=f"Builds of track {track} that have failed",
            event_pattern=json.dumps(build_failed(track)),
            opts=pulumi.ResourceOptions(parent=self),
        )
        runs = f"https://{args.region}.console.aws.amazon.com/codesuite/codepipeline/pipelines?region={args.region}"
        make_alarm(
            self,
            f"{track}-builds",
            Watched(
                text=f"A build has failed: there is no new image, and what runs goes on running. The pipelines: {runs} "
                "(docs/runbook.md, builds).",
                # "The number of rules that have run and matched with any event", whatever the targets do.
                # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html
                namespace="AWS/Events",
                metric="TriggeredRules",
                dimensions={"RuleName": rule.name},
                statistic="Sum",
                threshold=0,
                # It is over after five minutes, which does not mean that anything was repaired.
                ends=False,
            ),
            args.hook.alarms,
        )

    def _report(self, args: BuildReportsArgs, reporter: App) -> None:
        """Rule, queue and function that set the statuses. What fails goes where the track's other failures go."""
        track, hook = args.track_name, args.hook
        own = pulumi.ResourceOptions(parent=self)
        queue = make_queue(
            self,
            track,
            "builds",
            visibility_timeout_seconds=_VISIBILITY_SECONDS,
            redrive_policy=pulumi.Output.json_dumps({"deadLetterTargetArn": hook.unprocessed.arn, "maxReceiveCount": RECEIVES}),
        )
        admitted = admit_rules(self, queue, f"{track}-builds", args, [naming.build_rule(track, "changed")])
        function = self._function(args, reporter, queue)
        mapping = aws.lambda_.EventSourceMapping(
            f"{track}-reporter",
            event_source_arn=queue.arn,
            function_name=function.arn,
            batch_size=_BATCH,
            maximum_batching_window_in_seconds=0,
            function_response_types=["ReportBatchItemFailures"],
            scaling_config={"maximum_concurrency": _CONCURRENCY},
            opts=own,
        )
        rule = aws.cloudwatch.EventRule(
            f"{track}-builds-changed",
            name=naming.build_rule(track, "changed"),
            description=f"Builds of track {track} that have found their commit or have ended",
            event_pattern=json.dumps(build_changed(track)),
            opts=own,
        )
        aws.cloudwatch.EventTarget(
            f"{track}-builds-changed",
            rule=rule.name,
            target_id="builds",
            arn=queue.arn,
            dead_letter_config={"arn": hook.undelivered.arn},
            retry_policy=DELIVERY,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[admitted, mapping, *hook.ready]),
        )
        make_alarm(
            self,
            f"{track}-reporter-errors",
            Watched(
                text="The function that reports builds fails as a whole: its log group tells why.",
                namespace="AWS/Lambda",
                metric="Errors",
                dimensions={"FunctionName": function.name},
                statistic="Sum",
                threshold=0,
            ),
            hook.alarms,
        )

    def _function(self, args: BuildReportsArgs, reporter: App, queue: aws.sqs.Queue) -> aws.lambda_.Function:
        track, settings, hook = args.track_name, args.settings, args.hook
        own = pulumi.ResourceOptions(parent=self)
        function_name = naming.reporter(track)
        group = aws.cloudwatch.LogGroup(
            f"{track}-reporter",
            name=f"/aws/lambda/{function_name}",
            retention_in_days=log_days(settings),
            opts=own,
        )
        role = aws.iam.Role(
            f"{track}-reporter",
            name=naming.role(track, "reporter"),
            permissions_boundary=args.boundary_arn,
            # No condition on the source: as for the writer (components/image_hook.py).
            assume_role_policy=iam.document(iam.trust_service("lambda.amazonaws.com")),
            opts=own,
        )
        secret = naming.reporter_key_secret()
        policy = aws.iam.RolePolicy(
            f"{track}-reporter",
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
                    resources=[queue.arn],
                ),
                iam.allow("KeepFailures", actions=["sqs:SendMessage"], resources=[hook.failures.arn]),
                iam.allow("TellPeople", actions=["sns:Publish"], resources=[hook.alarms.arn]),
                iam.allow(
                    "ReadAppKey",
                    actions=["secretsmanager:GetSecretValue"],
                    # Secrets Manager ends every ARN with six random characters.
                    # https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_iam-permissions.html
                    resources=[f"arn:aws:secretsmanager:{args.region}:{args.account}:secret:{secret}-??????"],
                ),
                iam.allow(
                    "ReadRuns",
                    actions=[
                        "codepipeline:GetPipelineExecution",
                        "codepipeline:ListActionExecutions",
                        "codepipeline:ListPipelineExecutions",
                    ],
                    resources=[f"arn:aws:codepipeline:{args.region}:{args.account}:{naming.pipelines(track)}"],
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
            f"{track}-reporter",
            name=function_name,
            description=f"Reports builds of track {track} as commit statuses",
            code=pulumi.FileArchive(str(archive(settings.tracks[track].architecture))),
            runtime=RUNTIME,
            handler=HANDLER,
            architectures=["arm64" if settings.tracks[track].architecture == "arm64" else "x86_64"],
            role=role.arn,
            timeout=_FUNCTION_SECONDS,
            # CPU comes with memory, and a cold start is most of its work.
            memory_size=512,
            logging_config={"log_format": "Text", "log_group": group.name},
            environment={"variables": _variables(args, reporter, secret, queue)},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
        )


def _variables(args: BuildReportsArgs, reporter: App, secret: str, queue: aws.sqs.Queue) -> Mapping[str, pulumi.Input[str]]:
    """The function's configuration; functions/gitops_writer/settings.py reads it."""
    return {
        "SLIPWAY_TRACK": args.track_name,
        "SLIPWAY_GITHUB_API_URL": args.settings.gitops.api_url,
        "SLIPWAY_GITHUB_APP_ID": str(reporter.app_id),
        "SLIPWAY_GITHUB_INSTALLATION_ID": str(reporter.installation_id),
        "SLIPWAY_GITHUB_KEY_SECRET": secret,
        "SLIPWAY_QUEUE_URL": queue.url,
        "SLIPWAY_FAILURE_QUEUE_URL": args.hook.failures.url,
        "SLIPWAY_TOPIC_ARN": args.hook.alarms.arn,
        # A chat shows a message of the topic only if it has the form of a custom notification.
        "SLIPWAY_CHAT": "true" if args.settings.alarms.slack is not None else "false",
        "POWERTOOLS_SERVICE_NAME": naming.reporter(args.track_name),
        "POWERTOOLS_METRICS_NAMESPACE": naming.PROJECT,
        "POWERTOOLS_LOG_LEVEL": "INFO",
    }


def build_failed(track: str) -> dict[str, Any]:
    """Return the pattern of CodePipeline's event for a run that has failed, on this track and no other.

    https://docs.aws.amazon.com/codepipeline/latest/userguide/detect-state-changes-cloudwatch-events.html
    """
    return _pattern(track, [_PIPELINE_EVENT], ["FAILED"])


def build_changed(track: str) -> dict[str, Any]:
    """Return the pattern of the events after which a commit's status may be another."""
    return _pattern(track, [_PIPELINE_EVENT, _ACTION_EVENT], _STATES)


def _pattern(track: str, kinds: Sequence[str], states: Sequence[str]) -> dict[str, Any]:
    # By a pattern and not by a list of names, for a rule's pattern holds 2,048 characters.
    # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html#eb-filtering-wildcard-matching
    return {
        "source": ["aws.codepipeline"],
        "detail-type": list(kinds),
        "detail": {"pipeline": [{"wildcard": naming.pipelines(track)}], "state": list(states)},
    }


__all__ = ["HANDLER", "BuildReports", "BuildReportsArgs", "build_changed", "build_failed"]
