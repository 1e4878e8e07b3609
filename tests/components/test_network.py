"""components/network.py: three zones whose addresses never meet, and no way in but the ones that are meant."""

from collections.abc import Mapping
from ipaddress import IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.network import ZONES, subnets
from components.settings import LARGEST_PREFIX, SMALLEST_PREFIX
from rehearsal.program import Declared, Program, evaluate
from tests.components.kit import awaited, statement
from tests.components.test_settings import changed
from tests.conftest import STACKS

# https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html: AWS keeps five addresses of every subnet.
KEPT_BY_AWS = 5
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html#subnets-load-balancer
NEEDED_BY_A_LOAD_BALANCER = 8


@st.composite
def vpcs(draw: st.DrawFn) -> IPv4Network:
    """Any range that the settings let in: a /16 to a /20 of RFC 1918."""
    prefix = draw(st.integers(LARGEST_PREFIX, SMALLEST_PREFIX))
    parent = draw(st.sampled_from([IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12"), IPv4Network("192.168.0.0/16")]))
    size = 2 ** (32 - prefix)
    place = draw(st.integers(0, parent.num_addresses // size - 1))
    return IPv4Network((int(parent.network_address) + place * size, prefix))


@given(vpcs())
@settings(deadline=None)
def test_the_subnets_of_every_allowed_range_lie_inside_it_and_never_overlap(cidr: IPv4Network) -> None:
    found = subnets(cidr)
    every = [*found.private, *found.public]
    assert len(found.private) == len(found.public) == ZONES == 3
    assert all(each.subnet_of(cidr) for each in every)
    assert not any(one.overlaps(two) for index, one in enumerate(every) for two in every[:index])


@given(vpcs())
@settings(deadline=None)
def test_pods_get_a_quarter_of_the_addresses_in_each_zone_and_a_load_balancer_has_room(cidr: IPv4Network) -> None:
    found = subnets(cidr)
    assert {each.num_addresses for each in found.private} == {cidr.num_addresses // 4}
    assert min(each.num_addresses for each in found.public) - KEPT_BY_AWS >= NEEDED_BY_A_LOAD_BALANCER


def subnets_of(program: Program, kind: str) -> list[Declared]:
    return sorted((each for each in program.of("ec2/subnet:Subnet") if f"-{kind}-" in each.name), key=lambda each: each.name)


def routes(program: Program, subnet: Declared) -> list[Mapping[str, str]]:
    """The routes that traffic out of `subnet` takes."""
    (association,) = (
        each for each in program.of("ec2/routeTableAssociation:RouteTableAssociation") if each.inputs["subnetId"] == subnet.id
    )
    (table,) = (each for each in program.of("ec2/routeTable:RouteTable") if each.id == association.inputs["routeTableId"])
    return table.inputs["routes"]


@pytest.mark.parametrize("stack", STACKS)
def test_private_and_public_subnets_stand_in_three_zones(stack: str, programs: Mapping[str, Program]) -> None:
    program = programs[stack]
    for kind, role in (("private", "internal-elb"), ("public", "elb")):
        found = subnets_of(program, kind)
        zones = [each.inputs["availabilityZone"] for each in found]
        assert zones == ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
        assert all(each.inputs["tags"][f"kubernetes.io/role/{role}"] == "1" for each in found)
    assert not any(each.inputs["mapPublicIpOnLaunch"] for each in program.of("ec2/subnet:Subnet"))


@pytest.mark.parametrize("stack", STACKS)
def test_private_subnets_reach_out_through_nat_and_public_ones_through_the_gateway(
    stack: str, programs: Mapping[str, Program]
) -> None:
    program = programs[stack]
    gateways = {each.id for each in program.of("ec2/natGateway:NatGateway")}
    for each in subnets_of(program, "private"):
        (route,) = routes(program, each)
        assert route["cidrBlock"] == "0.0.0.0/0"
        assert route["natGatewayId"] in gateways
        assert "gatewayId" not in route
    for each in subnets_of(program, "public"):
        assert routes(program, each) == [
            {"cidrBlock": "0.0.0.0/0", "gatewayId": program.one("ec2/internetGateway:InternetGateway").id}
        ]


def test_one_nat_gateway_serves_all_zones_unless_each_is_to_have_its_own(programs: Mapping[str, Program]) -> None:
    for stack, number in (("dev", 1), ("prd", 3)):
        program = programs[stack]
        gateways = program.of("ec2/natGateway:NatGateway")
        assert len(gateways) == len(program.of("ec2/eip:Eip")) == number
        # Each in a public subnet, and each zone's traffic stays in its zone where it can.
        public = {each.id: each.inputs["availabilityZone"] for each in subnets_of(program, "public")}
        zone = {each.id: public[each.inputs["subnetId"]] for each in gateways}
        used = [zone[routes(program, each)[0]["natGatewayId"]] for each in subnets_of(program, "private")]
        assert used == (["eu-central-1a"] * 3 if number == 1 else ["eu-central-1a", "eu-central-1b", "eu-central-1c"])


def test_image_layers_come_past_nat_everywhere_and_ecr_does_where_it_is_set(programs: Mapping[str, Program]) -> None:
    for stack, ecr in (("dev", False), ("stg", True), ("prd", True)):
        program = programs[stack]
        endpoints = {each.inputs["serviceName"]: each for each in program.of("ec2/vpcEndpoint:VpcEndpoint")}
        interfaces = {"com.amazonaws.eu-central-1.ecr.api", "com.amazonaws.eu-central-1.ecr.dkr"}
        assert set(endpoints) == {"com.amazonaws.eu-central-1.s3", *(interfaces if ecr else ())}
        gateway = endpoints["com.amazonaws.eu-central-1.s3"].inputs
        assert gateway["vpcEndpointType"] == "Gateway"
        private = {each.id for each in program.of("ec2/routeTable:RouteTable") if "-private-" in each.name}
        assert set(gateway["routeTableIds"]) == private
        for name in interfaces & set(endpoints):
            inputs = endpoints[name].inputs
            assert inputs["privateDnsEnabled"] is True
            assert sorted(inputs["subnetIds"]) == [each.id for each in subnets_of(program, "private")]
            (group,) = (each for each in program.of("SecurityGroup") if each.id in inputs["securityGroupIds"])
            (rule,) = group.inputs["ingress"]
            assert (rule["fromPort"], rule["toPort"], rule["cidrBlocks"]) == (
                443,
                443,
                [program.one("ec2/vpc:Vpc").inputs["cidrBlock"]],
            )


@pytest.mark.parametrize("stack", STACKS)
def test_the_default_security_group_lets_nothing_through(stack: str, programs: Mapping[str, Program]) -> None:
    group = programs[stack].one("ec2/defaultSecurityGroup:DefaultSecurityGroup")
    assert group.inputs["ingress"] == []
    assert group.inputs["egress"] == []
    assert group.inputs["vpcId"] == programs[stack].one("ec2/vpc:Vpc").id


@pytest.mark.parametrize(("stack", "days"), [("dev", 30), ("stg", 30), ("prd", 90)])
def test_all_traffic_is_logged_and_kept_as_long_as_is_set(stack: str, days: int, programs: Mapping[str, Program]) -> None:
    program = programs[stack]
    log = program.one("ec2/flowLog:FlowLog")
    group = program.one("cloudwatch/logGroup:LogGroup", f"{stack}-flow")
    role = program.one("iam/role:Role", f"{stack}-flow")
    assert log.inputs["trafficType"] == "ALL"
    assert log.inputs["vpcId"] == program.one("ec2/vpc:Vpc").id
    assert log.inputs["logDestination"] == group.outputs["arn"]
    assert log.inputs["iamRoleArn"] == role.outputs["arn"]
    assert group.inputs["retentionInDays"] == days
    policy = program.one("iam/rolePolicy:RolePolicy", f"{stack}-flow")
    assert statement(policy.inputs["policy"], "Write")["Resource"] == [f"{group.outputs['arn']}:*"]
    assert policy.urn in awaited(program, log)


def test_a_range_of_the_smallest_size_is_divided_as_the_largest_is() -> None:
    program = evaluate("dev", config=changed("slipway:environments", "dev.cidr", "10.10.0.0/20"))
    assert [each.inputs["cidrBlock"] for each in subnets_of(program, "private")] == [
        "10.10.0.0/22",
        "10.10.4.0/22",
        "10.10.8.0/22",
    ]
    assert [each.inputs["cidrBlock"] for each in subnets_of(program, "public")] == [
        "10.10.12.0/24",
        "10.10.13.0/24",
        "10.10.14.0/24",
    ]


def test_the_zones_that_are_set_are_used_in_their_order_and_two_leave_room_for_a_third(programs: Mapping[str, Program]) -> None:
    program = evaluate("dev", config={"slipway:network": {"natPerZone": True, "zones": ["eu-central-1a", "eu-central-1c"]}})
    found = {each.name: (each.inputs["availabilityZone"], each.inputs["cidrBlock"]) for each in program.of("ec2/subnet:Subnet")}
    three = {each.name: each.inputs["cidrBlock"] for each in programs["dev"].of("ec2/subnet:Subnet")}
    assert found == {
        "dev-private-a": ("eu-central-1a", three["dev-private-a"]),
        "dev-private-c": ("eu-central-1c", three["dev-private-b"]),
        "dev-public-a": ("eu-central-1a", three["dev-public-a"]),
        "dev-public-c": ("eu-central-1c", three["dev-public-b"]),
    }
    assert len(program.of("ec2/natGateway:NatGateway")) == 2
    (nodes,) = program.of("eks/nodeGroup:NodeGroup")
    assert len(nodes.inputs["subnetIds"]) == 2
    more = ["eu-central-1a", "eu-central-1c", "eu-central-1b"]
    grown = evaluate("dev", config={"slipway:network": {"zones": more}})
    assert {name: found[name][1] for name in found} == {
        each.name: each.inputs["cidrBlock"] for each in grown.of("ec2/subnet:Subnet") if each.name in found
    }


@pytest.mark.parametrize("stack", STACKS)
def test_what_has_a_public_address_waits_for_the_way_out(stack: str, programs: Mapping[str, Program]) -> None:
    program = programs[stack]
    gateway = program.one("ec2/internetGateway:InternetGateway")
    public = [*program.of("ec2/natGateway:NatGateway"), *program.of("lb/loadBalancer:LoadBalancer")]
    assert len(public) > 1
    assert all(gateway.urn in each.dependencies for each in public)
