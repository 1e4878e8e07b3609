"""rehearsal/program.py: the kit sees what the engine would be told, and hides no fault of a program."""

import pulumi
import pulumi_aws as aws
import pytest

from rehearsal.program import Created, Imagined, ProgramError, Request, evaluate_component


def test_options_and_dependencies_are_seen_as_the_engine_is_told_them() -> None:
    def declare() -> None:
        first = aws.sqs.Queue("first", name="first", opts=pulumi.ResourceOptions(protect=True, retain_on_delete=True))
        aws.sqs.Queue(
            "second",
            kms_master_key_id=first.arn,
            opts=pulumi.ResourceOptions(depends_on=[first], ignore_changes=["tags"], delete_before_replace=True),
        )

    program = evaluate_component(declare)
    first, second = program.one("sqs/queue:Queue", "first"), program.one("sqs/queue:Queue", "second")
    assert (first.protect, first.retain_on_delete) == (True, True)
    assert second.dependencies == (first.urn,)
    assert second.property_dependencies["kmsMasterKeyId"] == (first.urn,)
    assert second.ignore_changes == ("tags",)
    assert second.delete_before_replace
    assert second.inputs == {"kmsMasterKeyId": "arn:aws:sqs:eu-central-1:111111111111:first"}


def test_a_secret_is_known_as_one_and_stays_one_when_passed_on() -> None:
    def declare() -> None:
        one = aws.ssm.Parameter("one", type="SecureString", value=pulumi.Output.secret("hush"))
        aws.ssm.Parameter("two", type="String", value=one.value.apply(lambda value: f"{value}!"))  # pyright: ignore[reportUnknownLambdaType, reportUnknownMemberType]

    program = evaluate_component(declare)
    assert program.one("Parameter", "one").inputs["value"] == "hush"
    assert program.one("Parameter", "one").secrets == {"value"}
    assert program.one("Parameter", "two").secrets == {"value"}


def test_a_preview_knows_no_outputs() -> None:
    seen: list[str] = []

    def declare() -> None:
        queue = aws.sqs.Queue("queue", name="queue")
        queue.arn.apply(seen.append)
        queue.name.apply(seen.append)

    evaluate_component(declare, preview=True)
    assert seen == ["queue"]


def test_an_f_string_over_an_output_is_an_error() -> None:
    def declare() -> None:
        queue = aws.sqs.Queue("queue")
        aws.sqs.Queue("other", name=f"{queue.name}-other")

    with pytest.raises(ProgramError, match="Output"):
        evaluate_component(declare)


def test_a_urn_taken_twice_is_an_error_as_it_is_to_the_engine() -> None:
    def declare() -> None:
        aws.sqs.Queue("queue")
        aws.sqs.Queue("queue")

    with pytest.raises(ProgramError, match="two resources share the URN"):
        evaluate_component(declare)


def test_what_was_registered_before_a_failure_is_told() -> None:
    def declare() -> None:
        aws.sqs.Queue("queue")
        msg = "too late"
        raise RuntimeError(msg)

    with pytest.raises(ProgramError, match="too late") as caught:
        evaluate_component(declare)
    assert [each.name for each in caught.value.registered] == ["queue"]


def test_a_call_that_no_world_answers_is_an_error() -> None:
    with pytest.raises(ProgramError, match="which no world answers"):
        evaluate_component(aws.get_regions)


def test_a_world_that_refuses_a_resource_fails_the_program_with_its_reason() -> None:
    class Refusing(Imagined):
        def create(self, request: Request) -> Created:
            msg = f"AWS would refuse {request.name}"
            raise ValueError(msg)

    with pytest.raises(ProgramError, match="AWS would refuse queue"):
        evaluate_component(lambda: aws.sqs.Queue("queue"), world=Refusing())
