"""The client of an API server, against a server that answers as one does."""

import json
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest

from rehearsal.lab.control_plane import Keys
from rehearsal.lab.kube import Kube, KubeError, NoKindError

Answer = tuple[int, object]
RESOURCES: Final = {
    "/api/v1": [("namespaces", "Namespace", False), ("pods", "Pod", True), ("pods/status", "Pod", True)],
    "/apis/apps/v1": [("deployments", "Deployment", True)],
}
DEPLOYMENT: Final = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}}
WEB: Final = "/apis/apps/v1/namespaces/shop/deployments/web"


@dataclass
class Api:
    """Answers by path, and what was asked."""

    answers: dict[str, Callable[[str], Answer]] = field(default_factory=dict[str, Callable[[str], Answer]])
    asked: list[tuple[str, str, dict[str, list[str]], str, Any]] = field(
        default_factory=list[tuple[str, str, dict[str, list[str]], str, Any]]
    )

    users: list[tuple[str | None, list[str]]] = field(default_factory=list[tuple[str | None, list[str]]])

    def answer(self, method: str, target: str, content_type: str, body: bytes) -> Answer:
        """One request."""
        url = urlsplit(target)
        self.asked.append((method, url.path, parse_qs(url.query), content_type, json.loads(body) if body else None))
        if url.path in self.answers:
            return self.answers[url.path](method)
        if url.path in RESOURCES:
            served = RESOURCES[url.path]
            return 200, {"resources": [{"name": name, "kind": kind, "namespaced": one} for name, kind, one in served]}
        return failure(404, "NotFound", f"{url.path} not found")

    def paths(self) -> list[str]:
        """Paths asked for, in order."""
        return [path for _, path, *_ in self.asked]


