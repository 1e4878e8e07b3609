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

from components.charts import NOTIFICATIONS_SECRET, SECRET_KEY, SYNCED, HealthReports, argo_cd_values
from rehearsal.githost import GitHost
from rehearsal.lab.argocd import API, NAMESPACE, ArgoCD
from rehearsal.lab.build import Binaries, build
from rehearsal.lab.charts import notifications
from rehearsal.lab.control_plane import UNPULLABLE, ControlPlane
from rehearsal.lab.kube import KubeError, NoKindError
from tests.rehearsal.githost_kit import key

REPOSITORY: Final = "example-org/manifests"
BRANCH: Final = "dev"
READER: Final = 4
SECRET: Final = "the webhook's"
# A ConfigMap is as healthy as its annotation says, so that a test need not wait for a Deployment to fail.
SETTINGS: Final = {
    "resource.customizations.health.ConfigMap": """
        local said = (obj.metadata.annotations or {}).health or "Healthy"
        return {status = said, message = "as its annotation says"}
    """,
}
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

    def told(self, service: str, commit: str) -> tuple[str, str]:
        """State and first word of the health that a commit carries for a service; twice "" without."""
        repository = self.host.repository(REPOSITORY)
        assert repository is not None
        found = repository.statuses.get(commit, {}).get(f"health dev/blue/{service}")
        return (found.state, (found.description or "").partition(" ")[0]) if found else ("", "")

    def feels(self, service: str, health: str) -> None:
        """Make the health of a service's one object what it says, by hand: Git has nothing to do with it."""
        change = {"metadata": {"annotations": {"health": health}}}
        self.plane.kube.patch("v1", "ConfigMap", service, change, service)

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
            permissions={"contents": "read", "statuses": "write"},
            repositories=[REPOSITORY],
        )
        for each in (*nodes(2), *objects(host.url)):
            plane.kube.apply(each)
        argocd = ArgoCD(plane, folder / "argocd", binaries, said.append)
        try:
            argocd.prepare()
            argocd.install(settings=SETTINGS, rbac={}, secret={"webhook.github.secret": "$webhook:secret"})
            plane.kube.apply(project(f"{host.url}/{REPOSITORY}.git"))
            argocd.notify(notifications(argo_cd_values(replicas=1, ui=None, health=reports(host.url))))
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
        secret(NOTIFICATIONS_SECRET, {}, {SECRET_KEY: key("reader").private_pem.decode()}),
    ]


def reports(url: str) -> HealthReports:
    """What `components/argocd.py` would say of this Argo CD."""
    return HealthReports(
        prefix="health dev/blue/",
        project="services",
        repository_url=f"{url}/{REPOSITORY}.git",
        app_id=READER,
        installation_id=READER + 1000,
        api_url=url,
        page=f"{url}/{REPOSITORY}/tree/{SYNCED}/{{{{.app.spec.source.path}}}}",
    )


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


def mood(service: str, text: str) -> dict[str, bytes]:
    """A service of one ConfigMap."""
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": service}, "data": {"text": text}}
    return {
        f"{service}/mood.json": json.dumps(config).encode(),
        f"{service}/kustomization.yaml": json.dumps({"resources": ["mood.json"]}).encode(),
    }


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


def test_an_application_that_degrades_fails_the_commit_it_has_synced_and_the_next_one_that_is_well_passes(lab: Lab) -> None:
    def push(tag: str) -> str:
        files = manifests("ailing", tag)
        deployment = json.loads(files["deployment.json"])
        deployment["spec"]["progressDeadlineSeconds"] = 2
        files["deployment.json"] = json.dumps(deployment)
        return lab.host.put_files(REPOSITORY, BRANCH, {f"ailing/{name}": text.encode() for name, text in files.items()}, tag)

    first = push(GOOD)
    lab.deploy("ailing")
    lab.until("the good image's status", lambda: lab.told("ailing", first) == ("success", "Healthy"))
    bad = push(UNPULLABLE)
    lab.until("the rollout to begin", lambda: lab.told("ailing", bad) == ("pending", "Progressing"))
    lab.until("the rollout to fail", lambda: lab.told("ailing", bad) == ("failure", "Degraded"))
    mended = push(BETTER)
    lab.until("the mended image's status", lambda: lab.told("ailing", mended) == ("success", "Healthy"))
    assert lab.told("ailing", bad) == ("failure", "Degraded")
    repository = lab.host.repository(REPOSITORY)
    assert repository is not None
    status = repository.statuses[mended]["health dev/blue/ailing"]
    assert (status.creator.login, status.target_url) == ("reader[bot]", f"{lab.host.url}/{REPOSITORY}/tree/{mended}/ailing")
    assert status.description == f"Healthy since {lab.status('ailing')['health']['lastTransitionTime']}"


