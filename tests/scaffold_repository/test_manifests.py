"""What verify holds rendered manifests against: schemas, what the clusters refuse, and where the image comes from."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from slipway import manifests
from slipway.layout import SlipwayError
from slipway.podsecurity import pods, refused

from tests.scaffold_repository.kit import PLATFORM, Shop, digest, service_files, shop, tag

DEPLOYMENT = "apps/cart/base/deployment.yaml"
BASE = "apps/cart/base/kustomization.yaml"
STG = "apps/cart/overlays/stg/kustomization.yaml"
RESTRICTED: Mapping[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
PART = {"type": "object", "properties": {"name": {"type": "string"}}}
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "names": {"kind": "Widget", "plural": "widgets"},
        "versions": [
            {
                "name": "v1",
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["size"],
                                "properties": {
                                    "size": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
                                    "parts": {
                                        "type": "array",
                                        "items": {"type": "object", "properties": {"name": {"type": "string"}}},
                                    },
                                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                                    "perhaps": {"type": "string", "nullable": True, "enum": ["yes"]},
                                },
                            }
                        },
                    }
                },
            }
        ],
    },
}


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Shop]:
    """A fresh repository."""
    with shop(tmp_path) as made:
        yield made


def with_object(**given: object) -> dict[str, str | None]:
    """One more object in the base."""
    text = service_files("cart")[BASE].replace("[deployment.yaml]", "[deployment.yaml, more.yaml]")
    return {BASE: text, "apps/cart/base/more.yaml": yaml.safe_dump({"metadata": {"name": "more"}, **given})}


def deployment(old: str, new: str) -> dict[str, str | None]:
    """The deployment with something changed."""
    text = service_files("cart")[DEPLOYMENT]
    assert old in text
    return {DEPLOYMENT: text.replace(old, new)}


CHANGES: list[tuple[dict[str, str | None], str]] = [
    (deployment("spec:\n  selector", "spec:\n  replica: 2\n  selector"), "Deployment/cart: spec: Additional properties are not"),
    (
        deployment("spec:\n  selector", "spec:\n  minReadySeconds: soon\n  selector"),
        "spec.minReadySeconds: 'soon' is not of type",
    ),
    (deployment("apps/v1", "apps/v1beta1"), "apps/v1beta1 Deployment is neither Kubernetes 1.34's nor in .github/slipway/crds"),
    (
        with_object(apiVersion="example.com/v1", kind="Widget"),
        "put there what `kubectl get crd widgets.example.com -o yaml` prints",
    ),
    (with_object(apiVersion="v1", kind="LimitRange", spec={"limits": []}), "LimitRange is the platform's alone"),
    (
        with_object(apiVersion="external-secrets.io/v1", kind="SecretStore"),
        "external-secrets.io/SecretStore is the platform's alone",
    ),
    (with_object(apiVersion="v1", kind="Namespace"), "Namespace belongs to no namespace"),
    (deployment("allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true"), "Pod Security refuses allowPrivilegeEscal"),
    ({STG: service_files("cart")[STG].partition("images:")[0]}, "image is 'cart':"),
    ({STG: service_files("cart")[STG].replace("222222222222", "111111111111")}, "image is '111111111111.dkr.ecr"),
    (deployment("image: cart", "image: public.ecr.aws/others/cart:1"), "no container runs '222222222222.dkr.ecr"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES, ids=[said[:40] for _, said in CHANGES])
def test_what_the_clusters_would_refuse_is_refused(it: Shop, change: dict[str, str | None], said: str) -> None:
    it.change("topic", change, base="dev")
    done = it.verify("dev", "topic")
    assert done.code == 1
    assert said in done.err
    # Whatever is wrong is said of the overlay that shows it.
    assert all(line.startswith("apps/cart/overlays/") for line in done.err.splitlines())


@pytest.mark.parametrize(
    "image", ["public.ecr.aws/others/proxy:1", "public.ecr.aws/others/cart:1", f"{PLATFORM.environments['dev'].registry}/proxy:1"]
)
def test_a_container_of_others_may_stand_beside(it: Shop, image: str) -> None:
    text = service_files("cart")[DEPLOYMENT]
    container = text[text.index("        - name: app") :]
    more = container.replace("name: app", "name: proxy").replace("image: cart", f"image: {image}")
    it.change("topic", {DEPLOYMENT: text + more}, base="dev")
    assert it.verify("dev", "topic").code == 0


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"size": 1, "parts": [{"name": "a"}], "free": {"any": 1}, "perhaps": None}, ""),
        ({"size": 0}, "Widget/more: spec.size: 0 is less than or equal to the minimum of 0"),
        ({"size": 3, "perhaps": "no"}, "Widget/more: spec.perhaps: 'no' is not one of"),
        ({"size": "3"}, "Widget/more: spec.size: '3' is not of type 'integer'"),
        ({}, "'size' is a required property"),
        ({"size": 3, "sise": 3}, "('sise' was unexpected)"),
        ({"size": 3, "parts": [{"nam": "a"}]}, "spec.parts.0: Additional properties are not allowed ('nam' was unexpected)"),
    ],
)
def test_a_custom_resource_is_held_against_its_definition(it: Shop, spec: Mapping[str, object], said: str) -> None:
    # On the branch that the pull request goes to, and on no other.
    it.change("dev", {f"{manifests.CRDS}/widgets.yaml": yaml.safe_dump(DEFINITION)})
    it.change("topic", with_object(apiVersion="example.com/v1", kind="Widget", spec=spec), base="dev")
    done = it.verify("dev", "topic")
    assert (done.code, said in done.err) == (bool(said), True), done


def test_a_definition_that_the_pull_request_brings_itself_does_not_count(it: Shop) -> None:
    definition = {f"{manifests.CRDS}/widgets.yaml": yaml.safe_dump(DEFINITION)}
    it.change("topic", {**with_object(apiVersion="example.com/v1", kind="Widget", spec={"size": 3}), **definition}, base="dev")
    done = it.verify("dev", "topic")
    assert (done.code, "neither Kubernetes 1.34's nor in .github/slipway/crds" in done.err) == (1, True), done


def test_a_file_that_is_no_definition_is_named() -> None:
    odd = f"{manifests.CRDS}/odd.yaml"
    with pytest.raises(SlipwayError, match=r"crds/odd\.yaml is no CustomResourceDefinition \(KeyError\('spec'\)\)"):
        manifests.Definitions.read({odd: "kind: Other\n"})
    with pytest.raises(SlipwayError, match=r"crds/odd\.yaml is no CustomResourceDefinition"):
        manifests.Definitions.read({odd: "a: ["})


def test_each_version_of_an_environment_s_clusters_counts_and_one_that_nobody_knows_is_named(it: Shop) -> None:
    it.platform(lambda data: data["environments"]["dev"].update(kubernetes=["1.25", "1.34"]))
    change = deployment("          image: cart\n", "          image: cart\n          resizePolicy: []\n")
    it.change("topic", change, base="dev")
    done = it.verify("dev", "topic")
    assert done.err.count("(Kubernetes 1.25)") == 1
    assert "1.34" not in done.err
    it.platform(lambda data: data["environments"]["dev"].update(kubernetes=["1.99"]))
    done = it.verify("dev", "topic")
    assert "platform.json: kubernetes is '1.99': up to 1." in done.err


def test_without_registry_and_versions_the_newest_schemas_count_and_no_address(it: Shop) -> None:
    def before(data: dict[str, Any]) -> None:
        for each in data["environments"].values():
            del each["kubernetes"]
        for each in data["tracks"].values():
            del each["registry"]

    it.platform(before)
    it.change("topic", {STG: service_files("cart")[STG].replace("222222222222", "111111111111")}, base="dev")
    assert it.verify("dev", "topic").code == 0
    it.change("odd", deployment("spec:\n  selector", "spec:\n  replica: 2\n  selector"), base="dev")
    assert "Additional properties" in it.verify("dev", "odd").err


def test_an_image_reads_as_kustomize_writes_it() -> None:
    stg = PLATFORM.environments["stg"]
    assert stg.image("cart", None) == "222222222222.dkr.ecr.eu-central-1.amazonaws.com/release/cart"
    from slipway.layout import Image  # noqa: PLC0415 — for this line

    assert stg.image("cart", Image(tag=tag(1), digest=digest(1))).endswith(f"release/cart:{tag(1)}@{digest(1)}")


# Restricted Pod Security


def pod(own: Mapping[str, Any] | None = None, container: Mapping[str, Any] | None = None, **spec: Any) -> dict[str, Any]:  # noqa: ANN401 — YAML
    """A pod's spec which the standard lets in, but for what is given."""
    return {
        "containers": [{"name": "app", "securityContext": {**RESTRICTED, **(own or {})}, **(container or {})}],
        **spec,
    }


