"""EKS: clusters that really run, nodes that are said to, and who may do what in them.

moto keeps clusters and node groups, and so judges names and duplicates. It serves none of the other calls: these are held to
AWS's service model, refused where AWS's documentation says so, and kept in the lab (`rehearsal.lab.clusters.Record`).
https://docs.aws.amazon.com/eks/latest/APIReference/
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

from rehearsal.cloud import shapes
from rehearsal.cloud.declared import reduced
from rehearsal.cloud.emulators import MOTO
from rehearsal.cloud.row import Ask, Inputs, RealiseError, Row, Rows, tag_list
from rehearsal.lab.clusters import LabCluster
from rehearsal.program import Created
from rehearsal.registry.policy import PolicyError, Service, judge
from rehearsal.registry.policy import Request as Act

_GONE: Final = "ResourceNotFoundException"
# Add-ons of AWS and of the community, as far as this platform may want them.
# https://docs.aws.amazon.com/eks/latest/userguide/workloads-add-ons-available-eks.html and
# https://docs.aws.amazon.com/eks/latest/userguide/community-addons.html
ADDONS: Final = frozenset(
    {
        "adot",
        "amazon-cloudwatch-observability",
        "aws-ebs-csi-driver",
        "aws-efs-csi-driver",
        "aws-guardduty-agent",
        "aws-mountpoint-s3-csi-driver",
        "aws-network-flow-monitoring-agent",
        "cert-manager",
        "coredns",
        "eks-node-monitoring-agent",
        "eks-pod-identity-agent",
        "external-dns",
        "fluent-bit",
        "kube-proxy",
        "kube-state-metrics",
        "metrics-server",
        "prometheus-node-exporter",
        "snapshot-controller",
        "vpc-cni",
    }
)
# https://docs.aws.amazon.com/eks/latest/userguide/access-policy-permissions.html
ACCESS_POLICIES: Final = frozenset(
    {
        "AmazonEKSAdminPolicy",
        "AmazonEKSAdminViewPolicy",
        "AmazonEKSAutoNodePolicy",
        "AmazonEKSClusterAdminPolicy",
        "AmazonEKSEditPolicy",
        "AmazonEKSSecretReaderPolicy",
        "AmazonEKSViewPolicy",
    }
)
_POLICY_ARN: Final = "arn:aws:eks::aws:cluster-access-policy/"
# One of these, or a node never joins. https://docs.aws.amazon.com/eks/latest/userguide/create-node-role.html
_NODE_POLICIES: Final = ("AmazonEKSWorkerNodePolicy", "AmazonEKSWorkerNodeMinimalPolicy")
# Whether entries count, and the one way from mode to mode.
# https://docs.aws.amazon.com/eks/latest/userguide/setting-up-access-entries.html
_MODES: Final = ("CONFIG_MAP", "API_AND_CONFIG_MAP", "API")
_LOG_TYPES: Final = ("api", "audit", "authenticator", "controllerManager", "scheduler")
# https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateNodegroup.html
_GROUP_NAME: Final = 63
_ARCHITECTURES: Final[Mapping[str, str]] = {"ARM_64": "arm64", "x86_64": "amd64"}


# Clusters


def _cluster(ask: Ask) -> Created:
    inputs = ask.inputs
    name, role = inputs.needed("name"), inputs.needed("roleArn")
    arn = ask.arn("eks", f"cluster/{name}")
    vpc, access = inputs.block("vpcConfig"), inputs.block("accessConfig")
    network = vpc.same("subnetIds", "securityGroupIds", "endpointPrivateAccess", "endpointPublicAccess", "publicAccessCidrs")
    settings = {
        "accessConfig": access.same("authenticationMode", "bootstrapClusterCreatorAdminPermissions"),
        "deletionProtection": inputs.flag("deletionProtection"),
    }
    asked: dict[str, Any] = {
        "name": name,
        "roleArn": role,
        "resourcesVpcConfig": network,
        **inputs.same("version"),
        **_logging(inputs),
        **({"tags": inputs.tags()} if inputs.has("tags") else {}),
    }
    _would(ask, "CreateCluster", **asked, **settings)
    _let_in(ask, role, "eks.amazonaws.com", ("sts:AssumeRole",), arn)
    vpc_id = _vpc_of(ask, network["subnetIds"])
    # moto drops the settings, which are kept in the lab.
    ask.call("eks", "create_cluster", emulator=MOTO, **asked)
    group = ""
    try:
        group = _security_group(ask, name, vpc_id)
        running = ask.clusters.start(name, ask.place, inputs.text("version"))
    except BaseException:
        itself = ask.by_aws("EKS itself leaves nothing of a cluster that it did not make")
        itself.call("eks", "delete_cluster", emulator=MOTO, name=name)
        if group:
            itself.call("ec2", "delete_security_group", GroupId=group)
        raise
    running.record.settings.update(settings, clusterSecurityGroupId=group, vpcId=vpc_id)
    return Created(id=name, outputs={**ask.request.inputs, **_cluster_now(ask, running)})


def _security_group(ask: Ask, name: str, vpc_id: str) -> str:
    """The group that EKS makes, the only one that carries the cluster's tag.

    https://docs.aws.amazon.com/eks/latest/userguide/sec-group-reqs.html
    """
    # AWS's own tag `aws:eks:cluster-name` cannot be set through its API.
    label = f"eks-cluster-sg-{name}-{secrets.token_hex(4)}"
    made = ask.by_aws("EKS itself makes the group").call(
        "ec2",
        "create_security_group",
        GroupName=label,
        Description="EKS created security group applied to ENI that is attached to EKS Control Plane master nodes",
        VpcId=vpc_id,
        TagSpecifications=[
            {"ResourceType": "security-group", "Tags": tag_list({"Name": label, f"kubernetes.io/cluster/{name}": "owned"})}
        ],
    )
    return str(made["GroupId"])


def _vpc_of(ask: Ask, subnets: Sequence[str]) -> str:
    there = ask.call("ec2", "describe_subnets", SubnetIds=list(subnets))["Subnets"]
    if len({each["AvailabilityZone"] for each in there}) < 2:  # noqa: PLR2004 — AWS's own number
        msg = f"Subnets specified must be in at least two different AZs: {', '.join(subnets)} are not"
        raise RealiseError(msg)
    vpcs = sorted({str(each["VpcId"]) for each in there})
    if len(vpcs) != 1:
        msg = f"Subnets specified must be in one VPC: they are in {', '.join(vpcs)}"
        raise RealiseError(msg)
    return vpcs[0]


def _logging(inputs: Inputs) -> dict[str, Any]:
    if not inputs.has("enabledClusterLogTypes"):
        return {}
    enabled = inputs.texts("enabledClusterLogTypes")
    rest = [each for each in _LOG_TYPES if each not in enabled]
    setups = [{"types": types, "enabled": on} for types, on in ((enabled, True), (rest, False)) if types]
    return {"logging": {"clusterLogging": setups}}


def _cluster_now(ask: Ask, running: LabCluster) -> dict[str, Any]:
    """A cluster's properties, in Pulumi's names."""
    there = ask.call("eks", "describe_cluster", emulator=MOTO, name=running.name)["cluster"]
    settings, issuer = running.record.settings, str(there["identity"]["oidc"]["issuer"])
    (reached,) = running.control_plane.kubeconfig["clusters"]
    authority = {"data": reached["cluster"]["certificate-authority-data"]}
    network = {
        key: value
        for key, value in there["resourcesVpcConfig"].items()
        if key in {"subnetIds", "securityGroupIds", "endpointPrivateAccess", "endpointPublicAccess", "publicAccessCidrs"}
    }
    logs = [kind for each in there.get("logging", {}).get("clusterLogging", []) if each["enabled"] for kind in each["types"]]
    return {
        "name": running.name,
        "arn": there["arn"],
        "roleArn": there["roleArn"],
        "version": settings["version"] or there["version"],
        "vpcConfig": {
            **network,
            "clusterSecurityGroupId": settings["clusterSecurityGroupId"],
            "vpcId": settings["vpcId"],
        },
        "accessConfig": settings["accessConfig"],
        "deletionProtection": settings["deletionProtection"],
        **({"enabledClusterLogTypes": logs} if logs else {}),
        **({"tags": there["tags"]} if there.get("tags") else {}),
        "endpoint": running.server,
        "certificateAuthority": authority,
        "certificateAuthorities": [authority],
        "identities": [{"oidcs": [{"issuer": issuer}]}],
        "platformVersion": there["platformVersion"],
        "status": there["status"],
        "createdAt": str(there["createdAt"]),
    }


def _read_cluster(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    there = ask.find("eks", "describe_cluster", _GONE, emulator=MOTO, name=id_)
    running = ask.clusters.find(id_)
    if there is None or running is None:
        return None
    return _seen(ask, _cluster_now(ask, running))


def _update_cluster(ask: Ask, id_: str) -> Created:
    inputs, running = ask.inputs, _running(ask, id_)
    settings = running.record.settings
    if ask.changed("version"):
        _upgrade(ask, running, inputs.text("version"))
    if ask.changed("vpcConfig"):
        network = inputs.block("vpcConfig").same(
            "subnetIds", "securityGroupIds", "endpointPrivateAccess", "endpointPublicAccess", "publicAccessCidrs"
        )
        _vpc_of(ask, network["subnetIds"])
        # Whole: moto keeps what was said last, and nothing of before.
        ask.call("eks", "update_cluster_config", emulator=MOTO, name=id_, resourcesVpcConfig=network)
    if ask.changed("enabledClusterLogTypes"):
        logs = _logging(inputs) or {"logging": {"clusterLogging": [{"types": list(_LOG_TYPES), "enabled": False}]}}
        ask.call("eks", "update_cluster_config", emulator=MOTO, name=id_, **logs)
    if ask.changed("accessConfig"):
        access = inputs.block("accessConfig").same("authenticationMode", "bootstrapClusterCreatorAdminPermissions")
        _would(ask, "UpdateClusterConfig", name=id_, accessConfig={"authenticationMode": access["authenticationMode"]})
        before, after = (each.get("authenticationMode", _MODES[0]) for each in (settings["accessConfig"], access))
        if _MODES.index(after) < _MODES.index(before):
            msg = f"Unsupported authentication mode update from {before} to {after}: there is no way back"
            raise RealiseError(msg)
        settings["accessConfig"] = access
    if ask.changed("deletionProtection"):
        protection = inputs.flag("deletionProtection")
        _would(ask, "UpdateClusterConfig", name=id_, deletionProtection=protection)
        settings["deletionProtection"] = protection
    if ask.changed("tags"):
        _retag(ask, id_)
    return Created(id=id_, outputs={**ask.request.inputs, **_cluster_now(ask, running)})


def _upgrade(ask: Ask, running: LabCluster, version: str) -> None:
    """One minor version up, as EKS wants it: https://docs.aws.amazon.com/eks/latest/userguide/update-cluster.html."""
    _would(ask, "UpdateClusterVersion", name=running.name, version=version)
    before = str(running.record.settings["version"])
    if int(version.partition(".")[2]) != int(before.partition(".")[2]) + 1:
        msg = f"Unsupported Kubernetes minor version update from {before} to {version}: one at a time, and never back"
        raise RealiseError(msg)
    running.record.settings["version"] = version


