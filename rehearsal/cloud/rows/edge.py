"""The door: names, certificates, load balancer."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rehearsal.cloud.row import Ask, Inputs, RealiseError, Row, Rows, tag_list
from rehearsal.cloud.rows.network import kept
from rehearsal.cloud.rows.parts import ours, tag_changes, told
from rehearsal.program import Created


def _tags(found: list[Mapping[str, str]]) -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in found}


# ACM and Route53


_NO_CERTIFICATE: Final = "ResourceNotFoundException"


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
    return ask.done(arn, **_certificate_outputs(arn, _proofs(ask, arn)))


def _certificate_outputs(arn: str, proofs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "arn": arn,
        "domainValidationOptions": [
            {
                "domainName": each["DomainName"],
                "resourceRecordName": each["ResourceRecord"]["Name"],
                "resourceRecordType": each["ResourceRecord"]["Type"],
                "resourceRecordValue": each["ResourceRecord"]["Value"],
            }
            for each in proofs
        ],
    }


def _proofs(ask: Ask, arn: str) -> list[dict[str, Any]]:
    return ask.call("acm", "describe_certificate", CertificateArn=arn)["Certificate"]["DomainValidationOptions"]


def _standing_certificate(ask: Ask, id_: str) -> dict[str, Any] | None:
    answer = ask.find("acm", "describe_certificate", _NO_CERTIFICATE, CertificateArn=id_)
    return answer and answer["Certificate"]


def _read_certificate(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = _standing_certificate(ask, id_)
    if found is None:
        return None
    declared, domain, proofs = ask.inputs.texts("subjectAlternativeNames"), found["DomainName"], found["DomainValidationOptions"]
    there = {
        "domainName": domain,
        # AWS lists the certificate's own name among the others.
        "subjectAlternativeNames": [each for each in found["SubjectAlternativeNames"] if each != domain or domain in declared],
        "validationMethod": proofs[0]["ValidationMethod"],
        "tags": _tags(ask.call("acm", "list_tags_for_certificate", CertificateArn=id_)["Tags"]),
        **_certificate_outputs(id_, proofs),
    }
    return told(ask, there)


def _update_certificate(ask: Ask, id_: str) -> Created:
    new, gone = tag_changes(ask)
    if new:
        ask.call("acm", "add_tags_to_certificate", CertificateArn=id_, Tags=tag_list(new))
    if gone:
        ask.call("acm", "remove_tags_from_certificate", CertificateArn=id_, Tags=[{"Key": each} for each in gone])
    return ask.done(id_, **_certificate_outputs(id_, _proofs(ask, id_)))


def _delete_certificate(ask: Ask, id_: str) -> None:
    """Refused by AWS while a listener has it, where moto lets it go.

    https://docs.aws.amazon.com/acm/latest/APIReference/API_DeleteCertificate.html
    """
    itself = ask.by_aws("ACM itself knows where a certificate is in use")
    for balancer in itself.call("elbv2", "describe_load_balancers")["LoadBalancers"]:
        listeners = itself.call("elbv2", "describe_listeners", LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
        if any(each["CertificateArn"] == id_ for listener in listeners for each in listener.get("Certificates", [])):
            msg = f"ResourceInUseException: Certificate {id_} in account {ask.place.account} is in use."
            raise RealiseError(msg)
    ask.find("acm", "delete_certificate", _NO_CERTIFICATE, CertificateArn=id_)


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


def _read_certificate_validation(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    # A certificate does not know who waited for it, nor for what.
    return None if _standing_certificate(ask, id_) is None else {"certificateArn": id_}


def _delete_certificate_validation(ask: Ask, id_: str) -> None:
    """Nothing: it was a wait."""
    del ask, id_


def _stands(ask: Ask, name: str, type_: str, value: str) -> bool:
    itself = ask.by_aws("ACM itself looks for the records, in public DNS")
    zones = itself.call("route53", "list_hosted_zones")["HostedZones"]
    for zone in zones:
        if not f"{name}.".endswith(f".{zone['Name']}"):
            continue
        records = itself.call("route53", "list_resource_record_sets", HostedZoneId=str(zone["Id"]).rpartition("/")[2])[
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
    id_ = f"{zone}_{plain}_{type_}"
    if not inputs.flag("allowOverwrite") and _standing_record(ask, id_) is not None:
        # moto refuses only the very same one, and that also when it has been deleted.
        # https://docs.aws.amazon.com/Route53/latest/APIReference/API_ChangeResourceRecordSets.html
        msg = f"InvalidChangeBatch: Tried to create resource record set [name='{plain}.', type='{type_}'] but it already exists"
        raise RealiseError(msg)
    _change(ask, zone, "UPSERT", _record_set(inputs))
    return ask.done(id_, name=plain, fqdn=plain)


def _record_set(inputs: Inputs) -> dict[str, Any]:
    record: dict[str, Any] = {
        "Name": inputs.needed("name"),
        "Type": inputs.needed("type"),
        **inputs.renamed({"ttl": "TTL"}),
    }
    if inputs.has("records"):
        record["ResourceRecords"] = [{"Value": each} for each in inputs.texts("records")]
    for alias in inputs.blocks("aliases"):
        record["AliasTarget"] = {
            "DNSName": alias.needed("name"),
            "HostedZoneId": alias.needed("zoneId"),
            "EvaluateTargetHealth": alias.flag("evaluateTargetHealth"),
        }
    return record


def _change(ask: Ask, zone: str, action: str, record: Mapping[str, Any]) -> None:
    changes = {"Changes": [{"Action": action, "ResourceRecordSet": record}]}
    ask.call("route53", "change_resource_record_sets", HostedZoneId=zone, ChangeBatch=changes)


def _parts(id_: str) -> tuple[str, str, str]:
    """Zone, name and type in an id; a name may have the underscore too."""
    zone, _, rest = id_.partition("_")
    name, _, type_ = rest.rpartition("_")
    return zone, name, type_


def _named(name: str) -> str:
    """A name as one writes it: Route53 spells the asterisk in octal, and ends names with a dot.

    https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DomainNameFormat.html
    """
    return name.replace("\\052", "*").rstrip(".").lower()


def _standing_record(ask: Ask, id_: str) -> dict[str, Any] | None:
    zone, name, type_ = _parts(id_)
    start = {"StartRecordName": name, "StartRecordType": type_}
    answer = ask.find("route53", "list_resource_record_sets", "NoSuchHostedZone", HostedZoneId=zone, **start)
    records: list[dict[str, Any]] = answer["ResourceRecordSets"] if answer else []
    return next((each for each in records if _named(each["Name"]) == _named(name) and each["Type"] == type_), None)


def _read_record(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = _standing_record(ask, id_)
    if found is None:
        return None
    zone, name, type_ = _parts(id_)
    spelled, inputs = ask.inputs.text("name", name), ask.request.inputs
    alias = found.get("AliasTarget")
    there = {
        "zoneId": zone,
        # However the program ends it: it is the same name.
        "name": spelled if _named(spelled) == _named(found["Name"]) else _named(found["Name"]),
        "type": type_,
        "fqdn": name,
        **ours(found, {"ttl": "TTL"}),
        "records": [each["Value"] for each in found.get("ResourceRecords", [])],
        "aliases": kept([_alias(alias, inputs)], inputs.get("aliases")) if alias else [],
    }
    # `allowOverwrite` is the provider's own.
    return told(ask, there)


def _alias(found: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    declared: list[Mapping[str, Any]] = inputs.get("aliases") or []
    names = [str(each["name"]) for each in declared]
    return {
        "name": next((each for each in names if _named(each) == _named(found["DNSName"])), _named(found["DNSName"])),
        "zoneId": found["HostedZoneId"],
        "evaluateTargetHealth": found["EvaluateTargetHealth"],
    }


def _update_record(ask: Ask, id_: str) -> Created:
    zone, name, _ = _parts(id_)
    _change(ask, zone, "UPSERT", _record_set(ask.inputs))
    return ask.done(id_, name=name, fqdn=name)


def _delete_record(ask: Ask, id_: str) -> None:
    found = _standing_record(ask, id_)
    if found is not None:
        _change(ask, _parts(id_)[0], "DELETE", found)


# The load balancer


_NO_BALANCER: Final = "LoadBalancerNotFound"


def _arn_tags(ask: Ask, arn: str) -> dict[str, str]:
    (found,) = ask.call("elbv2", "describe_tags", ResourceArns=[arn])["TagDescriptions"]
    return _tags(found["Tags"])


def _tag(ask: Ask, arn: str) -> None:
    """Bring the tags of what has an ARN to what is declared."""
    new, gone = tag_changes(ask)
    if new:
        ask.call("elbv2", "add_tags", ResourceArns=[arn], Tags=tag_list(new))
    if gone:
        ask.call("elbv2", "remove_tags", ResourceArns=[arn], TagKeys=gone)


def _one(ask: Ask, operation: str, key: str, missing: str, **parameters: Any) -> dict[str, Any] | None:  # noqa: ANN401 — as `Ask.call`
    """The one entry that a `describe` answers with."""
    answer = ask.find("elbv2", operation, missing, **parameters)
    return next(iter(answer[key]), None) if answer else None


def _typed(value: str, like: Any) -> Any:  # noqa: ANN401 — JSON
    """An attribute, which AWS has as text, as the program has it."""
    if isinstance(like, bool):
        return value == "true"
    return int(value) if isinstance(like, int) else value


# https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_LoadBalancerAttribute.html
_BALANCER: Final[Mapping[str, tuple[str, Any]]] = {
    "desyncMitigationMode": ("routing.http.desync_mitigation_mode", "defensive"),
    "dropInvalidHeaderFields": ("routing.http.drop_invalid_header_fields.enabled", False),
    "enableDeletionProtection": ("deletion_protection.enabled", False),
    "idleTimeout": ("idle_timeout.timeout_seconds", 60),
}
_LOGS: Final[Mapping[str, Any]] = {"enabled": False, "bucket": "", "prefix": ""}


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
    arn = str(made["LoadBalancerArn"])
    itself = ask.by_aws("Elastic Load Balancing itself refuses a second one of a name")
    there = itself.call("elbv2", "describe_load_balancers")["LoadBalancers"]
    if any(each["LoadBalancerName"] == name and each["LoadBalancerArn"] != arn for each in there):
        # moto makes another in other subnets, and by name finds one alone.
        # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html
        itself.call("elbv2", "delete_load_balancer", LoadBalancerArn=arn)
        msg = f"DuplicateLoadBalancerName: A load balancer with the name '{name}' already exists"
        raise RealiseError(msg)
    _balance(ask, arn)
    return ask.done(arn, **_balancer_outputs(made))


def _balance(ask: Ask, arn: str) -> None:
    """Set the attributes that are other than they were; what is no longer declared goes back to AWS's default."""
    inputs, attributes = ask.inputs, dict[str, Any]()
    for key, (name, default) in _BALANCER.items():
        if ask.changed(key):
            attributes[name] = inputs.renamed({key: name}).get(name, default)
    if ask.changed("accessLogs"):
        logs = {"enabled": False, **inputs.block("accessLogs").same("enabled", "bucket", "prefix")}
        attributes.update({f"access_logs.s3.{key}": value for key, value in logs.items()})
    if attributes:
        ask.call("elbv2", "modify_load_balancer_attributes", LoadBalancerArn=arn, Attributes=_attributes(attributes))