def test_a_health_that_comes_and_goes_on_one_commit_is_told_each_time(lab: Lab) -> None:
    commit = lab.host.put_files(REPOSITORY, BRANCH, mood("moody", "1"), "moody 1")
    lab.deploy("moody")
    lab.until("the first status", lambda: lab.told("moody", commit) == ("success", "Healthy"))
    words = {"Degraded": "failure", "Healthy": "success", "Suspended": "pending", "Progressing": "pending"}
    for word in ("Degraded", "Healthy", "Degraded", "Suspended", "Healthy", "Progressing", "Degraded", "Healthy"):
        lab.feels("moody", word)
        lab.until(f"the commit to say {word}", lambda word=word: lab.told("moody", commit) == (words[word], word))
    # Within a second, faster than anybody looks: what counts is that the last one is told.
    for last in ("Healthy", "Degraded", "Healthy"):
        for word in ("Degraded", "Healthy", "Degraded", "Healthy", "Degraded", last):
            lab.feels("moody", word)
            time.sleep(0.1)
        lab.until(f"the commit to say {last}", lambda last=last: lab.told("moody", commit) == (words[last], last))
        lab.until("Argo CD to say so", lambda last=last: lab.status("moody")["health"]["status"] == last)
        assert lab.told("moody", commit) == (words[last], last)


def test_a_sync_that_changes_no_health_is_told_on_its_own_commit(lab: Lab) -> None:
    commit = lab.host.put_files(REPOSITORY, BRANCH, mood("steady", "1"), "steady 1")
    lab.deploy("steady")
    lab.until("the first status", lambda: lab.told("steady", commit) == ("success", "Healthy"))
    lab.feels("steady", "Degraded")
    lab.until("the commit to say so", lambda: lab.told("steady", commit) == ("failure", "Degraded"))
    began = lab.status("steady")["health"]["lastTransitionTime"]
    for number in range(2, 5):
        commit = lab.host.put_files(REPOSITORY, BRANCH, mood("steady", str(number)), f"steady {number}")
        lab.until(f"the status of commit {number}", lambda commit=commit: lab.told("steady", commit) == ("failure", "Degraded"))
    assert lab.status("steady")["health"]["lastTransitionTime"] == began


def test_what_is_taken_away_is_unwell_no_more(lab: Lab) -> None:
    commit = lab.host.put_files(REPOSITORY, BRANCH, mood("doomed", "1"), "doomed 1")
    lab.deploy("doomed")
    lab.until("the first status", lambda: lab.told("doomed", commit) == ("success", "Healthy"))
    lab.feels("doomed", "Degraded")
    lab.until("the commit to say so", lambda: lab.told("doomed", commit) == ("failure", "Degraded"))
    assert lab.plane.kube.delete(API, "Application", "doomed", NAMESPACE, wait_seconds=SECONDS)
    lab.until("the commit to say that it is gone", lambda: lab.told("doomed", commit) == ("success", "Deleted"))


def test_an_application_of_another_project_is_told_of_to_nobody(lab: Lab) -> None:
    other = project(f"{lab.host.url}/{REPOSITORY}.git")
    other["metadata"]["name"] = "others"
    lab.plane.kube.apply(other)
    commit = lab.host.put_files(REPOSITORY, BRANCH, {**mood("foreign", "1"), **mood("own", "1")}, "two services")
    elsewhere = application("foreign", f"{lab.host.url}/{REPOSITORY}.git")
    elsewhere["spec"]["project"] = "others"
    lab.plane.kube.apply(elsewhere)
    lab.until("it to be synced", lambda: lab.settled("foreign", commit))
    lab.deploy("own")
    lab.until("the other one's status", lambda: lab.told("own", commit) == ("success", "Healthy"))
    assert lab.told("foreign", commit) == ("", "")


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
