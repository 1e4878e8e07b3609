"""The judgements that AWS makes when its services meet each other, and the emulators do not: by the rehearsal's one evaluator."""

from rehearsal.registry.policy import Document, Request, Service, Verdict, judge


def may_send(policy: str, rule_arn: str, queue_arn: str) -> Verdict:
    """Whether EventBridge may put a rule's events into a queue.

    Args:
        policy: The queue's policy document; "" when it has none, which lets no service in.
        rule_arn: The rule.
        queue_arn: The queue.

    Raises:
        PolicyError: the policy cannot be judged for certain.
    """
    request = Request(
        caller=Service(name="events.amazonaws.com"),
        action="sqs:SendMessage",
        resource=queue_arn,
        # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html; AWS's services speak TLS
        context={"aws:SourceArn": rule_arn, "aws:SourceAccount": rule_arn.split(":")[4], "aws:SecureTransport": "true"},
    )
    return judge(request, resource_policy=policy or None)


def may_assume(trust: Document, role_arn: str, service: str, source_arn: str) -> Verdict:
    """Whether an AWS service may assume a role on behalf of one of its resources.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html

    Args:
        trust: The role's trust policy.
        role_arn: The role.
        service: Service principal, such as `lambda.amazonaws.com`.
        source_arn: The resource.

    Raises:
        PolicyError: the policy cannot be judged for certain.
    """
    request = Request(
        caller=Service(name=service),
        action="sts:AssumeRole",
        resource=role_arn,
        context={"aws:SourceArn": source_arn, "aws:SourceAccount": source_arn.split(":")[4]},
    )
    return judge(request, resource_policy=trust)


__all__ = ["may_assume", "may_send"]
