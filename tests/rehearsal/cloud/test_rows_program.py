"""What the dev stack declares of its cluster, made by the rows in an emulated account and a lab of fakes."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pytest

from components import image_hook
from rehearsal.cloud import CloudWorld, Emulators, Place, bootstrap
from rehearsal.cloud.row import Where, same
from rehearsal.cloud.rows import eks, kubernetes
from rehearsal.lab.clusters import Clusters, LabCluster
from rehearsal.program import Created, Request, evaluate
from tests.rehearsal.cloud.kit import REGION, Accounts, config_in, write_archives
from tests.rehearsal.lab.fake import clusters

NAME: Final = "slipway-dev-blue"
CLUSTER: Final = "aws:eks/cluster:Cluster"
# By type, what a server does not keep: words to one call.
LOST: Final[Mapping[str, frozenset[str]]] = {
    "aws:eks/addon:Addon": frozenset({"resolveConflictsOnCreate", "resolveConflictsOnUpdate"}),
    kubernetes.RELEASE: frozenset({"atomic", "compat", "createNamespace", "timeout"}),
}


class World(CloudWorld):
    """A world which constructs pulumi_eks' component as far as this program goes."""

    def __init__(self, emulators: Emulators, place: Place, lab: Clusters) -> None:
        """Realise in one account and one lab."""
        super().__init__(emulators, lab=lab, places={"dev": place})
        self.lab = lab
        self.made: list[tuple[Request, str, Where]] = []

    def create(self, request: Request, *, where: Where | None = None) -> Created:
        """Make it, in the one cluster that there is."""
        if request.type == "eks:index:Cluster":
            return self._component(request)
        where = Where(place=self.place(request.stack), provider={"kubeconfig": self.lab.kubeconfig(NAME)})
        made = super().create(request, where=where)
        if request.type.startswith(("aws:eks/", "kubernetes:")):
            self.made.append((request, made.id, where))
        return made

    def _component(self, request: Request) -> Created:
        given = request.inputs
        names = ("name", "version", "enabledClusterLogTypes", "deletionProtection")
        network = ("endpointPrivateAccess", "endpointPublicAccess", "publicAccessCidrs")
        here = {"clusterName": NAME}
        role = f"arn:aws:iam::{self.place(request.stack).account}:role/{given['serviceRole']['id']}"
        access = {"authenticationMode": given["authenticationMode"], "bootstrapClusterCreatorAdminPermissions": False}
        parts: list[tuple[str, dict[str, Any]]] = [
            (
                CLUSTER,
                {
                    **{key: given[key] for key in names},
                    "roleArn": role,
                    "accessConfig": access,
                    "vpcConfig": {"subnetIds": given["privateSubnetIds"], **{key: given[key] for key in network if key in given}},
                },
            ),
            *(("aws:eks/addon:Addon", {**here, "addonName": name}) for name in ("vpc-cni", "kube-proxy")),
        ]
        entries: Mapping[str, dict[str, Any]] = given["accessEntries"]
        for entry in entries.values():
            policies: Mapping[str, dict[str, Any]] = entry.get("accessPolicies") or {}
            who = {**here, "principalArn": entry["principalArn"]}
            parts.append(("aws:eks/accessEntry:AccessEntry", {**who, "kubernetesGroups": entry.get("kubernetesGroups")}))
            parts += [
                ("aws:eks/accessPolicyAssociation:AccessPolicyAssociation", {**who, **policy}) for policy in policies.values()
            ]
        for type_, inputs in parts:
            self.create(replace(request, type=type_, inputs=inputs, custom=True))
        kubeconfig = self.lab.kubeconfig(NAME)
        assert kubeconfig is not None
        outputs = {"kubeconfigJson": kubeconfig, "kubeconfig": json.loads(kubeconfig)}
        return Created(id=request.name, outputs={**given, **outputs})


@dataclass(kw_only=True)
class Up:
    """The stack after its `up`."""

    world: World
    lab: Clusters
    made: list[tuple[Request, str, Where]] = field(default_factory=list[tuple[Request, str, Where]])


def _nothing(cluster: LabCluster, name: str) -> None:
    del cluster, name


@pytest.fixture(scope="module")
def up(emulators: Emulators, accounts: Accounts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """The dev stack, realised in an account of its own."""
    folder: Path = tmp_path_factory.mktemp("lab")
    place = Place(account=next(accounts), region=REGION)
    bootstrap(emulators, place, zone="dev.example.com", secrets={"slipway/argocd/reader": "a key"})
    with pytest.MonkeyPatch.context() as patch, clusters(folder, emulators) as lab:
        patch.setattr(image_hook, "ARCHIVES", write_archives(folder))
        # What metrics-server is in the lab speaks TLS with keys of a real control plane.
        patch.setattr(LabCluster, "addon_came", _nothing)
        world = World(emulators, place, lab)
        evaluate("dev", config=config_in("dev", place.account), world=world)
        yield Up(world=world, lab=lab, made=world.made)


def test_all_that_is_declared_is_made_and_read_back(up: Up) -> None:
    assert {request.type for request, _, _ in up.made} >= {*eks.ROWS, kubernetes.RELEASE}
    for request, id_, where in up.made:
        declared = {key: value for key, value in request.inputs.items() if value is not None}
        read = up.world.read(request, id_, where=where)
        assert read is not None, request
        assert {*declared} - {*read} == {*declared} & LOST.get(request.type, frozenset()), request.name
        assert [key for key in declared if key in read and not same(declared[key], read[key])] == [], request.name


def test_a_second_preview_finds_nothing_to_refuse_or_replace(up: Up) -> None:
    for request, _, where in up.made:
        if request.type != CLUSTER:
            assert list(up.world.check(request, where=where)) == [], request.name


def test_its_controllers_serve_it(up: Up) -> None:
    cluster = up.lab.get(NAME)
    assert {each.fault for each in cluster.controllers.values()} == {""}
    assert cluster.argocd is not None
    assert {*cluster.bindings.values()} == {""}
    made = {each["metadata"]["name"] for each in cluster.kube.list("v1", "Secret", "argocd")}
    assert made == {"argocd-notifications-secret", "slipway-gitops-repository", "slipway-webhook"}


def test_all_of_it_goes_in_the_reverse_order(up: Up) -> None:
    for request, id_, where in reversed(up.made):
        if request.type == CLUSTER:
            # A colour that takes traffic is protected: the program gives up the protection first.
            off = {**request.inputs, "deletionProtection": False}
            up.world.update(replace(request, inputs=off), id_, request.inputs, where=where)
        up.world.delete(request, id_, where=where)
    assert up.lab.find(NAME) is None