def _retag(ask: Ask, name: str) -> None:
    arn, now = ask.arn("eks", f"cluster/{name}"), ask.inputs.tags()
    gone = _lost(ask, "tags", now)
    if gone:
        ask.call("eks", "untag_resource", emulator=MOTO, resourceArn=arn, tagKeys=gone)
    if now:
        ask.call("eks", "tag_resource", emulator=MOTO, resourceArn=arn, tags=now)


def _lost(ask: Ask, key: str, now: Mapping[str, str]) -> list[str]:
    """Keys of a map that are declared no more."""
    before = cast("Mapping[str, str]", ask.old.get(key) or {})
    return sorted(each for each in before if each not in now)


def _delete_cluster(ask: Ask, id_: str) -> None:
    running = ask.clusters.find(id_)
    if running is not None and running.record.settings.get("deletionProtection"):
        msg = f"InvalidRequestException: deletion protection is on for cluster {id_}: switch deletionProtection off first"
        raise RealiseError(msg)
    # Refuses while there are node groups.
    ask.find("eks", "delete_cluster", _GONE, emulator=MOTO, name=id_)
    if running is None:
        return
    ask.clusters.stop(id_)
    # EKS lets it lie where something refers to it, and then the VPC cannot go.
    ask.by_aws("EKS itself deletes its group").find(
        "ec2",
        "delete_security_group",
        "InvalidGroup.NotFound",
        "DependencyViolation",
        GroupId=str(running.record.settings["clusterSecurityGroupId"]),
    )


