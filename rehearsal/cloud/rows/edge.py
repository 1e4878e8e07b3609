"""The door: names, certificates, load balancer."""

from typing import Any, Final

from rehearsal.cloud.row import Ask, Inputs, RealiseError, Row, Rows
from rehearsal.program import Created

# ACM and Route53


def _certificate(ask: Ask) -> Created:
    inputs = ask.inputs
    domain = inputs.needed("domainName")
    arn = ask.call(
        "acm",
        "request_certificate",
        DomainName=domain,
        **inputs.tagged("Tags"),
        **inputs.renamed({"validationMethod": "ValidationMethod", "subjectAlternativeNames": "SubjectAlternativeNames"}),
    )["CertificateArn"]
    return ask.done(
        arn,
        arn=arn,
        domainValidationOptions=[
            {
                "domainName": each["DomainName"],
                "resourceRecordName": each["ResourceRecord"]["Name"],
                "resourceRecordType": each["ResourceRecord"]["Type"],
                "resourceRecordValue": each["ResourceRecord"]["Value"],
            }
            for each in _proofs(ask, arn)
        ],
    )


def _proofs(ask: Ask, arn: str) -> list[dict[str, Any]]:
    return ask.call("acm", "describe_certificate", CertificateArn=arn)["Certificate"]["DomainValidationOptions"]


def _certificate_validation(ask: Ask) -> Created:
    """AWS waits here until it finds the records; what it could never find is refused instead of waited for."""
    arn = ask.inputs.needed("certificateArn")
    told = {each.rstrip(".") for each in ask.inputs.texts("validationRecordFqdns")}
    for proof in _proofs(ask, arn):
        record = proof["ResourceRecord"]
        name = str(record["Name"]).rstrip(".")
        if name not in told or not _stands(ask, name, record["Type"], record["Value"]):
            msg = (
                f"{arn} waits for the record {name} {record['Type']} {record['Value']}: it is "
                + ("in no zone of the account" if name in told else f"not among {sorted(told)}")
                + "; declare it in the environment's zone"
            )
            raise RealiseError(msg)
    return ask.done(arn, certificateArn=arn)


def _stands(ask: Ask, name: str, type_: str, value: str) -> bool:
    zones = ask.call("route53", "list_hosted_zones")["HostedZones"]
    for zone in zones:
        if not f"{name}.".endswith(f".{zone['Name']}"):
            continue
        records = ask.call("route53", "list_resource_record_sets", HostedZoneId=str(zone["Id"]).rpartition("/")[2])[
            "ResourceRecordSets"
        ]
        if any(
            record["Name"].rstrip(".") == name
            and record["Type"] == type_
            and any(each["Value"].rstrip(".") == value.rstrip(".") for each in record.get("ResourceRecords", []))
            for record in records
        ):
            return True
    return False


def _record(ask: Ask) -> Created:
    inputs = ask.inputs
    zone, name, type_ = inputs.needed("zoneId"), inputs.needed("name"), inputs.needed("type")
    below = str(ask.call("route53", "get_hosted_zone", Id=zone)["HostedZone"]["Name"]).rstrip(".")
    plain = name.rstrip(".")
    if plain != below and not plain.endswith(f".{below}"):
        msg = f"name is {name}: a name in the zone {below} is allowed; declare it in the zone it belongs to"
        raise RealiseError(msg)
    record: dict[str, Any] = {"Name": name, "Type": type_, **inputs.renamed({"ttl": "TTL", "setIdentifier": "SetIdentifier"})}
    if inputs.has("records"):
        record["ResourceRecords"] = [{"Value": each} for each in inputs.texts("records")]
    for alias in inputs.blocks("aliases"):
        record["AliasTarget"] = {
            "DNSName": alias.needed("name"),
            "HostedZoneId": alias.needed("zoneId"),
            "EvaluateTargetHealth": alias.flag("evaluateTargetHealth"),
        }
    action = "UPSERT" if inputs.flag("allowOverwrite") else "CREATE"
    changes = {"Changes": [{"Action": action, "ResourceRecordSet": record}]}
    ask.call("route53", "change_resource_record_sets", HostedZoneId=zone, ChangeBatch=changes)
    return ask.done(f"{zone}_{plain}_{type_}", name=plain, fqdn=plain)


# The load balancer


def _load_balancer(ask: Ask) -> Created:
    inputs = ask.inputs
    name = inputs.needed("name")
    (made,) = ask.call(
        "elbv2",
        "create_load_balancer",
        Name=name,
        Scheme="internal" if inputs.flag("internal") else "internet-facing",
        **inputs.tagged("Tags"),
        **inputs.renamed(
            {
                "ipAddressType": "IpAddressType",
                "loadBalancerType": "Type",
                "securityGroups": "SecurityGroups",
                "subnets": "Subnets",
            }
        ),
    )["LoadBalancers"]
    attributes = inputs.renamed(
        {
            # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_LoadBalancerAttribute.html
            "desyncMitigationMode": "routing.http.desync_mitigation_mode",
            "dropInvalidHeaderFields": "routing.http.drop_invalid_header_fields.enabled",
            "enableDeletionProtection": "deletion_protection.enabled",
            "idleTimeout": "idle_timeout.timeout_seconds",
        }
    )
    if inputs.has("accessLogs"):
        logs = inputs.block("accessLogs").same("enabled", "bucket", "prefix")
        attributes.update({f"access_logs.s3.{key}": value for key, value in logs.items()})
    arn = str(made["LoadBalancerArn"])
    ask.call("elbv2", "modify_load_balancer_attributes", LoadBalancerArn=arn, Attributes=_attributes(attributes))
    return ask.done(
        arn,
        name=name,
        arn=arn,
        arnSuffix=arn.partition(":loadbalancer/")[2],
        dnsName=made["DNSName"],
        vpcId=made["VpcId"],
        zoneId=made["CanonicalHostedZoneId"],
    )


