"""components/settings/model.py: values that look right and fail at AWS or GitHub are refused, and legal ones are not."""

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import moto
import pytest

from components import machines, regions, versions
from components.settings import SettingsError, parse
from tests.components.test_settings_messages import EXAMPLE_SETTINGS, replaced

ADMIN: Final = "arn:aws:iam::111111111111:role/platform-admin"
ADMINS: Final = ("clusters", "blue", "admins")
ALLOW: Final = ("clusters", "blue", "endpoint", "allow")
CIDR: Final = ("environments", "dev", "cidr")
TYPES: Final = ("clusters", "blue", "nodes", "instanceTypes")
ZONE: Final = ("environments", "dev", "zone")
REGION: Final = ("environments", "dev", "region")
VERSION: Final = ("clusters", "blue", "version")
CONNECTION: Final = "arn:aws:codeconnections:eu-central-1:{}:connection/0f6ab1c2-1111-4222-8333-111111111111"

REFUSED: Final[Sequence[tuple[tuple[str, ...], object, str]]] = [
    *[
        (CIDR, each, "a VPC's addresses lie in")
        for each in (
            "127.0.0.0/16",
            "169.254.0.0/16",
            "0.0.0.0/16",
            "240.0.0.0/16",
            "192.0.0.0/20",
            "198.18.0.0/16",
            "224.0.0.0/16",
            "100.0.0.0/16",
            "172.32.0.0/16",
        )
    ],
    (CIDR, "172.17.0.0/16", "Docker and some AWS services use 172.17.0.0/16"),
    (CIDR, "172.17.16.0/20", "Docker and some AWS services use 172.17.0.0/16"),
    (CIDR, "10.10.0.0", "too small for a VPC"),
    (CIDR, "fd00::/16", "It must be a range of IPv4 addresses"),
    (REGION, "cn-north-1", "partition aws-cn (China)"),
    (REGION, "us-gov-west-1", "partition aws-us-gov (GovCloud)"),
    (REGION, "us-iso-east-1", "partition aws-iso"),
    (REGION, "eusc-de-east-1", "partition aws-eusc"),
    (REGION, "eu-centrall-1", "Did you mean eu-central-1?"),
    (REGION, "eu-central-1a", "Did you mean eu-central-1?"),
    (REGION, "mx-central-1", "which lacks AWS CodePipeline or AWS CodeBuild; dev hosts develop"),
    (REGION, "me-south-1", "which lacks AWS CodeConnections"),
    (ZONE, "dev..example.com", "it has an empty part"),
    (ZONE, "dev.example.com.", "it has an empty part"),
    (ZONE, "-dev.example.com", "with a letter or digit first and last"),
    (ZONE, "Dev.example.com", "lower-case letters"),
    (ZONE, "dev.123", "its last part consists of digits"),
    (ALLOW, ["0.0.0.0/1", "128.0.0.0/1"], "together this is everyone"),
    (ALLOW, ["8.0.0.0/6"], "more than any organization has"),
    (ALLOW, ["8.0.0.0/8", "9.0.0.0/8"], "more than any organization has"),
    (ALLOW, ["10.0.0.0/16"], "10.0.0.0/16 lies in 10.0.0.0/8, and nothing reaches a public endpoint from there"),
    (ALLOW, ["100.64.0.0/16"], "lies in 100.64.0.0/10"),
    (ALLOW, [f"203.0.113.{each}/32" for each in range(0, 82, 2)], "these are 41 ranges, and EKS takes 40 at most"),
    (ALLOW, [], "set clusters.blue.endpoint.private to true"),
    (("clusters", "blue", "endpoint", "private"), True, "private is true, and allow names ranges"),
    (("builds", "logRetentionDays"), 31, "The nearest is 60"),
    (("network", "flowLogRetentionDays"), 4000, "The nearest is 3653"),
    (
        ("builds", "connectionArn"),
        CONNECTION.format("222222222222"),
        "belongs to account 222222222222, and dev is account 111111111111",
    ),
    (VERSION, "1.31", "EKS no longer supports this version (support for 1.31 ended on 2026-11-26)"),
    (VERSION, "1.99", "or update Slipway"),
    (VERSION, "1.34.2", "it must be a Kubernetes minor version"),
    (VERSION, "v1.34", "it must be a Kubernetes minor version"),
    (TYPES, ["g5.xlarge"], "the node image has no drivers for GPUs"),
    (TYPES, ["inf2.xlarge"], "the node image has no drivers for GPUs"),
    (TYPES, ["mac2.metal"], "Mac instances cannot be EKS nodes"),
    (TYPES, ["a1.large"], "first-generation Graviton"),
    (TYPES, ["t4g.nano"], "holds four pods"),
    (TYPES, ["large"], "this is no EC2 instance type"),
    (TYPES, ["m7g.large "], "this is no EC2 instance type"),
    (TYPES, [], "a list with one EC2 instance type or more"),
    (ADMINS, [ADMIN, ADMIN], f"names {ADMIN} twice"),
    (ADMINS, [ADMIN, "arn:aws:iam::111111111111:role/team/platform-admin"], "both end with platform-admin"),
    (ADMINS, ["arn:aws:iam::222222222222:role/platform-admin"], "a role of another account"),
    (ADMINS, ["arn:aws:iam::111111111111:role/slipway-dev-deploy"], "which Slipway makes and gives its access by itself"),
    (ADMINS, ["arn:aws:iam::111111111111:role/slipway-dev-preview"], "which Slipway makes and gives its access by itself"),
    (ADMINS, ["arn:aws:sts::111111111111:assumed-role/platform-admin/ann"], "It must be the ARN of an IAM role"),
    (ADMINS, ["arn:aws:iam::111111111111:user/ann"], "It must be the ARN of an IAM role"),
    (ADMINS, ["arn:aws:iam::111111111111:role/"], "It must be the ARN of an IAM role"),
    (("network", "zones"), ["eu-central-1a"], "Name two or three"),
    (("network", "zones"), [f"eu-central-1{each}" for each in "abcd"], "Name two or three"),
    (("network", "zones"), ["eu-central-1a", "eu-central-1a"], "eu-central-1a stands there twice"),
    (("network", "zones"), ["a", "b"], "'a', which is no availability zone of eu-central-1"),
    (("network", "zones"), ["eu-west-1a", "eu-west-1b"], "which is no availability zone of eu-central-1"),
    (("network", "zones"), ["eu-central-1a", "eu-central-1-ham-1a"], "which is no availability zone of eu-central-1"),
    (("environments", "stg", "account"), "111111111111", "as environments.dev has"),
    (("argocd", "ui", "label"), "argo.cd", "a host name's parts consist of"),
    (("argocd", "ui", "label"), "", "it has an empty part"),
    (("argocd", "ui", "teams"), {"The Team": "admin"}, "has the key 'The Team', which must be a team's slug"),
    *[
        (("gitops", "gitUrl"), url, message)
        for url, message in (
            ("https://github.example.com/", "it ends with a slash. Write https://github.example.com"),
            ("http://github.example.com", "the scheme must be https"),
            ("ssh://git@github.example.com", "the scheme must be https"),
            ("github.example.com", "this is no URL"),
            ("https://", "this is no URL"),
            ("https://git hub.example.com", "this is no URL"),
            ("https://github.example.com?x=1", "query or fragment"),
            ("https://github.example.com#x", "query or fragment"),
            ("https://ann:pw@github.example.com", "user name or password"),
            ("https://github.example.com:443", "the port is https's own"),
            ("https://github.example.com:x", "this is no URL"),
            ("https://github.example.com/git", "Remove the path /git"),
            ("https://github.example.com", "Set both (GitHub Enterprise Server), or none"),
        )
    ],
]


