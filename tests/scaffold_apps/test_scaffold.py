"""Every overlay of every kind of service, rendered by the real kustomize and held against Kubernetes' schemas."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import kubernetes_validate  # pyright: ignore[reportMissingTypeStubs] — has none
import pytest
import yaml
from slipway.podsecurity import refused

from components.application import SERVICE_PORT
from components.naming import SERVICE_NAME_LENGTH
from functions.gitops_writer import catalogue, scaffold
from functions.gitops_writer.manifests import write_entry
from functions.gitops_writer.settings import Layout
from tests.functions.kit import entry

LAYOUT: Final = Layout(root="apps/{service}", own_overlay="dev")
KUBECTL: Final = Path(sys.executable).with_name("kubectl")
# The version of the clusters in the example stacks, as far as the validator has its schemas.
KUBERNETES: Final = "1.34"
TAG, DIGEST = "20260102T030405Z-0123456789ab", "sha256:" + "ab" * 32
OLD_TAG, OLD_DIGEST = "20250102T030405Z-ba9876543210", "sha256:" + "cd" * 32
BASE_TAG, BASE_DIGEST = "20240102T030405Z-aaaaaaaaaaaa", "sha256:" + "ef" * 32
ENVIRONMENTS: Final = ("dev", "stg", "prd")
KINDS: Final[Mapping[str, Mapping[str, object]]] = {
    "public": {},
    "internal": {"hosts": {}},
    "worker": {"port": None, "health_path": None, "hosts": {}},
    "smoke-tested": {"smoke_test": True},
}
EVERY_KIND: Final = (
    "ConfigMap",
    "Deployment",
    "HorizontalPodAutoscaler",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "ServiceAccount",
)
# What a kind of service has beside them.
MORE_KINDS: Final[Mapping[str, Sequence[str]]] = {
    "public": ["Service"],
    "internal": ["Service"],
    "worker": [],
    "smoke-tested": ["Job", "Service"],
}

Objects = dict[str, dict[str, Any]]


def files(kind: str) -> dict[str, str]:
    """A service's files as the writer would commit them."""
    return dict(scaffold.files(catalogue.parse(json.dumps(entry("shop", released=["prd"], **KINDS[kind]))), LAYOUT))


