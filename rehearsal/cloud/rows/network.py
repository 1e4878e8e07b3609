"""EC2: the network, and how nodes start."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from rehearsal.cloud.declared import reduced
from rehearsal.cloud.emulators import MOTO
from rehearsal.cloud.row import Ask, Inputs, RealiseError, Row, Rows, same, tag_list
from rehearsal.cloud.rows.parts import ours, tag_changes, told
from rehearsal.program import Created

# The provider tries again for minutes where something still hangs on what is deleted: it may be on its way out.
# https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/ec2/vpc_internet_gateway.go
PATIENCE_SECONDS: Final = 10
_POLL_SECONDS: Final = 0.1


# What the rows share


def kept(live: Any, declared: Any, default: Any = None) -> Any:  # noqa: ANN401 — JSON
    """Blocks as a read tells them: of declared ones what is declared, of others what is not AWS's default.

    Args:
        live: A block or a list of blocks, in Pulumi's names.
        declared: The same as the program has it, None if it does not.
        default: What AWS fills in; of a list, what it fills in for an entry.
    """
    return _beyond(live, default) if declared is None else reduced(lined_up(live, declared), declared)


def _beyond(live: Any, default: Any) -> Any:  # noqa: ANN401 — JSON
    if isinstance(live, list):
        return [_beyond(each, default) for each in cast("list[Any]", live)]
    if isinstance(live, Mapping):
        known = cast("Mapping[str, Any]", default or {})
        values = cast("Mapping[str, Any]", live).items()
        return {key: _beyond(value, known.get(key)) for key, value in values if not same(value, known.get(key))}
    return live


def lined_up(live: Any, declared: Any) -> Any:  # noqa: ANN401 — JSON
    """Entries in the order in which they are declared: most of AWS's lists have none. Others than lists as they are."""
    if not isinstance(live, list) or not isinstance(declared, list):
        return cast("Any", live)
    rest, found = list(cast("list[Any]", live)), list[Any]()
    for wanted in cast("list[Any]", declared):
        place = next((number for number, each in enumerate(rest) if same(reduced(each, wanted), wanted)), None)
        if place is not None:
            found.append(rest.pop(place))
    return found + rest


def _tags(found: Mapping[str, Any]) -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in found.get("Tags", [])}


def _tag(ask: Ask, id_: str) -> None:
    """Bring the tags of what has an id to what is declared."""
    new, gone = tag_changes(ask)
    if new:
        ask.call("ec2", "create_tags", Resources=[id_], Tags=tag_list(new))
    if gone:
        ask.call("ec2", "delete_tags", Resources=[id_], Tags=[{"Key": each} for each in gone])


def _only_tags(ask: Ask, id_: str, **outputs: Any) -> Created:  # noqa: ANN401 — JSON
    _tag(ask, id_)
    return ask.done(id_, **outputs)


def _one(ask: Ask, operation: str, key: str, *missing: str, **parameters: Any) -> dict[str, Any] | None:  # noqa: ANN401 — as `Ask.call`
    """The one entry that a `describe` answers with; None if there is none, however it says so."""
    answer = ask.find("ec2", operation, *missing, **parameters)
    return next(iter(answer[key]), None) if answer else None


def _filtered(ask: Ask, operation: str, key: str, **filters: str) -> list[dict[str, Any]]:
    wanted = [{"Name": name.replace("_", "-").replace("--", "."), "Values": [value]} for name, value in filters.items()]
    # The one call that spells it in the singular: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeFlowLogs.html
    parameters: dict[str, Any] = {"Filter" if operation == "describe_flow_logs" else "Filters": wanted}
    return ask.call("ec2", operation, **parameters)[key]


