"""EC2: the network, and how nodes start."""

from typing import Any, Final

from rehearsal.cloud.emulators import MOTO
from rehearsal.cloud.row import Ask, Inputs, RealiseError, Row, Rows, tag_list
from rehearsal.program import Created


def _vpc(ask: Ask) -> Created:
    inputs = ask.inputs
    made = ask.call("ec2", "create_vpc", **inputs.renamed({"cidrBlock": "CidrBlock"}), **_tagged(inputs, "vpc"))["Vpc"]
    vpc = str(made["VpcId"])
    # One attribute a call, as the API wants it.
    for key, name in (("enableDnsSupport", "EnableDnsSupport"), ("enableDnsHostnames", "EnableDnsHostnames")):
        if inputs.has(key):
            attribute: dict[str, Any] = {name: {"Value": inputs.flag(key)}}
            ask.call("ec2", "modify_vpc_attribute", VpcId=vpc, **attribute)
    return ask.done(vpc, arn=ask.arn("ec2", f"vpc/{vpc}"), defaultSecurityGroupId=_default_group(ask, vpc)["GroupId"])


def _default_group(ask: Ask, vpc: str) -> dict[str, Any]:
    wanted = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}]
    (group,) = ask.call("ec2", "describe_security_groups", Filters=wanted)["SecurityGroups"]
    return group


def _subnet(ask: Ask) -> Created:
    inputs = ask.inputs
    subnet = str(
        ask.call(
            "ec2",
            "create_subnet",
            **inputs.renamed({"vpcId": "VpcId", "cidrBlock": "CidrBlock", "availabilityZone": "AvailabilityZone"}),
            **_tagged(inputs, "subnet"),
        )["Subnet"]["SubnetId"]
    )
    if inputs.has("mapPublicIpOnLaunch"):
        public = {"Value": inputs.flag("mapPublicIpOnLaunch")}
        ask.call("ec2", "modify_subnet_attribute", SubnetId=subnet, MapPublicIpOnLaunch=public)
    return ask.done(subnet, arn=ask.arn("ec2", f"subnet/{subnet}"))


def _internet_gateway(ask: Ask) -> Created:
    inputs = ask.inputs
    made = ask.call("ec2", "create_internet_gateway", **_tagged(inputs, "internet-gateway"))["InternetGateway"]
    gateway = str(made["InternetGatewayId"])
    ask.call("ec2", "attach_internet_gateway", InternetGatewayId=gateway, VpcId=inputs.needed("vpcId"))
    return ask.done(gateway, arn=ask.arn("ec2", f"internet-gateway/{gateway}"))


def _route_table(ask: Ask) -> Created:
    inputs = ask.inputs
    made = ask.call("ec2", "create_route_table", VpcId=inputs.needed("vpcId"), **_tagged(inputs, "route-table"))["RouteTable"]
    table = str(made["RouteTableId"])
    for route in inputs.blocks("routes"):
        ask.call(
            "ec2",
            "create_route",
            RouteTableId=table,
            **route.renamed({"cidrBlock": "DestinationCidrBlock", "gatewayId": "GatewayId", "natGatewayId": "NatGatewayId"}),
        )
    return ask.done(table, arn=ask.arn("ec2", f"route-table/{table}"))


def _route_table_association(ask: Ask) -> Created:
    made = ask.call(
        "ec2", "associate_route_table", **ask.inputs.renamed({"subnetId": "SubnetId", "routeTableId": "RouteTableId"})
    )
    return ask.done(made["AssociationId"])


def _address(ask: Ask) -> Created:
    inputs = ask.inputs
    made = ask.call("ec2", "allocate_address", **inputs.renamed({"domain": "Domain"}), **_tagged(inputs, "elastic-ip"))
    return ask.done(made["AllocationId"], allocationId=made["AllocationId"], publicIp=made["PublicIp"])


def _nat_gateway(ask: Ask) -> Created:
    inputs = ask.inputs
    made = ask.call(
        "ec2",
        "create_nat_gateway",
        **inputs.renamed({"allocationId": "AllocationId", "subnetId": "SubnetId", "connectivityType": "ConnectivityType"}),
        **_tagged(inputs, "natgateway"),
    )["NatGateway"]
    return ask.done(made["NatGatewayId"])


def _endpoint(ask: Ask) -> Created:
    inputs = ask.inputs
    made = ask.call(
        "ec2",
        "create_vpc_endpoint",
        **inputs.renamed(
            {
                "privateDnsEnabled": "PrivateDnsEnabled",
                "routeTableIds": "RouteTableIds",
                "securityGroupIds": "SecurityGroupIds",
                "serviceName": "ServiceName",
                "subnetIds": "SubnetIds",
                "vpcEndpointType": "VpcEndpointType",
                "vpcId": "VpcId",
            }
        ),
        **_tagged(inputs, "vpc-endpoint"),
    )["VpcEndpoint"]
    return ask.done(made["VpcEndpointId"])


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


def _default_security_group(ask: Ask) -> Created:
    """Takes the group that came with the VPC and leaves in it only what is declared."""
    group = _default_group(ask, ask.inputs.needed("vpcId"))
    if group["IpPermissions"]:
        ask.call("ec2", "revoke_security_group_ingress", GroupId=group["GroupId"], IpPermissions=group["IpPermissions"])
    _admit(ask, str(group["GroupId"]))
    return ask.done(group["GroupId"], arn=ask.arn("ec2", f"security-group/{group['GroupId']}"))