def _balancer_outputs(found: Mapping[str, Any]) -> dict[str, Any]:
    arn = str(found["LoadBalancerArn"])
    return {
        "name": found["LoadBalancerName"],
        "arn": arn,
        "arnSuffix": arn.partition(":loadbalancer/")[2],
        "dnsName": found["DNSName"],
        "vpcId": found["VpcId"],
        "zoneId": found["CanonicalHostedZoneId"],
    }


def _standing_balancer(ask: Ask, id_: str) -> dict[str, Any] | None:
    return _one(ask, "describe_load_balancers", "LoadBalancers", _NO_BALANCER, LoadBalancerArns=[id_])


def _attributes_of(ask: Ask, operation: str, **arn: str) -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in ask.call("elbv2", operation, **arn)["Attributes"]}


def _read_load_balancer(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = _standing_balancer(ask, id_)
    if found is None:
        return None
    attributes = _attributes_of(ask, "describe_load_balancer_attributes", LoadBalancerArn=id_)
    defaults = {key: default for key, (_, default) in _BALANCER.items()}
    # moto has some of them only once they are set.
    logs = {key: _typed(attributes.get(f"access_logs.s3.{key}", ""), like) for key, like in _LOGS.items()}
    declared = ask.request.inputs.get("accessLogs")
    there = {
        **_balancer_outputs(found),
        "internal": found["Scheme"] == "internal",
        **ours(found, {"ipAddressType": "IpAddressType", "loadBalancerType": "Type", "securityGroups": "SecurityGroups"}),
        "subnets": [each["SubnetId"] for each in found["AvailabilityZones"]],
        **{key: _typed(attributes[name], default) for key, (name, default) in _BALANCER.items() if name in attributes},
        # Where they went stays with logs that are off.
        "accessLogs": kept(logs if logs["enabled"] or declared else {}, declared, _LOGS),
        "tags": _arn_tags(ask, id_),
    }
    return told(ask, there, internal=False, ipAddressType="ipv4", loadBalancerType="application", **defaults)


def _update_load_balancer(ask: Ask, id_: str) -> Created:
    _balance(ask, id_)
    for key, operation, name in (
        ("ipAddressType", "set_ip_address_type", "IpAddressType"),
        ("securityGroups", "set_security_groups", "SecurityGroups"),
        ("subnets", "set_subnets", "Subnets"),
    ):
        if ask.changed(key) and ask.inputs.has(key):
            ask.call("elbv2", operation, LoadBalancerArn=id_, **ask.inputs.renamed({key: name}))
    _tag(ask, id_)
    return ask.done(id_, **_balancer_outputs(_standing_balancer(ask, id_) or {}))


def _delete_load_balancer(ask: Ask, id_: str) -> None:
    """Its listeners and their rules go with it.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeleteLoadBalancer.html
    """
    if _standing_balancer(ask, id_) is None:
        return
    attributes = _attributes_of(ask, "describe_load_balancer_attributes", LoadBalancerArn=id_)
    if attributes["deletion_protection.enabled"] == "true":
        # moto lets it go.
        msg = f"OperationNotPermitted: Load balancer '{id_}' cannot be deleted because deletion protection is enabled"
        raise RealiseError(msg)
    ask.call("elbv2", "delete_load_balancer", LoadBalancerArn=id_)


_TARGET_GROUP: Final = {"port": "Port", "protocol": "Protocol", "targetType": "TargetType", "vpcId": "VpcId"}
_CHECK: Final = {
    "healthyThreshold": "HealthyThresholdCount",
    "interval": "HealthCheckIntervalSeconds",
    "path": "HealthCheckPath",
    "protocol": "HealthCheckProtocol",
    "timeout": "HealthCheckTimeoutSeconds",
    "unhealthyThreshold": "UnhealthyThresholdCount",
}
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
_CHECK_DEFAULTS: Final = {
    "healthyThreshold": 5,
    "interval": 30,
    "matcher": "200",
    "path": "/",
    "protocol": "HTTP",
    "timeout": 5,
    "unhealthyThreshold": 2,
}
# https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroupAttribute.html
_DELAY: Final = ("deregistration_delay.timeout_seconds", 300)
_STICKY: Final = {"enabled": False, "type": "lb_cookie"}
_NO_TARGET_GROUP: Final = "TargetGroupNotFound"


def _target_group(ask: Ask) -> Created:
    inputs = ask.inputs
    name = inputs.needed("name")
    parameters = {**inputs.renamed(_TARGET_GROUP), **_check(inputs)}
    (made,) = ask.call("elbv2", "create_target_group", Name=name, **inputs.tagged("Tags"), **parameters)["TargetGroups"]
    arn = str(made["TargetGroupArn"])
    _target(ask, arn)
    return ask.done(arn, **_target_group_outputs(made))


def _check(inputs: Inputs) -> dict[str, Any]:
    check = inputs.block("healthCheck")
    matcher = {"Matcher": {"HttpCode": check.text("matcher")}} if check.has("matcher") else {}
    return {**check.renamed(_CHECK), **matcher}


def _target(ask: Ask, arn: str) -> None:
    """Set the attributes that are other than they were."""
    inputs, attributes = ask.inputs, dict[str, Any]()
    name, seconds = _DELAY
    if ask.changed("deregistrationDelay"):
        attributes[name] = inputs.number("deregistrationDelay", seconds)
    if ask.changed("stickiness"):
        sticky = inputs.block("stickiness")
        on = sticky.flag("enabled", default=inputs.has("stickiness"))
        attributes |= {"stickiness.enabled": on, "stickiness.type": sticky.text("type", "lb_cookie")}
    if attributes:
        ask.call("elbv2", "modify_target_group_attributes", TargetGroupArn=arn, Attributes=_attributes(attributes))


def _target_group_outputs(found: Mapping[str, Any]) -> dict[str, Any]:
    arn = str(found["TargetGroupArn"])
    return {"name": found["TargetGroupName"], "arn": arn, "arnSuffix": arn.rpartition(":")[2]}


def _standing_target_group(ask: Ask, id_: str) -> dict[str, Any] | None:
    return _one(ask, "describe_target_groups", "TargetGroups", _NO_TARGET_GROUP, TargetGroupArns=[id_])


def _read_target_group(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = _standing_target_group(ask, id_)
    if found is None:
        return None
    attributes = _attributes_of(ask, "describe_target_group_attributes", TargetGroupArn=id_)
    declared, (name, seconds) = ask.request.inputs, _DELAY
    check = {**ours(found, _CHECK), "matcher": found.get("Matcher", {}).get("HttpCode")}
    sticky = {key: _typed(attributes[f"stickiness.{key}"], like) for key, like in _STICKY.items()}
    there = {
        **_target_group_outputs(found),
        **ours(found, _TARGET_GROUP),
        "healthCheck": kept(check, declared.get("healthCheck"), _CHECK_DEFAULTS),
        "deregistrationDelay": int(attributes[name]),
        "stickiness": sticky if declared.get("stickiness") is None else kept(sticky, declared["stickiness"]),
        "tags": _arn_tags(ask, id_),
    }
    return told(ask, there, deregistrationDelay=seconds, stickiness=_STICKY, targetType="instance")


def _update_target_group(ask: Ask, id_: str) -> Created:
    if ask.changed("healthCheck"):
        ask.call("elbv2", "modify_target_group", TargetGroupArn=id_, **_check(ask.inputs))
    _target(ask, id_)
    _tag(ask, id_)
    return ask.done(id_, **_target_group_outputs(_standing_target_group(ask, id_) or {}))


def _delete_target_group(ask: Ask, id_: str) -> None:
    """Refused, by moto too, while a listener or a rule has it."""
    ask.find("elbv2", "delete_target_group", _NO_TARGET_GROUP, TargetGroupArn=id_)


_LISTENER: Final = {"port": "Port", "protocol": "Protocol", "sslPolicy": "SslPolicy"}
_NO_LISTENER: Final = ("ListenerNotFound", _NO_BALANCER)


def _listener(ask: Ask) -> Created:
    inputs, balancer = ask.inputs, ask.inputs.needed("loadBalancerArn")
    (made,) = ask.call(
        "elbv2",
        "create_listener",
        LoadBalancerArn=balancer,
        **inputs.tagged("Tags"),
        **_listening(inputs),
    )["Listeners"]
    itself = ask.by_aws("Elastic Load Balancing itself refuses a second one of a port")
    there = itself.call("elbv2", "describe_listeners", LoadBalancerArn=balancer)["Listeners"]
    if sum(each["Port"] == made["Port"] for each in there) > 1:
        # moto makes another.
        # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateListener.html
        itself.call("elbv2", "delete_listener", ListenerArn=made["ListenerArn"])
        msg = f"DuplicateListener: A listener already exists on port {made['Port']} for {balancer}"
        raise RealiseError(msg)
    return ask.done(made["ListenerArn"], arn=made["ListenerArn"])


def _listening(inputs: Inputs) -> dict[str, Any]:
    """What creation and change of a listener have in common."""
    parameters: dict[str, Any] = inputs.renamed(_LISTENER)
    if inputs.has("certificateArn"):
        parameters["Certificates"] = [{"CertificateArn": inputs.text("certificateArn")}]
    return {**parameters, "DefaultActions": [_action(each) for each in inputs.blocks("defaultActions")]}


def _read_listener(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    answer = ask.find("elbv2", "describe_listeners", *_NO_LISTENER, ListenerArns=[id_])
    if answer is None:
        return None
    (found,) = answer["Listeners"]
    actions = [_told_action(each) for each in found["DefaultActions"]]
    certificate = next((each["CertificateArn"] for each in found.get("Certificates", [])), None)
    there = {
        "arn": id_,
        "loadBalancerArn": found["LoadBalancerArn"],
        **ours(found, _LISTENER),
        "certificateArn": certificate,
        "defaultActions": kept(actions, ask.request.inputs.get("defaultActions"), _ACTION_DEFAULTS),
        "tags": _arn_tags(ask, id_),
    }
    if found["Protocol"] not in {"HTTPS", "TLS"}:
        # moto gives every listener a policy.
        there.pop("sslPolicy", None)
    return told(ask, there, sslPolicy="ELBSecurityPolicy-2016-08")


def _update_listener(ask: Ask, id_: str) -> Created:
    if ask.changed(*_LISTENER, "certificateArn", "defaultActions"):
        ask.call("elbv2", "modify_listener", ListenerArn=id_, **_listening(ask.inputs))
    _tag(ask, id_)
    return ask.done(id_, arn=id_)


def _delete_listener(ask: Ask, id_: str) -> None:
    ask.find("elbv2", "delete_listener", *_NO_LISTENER, ListenerArn=id_)


def _listener_rule(ask: Ask) -> Created:
    inputs = ask.inputs
    (made,) = ask.call(
        "elbv2",
        "create_rule",
        **_ruling(inputs),
        **inputs.tagged("Tags"),
        **inputs.renamed({"listenerArn": "ListenerArn", "priority": "Priority"}),
    )["Rules"]
    return ask.done(made["RuleArn"], arn=made["RuleArn"])


def _ruling(inputs: Inputs) -> dict[str, Any]:
    return {
        "Conditions": [condition for each in inputs.blocks("conditions") for condition in _conditions(each)],
        "Actions": [_action(each) for each in inputs.blocks("actions")],
    }


_NO_RULE: Final = ("RuleNotFound", *_NO_LISTENER)


def _standing_rule(ask: Ask, id_: str) -> dict[str, Any] | None:
    answer = ask.find("elbv2", "describe_rules", *_NO_RULE, RuleArns=[id_])
    return answer and answer["Rules"][0]


def _read_listener_rule(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = _standing_rule(ask, id_)
    if found is None:
        return None
    declared = ask.request.inputs
    conditions = [
        {kind: {"values": each[configuration]["Values"]}}
        for each in found["Conditions"]
        for kind, (field, configuration) in _KINDS.items()
        if each["Field"] == field
    ]
    actions = [_told_action(each) for each in found["Actions"]]
    there = {
        "arn": id_,
        # The listener's name is in the rule's.
        "listenerArn": id_.replace(":listener-rule/", ":listener/").rpartition("/")[0],
        "priority": int(found["Priority"]),
        "conditions": kept(conditions, declared.get("conditions")),
        "actions": kept(actions, declared.get("actions"), _ACTION_DEFAULTS),
        "tags": _arn_tags(ask, id_),
    }
    return told(ask, there)


def _update_listener_rule(ask: Ask, id_: str) -> Created:
    if ask.changed("priority"):
        priorities = [{"RuleArn": id_, "Priority": ask.inputs.number("priority")}]
        ask.call("elbv2", "set_rule_priorities", RulePriorities=priorities)
    if ask.changed("conditions", "actions"):
        ask.call("elbv2", "modify_rule", RuleArn=id_, **_ruling(ask.inputs))
    _tag(ask, id_)
    return ask.done(id_, arn=id_)


def _delete_listener_rule(ask: Ask, id_: str) -> None:
    ask.find("elbv2", "delete_rule", *_NO_RULE, RuleArn=id_)


_KINDS: Final = {
    "hostHeader": ("host-header", "HostHeaderConfig"),
    "httpRequestMethod": ("http-request-method", "HttpRequestMethodConfig"),
    "pathPattern": ("path-pattern", "PathPatternConfig"),
}


def _conditions(condition: Inputs) -> list[dict[str, Any]]:
    return [
        {"Field": field, configuration: {"Values": condition.block(kind).texts("values")}}
        for kind, (field, configuration) in _KINDS.items()
        if condition.has(kind)
    ]


_REDIRECT: Final = {
    "host": "Host",
    "path": "Path",
    "port": "Port",
    "protocol": "Protocol",
    "query": "Query",
    "statusCode": "StatusCode",
}
_RESPONSE: Final = {"contentType": "ContentType", "messageBody": "MessageBody", "statusCode": "StatusCode"}
_GROUP: Final = {"arn": "TargetGroupArn", "weight": "Weight"}
_STAY: Final = {"enabled": "Enabled", "duration": "DurationSeconds"}
# https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RedirectActionConfig.html
_ACTION_DEFAULTS: Final = {
    "order": 1,
    "redirect": {
        "host": "#{host}",
        "path": "/#{path}",
        "port": "#{port}",
        "protocol": "#{protocol}",
        "query": "#{query}",
    },
    "forward": {"stickiness": {"enabled": False}},
}


def _action(action: Inputs) -> dict[str, Any]:
    made: dict[str, Any] = {"Type": action.needed("type"), **action.renamed({"order": "Order"})}
    if action.has("targetGroupArn"):
        made["TargetGroupArn"] = action.text("targetGroupArn")
    if action.has("redirect"):
        made["RedirectConfig"] = action.block("redirect").renamed(_REDIRECT)
    if action.has("fixedResponse"):
        made["FixedResponseConfig"] = action.block("fixedResponse").renamed(_RESPONSE)
    if action.has("forward"):
        made["ForwardConfig"] = _forward(action.block("forward"))
    return made


def _forward(forward: Inputs) -> dict[str, Any]:
    groups = forward.blocks("targetGroups")
    config: dict[str, Any] = {"TargetGroups": [each.renamed(_GROUP) for each in groups]}
    if forward.has("stickiness"):
        config["TargetGroupStickinessConfig"] = forward.block("stickiness").renamed(_STAY)
    return config


def _told_action(found: Mapping[str, Any]) -> dict[str, Any]:
    """`_action` the other way round."""
    there: dict[str, Any] = {
        **ours(found, {"type": "Type", "order": "Order", "targetGroupArn": "TargetGroupArn"}),
        "redirect": ours(found.get("RedirectConfig", {}), _REDIRECT),
        "fixedResponse": ours(found.get("FixedResponseConfig", {}), _RESPONSE),
    }
    if "ForwardConfig" in found:
        groups = [ours(each, _GROUP) for each in found["ForwardConfig"]["TargetGroups"]]
        there["forward"] = {
            "targetGroups": groups,
            "stickiness": ours(found["ForwardConfig"].get("TargetGroupStickinessConfig", {}), _STAY),
        }
    return {key: value for key, value in there.items() if value != {}}


def _attributes(attributes: dict[str, Any]) -> list[dict[str, str]]:
    return [
        {"Key": key, "Value": str(value).lower() if isinstance(value, bool) else str(value)} for key, value in attributes.items()
    ]


# What is under `replaces` is in no Modify… or Set… of the load balancer's API, and in nothing but tags of a certificate's.
# https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_Operations.html
# https://docs.aws.amazon.com/acm/latest/APIReference/API_Operations.html
ROWS: Final[Rows] = {
    "aws:acm/certificate:Certificate": Row(
        create=_certificate,
        read=_read_certificate,
        update=_update_certificate,
        delete=_delete_certificate,
        replaces=frozenset({"domainName", "subjectAlternativeNames", "validationMethod"}),
    ),
    # A wait for other records, or for another certificate, is another wait.
    "aws:acm/certificateValidation:CertificateValidation": Row(
        create=_certificate_validation, read=_read_certificate_validation, delete=_delete_certificate_validation
    ),
    "aws:lb/listener:Listener": Row(
        create=_listener,
        read=_read_listener,
        update=_update_listener,
        delete=_delete_listener,
        replaces=frozenset({"loadBalancerArn"}),
    ),
    "aws:lb/listenerRule:ListenerRule": Row(
        create=_listener_rule,
        read=_read_listener_rule,
        update=_update_listener_rule,
        delete=_delete_listener_rule,
        replaces=frozenset({"listenerArn"}),
    ),
    "aws:lb/loadBalancer:LoadBalancer": Row(
        create=_load_balancer,
        read=_read_load_balancer,
        update=_update_load_balancer,
        delete=_delete_load_balancer,
        replaces=frozenset({"internal", "loadBalancerType", "name"}),
    ),
    "aws:lb/targetGroup:TargetGroup": Row(
        create=_target_group,
        read=_read_target_group,
        update=_update_target_group,
        delete=_delete_target_group,
        replaces=frozenset({"name", *_TARGET_GROUP}),
    ),
    # What Route53 knows a record by: https://docs.aws.amazon.com/Route53/latest/APIReference/API_Change.html
    "aws:route53/record:Record": Row(
        create=_record,
        read=_read_record,
        update=_update_record,
        delete=_delete_record,
        replaces=frozenset({"name", "type", "zoneId"}),
    ),
}