def _let_go(hanging: Callable[[], str]) -> None:
    """Wait until nothing hangs on what is to be deleted.

    Raises:
        RealiseError: something still does, as AWS would say it.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while fault := hanging():
        if time.monotonic() >= deadline:
            msg = f"DependencyViolation: {fault}"
            raise RealiseError(msg)
        time.sleep(_POLL_SECONDS)


def _balancers(ask: Ask) -> list[dict[str, Any]]:
    return ask.call("elbv2", "describe_load_balancers")["LoadBalancers"]


_GONE: Final = ("deleting", "deleted")


# The VPC and its subnets


# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVpcAttribute.html: not the block of addresses
_VPC_ATTRIBUTES: Final = {"enableDnsSupport": True, "enableDnsHostnames": False}


def _vpc(ask: Ask) -> Created:
    inputs = ask.inputs
    made = ask.call("ec2", "create_vpc", **inputs.renamed({"cidrBlock": "CidrBlock"}), **_tagged(inputs, "vpc"))["Vpc"]
    vpc = str(made["VpcId"])
    _vpc_attributes(ask, vpc)
    return ask.done(vpc, **_vpc_outputs(ask, vpc))


def _vpc_attributes(ask: Ask, vpc: str) -> None:
    # One attribute a call, as the API wants it.
    for key, default in _VPC_ATTRIBUTES.items():
        if ask.changed(key):
            attribute: dict[str, Any] = {_capital(key): {"Value": ask.inputs.flag(key, default=default)}}
            ask.call("ec2", "modify_vpc_attribute", VpcId=vpc, **attribute)


def _capital(key: str) -> str:
    return key[0].upper() + key[1:]


def _vpc_outputs(ask: Ask, vpc: str) -> dict[str, Any]:
    return {"arn": ask.arn("ec2", f"vpc/{vpc}"), "defaultSecurityGroupId": _default_group(ask, vpc)["GroupId"]}


def _default_group(ask: Ask, vpc: str) -> dict[str, Any]:
    wanted = {"vpc_id": vpc, "group_name": "default"}
    (group,) = _filtered(ask, "describe_security_groups", "SecurityGroups", **wanted)
    return group


def _read_vpc(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = _one(ask, "describe_vpcs", "Vpcs", "InvalidVpcID.NotFound", VpcIds=[id_])
    if found is None:
        return None
    attributes = {
        key: ask.call("ec2", "describe_vpc_attribute", VpcId=id_, Attribute=key)[_capital(key)]["Value"]
        for key in _VPC_ATTRIBUTES
    }
    there = {"cidrBlock": found["CidrBlock"], **attributes, "tags": _tags(found), **_vpc_outputs(ask, id_)}
    return told(ask, there, **_VPC_ATTRIBUTES)


def _update_vpc(ask: Ask, id_: str) -> Created:
    _vpc_attributes(ask, id_)
    return _only_tags(ask, id_, **_vpc_outputs(ask, id_))


def _delete_vpc(ask: Ask, id_: str) -> None:
    """Refused by AWS where moto lets it go with gateways, groups and endpoints in it.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteVpc.html
    """
    itself = ask.by_aws("EC2 itself knows what is in use")

    def hanging() -> str:
        groups = _filtered(itself, "describe_security_groups", "SecurityGroups", vpc_id=id_)
        tables = _filtered(itself, "describe_route_tables", "RouteTables", vpc_id=id_)
        endpoints = _filtered(itself, "describe_vpc_endpoints", "VpcEndpoints", vpc_id=id_)
        there = (
            _filtered(itself, "describe_subnets", "Subnets", vpc_id=id_)
            or _filtered(itself, "describe_internet_gateways", "InternetGateways", attachment__vpc_id=id_)
            or [each for each in groups if each["GroupName"] != "default"]
            or [each for each in tables if not any(association["Main"] for association in each["Associations"])]
            or [each for each in endpoints if each["State"] not in _GONE]
        )
        return f"The vpc '{id_}' has dependencies and cannot be deleted." if there else ""

    _let_go(hanging)
    ask.find("ec2", "delete_vpc", "InvalidVpcID.NotFound", VpcId=id_)


_SUBNET: Final = {"vpcId": "VpcId", "cidrBlock": "CidrBlock", "availabilityZone": "AvailabilityZone"}


def _subnet(ask: Ask) -> Created:
    inputs = ask.inputs
    subnet = str(
        ask.call(
            "ec2",
            "create_subnet",
            **inputs.renamed(_SUBNET),
            **_tagged(inputs, "subnet"),
        )["Subnet"]["SubnetId"]
    )
    _subnet_attributes(ask, subnet)
    return ask.done(subnet, arn=ask.arn("ec2", f"subnet/{subnet}"))


def _subnet_attributes(ask: Ask, subnet: str) -> None:
    if ask.changed("mapPublicIpOnLaunch"):
        public = {"Value": ask.inputs.flag("mapPublicIpOnLaunch")}
        ask.call("ec2", "modify_subnet_attribute", SubnetId=subnet, MapPublicIpOnLaunch=public)


_NO_SUBNET: Final = "InvalidSubnetID.NotFound"


def _read_subnet(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = _one(ask, "describe_subnets", "Subnets", _NO_SUBNET, SubnetIds=[id_])
    if found is None:
        return None
    there = {
        **ours(found, {**_SUBNET, "mapPublicIpOnLaunch": "MapPublicIpOnLaunch"}),
        "tags": _tags(found),
        "arn": ask.arn("ec2", f"subnet/{id_}"),
    }
    return told(ask, there, mapPublicIpOnLaunch=False)


def _update_subnet(ask: Ask, id_: str) -> Created:
    _subnet_attributes(ask, id_)
    return _only_tags(ask, id_, arn=ask.arn("ec2", f"subnet/{id_}"))


def _delete_subnet(ask: Ask, id_: str) -> None:
    """Refused by AWS where moto lets it go with interfaces in it.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteSubnet.html
    """
    itself = ask.by_aws("EC2 itself knows what is in use")

    def hanging() -> str:
        there = _filtered(itself, "describe_network_interfaces", "NetworkInterfaces", subnet_id=id_) or [
            each for each in _balancers(itself) if any(zone["SubnetId"] == id_ for zone in each["AvailabilityZones"])
        ]
        return f"The subnet '{id_}' has dependencies and cannot be deleted." if there else ""

    _let_go(hanging)
    ask.find("ec2", "delete_subnet", _NO_SUBNET, SubnetId=id_)


# Ways out


def _internet_gateway(ask: Ask) -> Created:
    inputs = ask.inputs
    made = ask.call("ec2", "create_internet_gateway", **_tagged(inputs, "internet-gateway"))["InternetGateway"]
    gateway = str(made["InternetGatewayId"])
    ask.call("ec2", "attach_internet_gateway", InternetGatewayId=gateway, VpcId=inputs.needed("vpcId"))
    return ask.done(gateway, arn=ask.arn("ec2", f"internet-gateway/{gateway}"))


_NO_GATEWAY: Final = "InvalidInternetGatewayID.NotFound"


def _gateway(ask: Ask, id_: str) -> dict[str, Any] | None:
    return _one(ask, "describe_internet_gateways", "InternetGateways", _NO_GATEWAY, InternetGatewayIds=[id_])


def _read_internet_gateway(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = _gateway(ask, id_)
    if found is None:
        return None
    vpc = next((each["VpcId"] for each in found["Attachments"]), None)
    return told(ask, {"vpcId": vpc, "tags": _tags(found), "arn": ask.arn("ec2", f"internet-gateway/{id_}")})


def _update_internet_gateway(ask: Ask, id_: str) -> Created:
    if ask.changed("vpcId"):
        _detach(ask, id_)
        ask.call("ec2", "attach_internet_gateway", InternetGatewayId=id_, VpcId=ask.inputs.needed("vpcId"))
    return _only_tags(ask, id_, arn=ask.arn("ec2", f"internet-gateway/{id_}"))


def _detach(ask: Ask, gateway: str) -> None:
    """Detach it as soon as nothing in the VPC has a public address, which moto does not look at.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DetachInternetGateway.html
    """
    itself = ask.by_aws("EC2 itself knows what has a public address")
    found = _gateway(ask, gateway) or {"Attachments": []}
    for vpc in (each["VpcId"] for each in found["Attachments"]):

        def hanging(vpc: str = vpc) -> str:
            interfaces = _filtered(itself, "describe_network_interfaces", "NetworkInterfaces", vpc_id=vpc)
            there = [each for each in interfaces if "Association" in each] or [
                each for each in _balancers(itself) if each["VpcId"] == vpc and each["Scheme"] == "internet-facing"
            ]
            fault = f"Network {vpc} has some mapped public address(es). Please unmap those public address(es) before detaching"
            return f"{fault} the gateway." if there else ""

        _let_go(hanging)
        ask.call("ec2", "detach_internet_gateway", InternetGatewayId=gateway, VpcId=vpc)


def _delete_internet_gateway(ask: Ask, id_: str) -> None:
    _detach(ask, id_)
    ask.find("ec2", "delete_internet_gateway", _NO_GATEWAY, InternetGatewayId=id_)


_ROUTE: Final = {"cidrBlock": "DestinationCidrBlock", "gatewayId": "GatewayId", "natGatewayId": "NatGatewayId"}


def _route_table(ask: Ask) -> Created:
    inputs = ask.inputs
    made = ask.call("ec2", "create_route_table", VpcId=inputs.needed("vpcId"), **_tagged(inputs, "route-table"))["RouteTable"]
    table = str(made["RouteTableId"])
    for route in inputs.blocks("routes"):
        ask.call("ec2", "create_route", RouteTableId=table, **route.renamed(_ROUTE))
    return ask.done(table, arn=ask.arn("ec2", f"route-table/{table}"))


_NO_TABLE: Final = "InvalidRouteTableID.NotFound"


def _read_route_table(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = _one(ask, "describe_route_tables", "RouteTables", _NO_TABLE, RouteTableIds=[id_])
    if found is None:
        return None
    # The way to the VPC itself is every table's own; gateway endpoints put theirs in.
    routes = [
        ours(each, _ROUTE)
        for each in found["Routes"]
        if each["Origin"] == "CreateRoute" and "DestinationPrefixListId" not in each
    ]
    there = {
        "vpcId": found["VpcId"],
        "routes": kept(routes, ask.request.inputs.get("routes")),
        "tags": _tags(found),
        "arn": ask.arn("ec2", f"route-table/{id_}"),
    }
    return told(ask, there)


def _update_route_table(ask: Ask, id_: str) -> Created:
    if ask.changed("routes"):
        old = {each.needed("cidrBlock"): each.renamed(_ROUTE) for each in Inputs(ask.old).blocks("routes")}
        new = {each.needed("cidrBlock"): each.renamed(_ROUTE) for each in ask.inputs.blocks("routes")}
        for destination in old.keys() - new.keys():
            missing = "InvalidRoute.NotFound"
            ask.find("ec2", "delete_route", missing, RouteTableId=id_, DestinationCidrBlock=destination)
        for destination, route in new.items():
            if old.get(destination) != route:
                operation = "replace_route" if destination in old else "create_route"
                ask.call("ec2", operation, RouteTableId=id_, **route)
    return _only_tags(ask, id_, arn=ask.arn("ec2", f"route-table/{id_}"))


def _delete_route_table(ask: Ask, id_: str) -> None:
    ask.find("ec2", "delete_route_table", _NO_TABLE, RouteTableId=id_)


def _route_table_association(ask: Ask) -> Created:
    inputs = ask.inputs
    subnet, table = inputs.needed("subnetId"), inputs.needed("routeTableId")
    there = _association(ask, "", subnet)
    if there is not None:
        # moto answers with the association that is there.
        # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
        msg = (
            f"Resource.AlreadyAssociated: the specified association for route table {table} conflicts with an existing "
            f"association ({there['RouteTableAssociationId']})"
        )
        raise RealiseError(msg)
    made = ask.call("ec2", "associate_route_table", SubnetId=subnet, RouteTableId=table)
    return ask.done(made["AssociationId"])


def _association(ask: Ask, id_: str, subnet: str) -> dict[str, Any] | None:
    """The association with an id, or else the subnet's: AWS gives it a new id with every other table.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ReplaceRouteTableAssociation.html
    """
    for key, value in (("route-table-association-id", id_), ("subnet-id", subnet)):
        wanted = [{"Name": f"association.{key}", "Values": [value]}]
        for table in ask.call("ec2", "describe_route_tables", Filters=wanted)["RouteTables"] if value else ():
            for each in table["Associations"]:
                if value in {each["RouteTableAssociationId"], each.get("SubnetId")}:
                    return each
    return None


def _read_route_table_association(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = _association(ask, id_, ask.inputs.text("subnetId"))
    return found and {"subnetId": found["SubnetId"], "routeTableId": found["RouteTableId"]}


def _update_route_table_association(ask: Ask, id_: str) -> Created:
    found = _association(ask, id_, ask.inputs.needed("subnetId"))
    if found is None:
        msg = f"InvalidAssociationID.NotFound: {id_} does not exist"
        raise RealiseError(msg)
    association, table = found["RouteTableAssociationId"], ask.inputs.needed("routeTableId")
    ask.call("ec2", "replace_route_table_association", AssociationId=association, RouteTableId=table)
    return ask.done(id_)


def _delete_route_table_association(ask: Ask, id_: str) -> None:
    found = _association(ask, id_, ask.inputs.text("subnetId"))
    if found is not None:
        ask.call("ec2", "disassociate_route_table", AssociationId=found["RouteTableAssociationId"])


def _address(ask: Ask) -> Created:
    inputs = ask.inputs
    made = ask.call("ec2", "allocate_address", **inputs.renamed({"domain": "Domain"}), **_tagged(inputs, "elastic-ip"))
    return ask.done(made["AllocationId"], **_address_outputs(made))


def _address_outputs(found: Mapping[str, Any]) -> dict[str, Any]:
    return {"allocationId": found["AllocationId"], "publicIp": found["PublicIp"]}


_NO_ADDRESS: Final = "InvalidAllocationID.NotFound"


def _allocation(ask: Ask, id_: str) -> dict[str, Any] | None:
    return _one(ask, "describe_addresses", "Addresses", _NO_ADDRESS, AllocationIds=[id_])


def _read_address(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = _allocation(ask, id_)
    return found and told(ask, {"domain": found["Domain"], "tags": _tags(found), **_address_outputs(found)})


def _update_address(ask: Ask, id_: str) -> Created:
    return _only_tags(ask, id_, **_address_outputs(_allocation(ask, id_) or {}))


def _delete_address(ask: Ask, id_: str) -> None:
    found = _allocation(ask, id_)
    if found is None:
        return
    if "AssociationId" in found:
        # moto takes it from the gateway that has it.
        # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ReleaseAddress.html
        msg = f"InvalidIPAddress.InUse: The specified IP address {found['PublicIp']} is already in use; disassociate it first"
        raise RealiseError(msg)
    ask.call("ec2", "release_address", AllocationId=id_)


_NAT_GATEWAY: Final = {"allocationId": "AllocationId", "subnetId": "SubnetId", "connectivityType": "ConnectivityType"}


def _nat_gateway(ask: Ask) -> Created:
    inputs = ask.inputs
    parameters = {**inputs.renamed(_NAT_GATEWAY), **_tagged(inputs, "natgateway")}
    made = ask.call("ec2", "create_nat_gateway", **parameters)["NatGateway"]
    inputs.lost("connectivityType", "moto does not tell it")
    return ask.done(made["NatGatewayId"])


def _gateway_out(ask: Ask, id_: str) -> dict[str, Any] | None:
    found = _one(ask, "describe_nat_gateways", "NatGateways", "NatGatewayNotFound", NatGatewayIds=[id_])
    # AWS shows it for about an hour yet: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeNatGateways.html
    return None if found is None or found["State"] in _GONE else found


def _read_nat_gateway(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = _gateway_out(ask, id_)
    if found is None:
        return None
    address = ours(found["NatGatewayAddresses"][0], {"allocationId": "AllocationId"})
    return told(ask, {**address, "subnetId": found["SubnetId"], "tags": _tags(found)})


def _delete_nat_gateway(ask: Ask, id_: str) -> None:
    found = _gateway_out(ask, id_)
    if found is None:
        return
    ask.call("ec2", "delete_nat_gateway", NatGatewayId=id_)
    # Its interface goes and its address is free again, which moto leaves out.
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteNatGateway.html
    itself = ask.by_aws("EC2 itself takes the interface away")
    for each in found["NatGatewayAddresses"]:
        if each.get("AssociationId"):
            itself.call("ec2", "disassociate_address", AssociationId=each["AssociationId"])
        itself.call("ec2", "delete_network_interface", NetworkInterfaceId=each["NetworkInterfaceId"])


_ENDPOINT: Final = {
    "privateDnsEnabled": "PrivateDnsEnabled",
    "routeTableIds": "RouteTableIds",
    "securityGroupIds": "SecurityGroupIds",
    "serviceName": "ServiceName",
    "subnetIds": "SubnetIds",
    "vpcEndpointType": "VpcEndpointType",
    "vpcId": "VpcId",
}


def _endpoint(ask: Ask) -> Created:
    inputs = ask.inputs
    parameters = {**inputs.renamed(_ENDPOINT), **_tagged(inputs, "vpc-endpoint")}
    made = ask.call("ec2", "create_vpc_endpoint", **parameters)["VpcEndpoint"]
    return ask.done(made["VpcEndpointId"])


def _standing_endpoint(ask: Ask, id_: str) -> dict[str, Any] | None:
    missing = "InvalidVpcEndpointId.NotFound"
    found = _one(ask, "describe_vpc_endpoints", "VpcEndpoints", missing, VpcEndpointIds=[id_])
    return None if found is None or found["State"] in _GONE else found


def _read_endpoint(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = _standing_endpoint(ask, id_)
    if found is None:
        return None
    there = {
        **ours(found, _ENDPOINT),
        "securityGroupIds": [each["GroupId"] for each in found["Groups"]],
        "tags": _tags(found),
    }
    if found["VpcEndpointType"] != "Interface":
        # moto has it on everywhere; a gateway has no names.
        there.pop("privateDnsEnabled")
    return told(ask, there, vpcEndpointType="Gateway")


def _update_endpoint(ask: Ask, id_: str) -> Created:
    if ask.changed("privateDnsEnabled"):
        msg = "privateDnsEnabled is changed: AWS changes it in place and moto does not; declare another endpoint"
        raise RealiseError(msg)
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVpcEndpoint.html
    parameters: dict[str, Any] = {}
    for key in ("routeTableIds", "securityGroupIds", "subnetIds"):
        new, old = set(ask.inputs.texts(key)), set(Inputs(ask.old).texts(key))
        name = _ENDPOINT[key]
        parameters |= {f"{verb}{name}": sorted(each) for verb, each in (("Add", new - old), ("Remove", old - new)) if each}
    if parameters:
        ask.call("ec2", "modify_vpc_endpoint", VpcEndpointId=id_, **parameters)
        _endpoint_ways(ask.by_aws("EC2 itself keeps an endpoint's routes and interfaces"), id_, parameters)
    return _only_tags(ask, id_)


def _endpoint_ways(ask: Ask, id_: str, parameters: Mapping[str, Sequence[str]]) -> None:
    """What hangs on an endpoint's tables and subnets, which moto makes with it and then forgets."""
    found = _standing_endpoint(ask, id_) or {}
    name = [{"Name": "prefix-list-name", "Values": [found["ServiceName"]]}]
    for prefixes in ask.call("ec2", "describe_managed_prefix_lists", Filters=name)["PrefixLists"]:
        destination = {"DestinationPrefixListId": prefixes["PrefixListId"]}
        for table in parameters.get("AddRouteTableIds", ()):
            ask.call("ec2", "create_route", RouteTableId=table, GatewayId=id_, **destination)
        for table in parameters.get("RemoveRouteTableIds", ()):
            ask.find("ec2", "delete_route", "InvalidRoute.NotFound", RouteTableId=table, **destination)
    for subnet in parameters.get("RemoveSubnetIds", ()):
        for each in _filtered(ask, "describe_network_interfaces", "NetworkInterfaces", subnet_id=subnet):
            if each["NetworkInterfaceId"] in found["NetworkInterfaceIds"]:
                ask.call("ec2", "delete_network_interface", NetworkInterfaceId=each["NetworkInterfaceId"])


