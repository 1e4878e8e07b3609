"""components/settings/account.py: what AWS knows better is refused before any resource, with one invoke each."""

from collections.abc import Mapping
from typing import Any, Final

import pulumi
import pytest

from components import regions
from rehearsal.program import Imagined, InvokeError, Program, ProgramError, evaluate
from tests.components.test_settings import changed
from tests.conftest import STACKS

ACCOUNT: Final = "111111111111"
CALLER: Final = "aws:index/getCallerIdentity:getCallerIdentity"
ZONES: Final = "aws:index/getAvailabilityZones:getAvailabilityZones"
MACHINES: Final = "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings"
ROLE: Final = "aws:iam/getRole:getRole"
CLUSTERS: Final = "slipway:clusters"


def refusal(world: Imagined, config: Mapping[str, object] | None = None, stack: str = "dev") -> str:
    with pytest.raises(ProgramError) as caught:
        evaluate(stack, config=config, world=world)
    assert isinstance(caught.value.cause, pulumi.RunError), "the engine would show a traceback"
    assert caught.value.registered == ()
    return str(caught.value)


def elsewhere(region: str, zones: tuple[str, ...] = ()) -> Mapping[str, object]:
    """Everything of dev in another region."""
    return {
        **changed("slipway:environments", "dev.region", region),
        "aws:region": region,
        "slipway:network": {"zones": list(zones)} if zones else {},
    }


def offering(*zones: tuple[str, str]) -> Mapping[str, Mapping[str, Any]]:
    return {ZONES: {"names": [name for name, _ in zones], "zoneIds": [id_ for _, id_ in zones]}}


@pytest.mark.parametrize("stack", STACKS)
def test_each_question_is_asked_once(stack: str, programs: Mapping[str, Program]) -> None:
    asked = [each.token for each in programs[stack].calls if each.token in {CALLER, ZONES, MACHINES, ROLE}]
    assert sorted(asked) == sorted([CALLER, ZONES, MACHINES, ROLE])


def test_a_stack_without_clusters_asks_for_its_caller_only() -> None:
    config = {"slipway:network": None, CLUSTERS: None}
    program = evaluate("dev", config=config, world=Imagined(caller=f"arn:aws:iam::{ACCOUNT}:user/ann"))
    assert [each.token for each in program.calls if each.token in {CALLER, ZONES, MACHINES, ROLE}] == [CALLER]


@pytest.mark.parametrize(
    "caller",
    [
        "arn:aws:sts::111111111111:assumed-role/slipway-dev-deploy/GitHubActions",
        "arn:aws:sts::111111111111:assumed-role/slipway-dev-preview/GitHubActions",
        "arn:aws:sts::111111111111:assumed-role/platform-admin/ann@example.com",
    ],
)
def test_a_caller_who_has_access_to_the_clusters_goes_on(caller: str) -> None:
    assert evaluate("dev", world=Imagined(caller=caller)).resources


