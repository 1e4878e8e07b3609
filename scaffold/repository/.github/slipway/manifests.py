"""What overlays render to, held against Kubernetes' schemas and against what the clusters refuse.

Needs what requirements.txt names; the other modules need nothing beyond Python.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, cast

import jsonschema
import yaml
from kubernetes_validate import utils as kubernetes
from slipway.images import State
from slipway.layout import Environment, Platform, SlipwayError
from slipway.podsecurity import containers, pods, refused

CRDS: Final = ".github/slipway/crds"
"""Folder of the custom resources' definitions."""

# Each call would read the same files again.
kubernetes.schema_contents = cache(kubernetes.schema_contents)

# Kinds without a namespace: Argo CD's project allows none (components/argocd.py: clusterResourceWhitelist).
# https://kubernetes.io/docs/reference/kubernetes-api/
_CLUSTER_WIDE: Final = frozenset(
    {
        "APIService",
        "CSIDriver",
        "CSINode",
        "ClusterRole",
        "ClusterRoleBinding",
        "ClusterSecretStore",
        "CustomResourceDefinition",
        "FlowSchema",
        "IngressClass",
        "MutatingWebhookConfiguration",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PriorityClass",
        "PriorityLevelConfiguration",
        "RuntimeClass",
        "StorageClass",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
        "VolumeAttachment",
    }
)
_SHOWN: Final = 300


