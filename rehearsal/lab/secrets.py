"""External Secrets' part: Secrets that follow those of Secrets Manager, read as the role that the controller's pods get.

Played are the fields that the platform uses; an ExternalSecret or a store with another one says so in its condition, as it
would with any fault, and its Secret is not made. https://external-secrets.io/latest/api/externalsecret/
"""

import base64
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

from rehearsal.lab.clusters import LabCluster
from rehearsal.lab.controller import Controller
from rehearsal.lab.kube import KubeError

API: Final = "external-secrets.io/v1"
NAME: Final = "external-secrets"
# It keeps an ExternalSecret until its controller has let go: gone before it, everything in the namespace hangs.
# https://github.com/external-secrets/external-secrets/blob/main/pkg/controllers/externalsecret/externalsecret_controller.go
FINALIZER: Final = "externalsecrets.external-secrets.io/externalsecret-cleanup"
# The real controller waits longer with every failure; what is being rehearsed is that it tries again.
_RETRY_SECONDS: Final = 0.5
_UNITS: Final[Mapping[str, float]] = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
_SPEC: Final = frozenset({"refreshInterval", "refreshPolicy", "secretStoreRef", "target", "data"})
_TARGET: Final = frozenset({"name", "creationPolicy", "deletionPolicy", "template"})
_TEMPLATE: Final = frozenset({"engineVersion", "mergePolicy", "metadata", "data", "type"})
_REMOTE: Final = frozenset({"key", "property", "conversionStrategy", "decodingStrategy", "metadataPolicy", "nullBytePolicy"})
# What the API server fills in, and means: nothing special.
_DEFAULTS: Final[Mapping[str, Any]] = {
    "refreshPolicy": "Periodic",
    "creationPolicy": "Owner",
    "deletionPolicy": "Retain",
    "engineVersion": "v2",
    "mergePolicy": "Replace",
    "conversionStrategy": "Default",
    "decodingStrategy": "None",
    "metadataPolicy": "None",
    "nullBytePolicy": "Ignore",
}
_VALUE: Final = re.compile(r"\{\{-?\s*\.(\w+)\s*-?\}\}")
_CHANGED: Final = 409


class _NotPlayed(Exception):  # noqa: N818 — a fault that is told, not raised on
    """A secret cannot be made; the message is the condition's."""


@dataclass(frozen=True, kw_only=True)
class _Synced:
    version: str
    at: float
    failed: bool


