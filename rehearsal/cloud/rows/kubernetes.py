"""Kubernetes: any kind, at the API server of the cluster that the provider's kubeconfig names; and Helm releases."""

import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from rehearsal.cloud.declared import reduced
from rehearsal.cloud.row import Ask, RealiseError, Row, Rows, same
from rehearsal.lab import bindings, charts
from rehearsal.lab.clusters import ClusterError, LabCluster
from rehearsal.lab.kube import KubeError, NoKindError
from rehearsal.lab.processes import ProcessError
from rehearsal.program import Created

if TYPE_CHECKING:
    from rehearsal.lab.kube import Kube

RELEASE: Final = "kubernetes:helm.sh/v3:Release"
# Who owns the fields: https://www.pulumi.com/registry/packages/kubernetes/how-to-guides/managing-resources-with-server-side-apply/
MANAGER: Final = "pulumi"
# Deleting ends when the last finalizer is off. The real provider waits ten minutes; nothing here takes as long as this.
DELETE_SECONDS: Final = 60
_LOOK_SECONDS: Final = 0.05

_TOKEN: Final = re.compile(r"kubernetes:([a-z0-9.-]+)/(v\d+(?:(?:alpha|beta)\d+)?):([A-Z][A-Za-z0-9]*)")
_INVALID: Final = 422
_NOT_FOUND: Final = 404
_FORBIDDEN: Final = 403
# How the API server, and webhooks in their turn, say that a field cannot be changed.
_IMMUTABLE: Final = re.compile(r"immutable|may not be changed|updates to .* are forbidden|cannot be changed", re.IGNORECASE)
# The server's own bookkeeping.
_OWN_METADATA: Final = frozenset({"creationTimestamp", "generation", "managedFields", "resourceVersion", "uid"})


def row_of(type_: str) -> Row | None:
    """How a type of the kubernetes package is realised; None if it is no kind that an API server could serve."""
    if type_ in ROWS:
        return ROWS[type_]
    match = _TOKEN.fullmatch(type_)
    # `…Patch` and `…List` are the SDK's own ways to declare parts of objects, and several.
    if match is None or match[1] in {"helm.sh", "yaml", "kustomize"} or match[3].endswith(("Patch", "List")):
        return None
    return _OBJECT


# Objects


def _create(ask: Ask) -> Created:
    """Server-side apply, which takes over what is there already: as the real provider does."""
    cluster, wanted = _cluster(ask), _declared(ask)
    if wanted["kind"] == bindings.KIND:
        _refuse_second(cluster, wanted)
    live = _applied(ask, cluster, wanted)
    return Created(id=_id(live), outputs=_cleared(live))