# Nodes


def _node_group(ask: Ask) -> Created:
    inputs = ask.inputs
    running, role = _named(ask), inputs.needed("nodeRoleArn")
    prefix = inputs.text("nodeGroupNamePrefix")
    name = inputs.text("nodeGroupName") or f"{prefix}{datetime.now(UTC):%Y%m%d%H%M%S%f}{secrets.randbelow(10**6):06}"
    if len(name) > _GROUP_NAME:
        msg = f"the node group's name {name} has {len(name)} characters: {_GROUP_NAME} are allowed; shorten the prefix"
        raise RealiseError(msg)
    # EC2 names no source when it takes the role on.
    _let_in(ask, role, "ec2.amazonaws.com", ("sts:AssumeRole",), "")
    _can_join(ask, role)
    scaling = _scaling(inputs.block("scalingConfig"))
    template = inputs.block("launchTemplate").same("id", "name", "version")
    if template:
        _has_template(ask, template)
    dropped: dict[str, Any] = {}
    if inputs.has("updateConfig"):
        dropped["updateConfig"] = inputs.block("updateConfig").same("maxUnavailable", "maxUnavailablePercentage")
    asked: dict[str, Any] = {
        "clusterName": running.name,
        "nodegroupName": name,
        "nodeRole": role,
        "scalingConfig": scaling,
        "subnets": inputs.texts("subnetIds"),
        **inputs.same("amiType", "capacityType", "diskSize", "instanceTypes", "labels", "version", "releaseVersion", "tags"),
        **({"launchTemplate": template} if template else {}),
    }
    ask.call("ec2", "describe_subnets", SubnetIds=asked["subnets"])
    _would(ask, "CreateNodegroup", **asked, **dropped)
    ask.call("eks", "create_nodegroup", emulator=MOTO, **asked)
    running.record.groups[name] = dropped
    running.scale(name, scaling["desiredSize"], labels=_node_labels(asked))
    return ask.done(f"{running.name}:{name}", **_group_outputs(_group_there(ask, running.name, name) or {}))


