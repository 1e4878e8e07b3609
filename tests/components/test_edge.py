"""components/edge.py: one front door for the environment, outside every cluster, and what stands behind each name."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from components.platform import Platform
from components.service import Service, ServiceArgs
from rehearsal.program import Declared, Imagined, InvokeError, Program, ProgramError, evaluate
from rehearsal.registry.policy import Identity, Request, judge
from rehearsal.registry.policy import Service as AwsService
from tests.components.kit import awaited
from tests.components.test_service import with_one_more
from tests.conftest import STACKS

ACCOUNTS = {"dev": "111111111111", "stg": "222222222222", "prd": "333333333333"}
ZONES = {"dev": "dev.example.com", "stg": "stg.example.com", "prd": "example.com"}
TWO_COLOURS = {
    "blue": {"version": "1.34", "weight": 100, "endpoint": {"private": True}},
    "green": {"version": "1.35", "weight": 0, "endpoint": {"private": True}},
}


def listener(program: Program, port: int) -> Declared:
    (found,) = (each for each in program.of("lb/listener:Listener") if each.inputs["port"] == port)
    return found


def rule_of(program: Program, host: str) -> Declared:
    """The listener rule for a host name."""
    (found,) = (
        each
        for each in program.of("lb/listenerRule:ListenerRule")
        if each.inputs["conditions"][0]["hostHeader"]["values"] == [host]
    )
    return found


def priorities(program: Program) -> dict[str, int]:
    return {
        each.inputs["conditions"][0]["hostHeader"]["values"][0]: each.inputs["priority"]
        for each in program.of("lb/listenerRule:ListenerRule")
    }


@pytest.mark.parametrize("stack", STACKS)
def test_a_host_that_no_service_has_is_answered_with_404(stack: str, programs: Mapping[str, Program]) -> None:
    (action,) = listener(programs[stack], 443).inputs["defaultActions"]
    assert action["type"] == "fixed-response"
    assert action["fixedResponse"]["statusCode"] == "404"


@pytest.mark.parametrize("stack", STACKS)
def test_plain_http_is_redirected_and_nothing_else(stack: str, programs: Mapping[str, Program]) -> None:
    inputs = listener(programs[stack], 80).inputs
    assert inputs["defaultActions"] == [
        {"type": "redirect", "redirect": {"protocol": "HTTPS", "port": "443", "statusCode": "HTTP_301"}}
    ]
    rules = programs[stack].of("lb/listenerRule:ListenerRule")
    assert {each.inputs["listenerArn"] for each in rules} == {listener(programs[stack], 443).outputs["arn"]}


@pytest.mark.parametrize("stack", STACKS)
def test_https_speaks_tls_1_2_and_1_3_with_a_certificate_that_has_been_validated(
    stack: str, programs: Mapping[str, Program]
) -> None:
    program = programs[stack]
    https = listener(program, 443)
    certificate = program.one("acm/certificate:Certificate")
    validation = program.one("acm/certificateValidation:CertificateValidation")
    assert (https.inputs["protocol"], https.inputs["sslPolicy"]) == ("HTTPS", "ELBSecurityPolicy-TLS13-1-2-2021-06")
    assert certificate.inputs["domainName"] == f"*.{ZONES[stack]}"
    assert certificate.inputs["validationMethod"] == "DNS"
    # The listener waits for the validation, and the validation for the record that proves the name.
    assert https.inputs["certificateArn"] == certificate.outputs["arn"]
    assert validation.urn in https.property_dependencies["certificateArn"]
    record = program.one("route53/record:Record", f"{stack}-validation")
    assert validation.inputs["validationRecordFqdns"] == [record.outputs.get("fqdn")]
    assert record.urn in awaited(program, validation)
    assert (record.inputs["name"], record.inputs["type"]) == (f"_validation.{ZONES[stack]}", "CNAME")


@pytest.mark.parametrize("stack", STACKS)
def test_the_load_balancer_stands_in_public_subnets_and_nobody_deletes_it_by_accident(
    stack: str, programs: Mapping[str, Program]
) -> None:
    program = programs[stack]
    balancer = program.one("lb/loadBalancer:LoadBalancer")
    public = {each.id for each in program.of("ec2/subnet:Subnet") if "-public-" in each.name}
    assert set(balancer.inputs["subnets"]) == public
    assert balancer.inputs["internal"] is False
    assert balancer.inputs["enableDeletionProtection"] is True
    assert balancer.protect
    assert balancer.inputs["dropInvalidHeaderFields"] is True
    assert balancer.inputs["desyncMitigationMode"] == "defensive"


@pytest.mark.parametrize("stack", STACKS)
def test_the_door_is_open_for_http_and_https_and_leads_into_the_vpc_only(stack: str, programs: Mapping[str, Program]) -> None:
    program = programs[stack]
    balancer = program.one("lb/loadBalancer:LoadBalancer")
    (group,) = (each for each in program.of("SecurityGroup") if each.id in balancer.inputs["securityGroups"])
    assert sorted((each["fromPort"], each["toPort"]) for each in group.inputs["ingress"]) == [(80, 80), (443, 443)]
    (out,) = group.inputs["egress"]
    assert out["cidrBlocks"] == [program.one("ec2/vpc:Vpc").inputs["cidrBlock"]]
    assert out["fromPort"] == 1024


@pytest.mark.parametrize("stack", STACKS)
def test_access_logs_lie_in_a_closed_bucket_that_only_the_load_balancer_writes_to_and_only_over_tls(
    stack: str, programs: Mapping[str, Program]
) -> None:
    program, account = programs[stack], ACCOUNTS[stack]
    balancer = program.one("lb/loadBalancer:LoadBalancer")
    bucket = program.one("s3/bucket:Bucket", "edge-logs")
    closed = program.one("BucketPublicAccessBlock", "edge-logs")
    policy = program.one("BucketPolicy", "edge-logs")
    assert balancer.inputs["accessLogs"] == {"bucket": bucket.inputs["bucket"], "enabled": True}
    assert {closed.inputs["bucket"], policy.inputs["bucket"]} == {bucket.id}
    for key in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"):
        assert closed.inputs[key] is True
    # AWS tries to write at once: the policy must stand before the load balancer.
    assert policy.urn in awaited(program, balancer)

    def written(
        *, source: str = f"arn:aws:elasticloadbalancing:eu-central-1:{account}:loadbalancer/app/x/1", **more: str
    ) -> bool:
        key = more.get("key", f"AWSLogs/{account}/elasticloadbalancing/x.log.gz")
        request = Request(
            caller=AwsService(name=more.get("service", "logdelivery.elasticloadbalancing.amazonaws.com")),
            action="s3:PutObject",
            resource=f"arn:aws:s3:::{bucket.inputs['bucket']}/{key}",
            resource_account=account,
            context={"aws:SourceArn": source, "aws:SecureTransport": more.get("tls", "true")},
        )
        return bool(judge(request, resource_policy=policy.inputs["policy"]))

    assert written()
    assert not written(tls="false")
    assert not written(source="arn:aws:elasticloadbalancing:eu-central-1:999999999999:loadbalancer/app/x/1")
    assert not written(service="logging.s3.amazonaws.com")
    assert not written(key="other/x.log.gz")
    reader = Identity(
        account=account,
        principal_arn=f"arn:aws:iam::{account}:role/reader",
        policies=[{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}],
    )
    for tls, allowed in (("true", True), ("false", False)):
        request = Request(
            caller=reader,
            action="s3:GetObject",
            resource=f"arn:aws:s3:::{bucket.inputs['bucket']}/x",
            resource_account=account,
            context={"aws:SecureTransport": tls, "aws:SourceArn": None},
        )
        assert bool(judge(request, resource_policy=policy.inputs["policy"])) is allowed
    (rule,) = program.one("BucketLifecycleConfiguration", "edge-logs").inputs["rules"]
    assert (rule["status"], rule["expiration"]) == ("Enabled", {"days": 90})


@pytest.mark.parametrize("stack", STACKS)
def test_a_service_s_host_leads_to_its_own_target_group(stack: str, programs: Mapping[str, Program]) -> None:
    program = programs[stack]
    rule = rule_of(program, f"storefront.{ZONES[stack]}")
    assert len(rule.inputs["conditions"]) == 1
    (action,) = rule.inputs["actions"]
    group = program.one("lb/targetGroup:TargetGroup", "storefront")
    assert action["type"] == "forward"
    assert action["forward"]["targetGroups"] == [{"arn": group.outputs["arn"], "weight": 100}]
    assert (group.inputs["port"], group.inputs["targetType"], group.inputs["protocol"]) == (8080, "ip", "HTTP")
    assert group.inputs["healthCheck"]["path"] == "/healthz"
    # Stickiness would beat the weights.
    assert group.inputs["stickiness"]["enabled"] is False
    assert "stickiness" not in action["forward"]


def test_a_rule_names_every_colour_the_one_without_traffic_too() -> None:
    program = evaluate("prd", config={"slipway:clusters": TWO_COLOURS})
    (action,) = rule_of(program, "storefront.example.com").inputs["actions"]
    groups = {each.outputs["arn"]: each.inputs["name"] for each in program.of("lb/targetGroup:TargetGroup")}
    weights = {groups[each["arn"]]: each["weight"] for each in action["forward"]["targetGroups"]}
    assert weights == {"storefront-blue-8080": 100, "storefront-green-8080": 0}
    # https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html: five a forward action
    assert len(action["forward"]["targetGroups"]) <= 5


@pytest.mark.parametrize("stack", STACKS)
def test_a_service_s_name_is_an_alias_of_the_load_balancer(stack: str, programs: Mapping[str, Program]) -> None:
    program = programs[stack]
    balancer = program.one("lb/loadBalancer:LoadBalancer")
    record = program.one("route53/record:Record", "storefront")
    assert record.inputs["name"] == f"storefront.{ZONES[stack]}"
    assert record.inputs["type"] == "A"
    (alias,) = record.inputs["aliases"]
    assert (alias["name"], alias["zoneId"]) == (balancer.outputs["dnsName"], balancer.outputs["zoneId"])


def test_every_name_stands_in_the_environment_s_zone(programs: Mapping[str, Program]) -> None:
    for stack in STACKS:
        (call,) = (each for each in programs[stack].calls if each.token == "aws:route53/getZone:getZone")
        assert call.args["name"] == ZONES[stack]
        assert call.args["privateZone"] is False


def only(*names: str) -> Callable[[Platform], None]:
    def catalogue(platform: Platform) -> None:
        for name in names:
            Service(name, ServiceArgs(platform=platform, repository=name, port=8080))

    return catalogue


@pytest.mark.parametrize(
    ("catalogue", "gone", "new"),
    [
        pytest.param(with_one_more("aaa"), set[str](), {"aaa.example.com"}, id="one comes"),
        pytest.param(only("zzz"), {"storefront.example.com"}, {"zzz.example.com"}, id="one goes and another comes"),
    ],
)
def test_no_service_moves_another_s_listener_priority(
    catalogue: Callable[[Platform], None], gone: set[str], new: set[str], programs: Mapping[str, Program]
) -> None:
    before = priorities(programs["prd"])
    after = priorities(evaluate("prd", catalogue=catalogue))
    assert set(before) - set(after) == gone
    assert set(after) - set(before) == new
    assert {host: after[host] for host in set(before) & set(after)} == {host: before[host] for host in set(before) & set(after)}
    assert len(set(after.values())) == len(after)


def test_a_priority_that_is_given_is_taken() -> None:
    def catalogue(platform: Platform) -> None:
        arguments: dict[str, Any] = {"repository": "shop", "port": 8080, "priority": 4711}
        Service("shop", ServiceArgs(platform=platform, **arguments))

    assert priorities(evaluate("prd", catalogue=catalogue))["shop.example.com"] == 4711


def test_an_account_without_the_zone_is_refused_before_any_resource_with_the_command_that_makes_it() -> None:
    class NoZone(Imagined):
        def call(self, stack: str, token: str, args: Mapping[str, Any]) -> dict[str, Any]:
            if token == "aws:route53/getZone:getZone":
                msg = "invocation of aws:route53/getZone:getZone returned an error: no matching Route 53 Hosted Zone found"
                raise InvokeError(msg)
            return super().call(stack, token, args)

    with pytest.raises(ProgramError) as caught:
        evaluate("dev", world=NoZone())
    assert caught.value.registered == ()
    assert str(caught.value) == (
        "slipway:environments.dev.zone: got 'dev.example.com'; account 111111111111 must have exactly one public hosted zone of "
        "this name. AWS says: invoke of aws:route53/getZone:getZone failed: invocation of aws:route53/getZone:getZone "
        "returned an error: no matching Route 53 Hosted Zone found. Run: python -m bootstrap --stack dev --apply"
    )
