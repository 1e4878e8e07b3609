"""Calls are held against AWS's service models."""

from collections.abc import Callable
from typing import Any

import botocore.session
import pytest

from rehearsal.cloud import shapes

Models = Callable[[str], Any]


@pytest.fixture(scope="module")
def models() -> Models:
    """Botocore's service models by name."""
    return botocore.session.get_session().get_service_model


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "fault"),
    [
        (
            "cloudwatch",
            "PutMetricAlarm",
            {"AlarmName": "a", "EvaluationPeriods": 1, "ComparisonOperator": "Bigger"},
            "allowed are",
        ),
        ("lambda", "CreateFunction", {"FunctionName": "a b", "Role": "r", "Code": {}}, "FunctionName is 'a b': it must match"),
        ("scheduler", "GetSchedule", {"Name": "x" * 65}, "Name has 65 characters: at least 1 and at most 64"),
        ("events", "PutTargets", {"Rule": "r", "Targets": []}, "Targets has 0 entries: at least 1"),
        ("events", "PutTargets", {"Rule": "r", "Targets": [{"Id": "a", "Arn": ""}]}, "Targets.0.Arn has 0 characters"),
        ("sqs", "CreateQueue", {}, "QueueName is missing"),
        ("sqs", "CreateQueue", {"QueueName": "q", "Colour": "red"}, "Colour is no member"),
        ("sqs", "CreateQueue", {"QueueName": "q", "Attributes": {"Visibility": "1"}}, "Attributes.Visibility is 'Visibility'"),
        ("elbv2", "CreateRule", {"ListenerArn": "l", "Conditions": [], "Actions": [], "Priority": 0}, "Priority has 0"),
    ],
)
def test_what_the_model_forbids_is_named_with_its_place(
    models: Models, service: str, operation: str, parameters: dict[str, Any], fault: str
) -> None:
    assert any(fault in each for each in shapes.faults(models(service), operation, parameters))


def test_what_the_model_allows_passes(models: Models) -> None:
    fine = {
        "Name": "slipway-develop-sweep",
        "ScheduleExpression": "rate(15 minutes)",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {
            "Arn": "arn:aws:lambda:eu-central-1:111111111111:function:writer",
            "RoleArn": "arn:aws:iam::111111111111:role/sweep",
            "Input": "{}",
        },
    }
    assert shapes.faults(models("scheduler"), "CreateSchedule", fine) == []