def _read(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    cluster = _reachable(ask)
    if cluster is None:
        return None
    api, kind = _kind(ask)
    namespace, _, name = id_.rpartition("/")
    try:
        live = cluster.kube_of(ask.caller).get(api, kind, name, namespace or None)
    except KubeError as error:
        raise _refused(cluster, f"{kind} {id_}", error) from error
    if live is None:
        return None
    there = _cleared(live)
    if not ask.request.inputs:
        return {key: value for key, value in _imported(there).items() if key != "status"}
    return {**there, **reduced(there, ask.request.inputs)}


def _update(ask: Ask, id_: str) -> Created:
    wanted = _declared(ask)
    if _identity(ask.old) != _identity(wanted):
        msg = f"{id_} cannot become {_name(wanted)}: another kind, name or namespace is another object"
        raise RealiseError(msg)
    live = _applied(ask, _cluster(ask), wanted)
    return Created(id=id_, outputs=_cleared(live))


def _delete(ask: Ask, id_: str) -> None:
    """Delete it, and wait until it is gone: finalizers are somebody's work, which may never be done."""
    cluster = _reachable(ask)
    if cluster is None:
        return
    api, kind = _kind(ask)
    namespace, _, name = id_.rpartition("/")
    kube = cluster.kube_of(ask.caller)
    try:
        live = kube.get(api, kind, name, namespace or None)
        if live is None:
            return
        kube.delete(api, kind, name, namespace or None)
        deadline = time.monotonic() + DELETE_SECONDS
        while _is_there(kube, live, namespace):
            if time.monotonic() > deadline:
                raise RealiseError(_held(cluster, api, kind, namespace, name))
            time.sleep(_LOOK_SECONDS)
    except KubeError as error:
        raise _refused(cluster, f"{kind} {id_}", error) from error


def preview(ask: Ask) -> Sequence[str]:
    """Why the API server would refuse an object, by a dry run of the lab's own: what is checked here is the object.

    Nothing where that cannot be known yet: the cluster, the kind or the namespace may be made in the same run. Neither where
    a field cannot be changed in place: that is a replacement, not a fault.
    """
    if not _identity(ask.request.inputs)[-1]:
        return [_NAMELESS]
    cluster = _there(ask)
    if cluster is None:
        return ()
    try:
        cluster.kube.apply(_declared(ask), manager=MANAGER, dry_run=True)
    except NoKindError:
        return ()
    except KubeError as error:
        if _is_immutable(error) or (error.status == _NOT_FOUND and "namespaces" in str(error)):
            return ()
        return [f"cluster {cluster.name} would refuse it: {error}"]
    return ()


def replaces_of(ask: Ask) -> Sequence[str]:
    """Which of an object's changed inputs cannot be changed in place: what names it, and what the API server says is fixed."""
    old, new = ask.old, ask.request.inputs
    found = [key for key in ("apiVersion", "kind") if not same(old.get(key), new.get(key))]
    if _identity(old)[2:] != _identity(new)[2:]:
        found.append("metadata")
    cluster = _there(ask)
    if found or cluster is None:
        return found
    try:
        cluster.kube.apply(_declared(ask), manager=MANAGER, dry_run=True)
    except NoKindError:
        return ()
    except KubeError as error:
        if _is_immutable(error):
            return [key for key in sorted({*old, *new} - {"metadata"}) if not same(old.get(key), new.get(key))]
    return ()


def attempt(ask: Ask) -> None:
    """Try a creation or change as the real provider previews it: by a dry run with the caller's rights.

    https://www.pulumi.com/registry/packages/kubernetes/how-to-guides/managing-resources-with-server-side-apply/

    Raises:
        RealiseError: the caller may not try it.
    """
    cluster = _there(ask)
    if cluster is None:
        return
    try:
        cluster.kube_of(ask.caller).apply(_declared(ask), manager=MANAGER, dry_run=True)
    except NoKindError:
        return
    except KubeError as error:
        if error.status == _FORBIDDEN:
            raise _refused(cluster, f"a dry run of {_name(_declared(ask))}", error) from error


_NAMELESS: Final = "metadata.name is not declared: names here follow from settings; declare it in the component"


def _declared(ask: Ask) -> dict[str, Any]:
    """The object as declared, with what the type token says of its kind."""
    api, kind = _kind(ask)
    # Every property is the API server's to judge.
    wanted = {key: ask.inputs.any(key) for key in ask.request.inputs if ask.inputs.has(key)}
    if not _identity(wanted)[-1]:
        raise RealiseError(_NAMELESS)
    return {"apiVersion": api, "kind": kind, **wanted}


def _kind(ask: Ask) -> tuple[str, str]:
    match = _TOKEN.fullmatch(ask.request.type)
    if match is None:
        msg = f"{ask.request.type} names no kind: kubernetes:<group>/<version>:<Kind> does"
        raise RealiseError(msg)
    group, version, kind = match.groups()
    # Custom resources carry group and version in their token, the core group its own name for having none.
    return version if group == "core" else f"{group}/{version}", kind


def _identity(values: Mapping[str, Any]) -> tuple[str, str, str, str]:
    metadata = cast("Mapping[str, Any]", values.get("metadata") or {})
    parts = (values.get("apiVersion"), values.get("kind"), metadata.get("namespace"), metadata.get("name"))
    api, kind, namespace, name = (str(each or "") for each in parts)
    return api, kind, namespace, name


def _name(wanted: Mapping[str, Any]) -> str:
    _, kind, namespace, name = _identity(wanted)
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def _id(live: Mapping[str, Any]) -> str:
    """As the real provider has it."""
    _, _, namespace, name = _identity(live)
    return f"{namespace}/{name}" if namespace else name


def _cluster(ask: Ask) -> LabCluster:
    return ask.clusters.by_kubeconfig(ask.provider.get("kubeconfig") or "")


def _there(ask: Ask) -> LabCluster | None:
    try:
        return _cluster(ask)
    except ClusterError:
        return None


def _reachable(ask: Ask) -> LabCluster | None:
    """The cluster; None for one that is gone, if the provider takes what was in it for gone, too.

    https://www.pulumi.com/registry/packages/kubernetes/api-docs/provider/#deleteunreachable_python
    """
    try:
        return _cluster(ask)
    except ClusterError:
        if str(ask.provider.get("deleteUnreachable", "")).lower() == "true":
            return None
        raise


def _applied(ask: Ask, cluster: LabCluster, wanted: dict[str, Any]) -> dict[str, Any]:
    try:
        return cluster.kube_of(ask.caller).apply(wanted, manager=MANAGER)
    except NoKindError as error:
        msg = (
            f"no kind {wanted['kind']} in version {wanted['apiVersion']} is served by cluster {cluster.name}: the chart that "
            "brings its CRD must come first (depends_on)"
        )
        raise RealiseError(msg) from error
    except KubeError as error:
        raise _refused(cluster, _name(wanted), error) from error


def _refused(cluster: LabCluster, what: str, error: Exception) -> RealiseError:
    return RealiseError(f"cluster {cluster.name} refused {what}: {error}")


def _refuse_second(cluster: LabCluster, wanted: Mapping[str, Any]) -> None:
    if bindings.NAME not in cluster.controllers:
        return
    fault = bindings.second(cluster, wanted)
    if fault:
        msg = f"cluster {cluster.name} refused {_name(wanted)}: admission webhook of {bindings.NAME} denied the request: {fault}"
        raise RealiseError(msg)


def _is_immutable(error: KubeError) -> bool:
    return error.status == _INVALID and _IMMUTABLE.search(str(error)) is not None


def _cleared(live: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in live["metadata"].items() if key != "managedFields"}
    return {**live, "metadata": metadata}


def _imported(live: Mapping[str, Any]) -> dict[str, Any]:
    """As an import declares it: without the server's bookkeeping."""
    return {**live, "metadata": {key: value for key, value in live["metadata"].items() if key not in _OWN_METADATA}}


def _is_there(kube: "Kube", live: Mapping[str, Any], namespace: str) -> bool:
    now = kube.get(live["apiVersion"], live["kind"], live["metadata"]["name"], namespace or None)
    # One that was made anew meanwhile is another.
    return now is not None and now["metadata"]["uid"] == live["metadata"]["uid"]


def _held(cluster: LabCluster, api: str, kind: str, namespace: str, name: str) -> str:
    """What an object that does not go is held by."""
    now = cluster.kube.get(api, kind, name, namespace or None) or {"metadata": {}}
    finalizers = [*now["metadata"].get("finalizers", []), *now.get("spec", {}).get("finalizers", [])]
    told = [
        f"{each.get('reason') or each['type']}: {each['message']}"
        for each in now.get("status", {}).get("conditions", [])
        if each.get("message") and each.get("status") != "False"
    ]
    running = ", ".join(sorted(cluster.controllers)) or "none"
    argocd = "runs" if cluster.argocd is not None else "does not run"
    return (
        f"{kind} {f'{namespace}/' if namespace else ''}{name} of {cluster.name} is not gone after {DELETE_SECONDS} s. "
        f"Finalizers: {', '.join(map(str, finalizers)) or 'none'}. {'; '.join(told) or 'No condition says why'}. "
        f"Controllers that run: {running}; Argo CD {argocd}. Who takes a finalizer off must be deleted after what carries it"
    )


_OBJECT: Final = Row(
    create=_create,
    read=_read,
    update=_update,
    delete=_delete,
    replaces=frozenset({"apiVersion", "kind"}),
    check=preview,
    replaces_of=replaces_of,
    attempt=attempt,
)


# Helm releases


def _release(ask: Ask) -> charts.Release:
    inputs = ask.inputs
    for key in ("atomic", "timeout"):
        inputs.leave(key, "releases in the lab are always atomic, and wait as long as it takes")
    # The SDK's mark on every release.
    inputs.any("compat")
    return charts.Release(
        name=inputs.needed("name"),
        namespace=inputs.text("namespace", "default"),
        chart=inputs.needed("chart"),
        version=inputs.needed("version"),
        repository=inputs.block("repositoryOpts").needed("repo"),
        values=cast("Mapping[str, Any]", inputs.any("values", {})),
        create_namespace=inputs.flag("createNamespace"),
    )


def _allowed(ask: Ask, cluster: LabCluster, verb: str, namespace: str) -> None:
    """Hold the caller to its right on Helm's own records, which are ConfigMaps here (HELM_DRIVER).

    What a chart brings is the lab's own and made by itself; see `NOT_PLAYED` (rehearsal/lab/charts.py).

    Raises:
        RealiseError: it has no such right.
    """
    if ask.caller is None:
        return
    wanted = {"verb": verb, "resource": "configmaps", "namespace": namespace}
    review = {"apiVersion": _REVIEW, "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": wanted}}
    try:
        answer = cluster.kube_of(ask.caller).request("POST", f"/apis/{_REVIEW}/selfsubjectaccessreviews", review)
    except KubeError as error:
        raise _refused(cluster, f"to say whether {ask.caller.arn} may {verb} configmaps", error) from error
    if not answer["status"]["allowed"]:
        msg = (
            f'configmaps is forbidden: User "{ask.caller.arn}" cannot {verb} resource "configmaps" in the namespace "{namespace}"'
        )
        raise RealiseError(msg)


