"""A real control plane and real Argo CD, fed by the Git host: what reaches a cluster from a commit, and what is refused."""

import base64
import http.client
import json
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import yaml

from rehearsal.githost import GitHost
from rehearsal.lab.argocd import API, NAMESPACE, ArgoCD
from rehearsal.lab.build import Binaries, build
from rehearsal.lab.control_plane import UNPULLABLE, ControlPlane
from rehearsal.lab.kube import KubeError, NoKindError
from tests.rehearsal.githost_kit import key

REPOSITORY: Final = "example-org/manifests"
BRANCH: Final = "dev"
READER: Final = 4
SECRET: Final = "the webhook's"
GOOD, BETTER = "20260102T000000Z-00000000000a", "20260102T000100Z-00000000000b"
# Far below Argo CD's own poll, two to three minutes: what comes within has come by the webhook.
SECONDS: Final = 40.0


@dataclass
class Lab:
    """What the tests of this file share."""

    plane: ControlPlane
    argocd: ArgoCD
    host: GitHost
    said: list[str]
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    def push(self, service: str, tag: str) -> str:
        """Commit a service's manifests."""
        files = {f"{service}/{name}": text.encode() for name, text in manifests(service, tag).items()}
        return self.host.put_files(REPOSITORY, BRANCH, files, f"{service} {tag}")

    def deploy(self, service: str) -> None:
        """Declare its Application."""
        self.plane.kube.apply(application(service, f"{self.host.url}/{REPOSITORY}.git"))

    def status(self, service: str) -> Mapping[str, Any]:
        """What Argo CD says of it."""
        return (self.argocd.application(service) or {}).get("status") or {}

    def settled(self, service: str, commit: str) -> bool:
        """Whether a commit is synced and healthy."""
        status = self.status(service)
        sync: Mapping[str, Any] = status.get("sync", {})
        health: Mapping[str, Any] = status.get("health", {})
        return (sync.get("status"), sync.get("revision"), health.get("status")) == ("Synced", commit, "Healthy")

    def running(self, service: str) -> list[str]:
        """Images of its pods that are ready."""
        return sorted(
            each["spec"]["containers"][0]["image"]
            for each in self.plane.kube.list("v1", "Pod", service)
            if "deletionTimestamp" not in each["metadata"]
            and any(one["type"] == "Ready" and one["status"] == "True" for one in each["status"].get("conditions") or ())
        )

    def until(self, what: str, look: Callable[[], bool]) -> float:
        """Seconds until it is so."""
        began = time.monotonic()
        while not look():
            assert time.monotonic() - began < SECONDS, f"waited {SECONDS:.0f} s in vain for {what}"
            time.sleep(0.02)
        return time.monotonic() - began


@pytest.fixture(scope="module")
def binaries() -> Binaries:
    """What the lab runs."""
    return build(lambda _: None)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, binaries: Binaries) -> Generator[Lab]:
    """A cluster with two nodes and Argo CD, which reads the Git host as a GitHub App."""
    folder = tmp_path_factory.mktemp("lab")
    said: list[str] = []
    (folder / "host").mkdir()
    with GitHost(folder / "host") as host, ControlPlane("blue", folder / "blue", binaries, said.append) as plane:
        host.create_repository(REPOSITORY, default_branch=BRANCH, auto_init=True)
        host.add_app(
            READER,
            "reader",
            key("reader").public_pem,
            installation_id=READER + 1000,
            permissions={"contents": "read"},
            repositories=[REPOSITORY],
        )
        for each in (*nodes(2), *objects(host.url)):
            plane.kube.apply(each)
        argocd = ArgoCD(plane, folder / "argocd", binaries, said.append)
        try:
            argocd.prepare()
            argocd.install(settings={}, rbac={}, secret={"webhook.github.secret": "$webhook:secret"})
            plane.kube.apply(project(f"{host.url}/{REPOSITORY}.git"))
            host.add_webhook(REPOSITORY, url=f"{argocd.server_url}/api/webhook", content_type="json", secret=SECRET)
            yield Lab(plane=plane, argocd=argocd, host=host, said=said)
        finally:
            argocd.stop()


def nodes(count: int) -> list[dict[str, Any]]:
    """Machines, as a node group brings them."""
    return [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-{number}", "labels": {"kubernetes.io/os": "linux"}}}
        for number in range(count)
    ]


def objects(url: str) -> list[dict[str, Any]]:
    """What is there before Argo CD is: its namespace, its webhook's secret, and its credentials."""
    credentials = {
        "type": "git",
        "url": f"{url}/{REPOSITORY}.git",
        "githubAppID": str(READER),
        "githubAppInstallationID": str(READER + 1000),
        "githubAppPrivateKey": key("reader").private_pem.decode(),
        "githubAppEnterpriseBaseUrl": url,
    }
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        secret("webhook", {"app.kubernetes.io/part-of": "argocd"}, {"secret": SECRET}),
        secret("repository", {"argocd.argoproj.io/secret-type": "repository"}, credentials),
    ]


