"""The environment's VPC: two or three zones, public and private subnets, NAT, endpoints, flow logs."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import islice
from typing import Final

import pulumi
import pulumi_aws as aws

from components import iam, naming, regions
from components.settings import NetworkSettings

# The address plan has room for three zones, also where there are two: a third can be added later. Three zones survive the loss
# of one with two thirds left.
ZONES: Final = regions.MOST_ZONES
# Private: three quarters of the range, one a zone. Public: three sixteenths out of the fourth; the last one stays free.
_PRIVATE_BITS: Final = 2
_PUBLIC_BITS: Final = 4


@dataclass(frozen=True, kw_only=True)
class Subnets:
    """The ranges of one VPC, a zone each."""

    private: Sequence[IPv4Network]
    public: Sequence[IPv4Network]


def subnets(cidr: IPv4Network) -> Subnets:
    """Divide `cidr`: private /(n+2) for pods, which need addresses, public /(n+4) for load balancer and NAT."""
    quarters = list(cidr.subnets(prefixlen_diff=_PRIVATE_BITS))
    return Subnets(
        private=quarters[:ZONES],
        public=list(islice(quarters[ZONES].subnets(prefixlen_diff=_PUBLIC_BITS - _PRIVATE_BITS), ZONES)),
    )


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """Arguments of `Network`.

    Attributes:
        environment: Name of the environment.
        account: Its account.
        region: Its region.
        cidr: The VPC's addresses.
        zones: Its availability zones, two or three. Ranges go by the place in the list: AWS opening a zone changes none.
        settings: NAT, endpoints, flow logs.
        boundary_arn: Permissions boundary of every role.
    """

    environment: str
    account: str
    region: str
    cidr: IPv4Network
    zones: Sequence[str]
    settings: NetworkSettings
    boundary_arn: pulumi.Input[str]


class Network(pulumi.ComponentResource):
    """VPC and subnets.

    Attributes:
        vpc_id: The VPC.
        cidr: Its addresses.
        public_subnet_ids: One a zone, for the load balancer and NAT.
        private_subnet_ids: One a zone, for nodes and pods.
        gateway: The way out. AWS refuses what has a public address while it is not attached, and to detach it while such a
            thing is there: https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-working-with.html
    """

    vpc_id: pulumi.Output[str]
    cidr: IPv4Network
    public_subnet_ids: list[pulumi.Output[str]]
    private_subnet_ids: list[pulumi.Output[str]]
    gateway: aws.ec2.InternetGateway

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the network."""
        super().__init__("slipway:network:Network", name, None, opts)
        own = pulumi.ResourceOptions(parent=self)
        self.cidr = args.cidr
        vpc = aws.ec2.Vpc(
            name,
            cidr_block=str(args.cidr),
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags=_named(args.environment),
            opts=own,
        )
        self.vpc_id = vpc.id
        # Whatever forgets to name a security group gets this one: it lets nothing through.
        aws.ec2.DefaultSecurityGroup(name, vpc_id=vpc.id, ingress=[], egress=[], opts=own)
        self.gateway = aws.ec2.InternetGateway(name, vpc_id=vpc.id, tags=_named(args.environment), opts=own)
        public_table = aws.ec2.RouteTable(
            f"{name}-public",
            vpc_id=vpc.id,
            routes=[{"cidr_block": "0.0.0.0/0", "gateway_id": self.gateway.id}],
            tags=_named(f"{args.environment}-public"),
            opts=own,
        )
        ranges = subnets(args.cidr)
        zones = args.zones
        self.public_subnet_ids = [
            self._subnet(f"{name}-public-{zone[-1]}", vpc, zone, block, role="elb", table=public_table)
            for zone, block in zip(zones, ranges.public, strict=False)
        ]
        tables = self._private_tables(name, args, vpc, zones)
        self.private_subnet_ids = [
            self._subnet(f"{name}-private-{zone[-1]}", vpc, zone, block, role="internal-elb", table=table)
            for zone, block, table in zip(zones, ranges.private, tables, strict=False)
        ]
        self._endpoints(name, args, tables)
        self._flow_logs(name, args)
        self.register_outputs({"vpcId": self.vpc_id})

    def _subnet(  # noqa: PLR0913 — the six that make one subnet
        self, name: str, vpc: aws.ec2.Vpc, zone: str, block: IPv4Network, *, role: str, table: aws.ec2.RouteTable
    ) -> pulumi.Output[str]:
        own = pulumi.ResourceOptions(parent=self)
        subnet = aws.ec2.Subnet(
            name,
            vpc_id=vpc.id,
            availability_zone=zone,
            cidr_block=str(block),
            map_public_ip_on_launch=False,
            # https://docs.aws.amazon.com/eks/latest/userguide/network-load-balancing.html
            tags={**_named(name), f"kubernetes.io/role/{role}": "1"},
            opts=own,
        )
        aws.ec2.RouteTableAssociation(name, subnet_id=subnet.id, route_table_id=table.id, opts=own)
        return subnet.id

    def _private_tables(
        self, name: str, args: NetworkArgs, vpc: aws.ec2.Vpc, zones: Sequence[str]
    ) -> Sequence[aws.ec2.RouteTable]:
        """One route table a zone, to that zone's NAT gateway or to the one that all share."""
        own = pulumi.ResourceOptions(parent=self)
        gateways: list[aws.ec2.NatGateway] = []
        for zone, public in zip(zones, self.public_subnet_ids, strict=True):
            if gateways and not args.settings.nat_per_zone:
                gateways.append(gateways[0])
                continue
            address = aws.ec2.Eip(f"{name}-nat-{zone[-1]}", domain="vpc", tags=_named(f"{args.environment}-nat"), opts=own)
            gateways.append(
                aws.ec2.NatGateway(
                    f"{name}-{zone[-1]}",
                    allocation_id=address.id,
                    subnet_id=public,
                    tags=_named(f"{args.environment}-{zone[-1]}"),
                    opts=pulumi.ResourceOptions(parent=self, depends_on=[self.gateway]),
                )
            )
        return [
            aws.ec2.RouteTable(
                f"{name}-private-{zone[-1]}",
                vpc_id=vpc.id,
                routes=[{"cidr_block": "0.0.0.0/0", "nat_gateway_id": gateway.id}],
                tags=_named(f"{args.environment}-private-{zone[-1]}"),
                opts=own,
            )
            for zone, gateway in zip(zones, gateways, strict=True)
        ]

    def _endpoints(self, name: str, args: NetworkArgs, tables: Sequence[aws.ec2.RouteTable]) -> None:
        own = pulumi.ResourceOptions(parent=self)
        # Free, and where image layers come from.
        aws.ec2.VpcEndpoint(
            f"{name}-s3",
            vpc_id=self.vpc_id,
            service_name=f"com.amazonaws.{args.region}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=[table.id for table in tables],
            tags=_named(f"{args.environment}-s3"),
            opts=own,
        )
        if not args.settings.ecr_endpoints:
            return
        group = aws.ec2.SecurityGroup(
            f"{name}-endpoints",
            description="Interface endpoints: HTTPS from inside the VPC",
            vpc_id=self.vpc_id,
            ingress=[{"protocol": "tcp", "from_port": 443, "to_port": 443, "cidr_blocks": [str(args.cidr)]}],
            egress=[],
            tags=_named(f"{args.environment}-endpoints"),
            opts=own,
        )
        # https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html
        for service in ("ecr.api", "ecr.dkr"):
            aws.ec2.VpcEndpoint(
                f"{name}-{service}",
                vpc_id=self.vpc_id,
                service_name=f"com.amazonaws.{args.region}.{service}",
                vpc_endpoint_type="Interface",
                private_dns_enabled=True,
                subnet_ids=self.private_subnet_ids,
                security_group_ids=[group.id],
                tags=_named(f"{args.environment}-{service}"),
                opts=own,
            )

    def _flow_logs(self, name: str, args: NetworkArgs) -> None:
        own = pulumi.ResourceOptions(parent=self)
        group = aws.cloudwatch.LogGroup(
            f"{name}-flow",
            name=naming.log_group(args.environment, "flow"),
            retention_in_days=args.settings.flow_log_retention_days,
            opts=own,
        )
        role = aws.iam.Role(
            f"{name}-flow",
            name=naming.role(args.environment, "flow"),
            permissions_boundary=args.boundary_arn,
            assume_role_policy=iam.document(iam.trust_service("vpc-flow-logs.amazonaws.com", account=args.account)),
            opts=own,
        )
        policy = aws.iam.RolePolicy(
            f"{name}-flow",
            role=role.id,
            policy=iam.document(
                iam.allow(
                    "Write",
                    # https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-iam-role.html
                    actions=["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
                    resources=[pulumi.Output.concat(group.arn, ":*")],
                )
            ),
            opts=own,
        )
        aws.ec2.FlowLog(
            name,
            vpc_id=self.vpc_id,
            traffic_type="ALL",
            log_destination_type="cloud-watch-logs",
            log_destination=group.arn,
            iam_role_arn=role.arn,
            max_aggregation_interval=600,
            tags=_named(args.environment),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
        )


def _named(name: str) -> dict[str, str]:
    return {"Name": f"{naming.PROJECT}-{name}"}
