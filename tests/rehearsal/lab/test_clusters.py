"""Clusters by name: started once, found by who has their kubeconfig, and stopped with all that runs for them."""

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, cast

import pytest

from rehearsal.cloud.caller import Caller, root
from rehearsal.cloud.row import Place
from rehearsal.lab.clusters import ClusterError, Clusters, LabCluster
from rehearsal.lab.controller import Controller
from rehearsal.registry.policy import Identity
from tests.rehearsal.lab.fake import FakeArgoCD, FakePlane, clusters

PLACE: Final = Place(account="111111111111", region="eu-central-1")
NAMES: Final = ("blue", "green", "red")


@pytest.fixture
def lab(tmp_path: Path) -> Clusters:
    """A lab of fakes."""
    return clusters(tmp_path)


def plane(cluster: LabCluster) -> FakePlane:
    """The fake behind a cluster."""
    return cast("FakePlane", cluster.control_plane)


def test_clusters_start_at_the_same_time_and_are_found_by_their_kubeconfigs(tmp_path: Path) -> None:
    together = threading.Barrier(len(NAMES), timeout=10)

    class Slow(FakePlane):
        def start(self) -> None:
            # Passed only when all are on their way.
            together.wait()
            super().start()

    with clusters(tmp_path, make_plane=Slow) as lab:
        with ThreadPoolExecutor(len(NAMES)) as pool:
            made = [each.result() for each in [pool.submit(lab.start, name, PLACE, "1.35") for name in NAMES]]
        for name, cluster in zip(NAMES, made, strict=True):
            text = lab.kubeconfig(name)
            assert text is not None
            assert lab.get(name) is cluster is lab.by_kubeconfig(text) is lab.by_kubeconfig(json.loads(text))
            assert plane(cluster).running
        assert {each.name for each in lab.at(PLACE)} == {*NAMES}
    assert not any(plane(each).running for each in made)


def test_what_was_prewarmed_is_waited_for_and_not_started_twice(tmp_path: Path) -> None:
    made: list[str] = []

    class Counted(FakePlane):
        def start(self) -> None:
            made.append(self.name)
            super().start()

    with clusters(tmp_path, make_plane=Counted) as lab:
        lab.prewarm(NAMES)
        assert lab.find("blue") is None
        assert lab.kubeconfig("blue") is None
        assert plane(lab.start("blue", PLACE, "1.35")).running
    assert sorted(made) == sorted(NAMES)


def test_leaving_stops_what_was_prewarmed_in_vain(tmp_path: Path) -> None:
    made: list[FakePlane] = []

    def make(name: str, folder: Path) -> FakePlane:
        made.append(FakePlane(name, folder))
        return made[-1]

    with clusters(tmp_path, make_plane=make) as lab:
        lab.prewarm(NAMES)
    assert [each.running for each in made] == [False] * len(NAMES)


def test_a_cluster_that_comes_back_has_a_folder_of_its_own(lab: Clusters) -> None:
    with lab:
        first = plane(lab.start("blue", PLACE, "1.35"))
        lab.stop("blue")
        lab.stop("blue")
        second = plane(lab.start("blue", PLACE, "1.35"))
    assert first.folder != second.folder
    assert not first.running


def test_a_name_is_taken_once(lab: Clusters) -> None:
    with lab:
        lab.start("blue", PLACE, "1.35")
        with pytest.raises(ClusterError, match="a cluster blue runs already, in account 111111111111"):
            lab.start("blue", Place(account="222222222222", region="eu-central-1"), "1.35")


def test_a_control_plane_that_does_not_start_says_why_and_may_be_tried_again(tmp_path: Path) -> None:
    faults = ["no room"]

    class Failing(FakePlane):
        def start(self) -> None:
            if faults:
                raise OSError(faults.pop())
            super().start()

    with clusters(tmp_path, make_plane=Failing) as lab:
        with pytest.raises(ClusterError, match="the control plane of blue did not start: no room"):
            lab.start("blue", PLACE, "1.35")
        assert plane(lab.start("blue", PLACE, "1.35")).running


ASKS: Final[Sequence[tuple[Callable[[Clusters], LabCluster], str]]] = (
    (lambda lab: lab.get("red"), "no cluster red runs here: running are blue"),
    (lambda lab: lab.by_server("https://127.0.0.1:9"), "unreachable: running are blue"),
    (lambda lab: lab.by_kubeconfig(""), "the provider has no kubeconfig"),
    (lambda lab: lab.by_kubeconfig("{}"), "unreachable"),
)


