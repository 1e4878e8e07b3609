"""components/naming.py: every name fits what AWS allows, and stays apart from every other."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final, cast

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import naming
from components.platform import Platform
from components.service import Service, ServiceArgs
from rehearsal.program import Declared, Program, evaluate

SERVICE = st.from_regex(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True)
COLOUR = st.sampled_from(["blue", "green", "turquoise"])
TRACK = st.sampled_from(["develop", "release"])

LIMITED: list[tuple[Callable[[str], str], int]] = [
    (lambda service: naming.target_group(service, "turquoise", 65535), naming.TARGET_GROUP_NAME_LENGTH),
    (lambda service: naming.role("dev", service, "release", "build"), naming.ROLE_NAME_LENGTH),
    (lambda service: naming.image_rule("release", service), naming.RULE_NAME_LENGTH),
    (lambda service: naming.pipeline("a-track-of-16-ab", service), naming.PIPELINE_NAME_LENGTH),
    (lambda service: naming.project("a-track-of-16-ab", service), naming.PROJECT_NAME_LENGTH),
]


@pytest.mark.parametrize(("name", "limit"), LIMITED)
@given(one=SERVICE, two=SERVICE)
def test_names_fit_and_two_services_never_share_one(name: Callable[[str], str], limit: int, one: str, two: str) -> None:
    assert len(name(one)) <= limit
    assert not name(one).endswith("-")
    if one != two:
        assert name(one) != name(two)


def test_a_name_that_fits_is_left_as_it_is() -> None:
    assert naming.target_group("storefront", "blue", 8080) == "storefront-blue-8080"


def test_a_name_that_does_not_fit_keeps_its_beginning_and_ends_in_a_hash() -> None:
    shortened = naming.target_group("a-service-with-a-very-long-name", "blue", 8080)
    assert len(shortened) == naming.TARGET_GROUP_NAME_LENGTH
    assert shortened.startswith("a-service-with-a-very-lon")


# Short ones too, which many services and tracks share.
WORD = st.one_of(st.sampled_from(["a", "b", "a-b", "b-a", "shop", "shop-admin", "develop"]), SERVICE)


@given(pairs=st.sets(st.tuples(WORD.map(lambda word: word[:16].rstrip("-")), WORD), min_size=2, max_size=40))
def test_no_two_pipelines_share_the_folder_of_their_artifacts(pairs: set[tuple[str, str]]) -> None:
    # https://repost.aws/questions/QUI91tw7A9SUOMohJurNqmgA/code-pipeline-truncates-folder-names-in-output-artifact-s-3-bucket
    folders = {naming.pipeline(track, service)[:20] for track, service in pairs}
    assert len(folders) == len(pairs)
    assert {naming.artifacts(track, service) for track, service in pairs} == folders


@given(one=WORD, other=WORD, service=WORD)
def test_the_pattern_of_a_track_s_pipelines_matches_that_track_s_alone(one: str, other: str, service: str) -> None:
    pattern = re.compile(re.escape(naming.pipelines(one)).replace(r"\*", ".*"))
    assert pattern.fullmatch(naming.pipeline(one, service))
    assert bool(pattern.fullmatch(naming.pipeline(other, service))) == (one == other)
    # Another team's, or one of an older Slipway.
    assert not pattern.fullmatch(f"slipway-{one}-{service}")
    assert not pattern.fullmatch(f"{one}.{service}")


@pytest.mark.parametrize("name", ["", "A", "1a", "a_b", "-a", "a-", "a.b", "ä", "a" * 64, "a\n"])
def test_what_is_no_dns_label_is_told_why(name: str) -> None:
    assert naming.label_fault(name)


@given(SERVICE)
def test_a_dns_label_has_no_fault(name: str) -> None:
    assert naming.label_fault(name) is None


# Where the name of each type goes in AWS's own API, whose model botocore carries: service, operation, member. A model without
# a limit is joined by the page that states one.
NAMED: Final[Mapping[str, tuple[str, str, str, str]]] = {
    "aws:cloudwatch/eventRule:EventRule": ("events", "PutRule", "Name", ""),
    "aws:cloudwatch/logGroup:LogGroup": ("logs", "CreateLogGroup", "logGroupName", ""),
    "aws:cloudwatch/metricAlarm:MetricAlarm": ("cloudwatch", "PutMetricAlarm", "AlarmName", ""),
    "aws:codebuild/project:Project": ("codebuild", "CreateProject", "name", ""),
    "aws:codepipeline/pipeline:Pipeline": ("codepipeline", "CreatePipeline", "pipeline.name", ""),
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateLaunchTemplate.html
    "aws:ec2/launchTemplate:LaunchTemplate": ("ec2", "CreateLaunchTemplate", "LaunchTemplateName", r"[a-zA-Z0-9().\-/_]{3,128}"),
    "aws:ecr/repository:Repository": ("ecr", "CreateRepository", "repositoryName", ""),
    "aws:iam/policy:Policy": ("iam", "CreatePolicy", "PolicyName", ""),
    "aws:iam/role:Role": ("iam", "CreateRole", "RoleName", ""),
    # https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html: 64 for the name alone
    "aws:lambda/function:Function": ("lambda", "CreateFunction", "FunctionName", r"[a-zA-Z0-9-_]{1,64}"),
    # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html
    "aws:lb/loadBalancer:LoadBalancer": ("elbv2", "CreateLoadBalancer", "Name", r"(?!internal-)(?!-)[a-zA-Z0-9-]{1,32}(?<!-)"),
    # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html
    "aws:lb/targetGroup:TargetGroup": ("elbv2", "CreateTargetGroup", "Name", r"(?!-)[a-zA-Z0-9-]{1,32}(?<!-)"),
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
    "aws:s3/bucket:Bucket": ("s3", "CreateBucket", "Bucket", r"(?!xn--|sthree-|amzn-s3-demo-)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]"),
    "aws:scheduler/schedule:Schedule": ("scheduler", "CreateSchedule", "Name", ""),
    # https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html: its own six letters follow a hyphen
    "aws:secretsmanager/secret:Secret": ("secretsmanager", "CreateSecret", "Name", r"(?!.*-[A-Za-z0-9]{6}$)[A-Za-z0-9/_+=.@-]+"),
    # https://docs.aws.amazon.com/sns/latest/api/API_CreateTopic.html
    "aws:sns/topic:Topic": ("sns", "CreateTopic", "Name", r"[A-Za-z0-9_-]{1,256}"),
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html
    "aws:sqs/queue:Queue": ("sqs", "CreateQueue", "QueueName", r"[A-Za-z0-9_-]{1,80}"),
    # https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-su-create.html
    "aws:ssm/parameter:Parameter": ("ssm", "PutParameter", "Name", r"(?!/?(?i:aws|ssm))(/[A-Za-z0-9_.-]+){1,15}"),
    "eks:index:Cluster": ("eks", "CreateCluster", "name", ""),
    # https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DomainNameFormat.html
    "aws:route53/record:Record": (
        "route53",
        "ChangeResourceRecordSets",
        "ChangeBatch.Changes.ResourceRecordSet.Name",
        r"([a-z0-9_-]{1,63}\.)+[a-z]+",
    ),
}
# Names that are no AWS name: an object in a cluster, a repository on GitHub, a listener's other end.
ELSEWHERE: Final = ("kubernetes:", "github:", "pulumi:")


@cache
def limits(type_: str) -> Sequence[Callable[[str], bool]]:
    """What a name of a type must pass."""
    service, operation, member, pattern = NAMED[type_]
    model = cast("Any", botocore.session.get_session().get_service_model(service))  # pyright: ignore[reportUnknownMemberType] — untyped
    shape = model.operation_model(operation).input_shape
    for part in member.split("."):
        shape = (shape.member if shape.type_name == "list" else shape).members[part]
    known: Mapping[str, Any] = shape.metadata
    found: list[Callable[[str], bool]] = [
        lambda name: known.get("min", 1) <= len(name) <= known.get("max", 1024),
        *([lambda name: re.fullmatch(known["pattern"], name) is not None] if "pattern" in known else []),
        *([lambda name: re.fullmatch(pattern, name) is not None] if pattern else []),
    ]
    # One of the two says more than a length, or the table is of no use.
    assert "pattern" in known or pattern or type_ == "aws:cloudwatch/metricAlarm:MetricAlarm", type_
    return found


def named(program: Program) -> list[tuple[Declared, str]]:
    """Every registration that AWS gets a name for, with that name.

    Raises:
        KeyError: a type has a name and no line in `NAMED`.
    """
    found: list[tuple[Declared, str]] = []
    for each in program.resources:
        # Other resources of S3 speak of a bucket that has its own.
        key = "bucket" if each.type == "aws:s3/bucket:Bucket" else "name"
        if key in each.inputs and not each.type.startswith(ELSEWHERE):
            _ = NAMED[each.type]
            found.append((each, each.inputs[key]))
    return found


def test_every_name_in_the_three_stacks_is_one_that_aws_takes(programs: Mapping[str, Program]) -> None:
    met: set[str] = set()
    for program in programs.values():
        for each, name in named(program):
            met.add(each.type)
            assert all(passes(name) for passes in limits(each.type)), f"{each.type} {name}"
    assert met == set(NAMED)


@pytest.mark.parametrize("stack", ["dev", "stg", "prd"])
def test_the_longest_names_that_settings_and_catalogue_let_in_are_ones_that_aws_takes_and_no_two_are_alike(stack: str) -> None:
    longest = "a" * naming.SERVICE_NAME_LENGTH

    def catalogue(platform: Platform) -> None:
        for name in (longest, f"{longest[:-1]}b", f"{longest[:-2]}-c"):
            Service(name, ServiceArgs(platform=platform, repository="shop", port=65535, priority=1000 + ord(name[-1])))

    nodes = {"instanceTypes": ["m7g.large"]}
    clusters = {
        "abcdefghij": {"version": "1.34", "weight": 50, "endpoint": {"private": True}, "nodes": nodes},
        "abcdefghik": {"version": "1.34", "weight": 50, "endpoint": {"private": True}, "nodes": nodes},
    }
    ui = {"ui": {"clientId": "Iv1.example", "teams": {"platform": "admin"}}}
    program = evaluate(stack, catalogue=catalogue, config={"slipway:clusters": clusters, "slipway:argocd": ui})
    for each, name in named(program):
        assert all(passes(name) for passes in limits(each.type)), f"{each.type} {name}"
    names = [(each.type, name) for each, name in named(program) if each.type != "aws:route53/record:Record"]
    assert len(set(names)) == len(names)


def test_a_name_that_aws_would_refuse_is_found() -> None:
    assert not all(passes("Storefront") for passes in limits("aws:ecr/repository:Repository"))
    assert not all(passes("a" * 33) for passes in limits("aws:lb/targetGroup:TargetGroup"))
    assert not all(passes("a-") for passes in limits("aws:lb/targetGroup:TargetGroup"))
    assert not all(passes("a" * 65) for passes in limits("aws:iam/role:Role"))
    assert not all(passes("slipway.fifo") for passes in limits("aws:sqs/queue:Queue"))
    assert not all(passes("slipway/app-abcdef") for passes in limits("aws:secretsmanager/secret:Secret"))


def test_a_node_group_s_name_has_room_for_what_the_provider_adds(programs: Mapping[str, Program]) -> None:
    # https://docs.aws.amazon.com/eks/latest/APIReference/API_Nodegroup.html: 63; the provider adds time and number, 26 in all.
    longest = f"{naming.cluster('e' * naming.KEY_LENGTH, 'c' * 10)}-"
    assert len(longest) + 26 <= 63
    prefixes = [each.inputs["nodeGroupNamePrefix"] for program in programs.values() for each in program.of("NodeGroup")]
    assert prefixes == ["slipway-dev-blue-", "slipway-stg-blue-", "slipway-prd-blue-"]