def _delete_endpoint(ask: Ask, id_: str) -> None:
    if _standing_endpoint(ask, id_) is not None:
        ask.call("ec2", "delete_vpc_endpoints", VpcEndpointIds=[id_])


# Security groups


def _security_group(ask: Ask) -> Created:
    inputs = ask.inputs
    name = inputs.text("name", ask.request.name)
    made = ask.call(
        "ec2",
        "create_security_group",
        GroupName=name,
        Description=inputs.needed("description"),
        VpcId=inputs.needed("vpcId"),
        **_tagged(inputs, "security-group"),
    )
    group = str(made["GroupId"])
    _admit(ask, group)
    return ask.done(group, name=name, arn=ask.arn("ec2", f"security-group/{group}"))


def _found_group(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    answer = ask.find("ec2", "describe_security_groups", "InvalidGroup.NotFound", GroupIds=[id_])
    return answer["SecurityGroups"][0] if answer else None


def _read_security_group(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = _found_group(ask, id_)
    if found is None:
        return None
    names = {"name": "GroupName", "description": "Description", "vpcId": "VpcId"}
    return told(ask, {**ours(found, names), **_read_rules(ask, found)})


def _read_default_security_group(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = _found_group(ask, id_)
    return found and told(ask, {"vpcId": found["VpcId"], **_read_rules(ask, found)})


def _read_rules(ask: Ask, found: Mapping[str, Any]) -> dict[str, Any]:
    """What both kinds of group have."""
    declared = ask.request.inputs
    return {
        "arn": ask.arn("ec2", f"security-group/{found['GroupId']}"),
        "ingress": _rules(found["IpPermissions"], declared.get("ingress")),
        "egress": _rules(found["IpPermissionsEgress"], declared.get("egress")),
        "tags": _tags(found),
    }


def _update_security_group(ask: Ask, id_: str) -> Created:
    if ask.changed("ingress", "egress"):
        _admit(ask, id_)
    _tag(ask, id_)
    name = (_found_group(ask, id_) or {}).get("GroupName")
    return ask.done(id_, name=name, arn=ask.arn("ec2", f"security-group/{id_}"))


def _delete_security_group(ask: Ask, id_: str) -> None:
    """Refused by AWS where moto lets it go with interfaces in it and rules that name it.

    https://docs.aws.amazon.com/vpc/latest/userguide/deleting-security-groups.html
    """
    itself = ask.by_aws("EC2 itself knows what is in use")

    def hanging() -> str:
        there = (
            _filtered(itself, "describe_network_interfaces", "NetworkInterfaces", group_id=id_)
            or [each for each in _balancers(itself) if id_ in each.get("SecurityGroups", [])]
            or [each for each in _standing_endpoints(itself) if id_ in [group["GroupId"] for group in each.get("Groups", [])]]
            or [each for each in _groups(itself) if each["GroupId"] != id_ and id_ in _named_groups(each)]
        )
        return f"resource {id_} has a dependent object" if there else ""

    _let_go(hanging)
    ask.find("ec2", "delete_security_group", "InvalidGroup.NotFound", GroupId=id_)


def _groups(ask: Ask) -> list[dict[str, Any]]:
    return ask.call("ec2", "describe_security_groups")["SecurityGroups"]


def _standing_endpoints(ask: Ask) -> list[dict[str, Any]]:
    return [each for each in ask.call("ec2", "describe_vpc_endpoints")["VpcEndpoints"] if each["State"] not in _GONE]


def _named_groups(group: Mapping[str, Any]) -> set[str]:
    grants = _grants([*group["IpPermissions"], *group["IpPermissionsEgress"]])
    return {each.source for each in grants if each.kind == "securityGroups"}


def _default_security_group(ask: Ask) -> Created:
    """Takes the group that came with the VPC and leaves in it only what is declared."""
    group = str(_default_group(ask, ask.inputs.needed("vpcId"))["GroupId"])
    _admit(ask, group)
    return ask.done(group, arn=ask.arn("ec2", f"security-group/{group}"))


def _update_default_security_group(ask: Ask, id_: str) -> Created:
    if ask.changed("ingress", "egress"):
        _admit(ask, id_)
    _tag(ask, id_)
    return ask.done(id_, arn=ask.arn("ec2", f"security-group/{id_}"))


def _delete_default_security_group(ask: Ask, id_: str) -> None:
    """Nothing is done: it goes with its VPC, and the provider only forgets it."""


class _Grant(NamedTuple):
    """One source that a rule lets in, or one destination that it lets out to."""

    protocol: str
    first: int
    last: int
    note: str
    kind: str
    source: str


def _admit(ask: Ask, group: str) -> None:
    """Declared rules and no others: AWS opens every new group's way out, which Pulumi takes back."""
    (there,) = ask.call("ec2", "describe_security_groups", GroupIds=[group])["SecurityGroups"]
    for direction, key in (("ingress", "IpPermissions"), ("egress", "IpPermissionsEgress")):
        now = _grants(there[key])
        wanted = _grants([_permission(each) for each in ask.inputs.blocks(direction)])
        for action, grants in (
            ("revoke", [each for each in now if each not in wanted]),
            ("authorize", [each for each in wanted if each not in now]),
        ):
            if grants:
                rules = [_granting(each) for each in grants]
                ask.call("ec2", f"{action}_security_group_{direction}", GroupId=group, IpPermissions=rules)


def _permission(rule: Inputs) -> dict[str, Any]:
    permission: dict[str, Any] = rule.renamed(_PORTS)
    note = {"Description": rule.text("description")} if rule.has("description") else {}
    if rule.has("cidrBlocks"):
        permission["IpRanges"] = [{"CidrIp": each, **note} for each in rule.texts("cidrBlocks")]
    if rule.has("securityGroups"):
        permission["UserIdGroupPairs"] = [{"GroupId": each, **note} for each in rule.texts("securityGroups")]
    return permission


_PORTS: Final = {"protocol": "IpProtocol", "fromPort": "FromPort", "toPort": "ToPort"}
_SOURCES: Final = {"cidrBlocks": ("IpRanges", "CidrIp"), "securityGroups": ("UserIdGroupPairs", "GroupId")}


def _grants(permissions: Sequence[Mapping[str, Any]]) -> list[_Grant]:
    """The API's permissions taken apart: it puts together what has the same protocol and ports, whoever declared it."""
    return [
        _Grant(
            protocol=each["IpProtocol"],
            # All protocols have no ports, which Pulumi spells 0.
            first=int(each.get("FromPort") or 0),
            last=int(each.get("ToPort") or 0),
            note=source.get("Description") or "",
            kind=kind,
            source=source[name],
        )
        for each in permissions
        for kind, (sources, name) in _SOURCES.items()
        for source in each.get(sources, [])
    ]


def _granting(grant: _Grant) -> dict[str, Any]:
    sources, name = _SOURCES[grant.kind]
    source = {name: grant.source, **({"Description": grant.note} if grant.note else {})}
    ports = {} if grant.protocol == "-1" else {"FromPort": grant.first, "ToPort": grant.last}
    return {"IpProtocol": grant.protocol, **ports, sources: [source]}


def _rules(permissions: Sequence[Mapping[str, Any]], declared: Any) -> list[dict[str, Any]]:  # noqa: ANN401 — JSON
    """Rules as they were declared, where they stand whole; then what stands besides."""
    left, rules = _grants(permissions), list[dict[str, Any]]()
    for each in cast("list[dict[str, Any]]", declared or []):
        wanted = _grants([_permission(Inputs(each))])
        if all(grant in left for grant in wanted):
            rules.append(each)
            left = [grant for grant in left if grant not in wanted]
    others: dict[tuple[str, int, int, str], dict[str, Any]] = {}
    for grant in left:
        rule = others.setdefault(
            (grant.protocol, grant.first, grant.last, grant.note),
            {
                "protocol": grant.protocol,
                "fromPort": grant.first,
                "toPort": grant.last,
                **({"description": grant.note} if grant.note else {}),
            },
        )
        rule.setdefault(grant.kind, []).append(grant.source)
    return [*rules, *others.values()]


# Logs of the network


_FLOW_LOG: Final = {
    "logDestinationType": "LogDestinationType",
    "maxAggregationInterval": "MaxAggregationInterval",
    "trafficType": "TrafficType",
}


def _flow_log(ask: Ask) -> Created:
    inputs = ask.inputs
    role = inputs.needed("iamRoleArn")
    ask.assumed_by(role, "vpc-flow-logs.amazonaws.com", ask.arn("ec2", "vpc-flow-log/*"))
    group = inputs.needed("logDestination")
    if ":log-group:" not in group:
        msg = f"logDestination is {group}: the ARN of a log group is what this row knows; extend it for other destinations"
        raise RealiseError(msg)
    name = group.partition(":log-group:")[2]
    # moto's flow logs look their group up in moto.
    there = ask.by_aws("at AWS there is one CloudWatch Logs")
    there.find("logs", "create_log_group", "ResourceAlreadyExistsException", emulator=MOTO, logGroupName=name)
    made = ask.call(
        "ec2",
        "create_flow_logs",
        ResourceType="VPC",
        ResourceIds=[inputs.needed("vpcId")],
        # By name, which means the same to AWS: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateFlowLogs.html
        LogGroupName=name,
        DeliverLogsPermissionArn=role,
        **inputs.renamed(_FLOW_LOG),
        **_tagged(inputs, "vpc-flow-log"),
    )
    if made["Unsuccessful"]:
        msg = f"EC2 made no flow log: {made['Unsuccessful']}"
        raise RealiseError(msg)
    return ask.done(made["FlowLogIds"][0])


def _standing_flow_log(ask: Ask, id_: str) -> dict[str, Any] | None:
    return _one(ask, "describe_flow_logs", "FlowLogs", "InvalidFlowLogId.NotFound", FlowLogIds=[id_])


def _read_flow_log(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = _standing_flow_log(ask, id_)
    if found is None:
        return None
    there = {
        "vpcId": found["ResourceId"],
        "iamRoleArn": found["DeliverLogsPermissionArn"],
        "logDestination": ask.arn("logs", f"log-group:{found['LogGroupName']}"),
        **ours(found, _FLOW_LOG),
        "tags": _tags(found),
    }
    return told(ask, there, logDestinationType="cloud-watch-logs", maxAggregationInterval=600)


def _delete_flow_log(ask: Ask, id_: str) -> None:
    found = _standing_flow_log(ask, id_)
    if found is None:
        return
    ask.call("ec2", "delete_flow_logs", FlowLogIds=[id_])
    name = found["LogGroupName"]
    itself = ask.by_aws("at AWS there is one CloudWatch Logs")
    if not _filtered(itself, "describe_flow_logs", "FlowLogs", log_group_name=name):
        # The one that moto looked up.
        itself.find("logs", "delete_log_group", "ResourceNotFoundException", emulator=MOTO, logGroupName=name)


# Nodes


def _launch_template(ask: Ask) -> Created:
    inputs = ask.inputs
    name = inputs.needed("name")
    made = ask.call(
        "ec2",
        "create_launch_template",
        LaunchTemplateName=name,
        LaunchTemplateData=_template(inputs),
        **_tagged(inputs, "launch-template"),
    )["LaunchTemplate"]
    return ask.done(made["LaunchTemplateId"], **_template_outputs(ask, made))


def _template(inputs: Inputs) -> dict[str, Any]:
    data: dict[str, Any] = {}
    if inputs.has("metadataOptions"):
        data["MetadataOptions"] = inputs.block("metadataOptions").renamed(_METADATA)
    if inputs.has("blockDeviceMappings"):
        data["BlockDeviceMappings"] = [_device(each) for each in inputs.blocks("blockDeviceMappings")]
    if inputs.has("tagSpecifications"):
        data["TagSpecifications"] = [
            {**each.renamed({"resourceType": "ResourceType"}), "Tags": tag_list(each.tags())}
            for each in inputs.blocks("tagSpecifications")
        ]
    return data


_METADATA: Final = {
    "httpEndpoint": "HttpEndpoint",
    "httpPutResponseHopLimit": "HttpPutResponseHopLimit",
    "httpTokens": "HttpTokens",
}
_DISK: Final = {"volumeSize": "VolumeSize", "volumeType": "VolumeType", "iops": "Iops"}
_DISK_FLAGS: Final = {"encrypted": "Encrypted", "deleteOnTermination": "DeleteOnTermination"}


def _device(device: Inputs) -> dict[str, Any]:
    disk = device.block("ebs")
    volume: dict[str, Any] = disk.renamed(_DISK)
    volume |= {theirs: disk.flag(mine) for mine, theirs in _DISK_FLAGS.items() if disk.has(mine)}
    return {**device.renamed({"deviceName": "DeviceName"}), "Ebs": volume}


def _read_device(device: Mapping[str, Any]) -> dict[str, Any]:
    disk = ours(device.get("Ebs", {}), _DISK)
    # Strings, in Pulumi's schema.
    disk |= {key: str(value).lower() for key, value in ours(device.get("Ebs", {}), _DISK_FLAGS).items()}
    return {**ours(device, {"deviceName": "DeviceName"}), "ebs": disk}


def _template_outputs(ask: Ask, found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": found["LaunchTemplateName"],
        "arn": ask.arn("ec2", f"launch-template/{found['LaunchTemplateId']}"),
        "defaultVersion": found["DefaultVersionNumber"],
        "latestVersion": found["LatestVersionNumber"],
    }


_NO_TEMPLATE: Final = ("InvalidLaunchTemplateId.NotFound", "InvalidLaunchTemplateName.NotFoundException")


def _found_template(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    answer = ask.find("ec2", "describe_launch_templates", *_NO_TEMPLATE, LaunchTemplateIds=[id_])
    return next(iter(answer["LaunchTemplates"]), None) if answer else None


def _read_launch_template(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = _found_template(ask, id_)
    if found is None:
        return None
    versions = ask.call("ec2", "describe_launch_template_versions", LaunchTemplateId=id_, Versions=["$Latest"])
    data = versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    # moto shows with the template the tags that it was made with.
    tags = ask.by_aws("DescribeLaunchTemplates tells them").call(
        "ec2", "describe_tags", Filters=[{"Name": "resource-id", "Values": [id_]}]
    )
    there = {
        **_template_outputs(ask, found),
        "metadataOptions": ours(data.get("MetadataOptions", {}), _METADATA),
        "blockDeviceMappings": [_read_device(each) for each in data.get("BlockDeviceMappings", [])],
        "tagSpecifications": [
            {"resourceType": each["ResourceType"], "tags": _tags(each)}
            for each in data.get("TagSpecifications", [])
            # moto counts the template's own tags among those of its instances.
            if each["ResourceType"] != "launch-template"
        ],
        "tags": _tags(tags),
    }
    return told(ask, there)


def _update_launch_template(ask: Ask, id_: str) -> Created:
    # A template's data does not change, it gets another version; the default one stays as it is.
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateLaunchTemplateVersion.html
    if ask.changed("metadataOptions", "blockDeviceMappings", "tagSpecifications"):
        ask.call("ec2", "create_launch_template_version", LaunchTemplateId=id_, LaunchTemplateData=_template(ask.inputs))
    _tag(ask, id_)
    found = _found_template(ask, id_)
    return ask.done(id_, **(_template_outputs(ask, found) if found else {}))


def _delete_launch_template(ask: Ask, id_: str) -> None:
    ask.find("ec2", "delete_launch_template", *_NO_TEMPLATE, LaunchTemplateId=id_)


def _tagged(inputs: Inputs, kind: str) -> dict[str, Any]:
    tags = inputs.tags()
    return {"TagSpecifications": [{"ResourceType": kind, "Tags": tag_list(tags)}]} if tags else {}


# What is under `replaces` has no call that changes it: AWS's reference knows a Modify… only for attributes, rules and tags.
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Operations.html
ROWS: Final[Rows] = {
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": Row(
        create=_default_security_group,
        read=_read_default_security_group,
        update=_update_default_security_group,
        delete=_delete_default_security_group,
        replaces=frozenset({"vpcId"}),
    ),
    "aws:ec2/eip:Eip": Row(
        create=_address,
        read=_read_address,
        update=_update_address,
        delete=_delete_address,
        replaces=frozenset({"domain"}),
    ),
    "aws:ec2/flowLog:FlowLog": Row(
        create=_flow_log,
        read=_read_flow_log,
        update=_only_tags,
        delete=_delete_flow_log,
        replaces=frozenset(
            {"iamRoleArn", "logDestination", "logDestinationType", "maxAggregationInterval", "trafficType", "vpcId"}
        ),
    ),
    "aws:ec2/internetGateway:InternetGateway": Row(
        create=_internet_gateway,
        read=_read_internet_gateway,
        update=_update_internet_gateway,
        delete=_delete_internet_gateway,
    ),
    "aws:ec2/launchTemplate:LaunchTemplate": Row(
        create=_launch_template,
        read=_read_launch_template,
        update=_update_launch_template,
        delete=_delete_launch_template,
        replaces=frozenset({"name"}),
    ),
    "aws:ec2/natGateway:NatGateway": Row(
        create=_nat_gateway,
        read=_read_nat_gateway,
        update=_only_tags,
        delete=_delete_nat_gateway,
        replaces=frozenset({"allocationId", "connectivityType", "subnetId"}),
    ),
    "aws:ec2/routeTable:RouteTable": Row(
        create=_route_table,
        read=_read_route_table,
        update=_update_route_table,
        delete=_delete_route_table,
        replaces=frozenset({"vpcId"}),
    ),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": Row(
        create=_route_table_association,
        read=_read_route_table_association,
        update=_update_route_table_association,
        delete=_delete_route_table_association,
        replaces=frozenset({"subnetId"}),
    ),
    "aws:ec2/securityGroup:SecurityGroup": Row(
        create=_security_group,
        read=_read_security_group,
        update=_update_security_group,
        delete=_delete_security_group,
        replaces=frozenset({"description", "name", "vpcId"}),
    ),
    "aws:ec2/subnet:Subnet": Row(
        create=_subnet,
        read=_read_subnet,
        update=_update_subnet,
        delete=_delete_subnet,
        replaces=frozenset({"availabilityZone", "cidrBlock", "vpcId"}),
    ),
    "aws:ec2/vpc:Vpc": Row(
        create=_vpc,
        read=_read_vpc,
        update=_update_vpc,
        delete=_delete_vpc,
        replaces=frozenset({"cidrBlock"}),
    ),
    "aws:ec2/vpcEndpoint:VpcEndpoint": Row(
        create=_endpoint,
        read=_read_endpoint,
        update=_update_endpoint,
        delete=_delete_endpoint,
        replaces=frozenset({"serviceName", "vpcEndpointType", "vpcId"}),
    ),
}