def refusal(given: Mapping[str, Any]) -> str:
    with pytest.raises(SettingsError) as caught:
        parse(given, stack="dev")
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "message"), REFUSED, ids=[f"{'.'.join(path)}={value!s:.40}" for path, value, _ in REFUSED]
)
def test_what_fails_at_aws_or_github_is_refused(path: tuple[str, ...], value: object, message: str) -> None:
    assert message in refusal(replaced(EXAMPLE_SETTINGS, path, value))


def test_a_track_whose_name_continues_another_s_is_refused() -> None:
    tracks = {("release-old" if name == "develop" else name): each for name, each in EXAMPLE_SETTINGS["tracks"].items()}
    said = refusal({**EXAMPLE_SETTINGS, "tracks": tracks})
    assert "slipway:tracks.release-old begins with the name of the track release and a hyphen" in said


TAKEN: Final[Sequence[tuple[tuple[str, ...], object]]] = [
    (CIDR, "100.64.0.0/16"),
    (CIDR, "10.100.0.0/16"),
    (CIDR, "172.16.0.0/16"),
    (CIDR, "10.10.16.0/20"),
    (ZONE, "1example.com"),
    (ZONE, "dev.3m.com"),
    (ZONE, "xn--bcher-kva.example"),
    (("argocd", "ui", "label"), "1argo"),
    (ALLOW, ["203.0.113.7/32", "198.51.100.0/24"]),
    (ADMINS, []),
    (
        ADMINS,
        ["arn:aws:iam::111111111111:role/aws-reserved/sso.amazonaws.com/eu-central-1/AWSReservedSSO_Admin_0123456789abcdef"],
    ),
    # Connections are replicated across regions: welcome-connections-how-it-works-global.html in AWS's guide.
    (("builds", "connectionArn"), CONNECTION.format("111111111111").replace("eu-central-1", "eu-west-1")),
    (("environments", "dev", "gitopsBranch"), "dev"),
    *[(VERSION, each) for each in versions.KUBERNETES],
]


