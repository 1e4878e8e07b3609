"""The environment's front door: load balancer, certificate and names, all outside any cluster."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from components import iam, naming
from components.network import Network
from components.settings import Settings, SettingsError

HTTP: Final = 80
HTTPS: Final = 443
# TLS 1.3 and 1.2 with forward secrecy.
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/describe-ssl-policies.html
_TLS_POLICY: Final = "ELBSecurityPolicy-TLS13-1-2-2021-06"
_LOG_DAYS: Final = 90
# Pods stop taking traffic well before they are gone: requests in flight end, new ones go elsewhere.
_DRAIN_SECONDS: Final = 30


@dataclass(frozen=True, kw_only=True)
class Zone:
    """A public Route53 zone by name and id."""

    name: str
    id: str


@dataclass(frozen=True, kw_only=True)
class EdgeArgs:
    """Arguments of `Edge`.

    Attributes:
        environment: Name of the environment.
        account: Its account.
        region: Its region.
        zone: Its Route53 zone, which bootstrap made and a person delegated.
        network: Its network.
    """

    environment: str
    account: str
    region: str
    zone: Zone
    network: Network


def find_zone(settings: Settings) -> Zone | None:
    """Return the environment's public hosted zone; None for a tooling stack, which has no names.

    Raises:
        SettingsError: the account has none of this name, or more than one.
    """
    if settings.network is None:
        return None
    zone, account = settings.environment.zone, settings.environment.account
    try:
        return Zone(name=zone, id=aws.route53.get_zone(name=zone, private_zone=False).zone_id)
    except Exception as error:  # noqa: BLE001 — the SDK raises no narrower one for what a provider refuses
        msg = (
            f"slipway:environments.{settings.stack}.zone: got {zone!r}; account {account} must have exactly one public hosted "
            f"zone of this name. AWS says: {said(error)}. Run: python -m bootstrap --stack {settings.stack} --apply"
        )
        raise SettingsError(msg) from None


def said(error: Exception) -> str:
    """Return the last line of what the provider says, which holds the reason."""
    return str(error).strip().splitlines()[-1].strip(" .") if str(error).strip() else type(error).__name__


class Edge(pulumi.ComponentResource):
    """Load balancer with an HTTPS listener that answers 404 to every host that no service has.

    Attributes:
        zone: Name of the zone.
        zone_id: Its Route53 id.
        vpc_id: VPC of load balancer and target groups.
        load_balancer: The load balancer.
        listener_arn: The HTTPS listener.
        security_group_id: The load balancer's security group: what pods let in.
    """

    zone: str
    zone_id: str
    vpc_id: pulumi.Output[str]
    load_balancer: aws.lb.LoadBalancer
    listener_arn: pulumi.Output[str]
    security_group_id: pulumi.Output[str]

    def __init__(self, name: str, args: EdgeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the edge."""
        super().__init__("slipway:edge:Edge", name, None, opts)
        own = pulumi.ResourceOptions(parent=self)
        self.zone, self.zone_id, self.vpc_id = args.zone.name, args.zone.id, args.network.vpc_id
        group = aws.ec2.SecurityGroup(
            name,
            description="The public door: HTTP (redirected) and HTTPS from everywhere, out into the VPC only",
            vpc_id=self.vpc_id,
            ingress=[
                {"protocol": "tcp", "from_port": port, "to_port": port, "cidr_blocks": ["0.0.0.0/0"]} for port in (HTTP, HTTPS)
            ],
            egress=[{"protocol": "tcp", "from_port": 1024, "to_port": 65535, "cidr_blocks": [str(args.network.cidr)]}],
            tags={"Name": f"{naming.PROJECT}-{args.environment}-edge"},
            opts=own,
        )
        self.security_group_id = group.id
        logs, logs_ready = self._logs(name, args)
        self.load_balancer = aws.lb.LoadBalancer(
            name,
            name=naming.load_balancer(args.environment),
            load_balancer_type="application",
            internal=False,
            subnets=args.network.public_subnet_ids,
            security_groups=[group.id],
            drop_invalid_header_fields=True,
            desync_mitigation_mode="defensive",
            access_logs={"bucket": logs.bucket, "enabled": True},
            enable_deletion_protection=True,
            # Its address is what every name points to, and every cluster comes and goes behind it.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[logs_ready, args.network.gateway], protect=True),
        )
        aws.lb.Listener(
            f"{name}-http",
            load_balancer_arn=self.load_balancer.arn,
            port=HTTP,
            protocol="HTTP",
            default_actions=[
                {
                    "type": "redirect",
                    "redirect": {"protocol": "HTTPS", "port": str(HTTPS), "status_code": "HTTP_301"},
                }
            ],
            opts=own,
        )
        listener = aws.lb.Listener(
            f"{name}-https",
            load_balancer_arn=self.load_balancer.arn,
            port=HTTPS,
            protocol="HTTPS",
            ssl_policy=_TLS_POLICY,
            certificate_arn=self._certificate(name, args),
            default_actions=[
                {
                    "type": "fixed-response",
                    "fixed_response": {"content_type": "text/plain", "message_body": "not found", "status_code": "404"},
                }
            ],
            opts=own,
        )
        self.listener_arn = listener.arn
        self.register_outputs({"loadBalancer": self.load_balancer.dns_name})

    def _certificate(self, name: str, args: EdgeArgs) -> pulumi.Output[str]:
        """One certificate for every host of one label below the zone, proven by one record in it."""
        own = pulumi.ResourceOptions(parent=self)
        certificate = aws.acm.Certificate(
            name,
            domain_name=f"*.{self.zone}",
            validation_method="DNS",
            tags={"Name": f"{naming.PROJECT}-{args.environment}"},
            opts=own,
        )
        proof = certificate.domain_validation_options[0]
        record = aws.route53.Record(
            f"{name}-validation",
            zone_id=self.zone_id,
            name=proof.resource_record_name.apply(_required),
            type=proof.resource_record_type.apply(_required),
            records=[proof.resource_record_value.apply(_required)],
            ttl=300,
            # A certificate that is made again asks for the very same record.
            allow_overwrite=True,
            opts=own,
        )
        # Waits until ACM has seen the record: for ever, if the zone is not delegated (docs/adopt.md).
        validated = aws.acm.CertificateValidation(
            name, certificate_arn=certificate.arn, validation_record_fqdns=[record.fqdn], opts=own
        )
        return validated.certificate_arn

    def _logs(self, name: str, args: EdgeArgs) -> tuple[aws.s3.Bucket, pulumi.Resource]:
        """The bucket of the access logs, and what the load balancer must wait for.

        https://docs.aws.amazon.com/elasticloadbalancing/latest/application/enable-access-logging.html
        """
        own = pulumi.ResourceOptions(parent=self)
        bucket = aws.s3.Bucket(
            f"{name}-edge-logs",
            bucket=naming.bucket(f"{args.environment}-edge-logs", args.account, args.region),
            force_destroy=True,
            opts=own,
        )
        closed = aws.s3.BucketPublicAccessBlock(
            f"{name}-edge-logs",
            bucket=bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=own,
        )
        aws.s3.BucketLifecycleConfiguration(
            f"{name}-edge-logs",
            bucket=bucket.id,
            rules=[{"id": "expire", "status": "Enabled", "filter": {"prefix": ""}, "expiration": {"days": _LOG_DAYS}}],
            opts=own,
        )
        policy = aws.s3.BucketPolicy(
            f"{name}-edge-logs",
            bucket=bucket.id,
            policy=iam.document(
                iam.grant(
                    "AccessLogs",
                    to={"Service": "logdelivery.elasticloadbalancing.amazonaws.com"},
                    actions=["s3:PutObject"],
                    resources=[pulumi.Output.concat(bucket.arn, f"/AWSLogs/{args.account}/*")],
                    conditions={
                        "ArnLike": {"aws:SourceArn": f"arn:aws:elasticloadbalancing:{args.region}:{args.account}:loadbalancer/*"}
                    },
                ),
                iam.deny_plain_http(
                    "TlsOnly",
                    actions=["s3:GetObject", "s3:ListBucket", "s3:PutObject"],
                    resources=[bucket.arn, pulumi.Output.concat(bucket.arn, "/*")],
                ),
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[closed]),
        )
        return bucket, policy