def _can_join(ask: Ask, role: str) -> None:
    itself = ask.by_aws("the nodes themselves cannot join")
    attached = itself.call("iam", "list_attached_role_policies", RoleName=role.rsplit("/", 1)[-1])["AttachedPolicies"]
    if not any(each["PolicyName"] in _NODE_POLICIES for each in attached):
        msg = (
            f"NodeCreationFailure: Instances failed to join the kubernetes cluster: {role} has none of "
            f"{', '.join(_NODE_POLICIES)} yet; attach one before the node group is made (depends_on)"
        )
        raise RealiseError(msg)


def _has_template(ask: Ask, template: Mapping[str, Any]) -> None:
    asked: dict[str, Any] = {
        theirs: template[ours]
        for ours, theirs in (("id", "LaunchTemplateId"), ("name", "LaunchTemplateName"))
        if ours in template
    }
    if "version" in template:
        asked["Versions"] = [str(template["version"])]
    if not ask.call("ec2", "describe_launch_template_versions", **asked)["LaunchTemplateVersions"]:
        msg = f"launch template {template} does not exist"
        raise RealiseError(msg)


def _scaling(block: Inputs) -> dict[str, int]:
    scaling = {key: block.number(key) for key in ("minSize", "maxSize", "desiredSize")}
    if not scaling["minSize"] <= scaling["desiredSize"] <= scaling["maxSize"]:
        msg = (
            "InvalidParameterException: desiredSize must lie between minSize and maxSize: scalingConfig is "
            f"{', '.join(f'{key} {value}' for key, value in scaling.items())}"
        )
        raise RealiseError(msg)
    return scaling


def _node_labels(asked: Mapping[str, Any]) -> dict[str, str]:
    kind = str(asked.get("amiType", ""))
    architecture = next((name for part, name in _ARCHITECTURES.items() if part in kind), "amd64")
    return {"kubernetes.io/arch": architecture, **{str(key): str(value) for key, value in asked.get("labels", {}).items()}}


def _group_there(ask: Ask, cluster: str, name: str) -> dict[str, Any] | None:
    found = ask.find("eks", "describe_nodegroup", _GONE, emulator=MOTO, clusterName=cluster, nodegroupName=name)
    return None if found is None else cast("dict[str, Any]", found["nodegroup"])


def _group_outputs(there: Mapping[str, Any]) -> dict[str, Any]:
    groups = [{"name": each["name"]} for each in there["resources"]["autoScalingGroups"]]
    return {
        "arn": there["nodegroupArn"],
        "nodeGroupName": there["nodegroupName"],
        "status": there["status"],
        "resources": [{"autoscalingGroups": groups}],
    }


