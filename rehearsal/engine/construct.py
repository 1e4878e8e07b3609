"""What `pulumi_eks.Cluster` becomes: the children that the real component registers, as far as this program asks for them.

The real one is a program in Node that the engine starts (https://github.com/pulumi/pulumi-eks/blob/master/nodejs/eks/cluster/cluster.ts).
An argument that this one does not know is refused: nothing that the program asks of the real component is dropped here.
"""

import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import grpc
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc, resource_pb2, resource_pb2_grpc

from rehearsal import schema
from rehearsal.engine import wire
from rehearsal.engine.package import Package
from rehearsal.engine.plugins import Start

_TYPE: Final = "eks:index:Cluster"
_CLUSTER: Final = "aws:eks/cluster:Cluster"
# Asked for by the program, and met by not making something.
_SKIPS: Final = frozenset({"skipDefaultNodeGroup", "skipDefaultSecurityGroups"})
# Passed on to the cluster under the same name.
_SAME: Final = ("name", "version", "enabledClusterLogTypes", "deletionProtection", "tags")
_OPTIONS: Final = (("grpc.max_receive_message_length", 400 * 1024 * 1024),)


class Kubeconfigs(Protocol):
    """Who knows how clusters are reached."""

    def kubeconfig(self, name: str) -> str | None:
        """The kubeconfig of a cluster as JSON; None while there is none."""
        ...