def test_an_sso_role_is_known_by_its_name_though_sts_leaves_its_path_out() -> None:
    role = "AWSReservedSSO_Admin_0123456789abcdef"
    arn = f"arn:aws:iam::{ACCOUNT}:role/aws-reserved/sso.amazonaws.com/eu-central-1/{role}"
    world = Imagined(caller=f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/ann", answers={ROLE: {"arn": arn, "id": role}})
    assert evaluate("dev", config=changed(CLUSTERS, "blue.admins", [arn]), world=world).resources


def test_a_caller_whom_the_clusters_would_refuse_stops_before_eks_is_made() -> None:
    said = refusal(Imagined(caller=f"arn:aws:sts::{ACCOUNT}:assumed-role/Administrator/ann"))
    assert said == (
        "slipway:clusters.blue.admins names platform-admin, but the caller's role is Administrator: the cluster's API would "
        "refuse it after EKS has made the cluster. Add the ARN of this role in Pulumi.dev.yaml (`aws iam get-role "
        "--role-name Administrator --query Role.Arn` shows it), or use one of the admins' roles."
    )
    for caller in (f"arn:aws:iam::{ACCOUNT}:user/ann", f"arn:aws:iam::{ACCOUNT}:root"):
        said = refusal(Imagined(caller=caller))
        assert f"the caller is {caller}, which is none" in said
        assert "Assume one of the admins' roles (arn:aws:iam::111111111111:role/platform-admin)." in said


# What the provider and its SDK say: github.com/pulumi/pulumi-aws, github.com/hashicorp/aws-sdk-go-base.
BROKEN: Final = (
    (
        "AWS account ID not allowed: 999999999999",
        "The AWS credentials belong to account 999999999999, and stack dev is account 111111111111.",
    ),
    (
        "operation error STS: GetCallerIdentity, ExpiredToken: The security token included in the request is expired",
        "are expired or invalid",
    ),
    ("InvalidClientTokenId: The security token included in the request is invalid", "are expired or invalid"),
    (
        "unable to validate AWS credentials.\nDetails: No valid credential sources found",
        "There are no usable AWS credentials for stack dev.",
    ),
    (
        "operation error STS: GetCallerIdentity, dial tcp: lookup sts.eu-central-1.amazonaws.com: no such host",
        "STS in eu-central-1 does not answer",
    ),
    ("something\nthat nobody foresaw", "AWS does not say whose credentials these are: something that nobody foresaw"),
)


@pytest.mark.parametrize(("raised", "message"), BROKEN)
def test_credentials_that_do_not_work_are_told_in_one_line(raised: str, message: str) -> None:
    said = refusal(Imagined(answers={CALLER: InvokeError(f"invocation of {CALLER} returned an error: {raised}")}))
    assert message in said
    assert "\n" not in said
    assert "Traceback" not in said


def test_the_account_s_own_zones_decide_and_the_line_to_write_is_proposed() -> None:
    tokyo = (("ap-northeast-1a", "apne1-az4"), ("ap-northeast-1b", "apne1-az3"), ("ap-northeast-1d", "apne1-az2"))
    said = refusal(Imagined(region="ap-northeast-1", answers=offering(*tokyo)), elsewhere("ap-northeast-1"))
    assert said.splitlines()[0] == (
        "slipway:network.zones is not set, and its default is [ap-northeast-1a, ap-northeast-1c, ap-northeast-1d], which "
        "account 111111111111 cannot use: ap-northeast-1c is not offered to it. Write [ap-northeast-1a, ap-northeast-1b, "
        "ap-northeast-1d] in Pulumi.dev.yaml."
    )


@pytest.mark.parametrize(
    ("region", "zones"),
    [
        (
            "us-east-1",
            [("us-east-1a", "use1-az3"), ("us-east-1b", "use1-az1"), ("us-east-1c", "use1-az2"), ("us-east-1d", "use1-az4")],
        ),
        ("us-west-1", [("us-west-1a", "usw1-az3"), ("us-west-1b", "usw1-az1"), ("us-west-1c", "usw1-az2")]),
        ("ca-central-1", [("ca-central-1a", "cac1-az1"), ("ca-central-1b", "cac1-az3"), ("ca-central-1d", "cac1-az4")]),
    ],
)
def test_zones_that_eks_refuses_are_refused_by_their_id(region: str, zones: list[tuple[str, str]]) -> None:
    config = elsewhere(region, tuple(name for name, _ in zones[:3]))
    said = refusal(Imagined(region=region, answers=offering(*zones)), config)
    (bad,) = ((name, id_) for name, id_ in zones if id_ in regions.REFUSED_BY_EKS)
    assert f"{bad[0]} is {bad[1]}, where EKS creates no clusters" in said
    proposed = [name for name, id_ in zones if id_ not in regions.REFUSED_BY_EKS]
    assert f"Write [{', '.join(proposed)}]" in said


@pytest.mark.parametrize("region", sorted(regions.ZONES))
def test_every_region_has_zones_of_its_own_form_and_the_default_is_a_program(region: str) -> None:
    zones = regions.default_zones(region)
    assert regions.FEWEST_ZONES <= len(zones) <= regions.MOST_ZONES
    assert all(regions.is_zone_of(region, each) for each in zones)
    assert list(zones) == sorted(zones)


def test_two_zones_are_enough_and_the_caller_s_region_is_asked() -> None:
    zones = (("us-west-1b", "usw1-az1"), ("us-west-1c", "usw1-az3"))
    program = evaluate(
        "prd",
        config={
            **changed("slipway:environments", "prd.region", "us-west-1"),
            "aws:region": "us-west-1",
            "slipway:network": {"zones": ["us-west-1b", "us-west-1c"]},
        },
        world=Imagined(
            account="333333333333",
            region="us-west-1",
            answers={
                **offering(*zones),
                MACHINES: {"instanceTypes": ["m7g.xlarge"] * 2, "locations": ["us-west-1b", "us-west-1c"]},
            },
        ),
    )
    assert {each.inputs["availabilityZone"] for each in program.of("ec2/subnet:Subnet")} == {"us-west-1b", "us-west-1c"}


def test_an_instance_type_that_the_region_or_a_zone_lacks_is_refused() -> None:
    none: dict[str, list[str]] = {"instanceTypes": [], "locations": []}
    said = refusal(Imagined(answers={MACHINES: none}))
    assert "slipway:clusters.blue.nodes.instanceTypes names m7g.large, which EC2 does not offer in eu-central-1." in said
    two = {"instanceTypes": ["m7g.large"] * 2, "locations": ["eu-central-1a", "eu-central-1b"]}
    said = refusal(Imagined(answers={MACHINES: two}))
    assert "is [m7g.large], and EC2 offers none of them in eu-central-1c, where nodes are to run." in said
    # One type of several in each zone is enough: the group takes what there is.
    mixed = {"instanceTypes": ["m7g.large", "m7g.large", "m6g.large"], "locations": [f"eu-central-1{each}" for each in "abc"]}
    config = changed(CLUSTERS, "blue.nodes.instanceTypes", ["m7g.large", "m6g.large"])
    assert evaluate("dev", config=config, world=Imagined(answers={MACHINES: mixed})).resources


def test_an_admin_who_does_not_exist_or_has_a_path_is_refused() -> None:
    absent = InvokeError("reading IAM Role (platform-admin): couldn't find resource")
    assert "names arn:aws:iam::111111111111:role/platform-admin, but the account has no role platform-admin." in refusal(
        Imagined(answers={ROLE: absent})
    )
    moved = {"arn": f"arn:aws:iam::{ACCOUNT}:role/teams/platform-admin"}
    assert "but the role platform-admin is arn:aws:iam::111111111111:role/teams/platform-admin. Write that ARN" in refusal(
        Imagined(answers={ROLE: moved})
    )


def test_what_the_caller_may_not_ask_is_said_and_refuses_nothing() -> None:
    denied = InvokeError("AccessDenied: User is not authorized to perform: iam:GetRole")
    program = evaluate("dev", world=Imagined(answers={ROLE: denied, ZONES: denied, MACHINES: denied}))
    assert program.resources
    assert len(program.warnings) == 3
    assert any("iam:GetRole" in each for each in program.warnings)


def test_an_aws_that_does_not_answer_is_told_without_a_traceback() -> None:
    assert "AWS does not answer ec2:DescribeAvailabilityZones" in refusal(Imagined(answers={ZONES: InvokeError("i/o timeout")}))


def test_faults_of_several_questions_are_shown_together() -> None:
    world = Imagined(
        caller=f"arn:aws:sts::{ACCOUNT}:assumed-role/Administrator/ann",
        answers={**offering(("eu-central-1a", "euc1-az2")), MACHINES: {"instanceTypes": [], "locations": []}},
    )
    said = refusal(world).splitlines()
    assert [each.split(" ")[0] for each in said] == [
        "slipway:clusters.blue.admins",
        "slipway:network.zones",
        "slipway:clusters.blue.nodes.instanceTypes",
    ]
    assert "Choose another region" in said[1]