class ExternalSecrets:
    """The controller of one cluster."""

    def __init__(self, cluster: LabCluster, *, namespace: str, service_account: str) -> None:
        """Prepare; its pods run in `namespace` as `service_account`."""
        self._cluster, self._namespace, self._service_account = cluster, namespace, service_account
        self._synced: dict[str, _Synced] = {}
        self._stores: dict[str, int] = {}
        self._clients: dict[tuple[str, str], Any] = {}

    def controller(self) -> Controller:
        """What looks for ExternalSecrets."""
        return Controller(NAME, self.look)

    def look(self) -> None:
        """Bring every Secret up to date that is due."""
        kube = self._cluster.kube
        for each in kube.list(API, "SecretStore"):
            self._look_at_store(each)
        there = kube.list(API, "ExternalSecret")
        for each in there:
            try:
                self._look_at(each)
            except KubeError as error:
                # Somebody else has changed or deleted it since: the next look sees that.
                if error.status not in {404, _CHANGED}:
                    raise
        alive = {each["metadata"]["uid"] for each in there}
        self._synced = {uid: synced for uid, synced in self._synced.items() if uid in alive}

    def _look_at_store(self, store: Mapping[str, Any]) -> None:
        metadata = store["metadata"]
        if self._stores.get(metadata["uid"]) == metadata["generation"]:
            return
        try:
            _region(store)
        except _NotPlayed as fault:
            condition = _condition("False", "InvalidProviderConfig", str(fault))
        else:
            condition = _condition("True", "Valid", "store validated")
        self._tell("SecretStore", metadata, {"conditions": [condition]})
        self._stores[metadata["uid"]] = metadata["generation"]

    def _look_at(self, secret: dict[str, Any]) -> None:
        metadata, kube = secret["metadata"], self._cluster.kube
        finalizers = [str(each) for each in metadata.get("finalizers", [])]
        if metadata.get("deletionTimestamp"):
            if FINALIZER in finalizers:
                # What it owns is taken away by the API server's garbage collection.
                self._finalize(metadata, [each for each in finalizers if each != FINALIZER])
            return
        if FINALIZER not in finalizers:
            self._finalize(metadata, [*finalizers, FINALIZER])
        target = secret["spec"].get("target", {}).get("name") or metadata["name"]
        version = _version(secret)
        if not self._due(secret, version) and kube.get("v1", "Secret", target, metadata["namespace"]) is not None:
            return
        try:
            self._sync(secret, target)
        except _NotPlayed as fault:
            condition = _condition("False", "SecretSyncedError", str(fault))
        else:
            condition = _condition("True", "SecretSynced", "secret synced")
        failed = condition["status"] != "True"
        before = self._synced.get(metadata["uid"])
        self._synced[metadata["uid"]] = _Synced(version=version, at=time.monotonic(), failed=failed)
        if not failed or before is None or not before.failed:
            told: dict[str, Any] = {"conditions": [condition], "binding": {"name": target}}
            self._tell("ExternalSecret", metadata, told if failed else {**told, "refreshTime": condition["lastTransitionTime"]})

    def _due(self, secret: Mapping[str, Any], version: str) -> bool:
        last = self._synced.get(secret["metadata"]["uid"])
        if last is None or last.version != version:
            return True
        age = time.monotonic() - last.at
        if last.failed:
            return age >= _RETRY_SECONDS
        interval = _seconds(str(secret["spec"].get("refreshInterval", "1h")))
        # Zero: made once. https://external-secrets.io/latest/api/externalsecret/
        return 0 < interval <= age

    def _sync(self, secret: Mapping[str, Any], target: str) -> None:
        spec, metadata = secret["spec"], secret["metadata"]
        _only(spec, _SPEC, "spec")
        wanted = spec.get("target", {})
        _only(wanted, _TARGET, "spec.target")
        template = wanted.get("template", {})
        _only(template, _TEMPLATE, "spec.target.template")
        reference = spec.get("secretStoreRef", {})
        if reference.get("kind", "SecretStore") != "SecretStore":
            msg = f"spec.secretStoreRef.kind is {reference['kind']}: the release does not process it"
            raise _NotPlayed(msg)
        store = self._cluster.kube.get(API, "SecretStore", reference.get("name", ""), metadata["namespace"])
        if store is None:
            msg = f'could not get SecretStore "{reference.get("name", "")}": not found'
            raise _NotPlayed(msg)
        region = _region(store)
        values = {each["secretKey"]: self._value(each, region) for each in spec.get("data", [])}
        data = {key: _rendered(text, values, key) for key, text in template["data"].items()} if "data" in template else values
        given = template.get("metadata", {})
        made = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": template.get("type", "Opaque"),
            "metadata": {
                "name": target,
                "namespace": metadata["namespace"],
                "labels": {
                    **(given.get("labels", {}) if "template" in wanted else metadata.get("labels", {})),
                    "reconcile.external-secrets.io/managed": "true",
                },
                "annotations": dict(given.get("annotations", {})),
                "ownerReferences": [
                    {
                        "apiVersion": API,
                        "kind": "ExternalSecret",
                        "name": metadata["name"],
                        "uid": metadata["uid"],
                        "controller": True,
                        "blockOwnerDeletion": True,
                    }
                ],
            },
            "data": {key: base64.b64encode(text.encode()).decode() for key, text in data.items()},
        }
        self._cluster.kube.apply(made, manager=NAME)

    def _value(self, entry: Mapping[str, Any], region: str) -> str:
        remote = entry["remoteRef"]
        _only(remote, _REMOTE, "spec.data.remoteRef")
        key = str(remote["key"])
        try:
            role = self._cluster.role_of(self._namespace, self._service_account)
            text = str(self._client(role, region).get_secret_value(SecretId=key)["SecretString"])
        except Exception as error:
            # Whatever it is (no role, no right, no secret), the condition says it; credentials may have run out, too.
            self._clients.clear()
            msg = f"error processing spec.data (key: {key}), err: {error}"
            raise _NotPlayed(msg) from error
        if "property" not in remote:
            return text
        try:
            found = cast("dict[str, Any]", json.loads(text))[remote["property"]]
        except (KeyError, TypeError, ValueError) as error:
            msg = f"key {remote['property']} does not exist in secret {key}"
            raise _NotPlayed(msg) from error
        return found if isinstance(found, str) else json.dumps(found)

    def _client(self, role: str, region: str) -> Any:  # noqa: ANN401 — boto3's
        if (role, region) not in self._clients:
            self._clients[role, region] = self._cluster.emulators.client_as(
                role, "secretsmanager", region, session=f"eks-{self._cluster.name}-{NAME}"[:64]
            )
        return self._clients[role, region]

    def _finalize(self, metadata: Mapping[str, Any], finalizers: list[str]) -> None:
        patch = {"metadata": {"finalizers": finalizers, "resourceVersion": metadata["resourceVersion"]}}
        self._cluster.kube.patch(API, "ExternalSecret", metadata["name"], patch, metadata["namespace"])

    def _tell(self, kind: str, metadata: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        self._cluster.kube.patch(API, kind, metadata["name"], {"status": status}, metadata["namespace"], subresource="status")


def _region(store: Mapping[str, Any]) -> str:
    """Region of a store of AWS's Secrets Manager without credentials of its own."""
    spec = store["spec"]
    _only(spec, {"provider"}, "store: spec")
    _only(spec["provider"], {"aws"}, "store: spec.provider")
    aws = spec["provider"]["aws"]
    _only(aws, {"service", "region"}, "store: spec.provider.aws")
    if aws["service"] != "SecretsManager":
        msg = f"store: spec.provider.aws.service is {aws['service']}: the lab plays SecretsManager"
        raise _NotPlayed(msg)
    return str(aws["region"])


def _rendered(text: str, values: Mapping[str, str], key: str) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            msg = f'could not render key {key}: map has no entry for key "{match[1]}"'
            raise _NotPlayed(msg)
        return values[match[1]]

    if "{{" in _VALUE.sub("", text):
        msg = f"could not render key {key}: the lab plays {{{{ .name }}}} and no functions"
        raise _NotPlayed(msg)
    return _VALUE.sub(value, text)


def _only(values: Mapping[str, Any], known: frozenset[str] | set[str], where: str) -> None:
    strange = sorted(key for key in values if key not in known)
    if strange:
        msg = f"{where}.{strange[0]} is not played by the lab: played are {', '.join(sorted(known))}"
        raise _NotPlayed(msg)
    for key, default in _DEFAULTS.items():
        if values.get(key, default) != default:
            msg = f"{where}.{key} is {values[key]}: the lab plays {default}"
            raise _NotPlayed(msg)


def _version(secret: Mapping[str, Any]) -> str:
    """What a sync is for: the specification, and labels and annotations, by which a sync is forced."""
    metadata = secret["metadata"]
    return json.dumps([metadata["generation"], metadata.get("labels"), metadata.get("annotations")], sort_keys=True)


def _seconds(duration: str) -> float:
    """A duration as Go writes it."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", duration)
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _condition(status: str, reason: str, message: str) -> dict[str, str]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": now}


__all__ = ["API", "FINALIZER", "NAME", "ExternalSecrets"]