@pytest.mark.parametrize(("path", "value"), TAKEN, ids=[f"{'.'.join(path)}={value!s:.40}" for path, value in TAKEN])
def test_what_is_legal_is_taken(path: tuple[str, ...], value: object) -> None:
    assert parse(replaced(EXAMPLE_SETTINGS, path, value), stack="dev")


def test_a_server_of_one_s_own_is_taken_with_both_addresses() -> None:
    given = replaced(EXAMPLE_SETTINGS, ("gitops", "gitUrl"), "https://github.example.com:8443")
    assert parse(replaced(given, ("gitops", "apiUrl"), "https://github.example.com:8443/api/v3"), stack="dev")


def test_the_account_and_region_of_two_environments_may_not_both_be_equal() -> None:
    given = replaced(EXAMPLE_SETTINGS, ("environments", "stg", "account"), "111111111111")
    assert "would share names" in refusal(given)
    assert parse(replaced(given, ("environments", "stg", "region"), "eu-west-1"), stack="dev")


def test_every_machine_with_an_accelerator_that_ec2_offers_is_refused_and_no_plain_one() -> None:
    # moto ships what EC2's DescribeInstanceTypes answered.
    path = Path(moto.__file__).parent / "ec2" / "resources" / "instance_types.json.gz"
    offered: dict[str, dict[str, Any]] = json.loads(gzip.decompress(path.read_bytes()))
    parts = {"GpuInfo", "FpgaInfo", "InferenceAcceleratorInfo", "NeuronInfo", "MediaAcceleratorInfo"}
    accelerated = {name for name, each in offered.items() if parts & each.keys()}
    assert len(accelerated) > 50
    assert [name for name in sorted(accelerated) if machines.machine_fault(name) is None] == []
    drivers = {name for name in offered if "drivers" in (machines.machine_fault(name) or "")}
    # moto's data misses the chips of this one: https://aws.amazon.com/ec2/instance-types/trn2/
    assert {each.split(".")[0] for each in drivers - accelerated} <= {"trn2u"}
    assert machines.machine_fault("m7g.large") is None


def test_the_default_zones_leave_out_the_letter_that_a_region_lacks() -> None:
    assert regions.default_zones("ca-central-1") == ("ca-central-1a", "ca-central-1b", "ca-central-1d")
    assert regions.default_zones("ap-northeast-1")[1] == "ap-northeast-1c"
    assert len(regions.default_zones("us-west-1")) == 2