@dataclass(kw_only=True)
class _Asked:
    """Arguments of the component, read one by one: what is left at the end is refused."""

    values: dict[str, Any]
    urns: Mapping[str, Sequence[str]]
    read: set[str] = field(default_factory=set[str])

    def take(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 — JSON
        self.read.add(key)
        value = self.values.get(key)
        return default if value is None else value

    def unread(self) -> list[str]:
        return sorted(key for key, value in self.values.items() if key not in self.read and value is not None)


class Components(Package):
    """The provider `eks`, which only constructs components."""

    def __init__(self, start: Start, clusters: Kubeconfigs) -> None:
        """Serve the engine that asked."""
        super().__init__("eks", start)
        self._clusters = clusters

    # The protocol's own names and untyped messages.

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: ANN401, D102, N802
        del request, context
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True, accept_resources=True, accept_outputs=True)

    def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: ANN401, D102, N802
        del context
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: ANN401, D102, N802
        del request, context
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: ANN401, D102, N802
        del request, context
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True, acceptResources=True, acceptOutputs=True)

    def Construct(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802
        """Register the component and its children with the engine's monitor."""
        travelled = wire.read(request.inputs)
        inputs = wire.plain(travelled, self._start.folder)
        faults = [f"{each.property}: {each.problem}" for each in schema.faults(request.type, travelled)]
        if request.type != _TYPE:
            faults.append(f"the component is {request.type}: {_TYPE} is what stands in for pulumi_eks here")
        if faults:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{request.type} {request.name!r}: {'; '.join(faults)}")
        with grpc.insecure_channel(request.monitorEndpoint, options=_OPTIONS) as channel:
            monitor = resource_pb2_grpc.ResourceMonitorStub(channel)
            asked = _Asked(values=inputs, urns={key: list(value.urns) for key, value in request.inputDependencies.items()})
            return _Cluster(monitor, request, asked, self._clusters, self._start.folder).construct(context)


class _Cluster:
    """One cluster under construction."""

    def __init__(self, monitor: Any, request: Any, asked: _Asked, clusters: Kubeconfigs, folder: Path) -> None:  # noqa: ANN401 — untyped in grpc
        self._monitor, self._request, self._asked, self._clusters, self._folder = monitor, request, asked, clusters, folder
        self._version = importlib.metadata.version("pulumi-aws")

    def construct(self, context: Any) -> Any:  # noqa: ANN401 — untyped in grpc
        asked, name = self._asked, self._request.name
        component = self._register(
            _TYPE, name, {}, custom=False, parent=self._request.parent, dependencies=list(self._request.dependencies)
        )
        subnets = asked.take("subnetIds") or [*asked.take("publicSubnetIds", []), *asked.take("privateSubnetIds", [])]
        mode = asked.take("authenticationMode", "CONFIG_MAP")
        asked.take("serviceRole")
        cluster = self._register(
            _CLUSTER,
            f"{name}-eksCluster",
            {
                **{key: asked.take(key) for key in _SAME},
                "roleArn": self._role_arn(),
                "vpcConfig": {
                    "subnetIds": subnets,
                    "endpointPrivateAccess": asked.take("endpointPrivateAccess", False),  # noqa: FBT003 — a default
                    "endpointPublicAccess": asked.take("endpointPublicAccess", True),  # noqa: FBT003 — a default
                    "publicAccessCidrs": asked.take("publicAccessCidrs"),
                },
                "accessConfig": {"authenticationMode": mode, "bootstrapClusterCreatorAdminPermissions": True},
            },
            parent=component.urn,
            given=("serviceRole", "privateSubnetIds", "publicSubnetIds", "subnetIds"),
        )
        made = wire.plain(wire.read(cluster.object), self._folder)
        here = made.get("name") or asked.take("name")
        for key, entry in sorted(asked.take("accessEntries", {}).items()):
            self._entry(component.urn, cluster.urn, here, key, entry)
        self._addons(component.urn, cluster.urn, here)
        # Said by the network, which the program names only so that groups could be made in it.
        asked.take("vpcId")
        for each in _SKIPS:
            if not asked.take(each, False):  # noqa: FBT003 — a default
                context.abort(
                    grpc.StatusCode.UNIMPLEMENTED,
                    f"{each} is false: what it would make is not constructed here; extend rehearsal/engine/construct.py",
                )
        unread = asked.unread()
        if unread:
            context.abort(
                grpc.StatusCode.UNIMPLEMENTED,
                f"{', '.join(unread)} would be dropped: the stand-in of {_TYPE} does not know it; extend "
                "rehearsal/engine/construct.py",
            )
        kubeconfig = self._clusters.kubeconfig(str(here)) if cluster.id and cluster.id != wire.UNKNOWN else None
        network: Mapping[str, Any] = made.get("vpcConfig") or {}
        group = network.get("clusterSecurityGroupId", wire.UNKNOWN)
        outputs: dict[str, Any] = {
            "kubeconfig": json.loads(kubeconfig) if kubeconfig else wire.UNKNOWN,
            "kubeconfigJson": kubeconfig or wire.UNKNOWN,
            "clusterSecurityGroupId": group,
            "nodeSecurityGroupId": group,
        }
        self._monitor.RegisterResourceOutputs(
            resource_pb2.RegisterResourceOutputsRequest(urn=component.urn, outputs=wire.write(outputs))
        )
        on = provider_pb2.ConstructResponse.PropertyDependencies(urns=[cluster.urn])
        return provider_pb2.ConstructResponse(
            urn=component.urn, state=wire.write(outputs), stateDependencies=dict.fromkeys(outputs, on)
        )

    def _entry(self, parent: str, cluster_urn: str, cluster: str, key: str, entry: Mapping[str, Any]) -> None:
        name = self._request.name
        made = self._register(
            "aws:eks/accessEntry:AccessEntry",
            f"{name}-{key}",
            {
                "clusterName": cluster,
                "principalArn": entry.get("principalArn"),
                "kubernetesGroups": entry.get("kubernetesGroups"),
                "type": entry.get("type"),
                "userName": entry.get("username"),
                "tags": entry.get("tags"),
            },
            parent=parent,
            dependencies=[cluster_urn],
            given=("accessEntries",),
        )
        associations: Mapping[str, Mapping[str, Any]] = entry.get("accessPolicies") or {}
        for policy, association in sorted(associations.items()):
            self._register(
                "aws:eks/accessPolicyAssociation:AccessPolicyAssociation",
                f"{name}-{key}-{policy}",
                {
                    "clusterName": cluster,
                    "principalArn": entry.get("principalArn"),
                    "policyArn": association.get("policyArn"),
                    "accessScope": association.get("accessScope"),
                },
                parent=parent,
                dependencies=[cluster_urn, made.urn],
                given=("accessEntries",),
            )

    def _addons(self, parent: str, cluster_urn: str, cluster: str) -> None:
        name, asked = self._request.name, self._asked
        options = asked.take("vpcCniOptions", {})
        strange = sorted({*options} - {"enableNetworkPolicy"})
        values = {"enableNetworkPolicy": str(options.get("enableNetworkPolicy", False)).lower()}
        if strange:
            self._asked.values.update({f"vpcCniOptions.{each}": options[each] for each in strange})
        # Without a default node group, the real component leaves coredns to the program.
        for addon, configuration in (("vpc-cni", json.dumps(values)), ("kube-proxy", None)):
            self._register(
                "aws:eks/addon:Addon",
                f"{name}-{addon}",
                {
                    "clusterName": cluster,
                    "addonName": addon,
                    "configurationValues": configuration,
                    "resolveConflictsOnCreate": "OVERWRITE",
                    "resolveConflictsOnUpdate": "OVERWRITE",
                },
                parent=parent,
                dependencies=[cluster_urn],
            )

    def _role_arn(self) -> Any:  # noqa: ANN401 — JSON
        """The role comes as a reference: its ARN is looked up, as the SDKs do."""
        urn = wire.reference(wire.read(self._request.inputs).get("serviceRole"))
        if urn is None:
            return None
        answer = self._monitor.Invoke(
            resource_pb2.ResourceInvokeRequest(tok="pulumi:pulumi:getResource", args=wire.write({"urn": urn}))
        )
        state: Mapping[str, Any] = wire.read(getattr(answer, "return")).get("state") or {}
        return state.get("arn") or wire.UNKNOWN

    def _register(  # noqa: PLR0913 — the protocol's own
        self,
        type_: str,
        name: str,
        properties: Mapping[str, Any],
        *,
        parent: str,
        custom: bool = True,
        dependencies: Sequence[str] = (),
        given: Sequence[str] = (),
    ) -> Any:  # noqa: ANN401 — untyped messages
        """Register one resource; `given` names the component's arguments that its properties come from."""
        urns = sorted({*dependencies, *(urn for key in given for urn in self._asked.urns.get(key, ()))})
        return self._monitor.RegisterResource(
            resource_pb2.RegisterResourceRequest(
                type=type_,
                name=name,
                parent=parent,
                custom=custom,
                object=wire.write(properties),
                # As the SDKs do: children are protected with their parent.
                protect=self._request.protect,
                dependencies=urns,
                provider=self._request.providers.get("aws", "") if custom else "",
                version=self._version if custom else "",
                aliases=[] if custom else list(self._request.aliases),
                acceptSecrets=True,
                acceptResources=False,
                supportsPartialValues=True,
            )
        )


def serve(clusters: Kubeconfigs) -> Callable[[Start, grpc.Server], None]:
    """How the broker serves the package."""

    def add(start: Start, server: grpc.Server) -> None:
        provider_pb2_grpc.add_ResourceProviderServicer_to_server(Components(start, clusters), server)

    return add


__all__ = ["Components", "Kubeconfigs", "serve"]
