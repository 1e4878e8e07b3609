"""What metrics-server says of pods and nodes: every container uses half of what it requests, always.

An autoscaler that gets no answer makes its service unhealthy to Argo CD; one that gets this keeps to its lower bound.
https://github.com/kubernetes/metrics/blob/master/pkg/apis/metrics/v1beta1/types.go
"""

import datetime as dt
import json
import re
import ssl
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from rehearsal.lab.control_plane import ControlPlane
from rehearsal.lab.namespace import METRICS_ADDRESS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

NAME: Final = "metrics-server"
_NAMESPACE: Final = "kube-system"
_GROUP: Final = "metrics.k8s.io"
_VERSION: Final = "v1beta1"
_PODS: Final = re.compile(rf"/apis/{_GROUP}/{_VERSION}/(?:namespaces/(?P<namespace>[^/]+)/)?pods")
_DEFAULT: Final[Mapping[str, str]] = {"cpu": "10m", "memory": "16Mi"}
_SUFFIXES: Final[Mapping[str, float]] = {"m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 1e3, "M": 1e6, "G": 1e9}


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002 — werkzeug's own name
        """Say nothing."""


class Metrics:
    """One cluster's metrics-server, behind its API server."""

    def __init__(self, control_plane: ControlPlane) -> None:
        """Prepare."""
        self._plane = control_plane
        self._server: BaseWSGIServer | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen, and tell the API server where."""
        keys = self._plane.folder_of_keys
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(keys / "authority.crt"))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(keys / "metrics.crt", keys / "metrics.key")
        self._server = make_server(METRICS_ADDRESS, 0, self._answer, threaded=True, ssl_context=context, request_handler=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="metrics")
        self._thread.start()
        for each in self._objects(self._server.port):
            self._plane.kube.apply(each, manager="eks")

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    @staticmethod
    def _objects(port: int) -> Iterable[dict[str, Any]]:
        metadata = {"name": NAME, "namespace": _NAMESPACE}
        yield {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": port, "protocol": "TCP"}]},
        }
        yield {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": NAME}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [METRICS_ADDRESS], "conditions": {"ready": True}}],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }
        yield {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{_VERSION}.{_GROUP}"},
            "spec": {
                "group": _GROUP,
                "version": _VERSION,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": {**metadata, "port": 443},
                "insecureSkipTLSVerify": True,
            },
        }

    def _answer(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        return self._respond(request)(environ, start_response)

    def _respond(self, request: Request) -> Response:
        if request.path.rstrip("/") == f"/apis/{_GROUP}/{_VERSION}":
            return Response(json.dumps(_RESOURCES), content_type="application/json")
        found = _PODS.fullmatch(request.path)
        if found is None:
            return Response("not found", 404)
        pods = self._plane.kube.list("v1", "Pod", found["namespace"], labels=request.args.get("labelSelector", ""))
        items = [_measured(each) for each in pods if each.get("status", {}).get("phase") == "Running"]
        body: dict[str, Any] = {"kind": "PodMetricsList", "apiVersion": f"{_GROUP}/{_VERSION}", "metadata": {}, "items": items}
        return Response(json.dumps(body), content_type="application/json")


_RESOURCES: Final[Mapping[str, Any]] = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": f"{_GROUP}/{_VERSION}",
    "resources": [
        {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]},
    ],
}


def _measured(pod: Mapping[str, Any]) -> dict[str, Any]:
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata = pod["metadata"]
    return {
        "metadata": {key: metadata[key] for key in ("name", "namespace", "labels") if key in metadata},
        "timestamp": now,
        "window": "30s",
        "containers": [
            {"name": each["name"], "usage": _half({**_DEFAULT, **each.get("resources", {}).get("requests", {})})}
            for each in pod["spec"]["containers"]
        ],
    }


def _half(requests: Mapping[str, str]) -> dict[str, str]:
    return {"cpu": f"{_number(requests['cpu']) * 500:.0f}m", "memory": f"{_number(requests['memory']) / 2:.0f}"}


def _number(quantity: str) -> float:
    """A quantity as a number: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/ ."""
    for suffix, factor in _SUFFIXES.items():
        if quantity.endswith(suffix):
            return float(quantity.removesuffix(suffix)) * factor
    return float(quantity)


__all__ = ["NAME", "Metrics"]
