"""From a pushed image's event to the function, in emulated accounts, as the real components declare it."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from components import image_hook
from rehearsal.cloud import Emulators, run_schedule
from rehearsal.cloud.policy import may_send
from rehearsal.program import ProgramError
from tests.rehearsal.cloud.kit import DIGEST, REGION, TAG, Accounts, Change, Flow, flow, in_policy, without, write_archives

QUEUE_POLICY = "aws:sqs/queuePolicy:QueuePolicy"
ROLE = "aws:iam/role:Role"
ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"


@pytest.fixture(scope="module", autouse=True)
def archives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A function that tells what it sees, in the place of the writer's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_hook, "ARCHIVES", write_archives(tmp_path_factory.mktemp("dist")))
        yield


@pytest.fixture(scope="module")
def develop(emulators: Emulators, accounts: Accounts) -> Flow:
    """The develop track as declared."""
    return flow(emulators, next(accounts))


@pytest.fixture(scope="module")
def told(develop: Flow) -> Mapping[str, Any]:
    """What the function tells after a push to a service of the track."""
    develop.push("develop/storefront")
    (message,) = develop.take("failures")
    return message["Body"]


def test_a_pushed_image_reaches_the_function_as_ecr_tells_it(told: Mapping[str, Any], develop: Flow) -> None:
    event = told["event"]
    assert (event["source"], event["detail-type"]) == ("aws.ecr", "ECR Image Action")
    assert (event["account"], event["region"]) == (develop.place.account, REGION)
    assert event["detail"] == {
        "result": "SUCCESS",
        "repository-name": "develop/storefront",
        "image-digest": DIGEST,
        "action-type": "PUSH",
        "image-tag": TAG,
    }


def test_the_function_acts_as_its_declared_role_and_within_it(told: Mapping[str, Any], develop: Flow) -> None:
    account = develop.place.account
    assert told["caller"].startswith(f"arn:aws:sts::{account}:assumed-role/slipway-develop-writer/")
    refused = {name for name, outcome in told["attempts"].items() if outcome.startswith("AccessDenied")}
    allowed = {name for name, outcome in told["attempts"].items() if outcome == "allowed"}
    assert allowed == {"own catalogue", "own key", "own images"}
    assert refused == {"other catalogue", "other key", "other images", "other queue", "roles"}


def test_the_function_finds_its_archive_and_not_what_this_project_has_installed(told: Mapping[str, Any]) -> None:
    assert told["sees the project"] is False


def test_an_image_of_a_repository_without_rule_reaches_nobody(develop: Flow, told: Mapping[str, Any]) -> None:
    del told  # its message has been taken
    develop.push("develop/stranger")
    develop.push("develop/invoices")
    (message,) = develop.take("failures")
    assert message["Body"]["event"]["detail"]["repository-name"] == "develop/invoices"
    assert develop.take("undelivered", wait_seconds=0) == []


def test_a_schedule_run_now_invokes_its_function_with_its_input_as_its_role(develop: Flow, told: Mapping[str, Any]) -> None:
    del told
    answer = run_schedule(develop.emulators, develop.place, "slipway-develop-sweep")
    assert (answer.payload, answer.error) == ({"swept": True}, "")
    (message,) = develop.take("failures")
    assert message["Body"]["event"] == {"slipway": "sweep"}


# Breaking what is declared


def test_an_event_that_the_queues_policy_refuses_goes_to_the_undelivered(emulators: Emulators, accounts: Accounts) -> None:
    broken = flow(emulators, next(accounts), {(QUEUE_POLICY, "develop-images"): in_policy(without("EventsFromOurRules"))})
    broken.push("develop/storefront")
    (message,) = broken.take("undelivered")
    assert message["Body"]["detail"]["repository-name"] == "develop/storefront"
    attributes = {key: value["StringValue"] for key, value in message["MessageAttributes"].items()}
    assert attributes["ERROR_CODE"] == "NO_PERMISSIONS"
    assert attributes["TARGET_ARN"].endswith(":slipway-develop-images")
    assert broken.take("failures", wait_seconds=0) == []


def test_the_declared_policy_admits_this_tracks_rules_and_no_others(develop: Flow) -> None:
    (declared,) = (each for each in develop.program.of("QueuePolicy") if each.name == "develop-images")
    document, queue = declared.inputs["policy"], develop.program.one("sqs/queue:Queue", "images").outputs["arn"]
    rules = f"arn:aws:events:{REGION}:{develop.place.account}:rule"
    assert may_send(document, f"{rules}/slipway-develop-storefront", queue)
    assert not may_send(document, f"{rules}/slipway-release-storefront", queue)
    assert not may_send(document, f"arn:aws:events:{REGION}:999999999999:rule/slipway-develop-storefront", queue)
    assert not may_send("", f"{rules}/slipway-develop-storefront", queue)
    # AWS's services come over TLS: the statement that denies plain HTTP must not meet them.
    denies_all = document.replace('"aws:SecureTransport": "false"', '"aws:SecureTransport": "true"')
    assert not may_send(denies_all, f"{rules}/slipway-develop-storefront", queue)


def test_an_event_that_no_queue_admits_is_lost_and_the_log_says_so(emulators: Emulators, accounts: Accounts) -> None:
    shut = in_policy(without("EventsFromOurRules"))
    changes = {(QUEUE_POLICY, "develop-images"): shut, (QUEUE_POLICY, "develop-undelivered"): shut}
    broken = flow(emulators, next(accounts), changes)
    broken.push("develop/storefront")
    assert broken.take("undelivered", wait_seconds=0) == []
    lost = f"rule arn:aws:events:{REGION}:{broken.place.account}:rule/slipway-develop-storefront: event lost"
    assert lost in emulators.log("ministack").read_text(encoding="utf-8")


def test_a_boundary_takes_away_what_a_role_allows(emulators: Emulators, accounts: Accounts) -> None:
    def deny_keys(statements: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [*statements, {"Effect": "Deny", "Action": "secretsmanager:GetSecretValue", "Resource": "*"}]

    narrow = flow(emulators, next(accounts), {("aws:iam/policy:Policy", "access-boundary"): in_policy(deny_keys)})
    narrow.push("develop/storefront")
    (message,) = narrow.take("failures")
    attempts = message["Body"]["attempts"]
    assert attempts["own key"].startswith("AccessDenied")
    assert attempts["own catalogue"] == "allowed"


def test_a_schedule_whose_role_may_not_invoke_is_refused(emulators: Emulators, accounts: Accounts) -> None:
    broken = flow(emulators, next(accounts), {(ROLE_POLICY, "develop-sweep"): in_policy(without("Invoke"))})
    with pytest.raises(ClientError, match="lambda:InvokeFunction"):
        run_schedule(emulators, broken.place, "slipway-develop-sweep")


def _trust(service: str) -> Change:
    return in_policy(lambda given: [{**each, "Principal": {"Service": service}} for each in given], key="assumeRolePolicy")


def _impatient(inputs: dict[str, Any]) -> dict[str, Any]:
    return {**inputs, "visibilityTimeoutSeconds": 60.0}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        pytest.param(
            {(ROLE_POLICY, "develop-writer"): in_policy(without("TakeEvents"))},
            r"may not read the queue: no identity-based policy allows sqs:ReceiveMessage",
            id="the function may not read its queue",
        ),
        pytest.param(
            {(ROLE, "develop-writer"): _trust("ec2.amazonaws.com")},
            r"lambda\.amazonaws\.com may not assume .*writer",
            id="another service may wear the function's role",
        ),
        pytest.param(
            {(ROLE, "develop-sweep"): _trust("ec2.amazonaws.com")},
            r"scheduler\.amazonaws\.com may not assume .*sweep",
            id="another service may wear the schedule's role",
        ),
        pytest.param(
            {("aws:sqs/queue:Queue", "develop-images"): _impatient},
            r"visibility timeout is 60 s, the function's timeout 120 s",
            id="a message comes back while it is worked on",
        ),
    ],
)
def test_what_lambda_would_refuse_is_refused(
    emulators: Emulators, accounts: Accounts, changes: Mapping[tuple[str, str], Change], fault: str
) -> None:
    with pytest.raises(ProgramError, match=fault):
        flow(emulators, next(accounts), changes)


def test_another_pattern_catches_nothing(emulators: Emulators, accounts: Accounts) -> None:
    def other(inputs: dict[str, Any]) -> dict[str, Any]:
        return {**inputs, "eventPattern": inputs["eventPattern"].replace("develop/storefront", "develop/shopfront")}

    broken = flow(emulators, next(accounts), {("aws:cloudwatch/eventRule:EventRule", "storefront"): other})
    broken.push("develop/storefront")
    broken.push("develop/invoices")
    (message,) = broken.take("failures")
    assert message["Body"]["event"]["detail"]["repository-name"] == "develop/invoices"