_REVIEW: Final = "authorization.k8s.io/v1"


def _attempt_release(ask: Ask) -> None:
    """Helm reads the releases of a namespace before it says what it would do."""
    cluster = _there(ask)
    if cluster is not None:
        _allowed(ask, cluster, "list", _release(ask).namespace)


def _create_release(ask: Ask) -> Created:
    release = _release(ask)
    cluster = _cluster(ask)
    _allowed(ask, cluster, "create", release.namespace)
    try:
        installed = charts.install(cluster, release)
    except (KubeError, ProcessError) as error:
        raise _refused(cluster, f"release {release.namespace}/{release.name}", error) from error
    return ask.done(f"{release.namespace}/{release.name}", **_release_outputs(installed))


def _read_release(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    cluster = _reachable(ask)
    if cluster is None:
        return None
    namespace, _, name = id_.rpartition("/")
    _allowed(ask, cluster, "list", namespace)
    installed = charts.find(cluster, namespace, name)
    if installed is None:
        return None
    release = installed.release
    # `createNamespace`, `atomic` and `timeout` are words to Helm, which it does not keep.
    return {
        "name": release.name,
        "namespace": release.namespace,
        "chart": release.chart,
        "version": release.version,
        "repositoryOpts": {"repo": release.repository},
        "values": dict(release.values),
        **_release_outputs(installed),
    }


def _update_release(ask: Ask, id_: str) -> Created:
    release = _release(ask)
    cluster = _cluster(ask)
    _allowed(ask, cluster, "update", release.namespace)
    try:
        installed = charts.upgrade(cluster, release)
    except (KubeError, ProcessError) as error:
        raise _refused(cluster, f"release {id_}", error) from error
    return ask.done(id_, **_release_outputs(installed))


def _delete_release(ask: Ask, id_: str) -> None:
    cluster = _reachable(ask)
    if cluster is None:
        return
    namespace, _, name = id_.rpartition("/")
    _allowed(ask, cluster, "delete", namespace)
    try:
        charts.remove(cluster, namespace, name)
    except KubeError as error:
        raise _refused(cluster, f"release {id_}", error) from error


def _check_release(ask: Ask) -> Sequence[str]:
    try:
        return charts.faults(_release(ask))
    except RealiseError as error:
        return [str(error)]


def _release_outputs(installed: charts.Installed) -> dict[str, Any]:
    release = installed.release
    return {
        "status": {
            "name": release.name,
            "namespace": release.namespace,
            "chart": release.chart,
            "version": release.version,
            "revision": installed.revision,
            "status": "deployed",
        }
    }


ROWS: Final[Rows] = {
    RELEASE: Row(
        create=_create_release,
        read=_read_release,
        update=_update_release,
        delete=_delete_release,
        # A release is its name in its namespace: https://helm.sh/docs/topics/advanced/#storage-backends
        replaces=frozenset({"name", "namespace"}),
        check=_check_release,
        attempt=_attempt_release,
    ),
}

__all__ = ["DELETE_SECONDS", "MANAGER", "RELEASE", "ROWS", "attempt", "preview", "replaces_of", "row_of"]