def _required(value: str | None) -> str:
    """ACM gives a validation record for every name; the SDK's types leave it open."""
    if value is None:
        msg = "ACM gave no validation record: DNS validation was asked for. Look at the certificate in the console"
        raise ValueError(msg)
    return value


@dataclass(frozen=True, kw_only=True)
class RouteArgs:
    """Arguments of `Route`.

    Attributes:
        edge: The environment's edge.
        service: What target groups are named after.
        host: Full host name, one label below the zone.
        priority: Place of its rule in the listener.
        target_port: Port of the pods.
        health_path: Path that answers 200.
        weights: Share of the traffic by colour, in percent: every colour, at 0 too.
        path: Only this path is forwarded; "" forwards all.
        method: Only this HTTP method is forwarded; "" forwards all.
    """

    edge: Edge
    service: str
    host: str
    priority: int
    target_port: int
    health_path: str
    weights: Mapping[str, int]
    path: str = ""
    method: str = ""


class Route(pulumi.ComponentResource):
    """One host: a target group per colour, one rule that forwards to them by weight, one alias record.

    Attributes:
        edge: The edge that it is part of.
        host: The host name.
        target_port: Port of the pods.
        target_groups: Target group by colour.
    """

    edge: Edge
    host: str
    target_port: int
    target_groups: dict[str, aws.lb.TargetGroup]

    def __init__(self, name: str, args: RouteArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the route."""
        super().__init__("slipway:edge:Route", name, None, opts)
        own = pulumi.ResourceOptions(parent=self)
        self.edge, self.host, self.target_port = args.edge, args.host, args.target_port
        self.target_groups = {
            colour: aws.lb.TargetGroup(
                f"{name}-{colour}",
                name=naming.target_group(args.service, colour, args.target_port),
                vpc_id=args.edge.vpc_id,
                target_type="ip",
                protocol="HTTP",
                port=args.target_port,
                deregistration_delay=_DRAIN_SECONDS,
                health_check={
                    "path": args.health_path,
                    "protocol": "HTTP",
                    "matcher": "200",
                    "interval": 10,
                    "timeout": 5,
                    "healthy_threshold": 2,
                    "unhealthy_threshold": 3,
                },
                # Stickiness would beat weights: a shift of colours would not reach who has been here before.
                stickiness={"type": "lb_cookie", "enabled": False},
                opts=own,
            )
            for colour in args.weights
        }
        conditions: list[dict[str, Any]] = [{"host_header": {"values": [args.host]}}]
        if args.path:
            conditions.append({"path_pattern": {"values": [args.path]}})
        if args.method:
            conditions.append({"http_request_method": {"values": [args.method]}})
        aws.lb.ListenerRule(
            name,
            listener_arn=args.edge.listener_arn,
            priority=args.priority,
            conditions=conditions,  # pyright: ignore[reportArgumentType] — one of several shapes each
            actions=[
                {
                    "type": "forward",
                    "forward": {
                        "target_groups": [
                            {"arn": self.target_groups[colour].arn, "weight": weight} for colour, weight in args.weights.items()
                        ],
                    },
                }
            ],
            opts=own,
        )
        aws.route53.Record(
            name,
            zone_id=args.edge.zone_id,
            name=args.host,
            type="A",
            aliases=[
                {
                    "name": args.edge.load_balancer.dns_name,
                    "zone_id": args.edge.load_balancer.zone_id,
                    "evaluate_target_health": False,
                }
            ],
            opts=own,
        )
        self.register_outputs({"host": self.host})