def _target_group(ask: Ask) -> Created:
    inputs = ask.inputs
    name = inputs.needed("name")
    check = inputs.block("healthCheck")
    parameters: dict[str, Any] = {
        **inputs.renamed({"port": "Port", "protocol": "Protocol", "targetType": "TargetType", "vpcId": "VpcId"}),
        **check.renamed(
            {
                "healthyThreshold": "HealthyThresholdCount",
                "interval": "HealthCheckIntervalSeconds",
                "path": "HealthCheckPath",
                "protocol": "HealthCheckProtocol",
                "timeout": "HealthCheckTimeoutSeconds",
                "unhealthyThreshold": "UnhealthyThresholdCount",
            }
        ),
    }
    if check.has("matcher"):
        parameters["Matcher"] = {"HttpCode": check.text("matcher")}
    (made,) = ask.call("elbv2", "create_target_group", Name=name, **inputs.tagged("Tags"), **parameters)["TargetGroups"]
    arn = str(made["TargetGroupArn"])
    attributes = inputs.renamed({"deregistrationDelay": "deregistration_delay.timeout_seconds"})
    if inputs.has("stickiness"):
        sticky = inputs.block("stickiness")
        attributes.update({"stickiness.enabled": sticky.flag("enabled", default=True), "stickiness.type": sticky.needed("type")})
    ask.call("elbv2", "modify_target_group_attributes", TargetGroupArn=arn, Attributes=_attributes(attributes))
    return ask.done(arn, name=name, arn=arn, arnSuffix=arn.rpartition(":")[2])


def _listener(ask: Ask) -> Created:
    inputs = ask.inputs
    parameters: dict[str, Any] = inputs.renamed(
        {"loadBalancerArn": "LoadBalancerArn", "port": "Port", "protocol": "Protocol", "sslPolicy": "SslPolicy"}
    )
    if inputs.has("certificateArn"):
        parameters["Certificates"] = [{"CertificateArn": inputs.text("certificateArn")}]
    (made,) = ask.call(
        "elbv2",
        "create_listener",
        DefaultActions=[_action(each) for each in inputs.blocks("defaultActions")],
        **inputs.tagged("Tags"),
        **parameters,
    )["Listeners"]
    return ask.done(made["ListenerArn"], arn=made["ListenerArn"])


def _listener_rule(ask: Ask) -> Created:
    inputs = ask.inputs
    (made,) = ask.call(
        "elbv2",
        "create_rule",
        Conditions=[condition for each in inputs.blocks("conditions") for condition in _conditions(each)],
        Actions=[_action(each) for each in inputs.blocks("actions")],
        **inputs.tagged("Tags"),
        **inputs.renamed({"listenerArn": "ListenerArn", "priority": "Priority"}),
    )["Rules"]
    return ask.done(made["RuleArn"], arn=made["RuleArn"])


def _conditions(condition: Inputs) -> list[dict[str, Any]]:
    kinds = {
        "hostHeader": ("host-header", "HostHeaderConfig"),
        "httpRequestMethod": ("http-request-method", "HttpRequestMethodConfig"),
        "pathPattern": ("path-pattern", "PathPatternConfig"),
    }
    return [
        {"Field": field, configuration: {"Values": condition.block(kind).texts("values")}}
        for kind, (field, configuration) in kinds.items()
        if condition.has(kind)
    ]


def _action(action: Inputs) -> dict[str, Any]:
    made: dict[str, Any] = {"Type": action.needed("type"), **action.renamed({"order": "Order"})}
    if action.has("targetGroupArn"):
        made["TargetGroupArn"] = action.text("targetGroupArn")
    if action.has("redirect"):
        made["RedirectConfig"] = action.block("redirect").renamed(
            {
                "host": "Host",
                "path": "Path",
                "port": "Port",
                "protocol": "Protocol",
                "query": "Query",
                "statusCode": "StatusCode",
            }
        )
    if action.has("fixedResponse"):
        made["FixedResponseConfig"] = action.block("fixedResponse").renamed(
            {"contentType": "ContentType", "messageBody": "MessageBody", "statusCode": "StatusCode"}
        )
    if action.has("forward"):
        made["ForwardConfig"] = _forward(action.block("forward"))
    return made


def _forward(forward: Inputs) -> dict[str, Any]:
    groups = forward.blocks("targetGroups")
    config: dict[str, Any] = {"TargetGroups": [each.renamed({"arn": "TargetGroupArn", "weight": "Weight"}) for each in groups]}
    if forward.has("stickiness"):
        config["TargetGroupStickinessConfig"] = forward.block("stickiness").renamed(
            {"enabled": "Enabled", "duration": "DurationSeconds"}
        )
    return config


def _attributes(attributes: dict[str, Any]) -> list[dict[str, str]]:
    return [
        {"Key": key, "Value": str(value).lower() if isinstance(value, bool) else str(value)} for key, value in attributes.items()
    ]


ROWS: Final[Rows] = {
    "aws:acm/certificate:Certificate": Row(create=_certificate),
    "aws:acm/certificateValidation:CertificateValidation": Row(create=_certificate_validation),
    "aws:lb/listener:Listener": Row(create=_listener),
    "aws:lb/listenerRule:ListenerRule": Row(create=_listener_rule),
    "aws:lb/loadBalancer:LoadBalancer": Row(create=_load_balancer),
    "aws:lb/targetGroup:TargetGroup": Row(create=_target_group),
    "aws:route53/record:Record": Row(create=_record),
}