def _read_node_group(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    cluster, _, name = id_.partition(":")
    there, running = _group_there(ask, cluster, name), ask.clusters.find(cluster)
    if there is None or running is None:
        return None
    template = {key: value for key, value in there.get("launchTemplate", {}).items() if value}
    now = {
        "clusterName": cluster,
        "nodeRoleArn": there["nodeRole"],
        "subnetIds": there["subnets"],
        "scalingConfig": there["scalingConfig"],
        "amiType": there["amiType"],
        "capacityType": there["capacityType"],
        "instanceTypes": there["instanceTypes"],
        **({"labels": there["labels"]} if there.get("labels") else {}),
        **({"tags": there["tags"]} if there.get("tags") else {}),
        **({"launchTemplate": template} if template else {"diskSize": there["diskSize"]}),
        **running.record.groups.get(name, {}),
        **_group_outputs(there),
    }
    prefix = str(ask.request.inputs.get("nodeGroupNamePrefix") or "")
    if prefix and name.startswith(prefix):
        now["nodeGroupNamePrefix"] = prefix
    return _seen(ask, now)


def _update_node_group(ask: Ask, id_: str) -> Created:
    inputs, (cluster, _, name) = ask.inputs, id_.partition(":")
    running = _running(ask, cluster)
    there = _group_there(ask, cluster, name)
    if there is None:
        msg = f"node group {name} of {cluster} does not exist"
        raise RealiseError(msg)
    kept = running.record.groups.setdefault(name, {})
    which = {"clusterName": cluster, "nodegroupName": name}
    scaling = _scaling(inputs.block("scalingConfig"))
    if ask.changed("labels"):
        labels = cast("dict[str, str]", inputs.any("labels", {}))
        gone = _lost(ask, "labels", labels)
        change: dict[str, Any] = {**({"addOrUpdateLabels": labels} if labels else {}), **({"removeLabels": gone} if gone else {})}
        ask.call("eks", "update_nodegroup_config", emulator=MOTO, **which, labels=change)
    if ask.changed("scalingConfig"):
        ask.call("eks", "update_nodegroup_config", emulator=MOTO, **which, scalingConfig=scaling)
        running.scale(name, scaling["desiredSize"], labels=_node_labels(there))
    if ask.changed("updateConfig"):
        update = inputs.block("updateConfig").same("maxUnavailable", "maxUnavailablePercentage")
        ask.call("eks", "update_nodegroup_config", emulator=MOTO, **which, updateConfig=update)
        kept["updateConfig"] = update
    if ask.changed("launchTemplate"):
        template = inputs.block("launchTemplate").same("id", "name", "version")
        _would(ask, "UpdateNodegroupVersion", **which, launchTemplate=template)
        _has_template(ask, template)
        # Nodes are replaced one after the other; KWOK's have nothing that a template could change.
        kept["launchTemplate"] = template
    for key in ("version", "releaseVersion"):
        if ask.changed(key) and inputs.has(key):
            _would(ask, "UpdateNodegroupVersion", **which, **{key: inputs.text(key)})
            kept[key] = inputs.text(key)
    return ask.done(id_, **_group_outputs(there))


def _delete_node_group(ask: Ask, id_: str) -> None:
    cluster, _, name = id_.partition(":")
    if _group_there(ask, cluster, name) is None:
        return
    running = ask.clusters.find(cluster)
    if running is not None:
        running.scale(name, 0, labels={})
        running.record.groups.pop(name, None)
    ask.call("eks", "delete_nodegroup", emulator=MOTO, clusterName=cluster, nodegroupName=name)


# Add-ons


def _addon(ask: Ask) -> Created:
    running, name = _named(ask), ask.inputs.needed("addonName")
    asked = _addon_asked(ask, "resolveConflictsOnCreate")
    _would(ask, "CreateAddon", clusterName=running.name, addonName=name, **asked, **ask.inputs.same("tags"))
    if name not in ADDONS:
        msg = f"InvalidParameterException: Addon {name} specified is not supported: known are {', '.join(sorted(ADDONS))}"
        raise RealiseError(msg)
    with running.record.lock:
        if name in running.record.addons:
            msg = f"ResourceInUseException: Addon already exists: {name} in {running.name}"
            raise RealiseError(msg)
        running.record.addons[name] = _addon_kept(ask)
    running.addon_came(name)
    return ask.done(f"{running.name}:{name}", arn=ask.arn("eks", f"addon/{running.name}/{name}"))


def _addon_asked(ask: Ask, conflicts: str) -> dict[str, Any]:
    """An add-on as the API wants it; each call has its own word for conflicts."""
    inputs = ask.inputs
    for other in ("resolveConflictsOnCreate", "resolveConflictsOnUpdate"):
        inputs.any(other)
    # Counts when it is deleted: a record has nothing to keep in the cluster.
    inputs.leave("preserve", "add-ons are recorded only, so that none can be kept in the cluster")
    if inputs.has("configurationValues"):
        _is_object(inputs.text("configurationValues"))
    return {
        **inputs.same("addonVersion", "configurationValues"),
        **inputs.renamed({conflicts: "resolveConflicts", "serviceAccountRoleArn": "serviceAccountRoleArn"}),
    }


def _is_object(text: str) -> None:
    """AWS takes YAML too; pulumi_eks and this program write JSON."""
    try:
        read = json.loads(text)
    except ValueError as error:
        msg = f"InvalidParameterException: ConfigurationValue provided in request is not supported: {text!r} is no JSON: {error}"
        raise RealiseError(msg) from error
    if not isinstance(read, dict):
        msg = f"InvalidParameterException: ConfigurationValue provided in request is not supported: {text!r} is no object"
        raise RealiseError(msg)


def _addon_kept(ask: Ask) -> dict[str, Any]:
    kept = ("addonVersion", "configurationValues", "serviceAccountRoleArn", "tags")
    return {key: ask.request.inputs[key] for key in kept if ask.inputs.has(key)}


def _read_addon(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    cluster, _, name = id_.partition(":")
    running = ask.clusters.find(cluster)
    if running is None or name not in running.record.addons:
        return None
    # How conflicts are resolved is a word to each call, and `preserve` to the deletion: EKS keeps neither.
    now = {"clusterName": cluster, "addonName": name, "arn": ask.arn("eks", f"addon/{cluster}/{name}")}
    return _seen(ask, {**now, **running.record.addons[name]})


def _update_addon(ask: Ask, id_: str) -> Created:
    cluster, _, name = id_.partition(":")
    running = _running(ask, cluster)
    asked = _addon_asked(ask, "resolveConflictsOnUpdate")
    _would(ask, "UpdateAddon", clusterName=cluster, addonName=name, **asked)
    running.record.addons[name] = _addon_kept(ask)
    return ask.done(id_, arn=ask.arn("eks", f"addon/{cluster}/{name}"))


def _delete_addon(ask: Ask, id_: str) -> None:
    cluster, _, name = id_.partition(":")
    running = ask.clusters.find(cluster)
    if running is not None:
        running.record.addons.pop(name, None)
        running.addon_went(name)


# Access of people and roles


def _entry(ask: Ask) -> Created:
    inputs = ask.inputs
    running, principal = _named(ask), inputs.needed("principalArn")
    asked = _entry_asked(ask)
    kind = inputs.same("type", "tags")
    _would(ask, "CreateAccessEntry", clusterName=running.name, principalArn=principal, **asked, **kind)
    mode = running.record.settings["accessConfig"].get("authenticationMode", _MODES[0])
    if mode == _MODES[0]:
        msg = (
            "InvalidRequestException: The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to "
            f"perform this operation: {running.name} has {mode}"
        )
        raise RealiseError(msg)
    with running.record.lock:
        if principal in running.record.entries:
            msg = f"ResourceInUseException: The specified access entry resource is already in use on this cluster: {principal}"
            raise RealiseError(msg)
        running.record.entries[principal] = {"type": "STANDARD", **_entry_kept(ask)}
    return ask.done(f"{running.name}:{principal}", **_entry_outputs(ask, running, principal))


def _entry_asked(ask: Ask) -> dict[str, Any]:
    groups = ask.inputs.texts("kubernetesGroups")
    # https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateAccessEntry.html
    wrong = [each for each in groups if each.startswith("system:")]
    if wrong:
        msg = f"InvalidParameterException: The kubernetes group name {wrong[0]} is invalid, it cannot start with system:"
        raise RealiseError(msg)
    return ask.inputs.renamed({"kubernetesGroups": "kubernetesGroups", "userName": "username"})


def _entry_kept(ask: Ask) -> dict[str, Any]:
    return {key: ask.request.inputs[key] for key in ("kubernetesGroups", "type", "userName", "tags") if ask.inputs.has(key)}


def _entry_outputs(ask: Ask, running: LabCluster, principal: str) -> dict[str, Any]:
    entry = running.record.entries[principal]
    name = principal.rsplit("/", 1)[-1]
    return {
        "accessEntryArn": ask.arn("eks", f"access-entry/{running.name}/role/{principal.split(':')[4]}/{name}"),
        "type": entry["type"],
        # What EKS calls a role's sessions: https://docs.aws.amazon.com/eks/latest/userguide/creating-access-entries.html
        "userName": entry.get("userName", f"arn:aws:sts::{principal.split(':')[4]}:assumed-role/{name}/{{{{SessionName}}}}"),
    }


def _read_entry(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    cluster, _, principal = id_.partition(":")
    running = ask.clusters.find(cluster)
    if running is None or principal not in running.record.entries:
        return None
    now = {"clusterName": cluster, "principalArn": principal, **running.record.entries[principal]}
    outputs = {} if not ask.request.inputs else _entry_outputs(ask, running, principal)
    return _seen(ask, {**now, **outputs})


def _update_entry(ask: Ask, id_: str) -> Created:
    cluster, _, principal = id_.partition(":")
    running = _running(ask, cluster)
    _would(ask, "UpdateAccessEntry", clusterName=cluster, principalArn=principal, **_entry_asked(ask))
    running.record.entries[principal] = {"type": running.record.entries[principal]["type"], **_entry_kept(ask)}
    return ask.done(id_, **_entry_outputs(ask, running, principal))


def _delete_entry(ask: Ask, id_: str) -> None:
    cluster, _, principal = id_.partition(":")
    running = ask.clusters.find(cluster)
    if running is not None:
        with running.record.lock:
            running.record.entries.pop(principal, None)
            # They go with their entry.
            for key in [each for each in running.record.policies if each[0] == principal]:
                del running.record.policies[key]


def _access_policy(ask: Ask) -> Created:
    inputs = ask.inputs
    running, principal, policy = _named(ask), inputs.needed("principalArn"), inputs.needed("policyArn")
    scope = inputs.block("accessScope").same("type", "namespaces")
    _would(ask, "AssociateAccessPolicy", clusterName=running.name, principalArn=principal, policyArn=policy, accessScope=scope)
    if not policy.startswith(_POLICY_ARN) or policy.removeprefix(_POLICY_ARN) not in ACCESS_POLICIES:
        known = ", ".join(sorted(ACCESS_POLICIES))
        msg = (
            f"InvalidParameterException: The policyArn parameter format is not valid: {policy} is not {_POLICY_ARN} with one of "
            f"{known}"
        )
        raise RealiseError(msg)
    with running.record.lock:
        if principal not in running.record.entries:
            msg = (
                f"{_GONE}: The specified principalArn could not be found: {principal} has no access entry in {running.name}; "
                "make it first (depends_on)"
            )
            raise RealiseError(msg)
        # Doing it twice is no error to AWS: the later scope counts.
        running.record.policies[principal, policy] = {"accessScope": scope}
    return ask.done(f"{running.name}#{principal}#{policy}")


def _read_access_policy(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    cluster, principal, policy = id_.split("#")
    running = ask.clusters.find(cluster)
    if running is None or (principal, policy) not in running.record.policies:
        return None
    now = {"clusterName": cluster, "principalArn": principal, "policyArn": policy}
    return _seen(ask, {**now, **running.record.policies[principal, policy]})


def _delete_access_policy(ask: Ask, id_: str) -> None:
    cluster, principal, policy = id_.split("#")
    running = ask.clusters.find(cluster)
    if running is not None:
        running.record.policies.pop((principal, policy), None)


# Identities of pods


def _pod_identity(ask: Ask) -> Created:
    inputs = ask.inputs
    running, role = _named(ask), inputs.needed("roleArn")
    whose = {"namespace": inputs.needed("namespace"), "serviceAccount": inputs.needed("serviceAccount")}
    _would(ask, "CreatePodIdentityAssociation", clusterName=running.name, roleArn=role, **whose, **inputs.same("tags"))
    _let_pods_in(ask, role, running.name)
    id_ = f"a-{secrets.token_hex(9)[:17]}"
    with running.record.lock:
        if any(whose.items() <= each.items() for each in running.record.identities.values()):
            pods = f"{whose['namespace']}/{whose['serviceAccount']}"
            msg = f"ResourceInUseException: Association already exists: {pods} of {running.name}"
            raise RealiseError(msg)
        running.record.identities[id_] = {**whose, "roleArn": role, **inputs.same("tags")}
    return ask.done(id_, **_association(ask, running.name, id_))


def _let_pods_in(ask: Ask, role: str, cluster: str) -> None:
    """Credentials come with session tags: https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html."""
    _let_in(ask, role, "pods.eks.amazonaws.com", ("sts:AssumeRole", "sts:TagSession"), ask.arn("eks", f"cluster/{cluster}"))


def _association(ask: Ask, cluster: str, id_: str) -> dict[str, Any]:
    return {"associationId": id_, "associationArn": ask.arn("eks", f"podidentityassociation/{cluster}/{id_}")}


def _holder(ask: Ask, id_: str) -> tuple[LabCluster | None, str]:
    """The cluster that has an association, which an import names with it: `cluster,association`."""
    bare = id_.rpartition(",")[2]
    return next((each for each in ask.clusters.at(ask.place) if bare in each.record.identities), None), bare


def _read_pod_identity(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    running, bare = _holder(ask, id_)
    if running is None:
        return None
    return _seen(ask, {"clusterName": running.name, **running.record.identities[bare], **_association(ask, running.name, bare)})


def _update_pod_identity(ask: Ask, id_: str) -> Created:
    running, bare = _holder(ask, id_)
    if running is None:
        msg = f"{_GONE}: pod identity association {id_} does not exist"
        raise RealiseError(msg)
    role = ask.inputs.needed("roleArn")
    _would(ask, "UpdatePodIdentityAssociation", clusterName=running.name, associationId=bare, roleArn=role)
    _let_pods_in(ask, role, running.name)
    kept = {key: value for key, value in running.record.identities[bare].items() if key != "tags"}
    running.record.identities[bare] = {**kept, "roleArn": role, **ask.inputs.same("tags")}
    return ask.done(id_, **_association(ask, running.name, bare))


def _delete_pod_identity(ask: Ask, id_: str) -> None:
    running, bare = _holder(ask, id_)
    if running is not None:
        running.record.identities.pop(bare, None)


# What all of them ask


def _named(ask: Ask) -> LabCluster:
    return _running(ask, ask.inputs.needed("clusterName"))


def _running(ask: Ask, name: str) -> LabCluster:
    running = ask.clusters.find(name)
    if running is None or running.place != ask.place:
        msg = f"{_GONE}: No cluster found for name: {name} in {ask.place.account}/{ask.place.region}"
        raise RealiseError(msg)
    return running


def _would(ask: Ask, operation: str, **parameters: Any) -> None:  # noqa: ANN401 — the API's own
    """Hold a call that no emulator serves, or not whole, to AWS's service model."""
    client = ask.emulators.client("eks", ask.place.account, ask.place.region, emulator=MOTO)
    found = shapes.faults(client.meta.service_model, operation, parameters)
    if found:
        msg = f"AWS would refuse eks:{operation}: {'; '.join(found)}"
        raise RealiseError(msg)
    ask.authorize("eks", operation, parameters)


def _let_in(ask: Ask, role_arn: str, service: str, actions: Sequence[str], source_arn: str) -> None:
    """Hold a role's trust policy to what `service` asks; "" where it names no source."""
    itself = ask.by_aws("the service itself is let in or not")
    found = itself.call("iam", "get_role", RoleName=role_arn.rsplit("/", 1)[-1])["Role"]["AssumeRolePolicyDocument"]
    trust = found if isinstance(found, str) else json.dumps(found)
    source = {
        "aws:SourceArn": source_arn or None,
        "aws:SourceAccount": ask.place.account if source_arn else None,
    }
    for action in actions:
        try:
            verdict = judge(
                Act(caller=Service(name=service), action=action, resource=role_arn, context=source), resource_policy=trust
            )
        except PolicyError as error:
            msg = f"the trust policy of {role_arn} cannot be judged for {service}: {error}"
            raise RealiseError(msg) from error
        if not verdict:
            msg = (
                f"{service} may not {action} on {role_arn} for {source_arn or 'nobody it names'}: {verdict.reason}; let it in by "
                "the role's trust policy"
            )
            raise RealiseError(msg)


def _seen(ask: Ask, now: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is there; of declared blocks what was declared of them, for EKS fills in the rest."""
    return {**now, **reduced(now, ask.request.inputs)}


ROWS: Final[Rows] = {
    "aws:eks/accessEntry:AccessEntry": Row(
        create=_entry,
        read=_read_entry,
        update=_update_entry,
        delete=_delete_entry,
        # UpdateAccessEntry: groups and username.
        replaces=frozenset({"clusterName", "principalArn", "type"}),
    ),
    # No call changes one.
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation": Row(
        create=_access_policy, read=_read_access_policy, delete=_delete_access_policy
    ),
    "aws:eks/addon:Addon": Row(
        create=_addon,
        read=_read_addon,
        update=_update_addon,
        delete=_delete_addon,
        replaces=frozenset({"clusterName", "addonName"}),
    ),
    "aws:eks/cluster:Cluster": Row(
        create=_cluster,
        read=_read_cluster,
        update=_update_cluster,
        delete=_delete_cluster,
        # UpdateClusterConfig and UpdateClusterVersion name neither.
        replaces=frozenset({"name", "roleArn"}),
    ),
    "aws:eks/nodeGroup:NodeGroup": Row(
        create=_node_group,
        read=_read_node_group,
        update=_update_node_group,
        delete=_delete_node_group,
        # UpdateNodegroupConfig: labels, taints, sizes, update settings; UpdateNodegroupVersion: versions and the template.
        replaces=frozenset(
            {
                "amiType",
                "capacityType",
                "clusterName",
                "diskSize",
                "instanceTypes",
                "nodeGroupName",
                "nodeGroupNamePrefix",
                "nodeRoleArn",
                "subnetIds",
            }
        ),
    ),
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": Row(
        create=_pod_identity,
        read=_read_pod_identity,
        update=_update_pod_identity,
        delete=_delete_pod_identity,
        # UpdatePodIdentityAssociation: the role.
        replaces=frozenset({"clusterName", "namespace", "serviceAccount"}),
    ),
}

__all__ = ["ACCESS_POLICIES", "ADDONS", "ROWS"]