def secret(name: str, labels: Mapping[str, str], data: Mapping[str, str]) -> dict[str, Any]:
    """A Secret of Argo CD's namespace."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": dict(labels)},
        "data": {name: base64.b64encode(value.encode()).decode() for name, value in data.items()},
    }


def project(repository: str) -> dict[str, Any]:
    """A project of one repository."""
    return {
        "apiVersion": API,
        "kind": "AppProject",
        "metadata": {"name": "services", "namespace": NAMESPACE},
        "spec": {
            "sourceRepos": [repository],
            "destinations": [{"server": "https://kubernetes.default.svc", "namespace": "*"}],
            "clusterResourceWhitelist": [{"group": "", "kind": "Namespace"}],
        },
    }


def application(service: str, repository: str) -> dict[str, Any]:
    """An Application that follows the branch, and takes all of its objects along when it goes."""
    return {
        "apiVersion": API,
        "kind": "Application",
        "metadata": {"name": service, "namespace": NAMESPACE, "finalizers": ["resources-finalizer.argocd.argoproj.io"]},
        "spec": {
            "project": "services",
            "source": {"repoURL": repository, "targetRevision": f"refs/heads/{BRANCH}", "path": service},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": service},
            "syncPolicy": {"automated": {"prune": True, "selfHeal": True}, "syncOptions": ["CreateNamespace=true"]},
        },
    }


def manifests(service: str, tag: str) -> dict[str, str]:
    """A Deployment of two pods, by kustomize."""
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": service},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": service}},
            "strategy": {"rollingUpdate": {"maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": {"app": service}},
                "spec": {"containers": [{"name": "app", "image": service}]},
            },
        },
    }
    kustomization = {"resources": ["deployment.json"], "images": [{"name": service, "newName": image(service), "newTag": tag}]}
    return {"deployment.json": json.dumps(deployment), "kustomization.yaml": json.dumps(kustomization)}


def image(service: str) -> str:
    """Where its images are said to lie."""
    return f"registry.example/{service}"


def test_a_push_is_synced_by_the_webhook_and_its_pods_run(lab: Lab) -> None:
    first = lab.push("storefront", GOOD)
    lab.deploy("storefront")
    lab.until("the first image", lambda: lab.settled("storefront", first))
    second = lab.push("storefront", BETTER)
    lab.until("the second image", lambda: lab.settled("storefront", second))
    assert lab.running("storefront") == [f"{image('storefront')}:{BETTER}"] * 2
    lab.host.drain()
    assert {each.status for each in lab.host.deliveries} == {200}


def test_argo_cd_reads_as_the_app_that_its_secret_names(lab: Lab) -> None:
    commit = lab.push("reader", GOOD)
    lab.deploy("reader")
    lab.until("what only a credential can read", lambda: lab.settled("reader", commit))
    tokens = [each for each in lab.host.requests if each.path.endswith(f"/app/installations/{READER + 1000}/access_tokens")]
    assert [each.status for each in tokens] == [201] * len(tokens) != []


def test_an_image_that_cannot_be_pulled_shows_and_the_old_pods_go_on(lab: Lab) -> None:
    first = lab.push("unlucky", GOOD)
    lab.deploy("unlucky")
    lab.until("the good image", lambda: lab.settled("unlucky", first))
    lab.push("unlucky", UNPULLABLE)

    def waiting() -> set[str]:
        statuses = [
            one for each in lab.plane.kube.list("v1", "Pod", "unlucky") for one in each["status"].get("containerStatuses") or ()
        ]
        return {one["state"]["waiting"]["reason"] for one in statuses if "waiting" in one["state"]}

    lab.until("a pod that cannot pull", lambda: waiting() == {"ImagePullBackOff"})
    assert lab.running("unlucky") == [f"{image('unlucky')}:{GOOD}"] * 2
    mended = lab.push("unlucky", BETTER)
    lab.until("the mended image", lambda: lab.settled("unlucky", mended))


def test_a_change_by_hand_is_taken_back(lab: Lab) -> None:
    commit = lab.push("meddled", GOOD)
    lab.deploy("meddled")
    lab.until("it runs", lambda: lab.settled("meddled", commit))
    lab.plane.kube.patch("apps/v1", "Deployment", "meddled", {"spec": {"replicas": 1}}, "meddled")

    def replicas() -> int:
        return (lab.plane.kube.get("apps/v1", "Deployment", "meddled", "meddled") or {})["spec"]["replicas"]

    lab.until("two replicas again", lambda: replicas() == 2)


def test_an_application_that_is_deleted_takes_its_objects_along(lab: Lab) -> None:
    commit = lab.push("leaving", GOOD)
    lab.deploy("leaving")
    lab.until("it runs", lambda: lab.settled("leaving", commit))
    assert lab.plane.kube.delete(API, "Application", "leaving", NAMESPACE, wait_seconds=SECONDS)
    assert lab.plane.kube.get("apps/v1", "Deployment", "leaving", "leaving") is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"syncPolicies": {}}, "syncPolicies"),
        ({"destination": {"server": 1}}, "spec.destination.server"),
        ({"source": {"repoURL": "https://git.example.com/a/b", "targetRevison": "dev"}}, "targetRevison"),
    ],
)
def test_an_application_with_a_field_that_there_is_not_is_refused(lab: Lab, change: Mapping[str, object], told: str) -> None:
    wrong = application("wrong", f"{lab.host.url}/{REPOSITORY}.git")
    wrong["spec"] |= change
    with pytest.raises(KubeError, match=told):
        lab.plane.kube.apply(wrong, dry_run=True)
    with pytest.raises(KubeError, match=told):
        lab.plane.kube.apply(wrong)
    assert lab.argocd.application("wrong") is None


def test_a_dry_run_leaves_nothing(lab: Lab) -> None:
    made = lab.plane.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "dry"}}, dry_run=True)
    assert made["metadata"]["uid"]
    assert lab.plane.kube.get("v1", "Namespace", "dry") is None


def test_a_kind_is_found_as_soon_as_its_definition_is_served(lab: Lab) -> None:
    kube, version = lab.plane.kube, "lab.example.com/v1"
    with pytest.raises(NoKindError):
        kube.list(version, "Thing")
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.lab.example.com"},
        "spec": {
            "group": "lab.example.com",
            "names": {"kind": "Thing", "plural": "things", "singular": "thing", "listKind": "ThingList"},
            "scope": "Cluster",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
    kube.apply(definition)

    def applied() -> bool:
        try:
            kube.apply({"apiVersion": version, "kind": "Thing", "metadata": {"name": "one"}, "spec": {"size": 1}})
        except KubeError:
            return False
        return True

    lab.until("the kind", applied)
    assert kube.list(version, "Thing")[0]["spec"] == {"size": 1}


def test_definitions_of_external_secrets_are_taken_and_know_stores_of_aws_alone(lab: Lab, binaries: Binaries) -> None:
    for file in binaries.assets.external_secrets_crds:
        lab.plane.kube.apply(yaml.safe_load(file.read_text(encoding="utf-8")))
    store: dict[str, Any] = {
        "apiVersion": "external-secrets.io/v1",
        "kind": "SecretStore",
        "metadata": {"name": "store", "namespace": "default"},
        "spec": {"provider": {"aws": {"service": "SecretsManager", "region": "eu-central-1"}}},
    }

    def taken() -> bool:
        try:
            return bool(lab.plane.kube.apply(store))
        except NoKindError:
            return False

    lab.until("the kind", taken)
    store["spec"] = {"provider": {"vault": {"server": "https://vault.example"}}}
    with pytest.raises(KubeError, match="vault"):
        lab.plane.kube.apply(store)


def test_the_pod_security_of_a_namespace_is_held(lab: Lab) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    lab.plane.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "strict", "labels": labels}})
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "loose", "namespace": "strict"},
        "spec": {"containers": [{"name": "app", "image": "registry.example/app:1", "securityContext": {"privileged": True}}]},
    }
    with pytest.raises(KubeError, match="violates PodSecurity"):
        lab.plane.kube.apply(pod)


def test_a_delivery_whose_signature_is_wrong_is_refused(lab: Lab) -> None:
    address = urlsplit(lab.argocd.server_url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
    headers = {"Content-Type": "application/json", "X-GitHub-Event": "push", "X-Hub-Signature-256": f"sha256={'0' * 64}"}
    try:
        connection.request("POST", "/api/webhook", body=b'{"ref": "refs/heads/dev"}', headers=headers)
        assert connection.getresponse().status == 400
    finally:
        connection.close()


def test_nothing_of_a_control_plane_is_left_once_it_is_stopped(tmp_path: Path, binaries: Binaries) -> None:
    with ControlPlane("short", tmp_path / "short", binaries, lambda _: None) as plane:
        assert plane.memory() > 0
        assert _started_in(tmp_path)
    assert not _started_in(tmp_path)
    assert plane.memory() == 0
    with pytest.raises(KubeError, match="does not answer"):
        plane.kube.get("v1", "Namespace", "default")


def _started_in(folder: Path) -> list[str]:
    """Commands of processes that have to do with a folder."""
    commands = [
        (each / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        for each in Path("/proc").iterdir()
        if each.name.isdigit() and (each / "cmdline").exists()
    ]
    return [each for each in commands if str(folder) in each]