def failure(status: int, reason: str, message: str) -> Answer:
    """A `Status` as the API server answers it."""
    return status, {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": status}


@pytest.fixture
def api() -> Api:
    """What answers."""
    return Api()


@pytest.fixture
def kube(api: Api, tmp_path: Path) -> Generator[Kube]:
    """A client of it, without TLS."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            try:
                self.raw_requestline = self.rfile.readline()
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                length = int(self.headers.get("Content-Length") or 0)
                api.users.append((self.headers.get("Impersonate-User"), self.headers.get_all("Impersonate-Group") or []))
                status, said = api.answer(self.command, self.path, self.headers.get("Content-Type", ""), self.rfile.read(length))
            except ConnectionError:
                self.close_connection = True
                return
            data = (said if isinstance(said, str) else json.dumps(said)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base class's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    client = Kube(kubeconfig(f"http://127.0.0.1:{server.server_port}", tmp_path))
    yield client
    client.close()
    server.shutdown()
    thread.join()
    server.server_close()


def kubeconfig(server: str, folder: Path) -> dict[str, Any]:
    """A kubeconfig whose current context is not its first."""
    made = Keys(folder / "keys").kubeconfig("blue", server)
    for kind, part in (("clusters", "cluster"), ("users", "user"), ("contexts", "context")):
        made[kind].insert(0, {"name": "other", part: {"cluster": "other", "user": "other"}})
    return made


def test_apply_is_strict_and_says_who_applies(kube: Kube, api: Api) -> None:
    api.answers[WEB] = lambda _: (200, {**DEPLOYMENT, "status": {}})
    assert kube.apply(DEPLOYMENT, manager="helm", dry_run=True, force=False)["status"] == {}
    method, path, query, content_type, body = api.asked[-1]
    assert (method, path, content_type, body) == ("PATCH", WEB, "application/apply-patch+yaml", DEPLOYMENT)
    assert query == {"fieldManager": ["helm"], "force": ["false"], "fieldValidation": ["Strict"], "dryRun": ["All"]}
    kube.apply(DEPLOYMENT)
    assert api.asked[-1][2] == {"fieldManager": ["pulumi"], "force": ["true"], "fieldValidation": ["Strict"]}


def test_a_client_can_act_as_another_user_and_stays_what_it_is(kube: Kube, api: Api) -> None:
    api.answers[WEB] = lambda _: (200, DEPLOYMENT)
    other = kube.acting_as("arn:aws:sts::1:assumed-role/preview/x", ["slipway:preview", "others"])
    other.apply(DEPLOYMENT)
    assert api.users[-1] == ("arn:aws:sts::1:assumed-role/preview/x", ["system:authenticated", "slipway:preview", "others"])
    assert api.asked[-1][3] == "application/apply-patch+yaml"
    kube.apply(DEPLOYMENT)
    assert api.users[-1] == (None, [])


def test_a_refusal_is_told_in_the_servers_own_words(kube: Kube, api: Api) -> None:
    told = "failed to create typed patch object: .spec.replica: field not declared in schema"
    api.answers[WEB] = lambda _: failure(422, "Invalid", told)
    with pytest.raises(KubeError) as caught:
        kube.apply(DEPLOYMENT)
    assert (caught.value.status, caught.value.reason, str(caught.value)) == (422, "Invalid", told)


def test_a_refusal_that_is_no_status_is_told_as_it_came(kube: Kube, api: Api) -> None:
    api.answers[WEB] = lambda _: (503, "etcd is starting")
    with pytest.raises(KubeError, match="etcd is starting") as caught:
        kube.apply(DEPLOYMENT)
    assert caught.value.status == 503


def test_a_server_that_does_not_answer_is_an_error_without_a_status(tmp_path: Path) -> None:
    client = Kube(kubeconfig("http://127.0.0.1:1", tmp_path))
    with pytest.raises(KubeError, match=r"http://127\.0\.0\.1:1 does not answer") as caught:
        client.get("v1", "Namespace", "default")
    assert (caught.value.status, caught.value.reason) == (0, "Unreachable")


def test_what_is_not_there_is_none_and_other_failures_are_raised(kube: Kube, api: Api) -> None:
    assert kube.get("apps/v1", "Deployment", "web", "shop") is None
    assert kube.get("argoproj.io/v1alpha1", "Application", "web", "argocd") is None
    api.answers[WEB] = lambda _: failure(403, "Forbidden", "you may not")
    with pytest.raises(KubeError, match="you may not"):
        kube.get("apps/v1", "Deployment", "web", "shop")


def test_a_kind_is_asked_for_once_and_again_while_it_is_not_served(kube: Kube, api: Api) -> None:
    group = "/apis/argoproj.io/v1alpha1"
    with pytest.raises(NoKindError, match=r"no kind Application in version argoproj\.io/v1alpha1 is served") as caught:
        kube.path("argoproj.io/v1alpha1", "Application")
    assert caught.value.status == 404
    served = [{"name": "applications", "kind": "Application", "namespaced": True}]
    api.answers[group] = lambda _: (200, {"resources": served})
    for _ in range(3):
        assert kube.path("argoproj.io/v1alpha1", "Application", "web", "argocd") == f"{group}/namespaces/argocd/applications/web"
    assert api.paths() == [group] * 2
    kube.forget("argoproj.io/v1alpha1")
    assert kube.namespaced("argoproj.io/v1alpha1", "Application")
    assert api.paths() == [group] * 3


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        (("v1", "Namespace", "shop", "ignored"), "/api/v1/namespaces/shop"),
        (("v1", "Pod", "", None), "/api/v1/pods"),
        (("v1", "Pod", "", "shop"), "/api/v1/namespaces/shop/pods"),
        (("v1", "Pod", "one", None), "/api/v1/namespaces/default/pods/one"),
        (("apps/v1", "Deployment", "web", "shop"), WEB),
    ],
)
def test_a_path_says_group_namespace_and_name(kube: Kube, asked: tuple[str, str, str, str | None], path: str) -> None:
    assert kube.path(*asked) == path


def test_listed_objects_say_of_what_kind_they_are(kube: Kube, api: Api) -> None:
    api.answers["/api/v1/namespaces/shop/pods"] = lambda _: (200, {"items": [{"metadata": {"name": "one"}}]})
    found = kube.list("v1", "Pod", "shop", labels="app=web")
    assert found == [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}}]
    assert api.asked[-1][2] == {"labelSelector": ["app=web"]}


def test_a_patch_may_go_to_a_subresource(kube: Kube, api: Api) -> None:
    api.answers["/api/v1/namespaces/shop/pods/one/status"] = lambda _: (200, {"done": True})
    assert kube.patch("v1", "Pod", "one", {"status": {"phase": "Failed"}}, "shop", subresource="status") == {"done": True}
    assert api.asked[-1][0::3] == ("PATCH", "application/merge-patch+json")


def test_a_deletion_waits_until_finalizers_are_done(kube: Kube, api: Api) -> None:
    looks = iter([200, 200, 404])

    def answer(method: str) -> Answer:
        if method == "DELETE":
            return 200, {}
        return (200, DEPLOYMENT) if next(looks) == 200 else failure(404, "NotFound", "gone")

    api.answers[WEB] = answer
    assert kube.delete("apps/v1", "Deployment", "web", "shop", wait_seconds=10)
    assert [method for method, path, *_ in api.asked if path == WEB] == ["DELETE", "GET", "GET", "GET"]


def test_a_deletion_that_hangs_is_told(kube: Kube, api: Api) -> None:
    api.answers[WEB] = lambda _: (200, DEPLOYMENT)
    assert not kube.delete("apps/v1", "Deployment", "web", "shop", wait_seconds=0)


def test_deleting_what_is_not_there_is_no_error(kube: Kube, api: Api) -> None:
    assert kube.delete("apps/v1", "Deployment", "web", "shop")
    assert kube.delete("argoproj.io/v1alpha1", "Application", "web")
    api.answers[WEB] = lambda _: failure(403, "Forbidden", "you may not")
    with pytest.raises(KubeError, match="you may not"):
        kube.delete("apps/v1", "Deployment", "web", "shop")


def test_many_threads_may_share_a_client(kube: Kube, api: Api) -> None:
    api.answers[WEB] = lambda _: (200, DEPLOYMENT)
    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(kube.get, "apps/v1", "Deployment", "web", "shop") for _ in range(64)]
    assert [each.result() for each in asked] == [DEPLOYMENT] * 64