@pytest.mark.parametrize(
    "given",
    [
        pod(),
        pod({"seccompProfile": {"type": "Localhost"}, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}),
        pod({"procMount": "Default", "seLinuxOptions": {"type": "container_t"}, "appArmorProfile": {"type": "RuntimeDefault"}}),
        pod(volumes=[{"name": "tmp", "emptyDir": {}}], securityContext={"sysctls": [{"name": "net.ipv4.tcp_syncookies"}]}),
        pod(container={"livenessProbe": {"httpGet": {"port": 1}}}),
        {
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {"name": "a", "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
            ],
        },
    ],
)
def test_the_restricted_standard_lets_in(given: Mapping[str, Any]) -> None:
    assert list(refused(given)) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (pod(hostNetwork=True), "hostNetwork"),
        (pod(hostPID=True), "hostPID"),
        (pod(hostIPC=True), "hostIPC"),
        (pod(securityContext={"sysctls": [{"name": "kernel.msgmax"}]}), "sysctl kernel.msgmax"),
        (pod(volumes=[{"name": "v", "hostPath": {"path": "/"}}]), "volume v of type hostPath"),
        (pod({"runAsNonRoot": None}), "runAsNonRoot other than true (container app)"),
        (pod({"runAsUser": 0}), "runAsUser 0 (container app)"),
        (pod({"seccompProfile": {"type": "Unconfined"}}), "a seccompProfile other than RuntimeDefault or Localhost"),
        (pod({"allowPrivilegeEscalation": None}), "allowPrivilegeEscalation other than false"),
        (pod({"capabilities": {"drop": ["NET_RAW"]}}), "capabilities that are not all dropped"),
        (pod({"capabilities": {"drop": ["ALL"], "add": ["SYS_TIME"]}}), "added capabilities but NET_BIND_SERVICE"),
        (pod({"privileged": True}), "privileged"),
        (pod({"procMount": "Unmasked"}), "procMount"),
        (pod({"windowsOptions": {"hostProcess": True}}), "hostProcess"),
        (pod({"appArmorProfile": {"type": "Unconfined"}}), "an appArmorProfile of type Unconfined"),
        (pod({"seLinuxOptions": {"type": "spc_t"}}), "seLinuxOptions"),
        (pod({"seLinuxOptions": {"user": "root"}}), "seLinuxOptions"),
        (pod(container={"ports": [{"hostPort": 80}]}), "hostPort"),
        (pod(container={"readinessProbe": {"tcpSocket": {"host": "a", "port": 1}}}), "a probe's or hook's host"),
        (pod(container={"lifecycle": {"preStop": {"httpGet": {"host": "a", "port": 1}}}}), "a probe's or hook's host"),
        (
            pod(initContainers=[{"name": "first", "securityContext": {**RESTRICTED, "privileged": True}}]),
            "privileged (container first)",
        ),
    ],
)
def test_the_restricted_standard_refuses(given: Mapping[str, Any], said: str) -> None:
    (found,) = refused(given)
    assert found.startswith(said)


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "Pod", "spec": pod()},
        {"kind": "StatefulSet", "spec": {"template": {"spec": pod()}}},
        {"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {"spec": pod()}}}}},
    ],
)
def test_a_pod_is_found_wherever_it_is_made(given: Mapping[str, Any]) -> None:
    assert list(pods(given)) == [pod()]


@pytest.mark.parametrize(
    "given", [{"kind": "Service", "spec": {"ports": []}}, {"kind": "ConfigMap"}, {"kind": "CronJob", "spec": None}]
)
def test_what_makes_no_pod_has_none(given: Mapping[str, Any]) -> None:
    assert list(pods(given)) == []