def render(folder: Path, texts: Mapping[str, str], environment: str) -> Objects:
    """What Argo CD would apply, by kind."""
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    command = [str(KUBECTL), "kustomize", str(folder / "apps" / "shop" / "overlays" / environment)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 — kubectl of this environment
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr
    objects = list(yaml.load_all(done.stdout, yaml.CSafeLoader))
    assert len({each["kind"] for each in objects}) == len(objects)
    return {each["kind"]: each for each in objects}


def with_image(texts: dict[str, str], path: str, tag: str = TAG, digest: str = DIGEST) -> dict[str, str]:
    """The same files after an image has been written, or a pin set."""
    return {**texts, path: write_entry(texts[path], "shop", tag=tag, digest=digest)}


def image_of(objects: Objects) -> str:
    """The image that would run."""
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    return container["image"]


def address(environment: str) -> str:
    """Where an environment pulls from."""
    images: Any = entry("shop")["images"]
    return images[environment]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_overlay_renders_valid_objects_before_and_after_its_first_image(
    tmp_path: Path, kind: str, environment: str
) -> None:
    texts = files(kind)
    before = render(tmp_path, texts, environment)
    assert image_of(before) == address(environment)
    written = LAYOUT.overlay_image("shop", "dev") if environment == "dev" else LAYOUT.base_image("shop")
    after = render(tmp_path, with_image(texts, written), environment)
    assert image_of(after) == f"{address(environment)}:{TAG}@{DIGEST}"
    expected = sorted([*EVERY_KIND, *MORE_KINDS[kind]])
    for objects in (before, after):
        assert sorted(objects) == expected
        for each in objects.values():
            assert each["metadata"]["namespace"] == "shop"
            kubernetes_validate.validate(each, KUBERNETES, strict=True)  # pyright: ignore[reportUnknownMemberType] — untyped


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_pin_wins_over_whatever_is_written_beneath_and_lifting_it_brings_the_newest(tmp_path: Path, environment: str) -> None:
    texts = with_image(files("public"), LAYOUT.base_image("shop"), BASE_TAG, BASE_DIGEST)
    texts = with_image(texts, LAYOUT.overlay_image("shop", "dev"))
    newest = f"{TAG}@{DIGEST}" if environment == "dev" else f"{BASE_TAG}@{BASE_DIGEST}"
    pinned = with_image(texts, LAYOUT.pin("shop", environment), OLD_TAG, OLD_DIGEST)
    assert image_of(render(tmp_path, pinned, environment)) == f"{address(environment)}:{OLD_TAG}@{OLD_DIGEST}"
    assert image_of(render(tmp_path, texts, environment)) == f"{address(environment)}:{newest}"
    other = ENVIRONMENTS[ENVIRONMENTS.index(environment) - 1]
    assert OLD_TAG not in image_of(render(tmp_path, pinned, other))


def test_the_order_of_the_dev_overlays_components_is_what_makes_its_pin_win(tmp_path: Path) -> None:
    texts = with_image(files("public"), LAYOUT.overlay_image("shop", "dev"))
    texts = with_image(texts, LAYOUT.pin("shop", "dev"), OLD_TAG, OLD_DIGEST)
    overlay = "apps/shop/overlays/dev/kustomization.yaml"
    assert "  - image\n  - pin\n" in texts[overlay]
    assert OLD_TAG in image_of(render(tmp_path, texts, "dev"))
    swapped = {**texts, overlay: texts[overlay].replace("  - image\n  - pin\n", "  - pin\n  - image\n")}
    assert OLD_TAG not in image_of(render(tmp_path, swapped, "dev"))


@cache
def rendered(kind: str, environment: str, folder: Path) -> Objects:
    """A rendering that several tests read."""
    return render(folder, files(kind), environment)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where renderings are kept."""
    return tmp_path_factory.mktemp("rendered")


def pods(objects: Objects) -> dict[str, dict[str, Any]]:
    """Every pod template of a rendering, by the kind that makes pods of it."""
    return {kind: each["spec"]["template"] for kind, each in objects.items() if "template" in each.get("spec", {})}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_pods_pass_restricted_pod_security_and_write_to_a_folder_of_their_own_alone(
    shared: Path, kind: str, environment: str
) -> None:
    found = pods(rendered(kind, environment, shared / kind))
    assert sorted(found) == (["Deployment", "Job"] if "Job" in MORE_KINDS[kind] else ["Deployment"])
    for template in found.values():
        pod = template["spec"]
        assert list(refused(pod)) == []
        # By number, or the kubelet cannot tell whether an image's user is root.
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 — in the container
        assert [volume.keys() for volume in pod["volumes"]] == [{"name", "emptyDir"}]
        assert {"cpu", "memory", "ephemeral-storage"} == container["resources"]["requests"].keys()
        assert {"memory", "ephemeral-storage"} == container["resources"]["limits"].keys()


@pytest.mark.parametrize("kind", KINDS)
def test_pods_are_spread_over_zones_and_nodes_and_never_all_gone_at_once(shared: Path, kind: str) -> None:
    objects = rendered(kind, "prd", shared / kind)
    deployment = objects["Deployment"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    spread = {each["topologyKey"]: each for each in deployment["template"]["spec"]["topologySpreadConstraints"]}
    assert spread.keys() == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    budget = objects["PodDisruptionBudget"]["spec"]
    assert budget["maxUnavailable"] == 1
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    for selector in (*(each["labelSelector"] for each in spread.values()), budget["selector"], deployment["selector"]):
        assert selector["matchLabels"].items() <= labels.items()
    assert deployment["template"]["spec"]["serviceAccountName"] == objects["ServiceAccount"]["metadata"]["name"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_smoke_test_runs_the_service_s_own_image_after_each_sync_and_takes_no_traffic(tmp_path: Path, environment: str) -> None:
    texts = with_image(files("smoke-tested"), LAYOUT.base_image("shop"))
    objects = render(tmp_path, with_image(texts, LAYOUT.overlay_image("shop", "dev")), environment)
    job = objects["Job"]
    assert job["metadata"]["annotations"] == {
        "argocd.argoproj.io/hook": "PostSync",
        "argocd.argoproj.io/hook-delete-policy": "BeforeHookCreation",
    }
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == image_of(objects) == f"{address(environment)}:{TAG}@{DIGEST}"
    # Whatever picks pods of the service by label must not pick this one.
    labels = job["spec"]["template"]["metadata"]["labels"]
    for selector in (
        objects["Service"]["spec"]["selector"],
        objects["Deployment"]["spec"]["selector"]["matchLabels"],
        objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert not selector.items() <= labels.items()
    # It needs no AWS permission, and so does not run under the account that has the service's.
    assert job["spec"]["template"]["spec"]["serviceAccountName"] != objects["ServiceAccount"]["metadata"]["name"]
    assert {"name": "SERVICE_URL", "value": f"http://{objects['Service']['metadata']['name']}"} in container["env"]
    assert container["envFrom"] == [{"configMapRef": {"name": objects["ConfigMap"]["metadata"]["name"]}}]
    # It ends, one way or the other.
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert (job["spec"]["backoffLimit"], job["spec"]["activeDeadlineSeconds"]) == (2, 300)


def test_a_smoke_test_is_one_more_object_and_changes_no_other(shared: Path) -> None:
    for environment in ENVIRONMENTS:
        plain = rendered("public", environment, shared / "public")
        tested = dict(rendered("smoke-tested", environment, shared / "smoke-tested"))
        assert tested.pop("Job")
        assert tested == plain


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "Service" in MORE_KINDS[kind]])
def test_the_service_object_offers_the_port_that_the_edge_binds_to(shared: Path, kind: str) -> None:
    objects = rendered(kind, "prd", shared / kind)
    service = objects["Service"]
    assert service["metadata"]["name"] == "shop"
    assert service["spec"]["ports"] == [{"name": "http", "port": SERVICE_PORT, "targetPort": "http", "protocol": "TCP"}]
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]
    assert {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")} == {"/healthz"}
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()


def test_who_may_call_follows_from_the_kind(shared: Path) -> None:
    policies = {kind: rendered(kind, "prd", shared / kind)["NetworkPolicy"]["spec"] for kind in KINDS}
    assert policies["public"]["ingress"] == [{"ports": [{"port": 8080, "protocol": "TCP"}]}]
    assert policies["smoke-tested"] == policies["public"]
    assert policies["internal"]["ingress"][0]["from"] == [{"namespaceSelector": {}}]
    assert not policies["worker"].get("ingress")
    assert all(policy["policyTypes"] == ["Ingress"] for policy in policies.values())


def test_overlays_differ_as_environments_do(shared: Path) -> None:
    bounds = {}
    for environment in ENVIRONMENTS:
        objects = rendered("public", environment, shared / "public")
        scaler = objects["HorizontalPodAutoscaler"]["spec"]
        bounds[environment] = (scaler["minReplicas"], scaler["maxReplicas"])
        assert "replicas" not in objects["Deployment"]["spec"]
        assert scaler["scaleTargetRef"]["name"] == objects["Deployment"]["metadata"]["name"]
        values = objects["ConfigMap"]["data"]
        assert values == {"SERVICE": "shop", "ENVIRONMENT": environment, "PUBLIC_HOST": f"shop.{environment}.example.com"}
        (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
        assert container["envFrom"] == [{"configMapRef": {"name": objects["ConfigMap"]["metadata"]["name"]}}]
    assert bounds == {"dev": (1, 2), "stg": (2, 4), "prd": (3, 9)}


def test_environments_come_from_the_catalogue_and_not_from_the_templates() -> None:
    images = {"qa": "registry.example/qa/shop", "live": "registry.example/live/shop"}
    service = catalogue.parse(json.dumps(entry("shop", images=images, hosts={}, released=["live"])))
    made = scaffold.files(service, Layout(root="apps/{service}", own_overlay="qa"))
    assert {path.split("/")[3] for path in made if "/overlays/" in path} == {"qa", "live"}
    assert "apps/shop/overlays/qa/image/kustomization.yaml" in made
    assert "apps/shop/overlays/live/image/kustomization.yaml" not in made
    assert "minReplicas: 3" in made["apps/shop/overlays/live/autoscaler.yaml"]
    without = scaffold.files(service, Layout(root="apps/{service}", own_overlay=None))
    assert [path for path in without if path.endswith("/image/kustomization.yaml")] == ["apps/shop/base/image/kustomization.yaml"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_placeholder_is_left_and_every_file_is_yaml_that_ends_its_line(kind: str) -> None:
    for path, text in files(kind).items():
        assert "$" not in text, path
        assert text.endswith("\n"), path
        assert max(map(len, text.splitlines())) <= 130, path
        if path.endswith(".yaml"):
            assert isinstance(yaml.safe_load(text), dict), path


@pytest.mark.parametrize(
    "names", [("a", "b"), ("cart", "mail"), ("cart", "cart-2"), ("a" * SERVICE_NAME_LENGTH, "b" * SERVICE_NAME_LENGTH)]
)
def test_git_takes_no_machine_written_file_of_one_service_for_another_services(names: tuple[str, str], tmp_path: Path) -> None:
    """Where one service goes and another comes, a merge would carry what was written for the one into the other's file."""
    old, new = (scaffold.files(catalogue.parse(json.dumps(entry(name, released=["prd"]))), LAYOUT) for name in names)
    machines = {path: text for path, text in old.items() if text.endswith("\nimages: []\n")}
    assert len(machines) == 5, machines.keys()
    trees: list[str] = []
    git(tmp_path, "init", "--quiet")
    for texts in (machines, new):
        git(tmp_path, "rm", "-rfq", "--ignore-unmatch", ".")
        for path, text in texts.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text, encoding="utf-8")
        git(tmp_path, "add", ".")
        trees.append(git(tmp_path, "write-tree").strip())
    # As merges look for renames: half alike is enough (docs: git-merge, find-renames).
    assert not [line for line in git(tmp_path, "diff-tree", "-r", "-M", *trees).splitlines() if line.split()[4].startswith("R")]


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout  # noqa: S603, S607 — a test's
