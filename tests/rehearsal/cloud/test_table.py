"""The table: whole for what the program declares, strict about what it is given."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from components import image_hook
from rehearsal.cloud import NOT_EMULATED, TABLE, CloudWorld, Emulators, Place, RealiseError, bootstrap
from rehearsal.cloud.table import why_not_emulated
from rehearsal.engine import construct
from rehearsal.program import Imagined, InvokeError, Program, Request, evaluate
from tests.rehearsal.cloud.kit import REGION, Accounts, first_up, write_archives

STACKS: Mapping[str, str] = {"dev": "dev.example.com", "stg": "stg.example.com", "prd": "example.com"}
LONG = "x" * 4097
# Registered by pulumi_eks' component, which runs under an engine alone.
OF_THE_COMPONENT: Final = {
    "aws:eks/accessEntry:AccessEntry",
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation",
    "aws:eks/cluster:Cluster",
}


@pytest.fixture(scope="module", autouse=True)
def archives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A function's archive, whatever stands in `dist/`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_hook, "ARCHIVES", write_archives(tmp_path_factory.mktemp("dist")))
        yield


@pytest.fixture(scope="module")
def world(emulators: Emulators) -> CloudWorld:
    """A world whose three accounts have been bootstrapped."""
    made = CloudWorld(emulators)
    for stack, zone in STACKS.items():
        bootstrap(emulators, made.place(stack), zone=zone, secrets={})
        # A person may run it again.
        bootstrap(emulators, made.place(stack), zone=zone, secrets={})
    return made


@pytest.fixture(scope="module")
def programs(world: CloudWorld) -> Mapping[str, Program]:
    """The three stacks, realised."""
    return {stack: evaluate(stack, config=first_up(stack), world=world) for stack in STACKS}


def test_every_declared_resource_stands_in_its_account_or_is_named_with_a_reason(
    world: CloudWorld, programs: Mapping[str, Program]
) -> None:
    declared = {
        (stack, each.type, each.name)
        for stack, program in programs.items()
        for each in program.resources
        if each.custom or each.remote
    }
    realised = {(each.stack, each.type, each.name) for each in world.realised}
    imagined = {(each.stack, each.type, each.name) for each in world.imagined}
    assert declared <= realised | imagined
    assert all(each.reason for each in world.imagined)
    # What the flow needs is never only imagined.
    assert not {type_ for _, type_, _ in imagined if type_.startswith("aws:") and not type_.startswith("aws:eks/")}


def test_the_table_has_no_row_that_no_stack_declares(programs: Mapping[str, Program]) -> None:
    declared = {each.type for program in programs.values() for each in program.resources}
    assert set(TABLE) - declared == OF_THE_COMPONENT
    # The engine's stand-in of the component registers them.
    assert {type_ for type_ in OF_THE_COMPONENT if f'"{type_}"' not in inspect.getsource(construct)} == set()


def test_no_type_is_both_in_the_table_and_not_emulated() -> None:
    both = {type_ for type_ in TABLE if why_not_emulated(type_)}
    # Unless a Git host is given, GitHub is not emulated; nor are clusters and what is in them without a lab.
    assert {type_ for type_ in both if not type_.startswith(("aws:eks/", "github:", "kubernetes:"))} == set()
    # A reason that speaks of some of a provider's types belongs to none of the table's rows.
    assert {why_not_emulated(type_) for type_ in both} == {NOT_EMULATED[key] for key in ("aws:eks/", "github:", "kubernetes:")}
    assert all(NOT_EMULATED.values())


def test_pipelines_keep_their_trigger_and_projects_their_buildspec(
    emulators: Emulators, world: CloudWorld, programs: Mapping[str, Program]
) -> None:
    for stack, branch in (("dev", "develop"), ("stg", "master")):
        place = world.place(stack)
        declared = programs[stack].one("codepipeline/pipeline:Pipeline", "storefront")
        pipeline = emulators.client("codepipeline", place.account, REGION).get_pipeline(name=declared.inputs["name"])["pipeline"]
        (trigger,) = pipeline["triggers"]
        assert trigger["gitConfiguration"]["push"] == [{"branches": {"includes": [branch]}}]
        assert (pipeline["pipelineType"], pipeline["executionMode"]) == ("V2", "QUEUED")
        built_by = programs[stack].one("codebuild/project:Project", "storefront").inputs["name"]
        (project,) = emulators.client("codebuild", place.account, REGION).batch_get_projects(names=[built_by])["projects"]
        assert "docker build" in project["source"]["buildspec"]
        variables = {each["name"]: each["value"] for each in project["environment"]["environmentVariables"]}
        assert variables["REPOSITORY_URL"].startswith(f"{place.account}.dkr.ecr.{REGION}.amazonaws.com/")


def test_the_edge_forwards_a_host_by_weight_and_its_name_points_there(
    emulators: Emulators, world: CloudWorld, programs: Mapping[str, Program]
) -> None:
    place, program = world.place("dev"), programs["dev"]
    balancers = emulators.client("elbv2", place.account, REGION)
    rules = balancers.describe_rules(ListenerArn=program.one("lb/listener:Listener", "https").id)["Rules"]
    (rule,) = (each for each in rules if "storefront.dev.example.com" in str(each["Conditions"]))
    (group,) = rule["Actions"][0]["ForwardConfig"]["TargetGroups"]
    assert (group["TargetGroupArn"], group["Weight"]) == (program.one("lb/targetGroup:TargetGroup", "storefront").id, 100)
    zone = program.one("route53/record:Record", "storefront").inputs["zoneId"]
    records = emulators.client("route53", place.account, REGION).list_resource_record_sets(HostedZoneId=zone)[
        "ResourceRecordSets"
    ]
    (record,) = (each for each in records if each["Name"] == "storefront.dev.example.com.")
    (balancer,) = balancers.describe_load_balancers()["LoadBalancers"]
    assert record["AliasTarget"]["DNSName"].rstrip(".") == balancer["DNSName"]


def test_groups_let_through_what_is_declared_and_nothing_else(
    emulators: Emulators, world: CloudWorld, programs: Mapping[str, Program]
) -> None:
    ec2 = emulators.client("ec2", world.place("dev").account, REGION)
    ids = [programs["dev"].one(type_, "dev").id for type_ in ("ec2/securityGroup:SecurityGroup", "DefaultSecurityGroup")]
    groups = {each["GroupName"]: each for each in ec2.describe_security_groups(GroupIds=ids)["SecurityGroups"]}
    assert (groups["default"]["IpPermissions"], groups["default"]["IpPermissionsEgress"]) == ([], [])
    (out,) = groups["dev"]["IpPermissionsEgress"]
    assert [each["CidrIp"] for each in out["IpRanges"]] == ["10.10.0.0/16"]


def test_release_images_may_be_pulled_by_prd_as_declared(
    emulators: Emulators, world: CloudWorld, programs: Mapping[str, Program]
) -> None:
    del programs
    ecr = emulators.client("ecr", world.place("stg").account, REGION)
    policy = ecr.get_repository_policy(repositoryName="release/storefront")["policyText"]
    assert world.place("prd").account in policy
    assert ecr.get_lifecycle_policy(repositoryName="release/storefront")["lifecyclePolicyText"]


def test_what_no_emulator_keeps_is_named_with_its_reason(world: CloudWorld, programs: Mapping[str, Program]) -> None:
    del programs
    left = {(each.type, each.property): each.reason for each in world.left}
    assert (
        left["aws:ecr/repository:Repository", "imageTagMutabilityExclusionFilters"]
        == "ministack does not keep it; the registry's door does"
    )
    assert len(left) == len(world.left)


# What is refused


def _request(type_: str, inputs: Mapping[str, Any], *, stack: str = "lone") -> Request:
    return Request(stack=stack, type=type_, name="thing", inputs=dict(inputs), custom=True, parent="")


@pytest.fixture(scope="module")
def lone(emulators: Emulators, accounts: Accounts) -> CloudWorld:
    """An empty account."""
    return CloudWorld(emulators, places={"lone": Place(account=next(accounts), region=REGION)})


QUEUE = "aws:sqs/queue:Queue"


@pytest.mark.parametrize(
    ("type_", "inputs", "fault"),
    [
        (QUEUE, {"name": "q", "colour": "red"}, r"aws:sqs/queue:Queue 'thing' of lone: colour would be dropped"),
        (
            "aws:scheduler/schedule:Schedule",
            {"name": "s", "target": {"arn": "a"}},
            r"target\.roleArn is not declared",
        ),
        (QUEUE, {}, r"name is not declared: names here follow from settings"),
        ("aws:rds/instance:Instance", {}, r"no row of the table realises this type; add one"),
        (
            "aws:cloudwatch/metricAlarm:MetricAlarm",
            {"name": "a", "evaluationPeriods": 1, "comparisonOperator": "Bigger"},
            r"AWS would refuse cloudwatch:put_metric_alarm: ComparisonOperator is 'Bigger'",
        ),
        (
            "aws:iam/role:Role",
            {"name": "r" * 65, "assumeRolePolicy": "{}"},
            r"RoleName has 65 characters: at least 1 and at most 64 are allowed",
        ),
        ("aws:ssm/parameter:Parameter", {"name": "/p", "value": LONG, "type": "String"}, r"value has 4097 bytes"),
        ("aws:sqs/queuePolicy:QueuePolicy", {"queueUrl": "q", "policy": LONG * 2}, r"the policy has 8194 bytes"),
        (
            "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
            {"role": "r", "policyArn": "arn:aws:iam::aws:policy/AmazonEKSCNIPolicy"},
            r"ministack refused iam:get_policy: .*NoSuchEntity",
        ),
        (
            "aws:lambda/function:Function",
            {"name": "f", "role": "arn:aws:iam::111111111111:role/none", "code": {"path": "x"}},
            r"ministack refused iam:get_role",
        ),
    ],
)
def test_what_cannot_be_made_as_declared_stops_with_type_name_and_reason(
    lone: CloudWorld, type_: str, inputs: Mapping[str, Any], fault: str
) -> None:
    with pytest.raises(RealiseError, match=fault):
        lone.create(_request(type_, inputs))


def test_a_property_inside_a_block_is_not_dropped_either(lone: CloudWorld) -> None:
    inputs = {
        "bucket": "blocks",
        "rules": [{"id": "a", "status": "Enabled", "filter": {"prefix": ""}, "noncurrent": {"days": 1}}],
    }
    lone.create(_request("aws:s3/bucket:Bucket", {"bucket": "blocks"}))
    with pytest.raises(RealiseError, match=r"rules\[0\]\.noncurrent would be dropped"):
        lone.create(_request("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", inputs))


def test_a_zone_that_bootstrap_has_not_made_is_asked_for(lone: CloudWorld) -> None:
    with pytest.raises(InvokeError, match=r"no matching Route 53 Hosted Zone found"):
        lone.call("lone", "aws:route53/getZone:getZone", {"name": "dev.example.com", "privateZone": False})


def test_names_stand_in_their_own_zone_and_certificates_wait_for_their_record(emulators: Emulators, accounts: Accounts) -> None:
    place = Place(account=next(accounts), region=REGION)
    world = CloudWorld(emulators, places={"lone": place})
    bootstrap(emulators, place, zone="dev.example.com", secrets={})
    zone = world.call("lone", "aws:route53/getZone:getZone", {"name": "dev.example.com"})["zoneId"]
    record = {"zoneId": zone, "name": "x.stg.example.com", "type": "CNAME", "ttl": 300.0, "records": ["y"]}
    with pytest.raises(RealiseError, match=r"name is x\.stg\.example\.com: a name in the zone dev\.example\.com"):
        world.create(_request("aws:route53/record:Record", record))
    certificate = world.create(
        _request("aws:acm/certificate:Certificate", {"domainName": "*.dev.example.com", "validationMethod": "DNS"})
    )
    (proof,) = certificate.outputs["domainValidationOptions"]
    validation = _request(
        "aws:acm/certificateValidation:CertificateValidation",
        {"certificateArn": certificate.id, "validationRecordFqdns": [proof["resourceRecordName"]]},
    )
    with pytest.raises(RealiseError, match="it is in no zone of the account"):
        world.create(validation)
    record |= {"name": proof["resourceRecordName"], "records": [proof["resourceRecordValue"]]}
    world.create(_request("aws:route53/record:Record", record))
    assert world.create(validation).outputs["certificateArn"] == certificate.id


def test_unknown_functions_are_imagined_and_the_caller_is_the_accounts_own(lone: CloudWorld) -> None:
    account = lone.place("lone").account
    assert lone.call("lone", "aws:index/getCallerIdentity:getCallerIdentity", {})["accountId"] == account
    zones = "aws:index/getAvailabilityZones:getAvailabilityZones"
    assert lone.call("lone", zones, {}) == Imagined(account=account, region=REGION).call("lone", zones, {})