@dataclass(frozen=True, kw_only=True)
class Definitions:
    """The custom resources that clusters know: a schema by group, version and kind."""

    schemas: Mapping[tuple[str, str], Mapping[str, Any]]

    @classmethod
    def read(cls, files: Mapping[str, str | None]) -> "Definitions":
        """Every CustomResourceDefinition in YAML files, as `kubectl get crd NAME -o yaml` prints it.

        Args:
            files: Text by path.

        Raises:
            SlipwayError: a file holds something else.
        """
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for path, text in sorted(files.items()):
            if not path.endswith(".yaml"):
                continue
            try:
                for each in yaml.safe_load_all(text or ""):
                    for version in each["spec"]["versions"]:
                        key = f"{each['spec']['group']}/{version['name']}", str(each["spec"]["names"]["kind"])
                        found[key] = _closed(version["schema"]["openAPIV3Schema"])
            except (yaml.YAMLError, KeyError, TypeError) as error:
                msg = (
                    f"{path} is no CustomResourceDefinition ({error!r}): what `kubectl get crd NAME -o yaml` prints "
                    "is allowed. Put that there."
                )
                raise SlipwayError(msg) from None
        return cls(schemas=found)


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAPI's schema as JSON Schema, refusing what it does not name: the API server drops such fields in silence.

    https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#field-pruning
    https://spec.openapis.org/oas/v3.0.3#schema-object: its `nullable`, and bounds that a boolean makes exclusive
    """
    made: dict[str, Any] = dict(schema)
    if properties := made.get("properties"):
        made["properties"] = {name: _closed(each) for name, each in properties.items()}
        if not made.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(made.get(key), dict):
            made[key] = _closed(made[key])
    if made.pop("nullable", False) and "type" in made:
        made["type"] = [made["type"], "null"]
        if "enum" in made:
            made["enum"] = [*made["enum"], None]
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if made.pop(exclusive, False):
            made[exclusive] = made.pop(bound)
    return made


def faults(
    platform: Platform,
    definitions: Definitions,
    rendered: Mapping[tuple[str, str], str],
    states: Mapping[str, Mapping[str, State]],
) -> dict[tuple[str, str], list[str]]:
    """What is wrong with renderings, by environment and service.

    Args:
        platform: The platform.
        definitions: Custom resources.
        rendered: Text by environment's name and service.
        states: The image that each service must run, by environment's name; for environments that are read from this branch.
    """

    def one(place: tuple[str, str]) -> list[str]:
        name, service = place
        objects = [each for each in yaml.load_all(rendered[place], yaml.CSafeLoader) if each is not None]
        environment = platform.environments[name]
        found = [fault for each in objects for fault in _object_faults(each, environment, platform, definitions)]
        return [*found, *_image_faults(objects, environment, service, states.get(name, {}).get(service))]

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return dict(zip(rendered, pool.map(one, rendered), strict=True))


def _object_faults(
    given: Mapping[str, Any], environment: Environment, platform: Platform, definitions: Definitions
) -> Iterator[str]:
    api, kind = str(given.get("apiVersion", "")), str(given.get("kind", ""))
    group = api.rpartition("/")[0]
    name = f"{kind}/{cast('Mapping[str, Any]', given.get('metadata') or {}).get('name', '?')}"
    if (full := f"{group}/{kind}" if group else kind) in platform.forbidden or kind in _CLUSTER_WIDE:
        where = "belongs to no namespace" if kind in _CLUSTER_WIDE else "is the platform's alone"
        yield f"{name}: {full} {where}, and Argo CD's project refuses it. Take it out."
        return
    if (api, kind) in definitions.schemas:
        yield from (f"{name}: {each}" for each in _schema_faults(given, definitions.schemas[api, kind]))
    else:
        for version in environment.kubernetes or (kubernetes.latest_version(),):
            yield from (f"{name}: {each}" for each in _kubernetes_faults(given, version, api, kind))
    # A Deployment would be let in, and its pods would not.
    yield from (f"{name}: restricted Pod Security refuses {each}" for pod in pods(given) for each in refused(pod))


def _kubernetes_faults(given: Mapping[str, Any], version: str, api: str, kind: str) -> Iterator[str]:
    try:
        kubernetes.validate(dict(given), version, strict=True)
    except kubernetes.ValidationError as error:
        yield f"{_said(error)} (Kubernetes {version})"
    except kubernetes.SchemaNotFoundError:
        plural = f"{kind.lower()}s.{api.rpartition('/')[0]}"
        yield (
            f"{api} {kind} is neither Kubernetes {version}'s nor in {CRDS}: both are allowed. Correct it; or, if "
            f"the clusters have it, put there what `kubectl get crd {plural} -o yaml` prints, in a pull request before this one."
        )
    except kubernetes.VersionNotSupportedError:
        msg = (
            f"platform.json: kubernetes is {version!r}: up to {kubernetes.latest_version()} is allowed by kubernetes-validate in "
            "requirements.txt. Correct it, or take a newer kubernetes-validate."
        )
        raise SlipwayError(msg) from None


def _schema_faults(given: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    schema = {
        **schema,
        "properties": {"apiVersion": {}, "kind": {}, **schema.get("properties", {}), "metadata": {"type": "object"}},
    }
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(given))
    if error is not None:
        yield _said(error)


def _said(error: jsonschema.ValidationError) -> str:
    place = ".".join(map(str, error.absolute_path)) or "it"
    return f"{place}: {error.message if len(error.message) <= _SHOWN else error.message[:_SHOWN] + '…'}"


def _image_faults(
    objects: Sequence[Mapping[str, Any]], environment: Environment, service: str, state: State | None
) -> Iterator[str]:
    """The service must run what is written for it, from its environment's registry; without a state, the latter alone.

    kustomize matches an image by the name that the base left: one `newName` too early, and the rest does nothing, silently.
    """
    if not environment.registry:
        return
    address = environment.image(service, None)
    wanted = environment.image(service, state.running) if state else address
    images = {str(each.get("image", "")) for given in objects for pod in pods(given) for each in containers(pod)}
    if state is None:
        images = {_repository(each) for each in images}
    # Without an address, or from another account or track: the name is the service's. Others' containers may stand beside.
    host = address.partition("/")[0].partition(".")[2]
    wrong = sorted(
        each
        for each in images - {wanted}
        if (path := _repository(each)) == service or (f".{host}/" in path and path.endswith(f"/{service}"))
    )
    if wrong:
        yield f"image is {wrong[0]!r}: {wanted!r} is allowed (platform.json and the machine-written files). Correct `images`."
    elif wanted not in images and images:
        yield (
            f"no container runs {wanted!r}: one must. Name a container's image {service!r} in the base, and set `newName` in the "
            "overlay's `images`."
        )


def _repository(image: str) -> str:
    """An image's address without tag and digest."""
    path = image.partition("@")[0]
    head, colon, last = path.rpartition(":")
    return head if colon and "/" not in last else path