def _admit(ask: Ask, group: str) -> None:
    """Declared rules and no others: AWS opens every new group's way out, which Pulumi takes back."""
    (there,) = ask.call("ec2", "describe_security_groups", GroupIds=[group])["SecurityGroups"]
    if there["IpPermissionsEgress"]:
        ask.call("ec2", "revoke_security_group_egress", GroupId=group, IpPermissions=there["IpPermissionsEgress"])
    for direction in ("ingress", "egress"):
        rules = [_permission(each) for each in ask.inputs.blocks(direction)]
        if rules:
            ask.call("ec2", f"authorize_security_group_{direction}", GroupId=group, IpPermissions=rules)


def _permission(rule: Inputs) -> dict[str, Any]:
    permission: dict[str, Any] = rule.renamed({"protocol": "IpProtocol", "fromPort": "FromPort", "toPort": "ToPort"})
    note = {"Description": rule.text("description")} if rule.has("description") else {}
    if rule.has("cidrBlocks"):
        permission["IpRanges"] = [{"CidrIp": each, **note} for each in rule.texts("cidrBlocks")]
    if rule.has("securityGroups"):
        permission["UserIdGroupPairs"] = [{"GroupId": each, **note} for each in rule.texts("securityGroups")]
    return permission


# Logs of the network


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
    ask.call("logs", "create_log_group", emulator=MOTO, logGroupName=name)
    made = ask.call(
        "ec2",
        "create_flow_logs",
        ResourceType="VPC",
        ResourceIds=[inputs.needed("vpcId")],
        # By name, which means the same to AWS: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateFlowLogs.html
        LogGroupName=name,
        DeliverLogsPermissionArn=role,
        **inputs.renamed(
            {
                "logDestinationType": "LogDestinationType",
                "maxAggregationInterval": "MaxAggregationInterval",
                "trafficType": "TrafficType",
            }
        ),
        **_tagged(inputs, "vpc-flow-log"),
    )
    if made["Unsuccessful"]:
        msg = f"EC2 made no flow log: {made['Unsuccessful']}"
        raise RealiseError(msg)
    return ask.done(made["FlowLogIds"][0])


# Nodes


def _launch_template(ask: Ask) -> Created:
    inputs = ask.inputs
    name = inputs.needed("name")
    data: dict[str, Any] = {}
    if inputs.has("metadataOptions"):
        data["MetadataOptions"] = inputs.block("metadataOptions").renamed(
            {"httpEndpoint": "HttpEndpoint", "httpPutResponseHopLimit": "HttpPutResponseHopLimit", "httpTokens": "HttpTokens"}
        )
    if inputs.has("blockDeviceMappings"):
        data["BlockDeviceMappings"] = [_device(each) for each in inputs.blocks("blockDeviceMappings")]
    if inputs.has("tagSpecifications"):
        data["TagSpecifications"] = [
            {**each.renamed({"resourceType": "ResourceType"}), "Tags": tag_list(each.tags())}
            for each in inputs.blocks("tagSpecifications")
        ]
    made = ask.call(
        "ec2",
        "create_launch_template",
        LaunchTemplateName=name,
        LaunchTemplateData=data,
        **_tagged(inputs, "launch-template"),
    )["LaunchTemplate"]
    return ask.done(
        made["LaunchTemplateId"],
        name=name,
        arn=ask.arn("ec2", f"launch-template/{made['LaunchTemplateId']}"),
        defaultVersion=made["DefaultVersionNumber"],
        latestVersion=made["LatestVersionNumber"],
    )


def _device(device: Inputs) -> dict[str, Any]:
    disk = device.block("ebs")
    volume: dict[str, Any] = disk.renamed({"volumeSize": "VolumeSize", "volumeType": "VolumeType", "iops": "Iops"})
    for ours, theirs in (("encrypted", "Encrypted"), ("deleteOnTermination", "DeleteOnTermination")):
        if disk.has(ours):
            volume[theirs] = disk.flag(ours)
    return {**device.renamed({"deviceName": "DeviceName"}), "Ebs": volume}


def _tagged(inputs: Inputs, kind: str) -> dict[str, Any]:
    tags = inputs.tags()
    return {"TagSpecifications": [{"ResourceType": kind, "Tags": tag_list(tags)}]} if tags else {}


ROWS: Final[Rows] = {
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": Row(create=_default_security_group),
    "aws:ec2/eip:Eip": Row(create=_address),
    "aws:ec2/flowLog:FlowLog": Row(create=_flow_log),
    "aws:ec2/internetGateway:InternetGateway": Row(create=_internet_gateway),
    "aws:ec2/launchTemplate:LaunchTemplate": Row(create=_launch_template),
    "aws:ec2/natGateway:NatGateway": Row(create=_nat_gateway),
    "aws:ec2/routeTable:RouteTable": Row(create=_route_table),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": Row(create=_route_table_association),
    "aws:ec2/securityGroup:SecurityGroup": Row(create=_security_group),
    "aws:ec2/subnet:Subnet": Row(create=_subnet),
    "aws:ec2/vpc:Vpc": Row(create=_vpc),
    "aws:ec2/vpcEndpoint:VpcEndpoint": Row(create=_endpoint),
}