@pytest.mark.parametrize(("ask", "fault"), ASKS)
def test_a_cluster_that_is_not_there_is_named_with_those_that_are(
    lab: Clusters, ask: Callable[[Clusters], LabCluster], fault: str
) -> None:
    with lab:
        lab.start("blue", PLACE, "1.35")
        with pytest.raises(ClusterError, match=fault):
            ask(lab)


def test_stopping_a_cluster_stops_its_controllers_and_its_argo_cd(lab: Clusters) -> None:
    looked = threading.Event()
    with lab:
        cluster = lab.start("blue", PLACE, "1.35")
        argocd = FakeArgoCD(plane(cluster))
        cluster.argocd = cast("Any", argocd)
        controller = Controller("watcher", looked.set, every_seconds=0.01)
        cluster.run(controller)
        assert looked.wait(10)
        lab.stop("blue")
        looked.clear()
        assert not looked.wait(0.1)
    assert argocd.done == ["stop"]


def test_a_controller_outlives_a_fault_and_tells_of_it() -> None:
    looks: list[int] = []
    done = threading.Event()

    def look() -> None:
        looks.append(len(looks))
        if len(looks) == 1:
            msg = "the server is away"
            raise OSError(msg)
        if len(looks) == 2:
            told.append(controller.fault)
            done.set()

    told: list[str] = []
    controller = Controller("watcher", look, every_seconds=0.01)
    controller.start()
    assert done.wait(10)
    controller.stop()
    assert told == ["OSError: the server is away"]
    assert not controller.fault


def test_nodes_come_and_go_with_their_group_and_take_their_pods_along(lab: Clusters) -> None:
    with lab:
        cluster = lab.start("blue", PLACE, "1.35")
        cluster.scale("workers", 3, labels={"kubernetes.io/arch": "arm64"})
        assert cluster.nodes("workers") == ["workers-0", "workers-1", "workers-2"]
        assert cluster.nodes("others") == []
        node = cluster.kube.get("v1", "Node", "workers-0")
        assert node is not None
        assert node["metadata"]["labels"]["kubernetes.io/arch"] == "arm64"
        for number in (0, 2):
            pod = {"metadata": {"name": f"pod-{number}", "namespace": "default"}, "spec": {"nodeName": f"workers-{number}"}}
            cluster.kube.apply({"apiVersion": "v1", "kind": "Pod", **pod})
        cluster.scale("workers", 1, labels={})
        assert cluster.nodes("workers") == ["workers-0"]
        assert [each["metadata"]["name"] for each in cluster.kube.list("v1", "Pod")] == ["pod-0"]


ADMIN: Final = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"


class Impersonated(FakePlane):
    """Remembers whom its API server takes a client for."""

    def start(self) -> None:
        """Begin to remember."""
        super().start()
        self.kube.acting_as = lambda user, groups: (user, list(groups))  # type: ignore[attr-defined]


def caller(name: str) -> Caller:
    """A session of a role of the account."""
    role = f"arn:aws:iam::{PLACE.account}:role/{name}"
    return Caller(identity=Identity(account=PLACE.account, principal_arn=role, session="alice"))


def test_a_caller_has_the_rights_that_its_access_entry_gives_it(tmp_path: Path) -> None:
    with clusters(tmp_path, make_plane=Impersonated) as lab:
        cluster = lab.start("blue", PLACE, "1.35")
        deploy, preview, other = (caller(name) for name in ("deploy", "preview", "other"))
        cluster.record.entries[deploy.identity.principal_arn] = {"type": "STANDARD"}
        cluster.record.policies[deploy.identity.principal_arn, ADMIN] = {}
        cluster.record.entries[preview.identity.principal_arn] = {"kubernetesGroups": ["slipway:preview"]}
        session = f"arn:aws:sts::{PLACE.account}:assumed-role"
        assert cast("Any", cluster.kube_of(deploy)) == (f"{session}/deploy/alice", ["system:masters"])
        assert cast("Any", cluster.kube_of(preview)) == (f"{session}/preview/alice", ["slipway:preview"])
        assert cluster.kube_of(None) is cluster.kube
        with pytest.raises(ClusterError, match=r"Unauthorized: .*role/other has no access entry in blue"):
            cluster.kube_of(other)
        # Whoever made it, is nobody in it (bootstrapClusterCreatorAdminPermissions is off).
        with pytest.raises(ClusterError, match="Unauthorized"):
            cluster.kube_of(root(PLACE.account))
        cluster.record.policies[preview.identity.principal_arn, f"{ADMIN.rpartition('/')[0]}/AmazonEKSViewPolicy"] = {}
        with pytest.raises(ClusterError, match=r"AmazonEKSViewPolicy .* is not played"):
            cluster.kube_of(preview)
