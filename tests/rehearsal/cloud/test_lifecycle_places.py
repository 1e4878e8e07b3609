"""What the network, the identities and the edge are made of can be read back, changed, and taken away again."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Final

import pytest

from components import image_hook
from rehearsal.cloud import MOTO, CloudWorld, Emulators, Place, RealiseError, bootstrap
from rehearsal.cloud.declared import reduced
from rehearsal.cloud.row import same
from rehearsal.cloud.rows import edge, identity, network
from tests.rehearsal.cloud.kit import REGION, Accounts, write_archives
from tests.rehearsal.cloud.standing import STACKS, Standing, Thing, new_accounts, places, realised, request_of

ROWS: Final = {**network.ROWS, **identity.ROWS, **edge.ROWS}

CERTIFICATE: Final = "aws:acm/certificate:Certificate"
VALIDATION: Final = "aws:acm/certificateValidation:CertificateValidation"
DEFAULT_GROUP: Final = "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"
ADDRESS: Final = "aws:ec2/eip:Eip"
FLOW_LOG: Final = "aws:ec2/flowLog:FlowLog"
GATEWAY: Final = "aws:ec2/internetGateway:InternetGateway"
TEMPLATE: Final = "aws:ec2/launchTemplate:LaunchTemplate"
NAT: Final = "aws:ec2/natGateway:NatGateway"
TABLE: Final = "aws:ec2/routeTable:RouteTable"
ASSOCIATION: Final = "aws:ec2/routeTableAssociation:RouteTableAssociation"
GROUP: Final = "aws:ec2/securityGroup:SecurityGroup"
SUBNET: Final = "aws:ec2/subnet:Subnet"
VPC: Final = "aws:ec2/vpc:Vpc"
ENDPOINT: Final = "aws:ec2/vpcEndpoint:VpcEndpoint"
POLICY: Final = "aws:iam/policy:Policy"
ROLE: Final = "aws:iam/role:Role"
ROLE_POLICY: Final = "aws:iam/rolePolicy:RolePolicy"
ATTACHMENT: Final = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
LISTENER: Final = "aws:lb/listener:Listener"
RULE: Final = "aws:lb/listenerRule:ListenerRule"
BALANCER: Final = "aws:lb/loadBalancer:LoadBalancer"
TARGETS: Final = "aws:lb/targetGroup:TargetGroup"
RECORD: Final = "aws:route53/record:Record"
SECRET: Final = "aws:secretsmanager/secret:Secret"
VERSION: Final = "aws:secretsmanager/secretVersion:SecretVersion"
PARAMETER: Final = "aws:ssm/parameter:Parameter"

# What is declared and cannot be read back, and why.
UNREADABLE: Final[Mapping[tuple[str, str], str]] = {
    (VALIDATION, "validationRecordFqdns"): "a certificate does not know who waited for what",
    (RECORD, "allowOverwrite"): "the provider's own",
    (SECRET, "recoveryWindowInDays"): "the provider's own",
    (VERSION, "secretString"): "a secret",
}
# What is declared as AWS has it anyway: who does not know the declaration cannot tell.
DEFAULTS: Final = {
    (DEFAULT_GROUP, "egress"),
    (DEFAULT_GROUP, "ingress"),
    (ENDPOINT, "vpcEndpointType"),
    (FLOW_LOG, "logDestinationType"),
    (FLOW_LOG, "maxAggregationInterval"),
    (GROUP, "egress"),
    (BALANCER, "desyncMitigationMode"),
    (BALANCER, "internal"),
    (BALANCER, "loadBalancerType"),
    (ROLE, "maxSessionDuration"),
    (SUBNET, "mapPublicIpOnLaunch"),
    (TARGETS, "stickiness"),
    (VPC, "enableDnsSupport"),
}
# What counts changes: it differs from change to change.
COUNTERS: Final = {"latestVersion", "version"}


def other(thing: Thing, **inputs: Any) -> Thing:  # noqa: ANN401 — JSON
    """The same, declared otherwise; None is not declared."""
    changed = {key: value for key, value in {**thing.request.inputs, **inputs}.items() if value is not None}
    return replace(thing, request=replace(thing.request, inputs=changed))


@dataclass(kw_only=True)
class Changeable(Standing):
    """What can be made, changed and taken away."""

    def make(self, type_: str, **inputs: Any) -> Thing:  # noqa: ANN401 — JSON
        """A resource of the dev stack."""
        request = request_of("dev", type_, "thing", inputs)
        return Thing(request=request, id=self.world.create(request).id)

    def change(self, thing: Thing, **inputs: Any) -> Thing:  # noqa: ANN401 — JSON
        """Change it."""
        new = other(thing, **inputs)
        assert self.world.update(new.request, thing.id, thing.request.inputs).id == thing.id
        return new

    def drop(self, thing: Thing) -> None:
        """Take it away."""
        self.world.delete(thing.request, thing.id)


@pytest.fixture(scope="module")
def standing(emulators: Emulators, accounts: Accounts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Changeable]:
    """The three stacks, as declared."""
    moved = new_accounts(accounts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_hook, "ARCHIVES", write_archives(tmp_path_factory.mktemp("dist")))
        # Nothing that is asked to go here is about to be let go.
        patch.setattr(network, "PATIENCE_SECONDS", 0)
        world = CloudWorld(emulators, places=places(moved))
        yield Changeable(world=world, emulators=emulators, things=realised(world, moved, ROWS))


@pytest.fixture(scope="module")
def before(standing: Changeable) -> Mapping[str, Mapping[str, Any] | None]:
    """What is read of everything as it was made."""
    return {str(each): standing.read(each) for each in standing.things}


@pytest.fixture
def lone(emulators: Emulators, accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> Changeable:
    """An account in which nothing stands."""
    monkeypatch.setattr(network, "PATIENCE_SECONDS", 0)
    place = Place(account=next(accounts), region=REGION)
    return Changeable(world=CloudWorld(emulators, places={"dev": place}), emulators=emulators)


def test_every_row_reads_and_deletes() -> None:
    assert [type_ for type_, row in ROWS.items() if row.read is None or row.delete is None] == []


@pytest.mark.parametrize("type_", sorted(ROWS))
def test_what_was_declared_is_what_is_read(standing: Changeable, before: Mapping[str, Any], type_: str) -> None:
    unread: set[tuple[str, str]] = set()
    for thing in standing.of(type_):
        found, declared = before[str(thing)], thing.request.inputs
        assert found is not None, thing
        otherwise = {key: (declared[key], found[key]) for key in declared if key in found and not same(declared[key], found[key])}
        assert otherwise == {}, thing
        unread |= {(type_, key) for key, value in declared.items() if value is not None and key not in found}
    assert unread == {each for each in UNREADABLE if each[0] == type_}


@pytest.mark.parametrize("type_", sorted(ROWS))
def test_an_import_reads_the_same_and_no_defaults(standing: Changeable, before: Mapping[str, Any], type_: str) -> None:
    missing: set[tuple[str, str]] = set()
    for thing in standing.of(type_):
        known, declared = before[str(thing)], thing.request.inputs
        found = standing.world.read(replace(thing.request, inputs={}), thing.id)
        assert found is not None, thing
        # Of a block, what stands at AWS's defaults is left out too.
        otherwise = {
            key: (value, found[key])
            for key, value in known.items()
            if key in found and not same(reduced(value, found[key]), found[key])
        }
        if type_ == RECORD and otherwise:
            # The dot at a name's end is the program's own.
            assert otherwise == {"name": (declared["name"], declared["name"].rstrip("."))}
            otherwise = {}
        assert otherwise == {}, thing
        assert found.keys() <= known.keys(), thing
        missing |= {(type_, key) for key in known.keys() - found.keys()}
    assert missing == {each for each in DEFAULTS if each[0] == type_}


# Changes


TAGS: Final = {"tags": {"team": "shop"}}
NOBODY: Final = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]})
TRUST: Final = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
)
DOOR: Final = {"protocol": "tcp", "fromPort": 8443.0, "toPort": 8443.0, "cidrBlocks": ["10.0.0.0/8", "192.168.0.0/16"]}
CHANGES: Final[Mapping[str, Mapping[str, Any]]] = {
    CERTIFICATE: TAGS,
    DEFAULT_GROUP: {"ingress": [DOOR], **TAGS},
    ADDRESS: TAGS,
    FLOW_LOG: TAGS,
    GATEWAY: TAGS,
    TEMPLATE: {
        "blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"volumeSize": 60.0, "volumeType": "gp3"}}],
        "metadataOptions": {"httpTokens": "optional"},
        **TAGS,
    },
    NAT: TAGS,
    GROUP: {
        "ingress": [{"protocol": "-1", "fromPort": 0.0, "toPort": 0.0, "cidrBlocks": ["10.0.0.0/8"], "description": "In"}],
        "egress": [{**DOOR, "cidrBlocks": ["10.0.0.0/8"]}, {**DOOR, "cidrBlocks": ["172.16.0.0/12"], "description": "Other"}],
        **TAGS,
    },
    SUBNET: {"mapPublicIpOnLaunch": True, **TAGS},
    VPC: {"enableDnsHostnames": False, **TAGS},
    POLICY: {"policy": NOBODY, **TAGS},
    ROLE: {
        "assumeRolePolicy": TRUST,
        "description": "Other",
        "maxSessionDuration": 7200.0,
        "permissionsBoundary": "arn:aws:iam::aws:policy/PowerUserAccess",
        **TAGS,
    },
    ROLE_POLICY: {"policy": NOBODY},
    LISTENER: {
        "port": 81.0,
        "defaultActions": [{"type": "fixed-response", "fixedResponse": {"contentType": "text/html", "statusCode": "410"}}],
        **TAGS,
    },
    RULE: {
        "priority": 7.0,
        "conditions": [{"pathPattern": {"values": ["/a", "/b"]}}, {"httpRequestMethod": {"values": ["GET"]}}],
        **TAGS,
    },
    BALANCER: {
        "desyncMitigationMode": "strictest",
        "dropInvalidHeaderFields": None,
        "enableDeletionProtection": False,
        "idleTimeout": 90.0,
        "accessLogs": None,
        **TAGS,
    },
    TARGETS: {
        "healthCheck": {"path": "/other", "interval": 20.0, "matcher": "200-299", "healthyThreshold": 4.0},
        "deregistrationDelay": None,
        "stickiness": {"enabled": True, "type": "lb_cookie"},
        **TAGS,
    },
    RECORD: {"ttl": 60.0, "records": ["other.example.com."], "type": "CNAME"},
    SECRET: {"description": "Other", **TAGS},
    PARAMETER: {"value": "other", "description": None, **TAGS},
}
# Changed by a test of their own: to something of the same stack. Or by nothing at all.
BY_THEMSELVES: Final = {ASSOCIATION, ENDPOINT, TABLE}
NOT_CHANGED: Final = {ATTACHMENT, VALIDATION, VERSION}


@dataclass(frozen=True, kw_only=True)
class Changed:
    """What was read: of everything after the changes, of what was changed after it was changed back."""

    after: Mapping[str, Any]
    back: Mapping[str, Any]
    things: Mapping[str, Thing]


@pytest.fixture(scope="module")
def changed(standing: Changeable, before: Mapping[str, Any]) -> Changed:
    """One resource of each type is changed, and changed back."""
    things = {type_: _first(standing, type_) for type_ in CHANGES}
    new: dict[str, Thing] = {}
    for type_, each in things.items():
        made = other(each, **CHANGES[type_])
        outputs = standing.world.update(made.request, each.id, each.request.inputs).outputs
        # What others hold on to stays: `create` gave these, `read` gives them still. (A record's name, but for its dot.)
        kept = ("arn", "vpcId", "zoneId", "fqdn" if type_ == RECORD else "name")
        assert {key for key in kept if outputs.get(key) != before[str(each)].get(key)} == set(), each
        new[str(each)] = made
    after = {str(each): standing.read(new.get(str(each), each)) for each in standing.things}
    for each in things.values():
        standing.world.update(each.request, each.id, new[str(each)].request.inputs)
    back = {str(each): standing.read(each) for each in things.values()}
    return Changed(after=after, back=back, things=things)


def _first(standing: Changeable, type_: str) -> Thing:
    if type_ == RECORD:
        return next(each for each in standing.of(type_) if "records" in each.request.inputs)
    if type_ == LISTENER:
        return next(each for each in standing.of(type_) if each.request.inputs["protocol"] == "HTTP")
    return standing.of(type_)[0]


def test_a_change_is_shown_for_every_row_that_updates() -> None:
    assert {type_ for type_, row in ROWS.items() if row.update is not None} == CHANGES.keys() | BY_THEMSELVES
    assert {type_ for type_, row in ROWS.items() if row.update is None} == NOT_CHANGED


def test_no_change_that_is_shown_is_one_that_replaces() -> None:
    fixed = {
        (type_, key) for type_, changes in CHANGES.items() for key in changes if key in ROWS[type_].replaces and key != "type"
    }
    assert fixed == set()


@pytest.mark.parametrize("type_", sorted(CHANGES))
def test_a_change_is_what_is_read_then_and_nothing_else_is(changed: Changed, before: Mapping[str, Any], type_: str) -> None:
    thing = changed.things[type_]
    old, found, new = before[str(thing)], changed.after[str(thing)], other(thing, **CHANGES[type_]).request.inputs
    readable = {key for key in {*new, *CHANGES[type_]} if (type_, key) not in UNREADABLE}
    assert {key: found.get(key) for key in readable if not same(new.get(key), found.get(key))} == {}
    others = {*old, *found} - CHANGES[type_].keys() - COUNTERS
    assert {key for key in others if not same(old.get(key), found.get(key))} == set()


def test_changes_reach_no_other_resource(changed: Changed, before: Mapping[str, Any]) -> None:
    meant = {str(each) for each in changed.things.values()}
    assert {key for key in before.keys() - meant if before[key] != changed.after[key]} == set()


def test_what_is_changed_back_is_as_it_was(changed: Changed, before: Mapping[str, Any]) -> None:
    for key, value in changed.back.items():
        assert {name for name in before[key] if name not in COUNTERS and not same(before[key][name], value[name])} == set(), key


def test_weights_move_from_one_target_group_to_another(standing: Changeable) -> None:
    rule, groups = standing.of(RULE)[0], [each.id for each in standing.of(TARGETS) if each.request.stack == "prd"]
    weights = [{"arn": arn, "weight": weight} for arn, weight in zip(groups, (90.0, 10.0), strict=True)]
    forward = {"targetGroups": weights, "stickiness": {"enabled": True, "duration": 60.0}}
    new = standing.change(rule, actions=[{"type": "forward", "forward": forward}])
    found = standing.read(new)
    assert found is not None
    assert [each["weight"] for each in found["actions"][0]["forward"]["targetGroups"]] == [90, 10]
    assert same(found["actions"], new.request.inputs["actions"])
    standing.world.update(rule.request, rule.id, new.request.inputs)
    assert same((standing.read(rule) or {})["actions"], rule.request.inputs["actions"])


def test_a_balancer_moves_to_other_subnets_and_groups(standing: Changeable) -> None:
    balancer, groups = standing.of(BALANCER)[0], [each.id for each in standing.of(GROUP) if each.request.stack == "prd"]
    fewer = sorted(balancer.request.inputs["subnets"])[:2]
    new = standing.change(balancer, subnets=fewer, securityGroups=groups)
    found = standing.read(new) or {}
    assert (sorted(found["subnets"]), sorted(found["securityGroups"])) == (fewer, sorted(groups))
    standing.world.update(balancer.request, balancer.id, new.request.inputs)
    assert same((standing.read(balancer) or {})["subnets"], balancer.request.inputs["subnets"])


def test_routes_come_go_and_turn(standing: Changeable) -> None:
    public, private = (
        next(each for each in standing.of(TABLE) if each.request.stack == "prd" and key in each.request.inputs["routes"][0])
        for key in ("gatewayId", "natGatewayId")
    )
    (out,), (through,) = public.request.inputs["routes"], private.request.inputs["routes"]
    more = standing.change(public, routes=[{**out, "cidrBlock": "192.0.2.0/24"}, out])
    assert same((standing.read(more) or {})["routes"], more.request.inputs["routes"])
    turned = standing.change(more, routes=[{"cidrBlock": "192.0.2.0/24", "natGatewayId": through["natGatewayId"]}])
    assert same((standing.read(turned) or {})["routes"], turned.request.inputs["routes"])
    standing.world.update(public.request, public.id, turned.request.inputs)
    assert same((standing.read(public) or {})["routes"], [out])


def test_an_association_turns_to_another_table_under_its_id(standing: Changeable) -> None:
    association = standing.of(ASSOCIATION)[0]
    here = {each.id: each for each in standing.of(TABLE) if each.request.stack == association.request.stack}
    other = next(each for each in here if each != association.request.inputs["routeTableId"])
    new = standing.change(association, routeTableId=other)
    assert standing.read(new) == new.request.inputs
    standing.world.update(association.request, association.id, new.request.inputs)
    assert standing.read(association) == association.request.inputs


def test_endpoints_serve_other_tables_and_groups(standing: Changeable) -> None:
    by_table = next(each for each in standing.of(ENDPOINT) if "routeTableIds" in each.request.inputs)
    stack = by_table.request.stack
    tables = sorted(by_table.request.inputs["routeTableIds"])
    public = next(each.id for each in standing.of(TABLE) if each.request.stack == stack and each.id not in tables)
    new = standing.change(by_table, routeTableIds=[public, *tables[1:]], **TAGS)
    assert sorted((standing.read(new) or {})["routeTableIds"]) == sorted([public, *tables[1:]])
    ec2 = standing.client(stack, "ec2")

    def through(table: str) -> bool:
        (found,) = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
        return any(each.get("GatewayId") == by_table.id for each in found["Routes"])

    assert (through(public), through(tables[0]), through(tables[1])) == (True, False, True)
    standing.world.update(by_table.request, by_table.id, new.request.inputs)
    assert (through(public), through(tables[0])) == (False, True)

    inside = next(each for each in standing.of(ENDPOINT) if "subnetIds" in each.request.inputs)
    group = next(each.id for each in standing.of(GROUP) if each.id not in inside.request.inputs["securityGroupIds"])
    fewer = inside.request.inputs["subnetIds"][:1]
    other = standing.change(inside, securityGroupIds=[group], subnetIds=fewer)
    found = standing.read(other) or {}
    assert (found["securityGroupIds"], found["subnetIds"]) == ([group], fewer)
    standing.world.update(inside.request, inside.id, other.request.inputs)
    assert same((standing.read(inside) or {})["subnetIds"], inside.request.inputs["subnetIds"])
    with pytest.raises(RealiseError, match=r"privateDnsEnabled is changed: AWS changes it in place and moto does not"):
        standing.change(inside, privateDnsEnabled=False)


def test_what_a_person_changes_is_read(standing: Changeable) -> None:
    group = next(each for each in standing.of(GROUP) if len(each.request.inputs["ingress"]) > 1)
    first, second = group.request.inputs["ingress"]
    ec2 = standing.client(group.request.stack, "ec2")
    one = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.authorize_security_group_ingress(GroupId=group.id, IpPermissions=[one])
    hole = {"protocol": "tcp", "fromPort": 22, "toPort": 22, "cidrBlocks": ["0.0.0.0/0"]}
    assert (standing.read(group) or {})["ingress"] == [first, second, hole]
    # The next `up` after a refresh sees it among what was.
    drifted = other(group, ingress=[first, second, hole])
    standing.world.update(group.request, group.id, drifted.request.inputs)
    assert (standing.read(group) or {})["ingress"] == [first, second]
    alias = next(each for each in standing.of(RECORD) if "aliases" in each.request.inputs)
    assert (standing.read(alias) or {})["aliases"] == alias.request.inputs["aliases"]


def test_a_policy_is_changed_more_often_than_it_has_versions(lone: Changeable) -> None:
    policy = lone.make(POLICY, name="p", policy=NOBODY)
    for number in range(7):
        document = NOBODY.replace('"*"', f'"s3:{number}"', 1)
        policy = lone.change(policy, policy=document)
        assert same((lone.read(policy) or {})["policy"], document)
    lone.drop(policy)
    assert lone.read(policy) is None


def test_a_boundary_is_taken_off(lone: Changeable) -> None:
    role = lone.make(
        ROLE,
        name="r",
        assumeRolePolicy=TRUST,
        permissionsBoundary="arn:aws:iam::aws:policy/PowerUserAccess",
    )
    bare = lone.change(role, permissionsBoundary=None)
    found = lone.read(bare)
    assert found is not None
    assert found.keys() == {"name", "arn", "uniqueId", "assumeRolePolicy"}


# What is refused


@dataclass(frozen=True, kw_only=True)
class Held:
    """Something that others hang on."""

    type: str
    pick: Callable[[Thing], bool]
    fault: str


HELD: Final = {
    "a VPC": Held(type=VPC, pick=lambda _: True, fault=r"DependencyViolation: The vpc 'vpc-\w+' has dependencies"),
    "a subnet": Held(
        type=SUBNET,
        pick=lambda each: "public" in each.request.name,
        fault=r"DependencyViolation: The subnet 'subnet-\w+' has dependencies and cannot be deleted",
    ),
    "an internet gateway": Held(
        type=GATEWAY, pick=lambda _: True, fault=r"DependencyViolation: Network vpc-\w+ has some mapped public address\(es\)"
    ),
    "a route table": Held(
        type=TABLE, pick=lambda _: True, fault=r"DependencyViolation.*The routeTable 'rtb-\w+' has dependencies"
    ),
    "an address": Held(type=ADDRESS, pick=lambda _: True, fault=r"InvalidIPAddress\.InUse"),
    "a group": Held(type=GROUP, pick=lambda _: True, fault=r"DependencyViolation: resource sg-\w+ has a dependent object"),
    "a certificate": Held(type=CERTIFICATE, pick=lambda _: True, fault=r"ResourceInUseException: Certificate arn.* is in use"),
    "a target group": Held(type=TARGETS, pick=lambda _: True, fault=r"ResourceInUse.*in use by a listener or a rule"),
    "a protected balancer": Held(
        type=BALANCER,
        pick=lambda each: bool(each.request.inputs["enableDeletionProtection"]),
        fault=r"OperationNotPermitted: Load balancer .* deletion protection is enabled",
    ),
    "a role": Held(type=ROLE, pick=lambda _: True, fault=r"DeleteConflict.*Cannot delete entity, must (detach|delete) all"),
    "a boundary": Held(
        type=POLICY,
        pick=lambda _: True,
        fault=r"DeleteConflict: Cannot delete a policy attached to entities: .* is the boundary of",
    ),
}


@pytest.mark.parametrize("what", sorted(HELD))
def test_what_others_hang_on_stays(standing: Changeable, what: str) -> None:
    held = HELD[what]
    found = [each for each in standing.of(held.type) if held.pick(each)]
    assert found
    for each in found:
        with pytest.raises(RealiseError, match=held.fault):
            standing.drop(each)
        assert standing.read(each) is not None


@pytest.fixture
def vpc(lone: Changeable) -> Thing:
    """A VPC with nothing in it."""
    return lone.make(VPC, cidrBlock="10.0.0.0/16")


def test_a_vpc_stays_with_whatever_is_in_it(lone: Changeable, vpc: Thing) -> None:
    table = lone.make(TABLE, vpcId=vpc.id)
    parts: Sequence[tuple[str, dict[str, Any]]] = (
        (GATEWAY, {"vpcId": vpc.id}),
        (GROUP, {"vpcId": vpc.id, "name": "g", "description": "d"}),
        (TABLE, {"vpcId": vpc.id}),
        (SUBNET, {"vpcId": vpc.id, "cidrBlock": "10.0.0.0/24"}),
        (
            ENDPOINT,
            {"vpcId": vpc.id, "serviceName": f"com.amazonaws.{REGION}.s3", "vpcEndpointType": "Gateway", "routeTableIds": []},
        ),
    )
    for type_, inputs in parts:
        thing = lone.make(type_, **inputs)
        if type_ == GATEWAY:
            lone.drop(table)
        with pytest.raises(RealiseError, match="DependencyViolation: The vpc"):
            lone.drop(vpc)
        lone.drop(thing)
        assert lone.read(thing) is None
        # What is gone already is no error.
        lone.drop(thing)
    lone.drop(vpc)
    assert lone.read(vpc) is None
    lone.drop(vpc)


def test_a_group_stays_while_another_lets_it_in(lone: Changeable, vpc: Thing) -> None:
    inner = lone.make(GROUP, vpcId=vpc.id, name="inner", description="d")
    rule = {"protocol": "tcp", "fromPort": 80.0, "toPort": 80.0, "securityGroups": [inner.id]}
    outer = lone.make(GROUP, vpcId=vpc.id, name="outer", description="d", ingress=[rule])
    assert same((lone.read(outer) or {})["ingress"], [rule])
    with pytest.raises(RealiseError, match="DependencyViolation: resource sg-"):
        lone.drop(inner)
    lone.change(outer, ingress=[])
    lone.drop(inner)
    assert lone.read(inner) is None


def test_a_gateway_waits_until_the_last_address_is_unmapped(
    lone: Changeable, vpc: Thing, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway, address = lone.make(GATEWAY, vpcId=vpc.id), lone.make(ADDRESS, domain="vpc")
    subnet = lone.make(SUBNET, vpcId=vpc.id, cidrBlock="10.0.0.0/24")
    nat = lone.make(NAT, subnetId=subnet.id, allocationId=address.id)

    # The engine takes both away at once, as neither is declared to need the other.
    def pause(_: float) -> None:
        lone.drop(nat)

    clock = SimpleNamespace(monotonic=time.monotonic, sleep=pause)
    monkeypatch.setattr(network, "time", clock)
    monkeypatch.setattr(network, "PATIENCE_SECONDS", 60)
    lone.drop(gateway)
    assert (lone.read(gateway), lone.read(nat)) == (None, None)
    for each in (address, subnet, vpc):
        lone.drop(each)
        assert lone.read(each) is None


def test_roles_let_go_of_their_policies_only_by_force(lone: Changeable) -> None:
    role = lone.make(ROLE, name="r", assumeRolePolicy=TRUST)
    policy = lone.make(POLICY, name="p", policy=NOBODY)
    lone.make(ATTACHMENT, role="r", policyArn=policy.id)
    lone.make(ROLE_POLICY, role="r", name="inline", policy=NOBODY)
    with pytest.raises(RealiseError, match="DeleteConflict"):
        lone.drop(role)
    with pytest.raises(RealiseError, match=r"DeleteConflict.*Cannot delete a policy attached to entities"):
        lone.drop(policy)
    lone.drop(other(role, forceDetachPolicies=True))
    assert lone.read(role) is None
    lone.drop(policy)
    assert lone.read(policy) is None


def test_a_secret_waits_for_its_end_unless_it_is_to_go_at_once(lone: Changeable) -> None:
    secret = lone.make(SECRET, name="s")
    first = lone.make(VERSION, secretId=secret.id, secretString="a")
    second = lone.make(VERSION, secretId=secret.id, secretString="b")
    lone.drop(first)
    # The current version goes with its secret.
    lone.drop(second)
    assert (lone.read(first), (lone.read(second) or {})["secretId"]) == (None, secret.id)
    lone.drop(secret)
    assert lone.read(secret) is None
    found = lone.client("dev", "secretsmanager").describe_secret(SecretId=secret.id)
    assert found["DeletedDate"]
    lone.drop(secret)
    with pytest.raises(RealiseError, match=r"InvalidRequestException|ResourceExistsException"):
        lone.make(SECRET, name="s")
    other = lone.make(SECRET, name="t", recoveryWindowInDays=0.0)
    lone.drop(other)
    assert lone.read(lone.make(SECRET, name="t")) is not None


def test_a_parameter_keeps_its_type_and_an_advanced_one_its_tier(lone: Changeable) -> None:
    parameter = lone.make(PARAMETER, name="/p", type="String", value="v", tier="Advanced")
    with pytest.raises(RealiseError, match="HierarchyTypeMismatchException"):
        lone.change(parameter, type="SecureString")
    standard = other(parameter, tier="Standard").request
    assert lone.world.replaced(standard, ["tier"], parameter.request.inputs) == ["tier"]
    assert lone.world.replaced(parameter.request, ["tier"], standard.inputs) == []
    secure = lone.make(PARAMETER, name="/s", type="SecureString", value="hidden")
    assert "value" not in (lone.read(secure) or {"value": ""})


def test_a_name_that_is_taken_is_refused(lone: Changeable, vpc: Thing) -> None:
    subnets = [
        lone.make(SUBNET, vpcId=vpc.id, cidrBlock=f"10.0.{number}.0/24", availabilityZone=f"{REGION}{zone}").id
        for number, zone in enumerate("ab")
    ]
    table = lone.make(TABLE, vpcId=vpc.id).id
    group = lone.make(GROUP, vpcId=vpc.id, name="g", description="d").id
    balancer = {"name": "b", "subnets": subnets, "securityGroups": [group]}
    arn = lone.make(BALANCER, **balancer).id
    lone.make(GATEWAY, vpcId=vpc.id)
    actions = [{"type": "fixed-response", "fixedResponse": {"contentType": "text/plain", "statusCode": "404"}}]
    listener = {"loadBalancerArn": arn, "port": 80.0, "protocol": "HTTP", "defaultActions": actions}
    bootstrap(lone.emulators, lone.world.place("dev"), zone="dev.example.com", secrets={})
    zone = lone.world.call("dev", "aws:route53/getZone:getZone", {"name": "dev.example.com"})["zoneId"]
    first = lone.make(LISTENER, **listener).id
    rule = {"listenerArn": first, "priority": 1.0, "actions": actions, "conditions": [{"hostHeader": {"values": ["a"]}}]}
    for type_, inputs, fault in (
        (ROLE, {"name": "r", "assumeRolePolicy": TRUST}, "EntityAlreadyExists"),
        (POLICY, {"name": "p", "policy": NOBODY}, "EntityAlreadyExists"),
        (PARAMETER, {"name": "/p", "type": "String", "value": "v"}, "ParameterAlreadyExists"),
        (SECRET, {"name": "s"}, "ResourceExistsException"),
        (SUBNET, {"vpcId": vpc.id, "cidrBlock": "10.0.9.0/24"}, "InvalidSubnet.Conflict"),
        (GROUP, {"vpcId": vpc.id, "name": "h", "description": "d"}, "InvalidGroup.Duplicate"),
        (TEMPLATE, {"name": "t", "metadataOptions": {"httpTokens": "required"}}, "AlreadyExists"),
        (ASSOCIATION, {"subnetId": subnets[0], "routeTableId": table}, "Resource.AlreadyAssociated"),
        (BALANCER, {**balancer, "name": "c"}, "DuplicateLoadBalancerName"),
        (TARGETS, {"name": "t", "vpcId": vpc.id, "port": 80.0, "protocol": "HTTP", "targetType": "ip"}, "DuplicateTargetGroup"),
        (LISTENER, {**listener, "port": 81.0}, "DuplicateListener"),
        (RULE, rule, "PriorityInUse"),
        (
            RECORD,
            {"zoneId": zone, "name": "a.dev.example.com", "type": "CNAME", "ttl": 60.0, "records": ["x.example.com"]},
            "InvalidChangeBatch",
        ),
    ):
        lone.make(type_, **inputs)
        assert fault in _refusal(lone, type_, inputs), type_


def test_a_record_is_made_again_once_it_is_gone_and_not_before(lone: Changeable) -> None:
    bootstrap(lone.emulators, lone.world.place("dev"), zone="dev.example.com", secrets={})
    zone = lone.world.call("dev", "aws:route53/getZone:getZone", {"name": "dev.example.com"})["zoneId"]
    record = {"zoneId": zone, "name": "again.dev.example.com", "type": "A", "ttl": 60.0, "records": ["192.0.2.1"]}
    first = lone.make(RECORD, **record)
    # Others that stand behind it do not count.
    lone.make(RECORD, **{**record, "name": "behind.dev.example.com"})
    assert "InvalidChangeBatch" in _refusal(lone, RECORD, {**record, "records": ["192.0.2.2"]})
    assert (lone.read(first) or {})["records"] == ["192.0.2.1"]
    lone.drop(first)
    assert lone.make(RECORD, **record).id == first.id


def _refusal(lone: Changeable, type_: str, inputs: Mapping[str, Any]) -> str:
    try:
        lone.make(type_, **inputs)
    except RealiseError as error:
        return str(error)
    return "made again"


# The end


@pytest.fixture(scope="module")
def taken_down(standing: Changeable) -> Changeable:
    """Everything is taken away, the last first."""
    for thing in reversed(standing.things):
        # As a person does before: who can be deleted no more is changed first.
        held = thing.request.inputs.get("enableDeletionProtection")
        standing.drop(standing.change(thing, enableDeletionProtection=False) if held else thing)
    return standing


@pytest.mark.parametrize("type_", sorted(ROWS))
def test_what_is_taken_away_is_gone(taken_down: Changeable, type_: str) -> None:
    for each in taken_down.of(type_):
        assert taken_down.read(each) is None, each
        taken_down.drop(each)


EMPTY: Final = (
    ("acm", "list_certificates", "CertificateSummaryList", ""),
    ("ec2", "describe_addresses", "Addresses", ""),
    ("ec2", "describe_flow_logs", "FlowLogs", ""),
    ("ec2", "describe_internet_gateways", "InternetGateways", ""),
    ("ec2", "describe_launch_templates", "LaunchTemplates", ""),
    ("ec2", "describe_nat_gateways", "NatGateways", ""),
    ("ec2", "describe_network_interfaces", "NetworkInterfaces", ""),
    ("ec2", "describe_route_tables", "RouteTables", ""),
    ("ec2", "describe_security_groups", "SecurityGroups", ""),
    ("ec2", "describe_subnets", "Subnets", ""),
    ("ec2", "describe_vpc_endpoints", "VpcEndpoints", ""),
    ("ec2", "describe_vpcs", "Vpcs", ""),
    ("elbv2", "describe_load_balancers", "LoadBalancers", ""),
    ("elbv2", "describe_target_groups", "TargetGroups", ""),
    ("iam", "list_roles", "Roles", ""),
    ("iam", "list_roles", "Roles", MOTO),
    ("logs", "describe_log_groups", "logGroups", MOTO),
    ("secretsmanager", "list_secrets", "SecretList", ""),
    ("ssm", "describe_parameters", "Parameters", ""),
)


def test_nothing_is_left_in_the_accounts(taken_down: Changeable, lone: Changeable) -> None:
    def count(standing: Changeable, stack: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for service, operation, key, emulator in EMPTY:
            entries = getattr(standing.client(stack, service, emulator), operation)()[key]
            # What was deleted is shown for a while.
            found[f"{emulator} {operation}"] = len([each for each in entries if each.get("State") != "deleted"])
        policies = standing.client(stack, "iam").list_policies(Scope="Local")["Policies"]
        zones = standing.client(stack, "route53").list_hosted_zones()["HostedZones"]
        records = [
            each
            for zone in zones
            for each in standing.client(stack, "route53").list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]
            if each["Type"] not in {"NS", "SOA"}
        ]
        return {**found, "policies": len(policies), "records": len(records)}

    # Any account has a VPC of its own from the start.
    untouched = count(lone, "dev")
    assert {stack: count(taken_down, stack) for stack in STACKS} == dict.fromkeys(STACKS, untouched)
