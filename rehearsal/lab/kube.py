"""A client of one API server: objects are applied, read, patched and deleted by kind and name.

The official client has a class for each kind and takes seconds to import; what is needed here is six requests of the API's
own conventions (https://kubernetes.io/docs/reference/using-api/api-concepts/).
"""

import base64
import copy
import json
import ssl
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote, urlencode

import urllib3

_CONNECTIONS: Final = 16
_LIMIT_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409


class KubeError(Exception):
    """The API server refused a request. The message is its own.

    Attributes:
        status: HTTP status.
        reason: The API's reason, such as `Invalid` or `Conflict`.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        """Keep the server's words."""
        super().__init__(message)
        self.status, self.reason = status, reason


class NoKindError(KubeError):
    """No such kind is served."""


class Kube:
    """A client; any number of threads may share it."""

    def __init__(self, kubeconfig: Mapping[str, Any]) -> None:
        """Take server, authority and certificate of the current context."""
        context = next(each["context"] for each in kubeconfig["contexts"] if each["name"] == kubeconfig["current-context"])
        cluster = next(each["cluster"] for each in kubeconfig["clusters"] if each["name"] == context["cluster"])
        user = next(each["user"] for each in kubeconfig["users"] if each["name"] == context["user"])
        self.server = str(cluster["server"])
        self._headers: dict[str, str] | urllib3.HTTPHeaderDict = {}
        self._kinds: dict[tuple[str, str], tuple[str, bool]] = {}
        self._lock = threading.Lock()
        self._http = urllib3.PoolManager(
            maxsize=_CONNECTIONS, block=False, ssl_context=_context(cluster, user), timeout=_LIMIT_SECONDS, retries=False
        )

    def acting_as(self, user: str, groups: Sequence[str]) -> "Kube":
        """Return a client whose requests the API server takes for those of another user.

        https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation

        Args:
            user: Name of the user.
            groups: Names of its groups, without those that the server adds to every user.
        """
        other = copy.copy(self)
        other._headers = urllib3.HTTPHeaderDict({"Impersonate-User": user})  # noqa: SLF001 — of the same class
        for each in ("system:authenticated", *groups):
            other._headers.add("Impersonate-Group", each)  # noqa: SLF001 — as above
        return other

    def request(self, method: str, path: str, body: object = None, *, content_type: str = "application/json") -> Any:  # noqa: ANN401 — JSON
        """One request; answers with the body, parsed.

        Raises:
            KubeError: the server refused, or could not be reached (status 0).
        """
        data = None if body is None else json.dumps(body).encode()
        try:
            headers = urllib3.HTTPHeaderDict(self._headers)
            headers.update({"Content-Type": content_type, "Accept": "application/json"})
            answer = self._http.request(method, f"{self.server}{path}", body=data, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise KubeError(0, "Unreachable", f"{self.server} does not answer: {error}") from error
        text = answer.data.decode(errors="replace")
        if answer.status < 400:  # noqa: PLR2004 — HTTP's errors
            return json.loads(text) if text.startswith("{") else text
        try:
            said: Any = json.loads(text)
        except ValueError:
            said = {}
        raise KubeError(answer.status, str(said.get("reason", "")), str(said.get("message") or text))

    def apply(
        self, obj: Mapping[str, Any], *, manager: str = "pulumi", dry_run: bool = False, force: bool = True
    ) -> dict[str, Any]:
        """Server-side apply, strictly: a field that the kind does not have is refused.

        https://kubernetes.io/docs/reference/using-api/server-side-apply/

        Raises:
            NoKindError: the kind is not served.
            KubeError: the object is refused.
        """
        metadata = obj["metadata"]
        path = self.path(obj["apiVersion"], obj["kind"], metadata["name"], metadata.get("namespace"))
        options = {"fieldManager": manager, "force": str(force).lower(), "fieldValidation": "Strict"}
        if dry_run:
            options["dryRun"] = "All"
        made = self.request("PATCH", f"{path}?{urlencode(options)}", obj, content_type="application/apply-patch+yaml")
        return cast("dict[str, Any]", made)

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        """The object; None if it, or its kind, is not there."""
        try:
            return cast("dict[str, Any]", self.request("GET", self.path(api_version, kind, name, namespace)))
        except NoKindError:
            return None
        except KubeError as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    def list(self, api_version: str, kind: str, namespace: str | None = None, *, labels: str = "") -> list[dict[str, Any]]:
        """All objects of a kind, of one namespace or of all.

        Raises:
            NoKindError: the kind is not served.
        """
        query = f"?{urlencode({'labelSelector': labels})}" if labels else ""
        found = self.request("GET", f"{self.path(api_version, kind, '', namespace)}{query}")
        return [{"apiVersion": api_version, "kind": kind, **each} for each in found["items"]]

    def patch(  # noqa: PLR0913 — whom, what, and which part of it
        self,
        api_version: str,
        kind: str,
        name: str,
        patch: Mapping[str, Any],
        namespace: str | None = None,
        *,
        subresource: str = "",
    ) -> dict[str, Any]:
        """Merge `patch` into an object, or into a subresource of it such as `status`.

        Raises:
            KubeError: it is refused.
        """
        path = self.path(api_version, kind, name, namespace) + (f"/{subresource}" if subresource else "")
        return cast("dict[str, Any]", self.request("PATCH", path, patch, content_type="application/merge-patch+json"))

    def delete(self, api_version: str, kind: str, name: str, namespace: str | None = None, *, wait_seconds: float = 0) -> bool:
        """Delete an object; what is not there is no error.

        Args:
            api_version: Of the object.
            kind: Likewise.
            name: Likewise.
            namespace: Likewise.
            wait_seconds: How long to wait until it is gone, finalizers and all.

        Returns:
            Whether it is gone.
        """
        try:
            self.request("DELETE", self.path(api_version, kind, name, namespace))
        except NoKindError:
            return True
        except KubeError as error:
            if error.status == _NOT_FOUND:
                return True
            # A second deletion while the first is under way.
            if error.status != _CONFLICT:
                raise
        deadline = time.monotonic() + wait_seconds
        while self.get(api_version, kind, name, namespace) is not None:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def path(self, api_version: str, kind: str, name: str = "", namespace: str | None = None) -> str:
        """Path of an object or, without a name, of a kind's objects.

        Raises:
            NoKindError: the kind is not served.
        """
        plural, namespaced = self._kind(api_version, kind)
        root = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
        within = f"/namespaces/{quote(namespace or 'default')}" if namespaced and (namespace or name) else ""
        return f"{root}{within}/{plural}" + (f"/{quote(name)}" if name else "")

    def namespaced(self, api_version: str, kind: str) -> bool:
        """Whether objects of a kind live in namespaces.

        Raises:
            NoKindError: the kind is not served.
        """
        return self._kind(api_version, kind)[1]

    def _kind(self, api_version: str, kind: str) -> tuple[str, bool]:
        """Plural and whether namespaced; asked for anew while a kind is not known, since definitions come and go."""
        with self._lock:
            found = self._kinds.get((api_version, kind))
        if found is not None:
            return found
        root = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
        try:
            served: Any = self.request("GET", root)["resources"]
        except KubeError as error:
            if error.status != _NOT_FOUND:
                raise
            served = []
        with self._lock:
            for each in served:
                if "/" not in each["name"]:
                    self._kinds[api_version, each["kind"]] = (each["name"], bool(each["namespaced"]))
            found = self._kinds.get((api_version, kind))
        if found is None:
            msg = f"no kind {kind} in version {api_version} is served"
            raise NoKindError(_NOT_FOUND, "NoKind", msg)
        return found

    def forget(self, api_version: str) -> None:
        """Ask anew for the kinds of a version: its definition has gone."""
        with self._lock:
            for key in [each for each in self._kinds if each[0] == api_version]:
                del self._kinds[key]

    def close(self) -> None:
        """Drop the connections."""
        self._http.clear()


def _context(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    # The module takes a certificate from a file alone.
    with tempfile.TemporaryDirectory(prefix="slipway-kube-") as folder:
        pair = Path(folder) / "client.pem"
        pair.touch(mode=0o600)
        pair.write_bytes(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
        context.load_cert_chain(pair)
    return context


__all__ = ["Kube", "KubeError", "NoKindError"]
