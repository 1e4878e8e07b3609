"""`RegistryDoor`: what stands between clients and the emulated ECR, and does what ECR does and the emulator does not.

It judges every request by the caller's identity policies and by the repository's policy as it stands in the emulator, holds
tags immutable, and reports each pushed tag once. Clients use the declared registry names unchanged: they come through the
door as a proxy, which they and its certificate authority learn of by environment alone.
"""

import base64
import hashlib
import json
import logging
import re
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, cast
from urllib.parse import urlencode

import urllib3
from werkzeug.wrappers import Request, Response

from rehearsal.registry import policy
from rehearsal.registry.authority import Authority
from rehearsal.registry.policy import Identity, Verdict
from rehearsal.registry.proxy import TUNNEL, Server

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

# https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html
TOKEN_HOURS: Final = 12
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html
_REGISTRY: Final = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com")
_API: Final = "AmazonEC2ContainerRegistry_V20150921."
_CREDENTIAL: Final = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d{8}/([a-z0-9-]+)/ecr/aws4_request")
_CHUNK: Final = 1 << 16
_HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)

# What the registry's protocol asks of IAM, by method and kind of path.
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html and
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerregistry.html
_ASKS: Final[Mapping[tuple[str, str], Sequence[str]]] = {
    ("GET", "manifests"): ["ecr:BatchGetImage"],
    ("HEAD", "manifests"): ["ecr:BatchGetImage"],
    ("PUT", "manifests"): ["ecr:PutImage"],
    ("GET", "blobs"): ["ecr:GetDownloadUrlForLayer"],
    ("HEAD", "blobs"): ["ecr:BatchCheckLayerAvailability"],
    ("POST", "uploads"): ["ecr:InitiateLayerUpload"],
    ("GET", "uploads"): ["ecr:UploadLayerPart"],
    ("PATCH", "uploads"): ["ecr:UploadLayerPart"],
    ("PUT", "uploads"): ["ecr:UploadLayerPart", "ecr:CompleteLayerUpload"],
    ("GET", "tags"): ["ecr:ListImages"],
}
_PATH: Final = re.compile(r"/v2/(?P<name>.+?)/(?P<kind>manifests|blobs/uploads|blobs|tags)/(?P<rest>.*)")

_LOG: Final = logging.getLogger(__name__)

# From an access key id and a session token ("" without one) to who that is.
Identify = Callable[[str, str], Identity]


@dataclass(frozen=True, kw_only=True)
class Push:
    """An image got a tag: what ECR tells EventBridge of."""

    account: str
    region: str
    repository: str
    tag: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class Passage:
    """One request at the door.

    Attributes:
        method: HTTP method, or the name of the ECR operation.
        target: Path of a registry request, `host:port` of a tunnel, "" for an operation.
        account: Account of the registry asked, "" for a refused tunnel.
        repository: Name of the repository, "" where the request is about none.
        caller: ARN of the caller, "" when it is not known.
        actions: IAM actions that were judged.
        status: HTTP status of the answer.
        reason: Why it was let through or refused.
    """

    method: str
    target: str = ""
    account: str = ""
    repository: str = ""
    caller: str = ""
    actions: Sequence[str] = ()
    status: int
    reason: str

    @property
    def refused(self) -> bool:
        """Whether the door, not the registry behind it, said no."""
        return self.status in {400, 401, 403}


class KnownKeys:
    """Identities by access key, in memory."""

    def __init__(self) -> None:
        """Know nobody."""
        self._known: dict[tuple[str, str], Identity] = {}

    def issue(self, identity: Identity) -> dict[str, str]:
        """New credentials for `identity`, as environment variables."""
        key, token = f"ASIA{secrets.token_hex(8).upper()}", secrets.token_urlsafe()
        self._known[key, token] = identity
        return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(), "AWS_SESSION_TOKEN": token}

    def __call__(self, access_key_id: str, session_token: str) -> Identity:
        """Who that is.

        Raises:
            LookupError: nobody.
        """
        return self._known[access_key_id, session_token]


class _Refusal(Exception):  # noqa: N818 — an answer, not a fault
    """An answer of the door's own, in the words of the protocol that the client speaks."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}


@dataclass(kw_only=True)
class _Visit:
    """What is known of the request under way; the passage is made of it."""

    method: str
    target: str = ""
    account: str = ""
    region: str = ""
    repository: str = ""
    identity: Identity | None = None
    actions: Sequence[str] = ()
    reason: str = ""

    def arn(self, repository: str = "") -> str:
        return f"arn:aws:ecr:{self.region}:{self.account}:repository/{repository or self.repository}"


class RegistryDoor:
    """The door, on a port of 127.0.0.1, from entering to leaving the context.

    Attributes:
        url: Address of the proxy and of the ECR API. Known once the door is entered.
        passages: What came to the door, in the order of the answers.
    """

    def __init__(
        self,
        emulator_url: str,
        folder: Path,
        *,
        identify: Identify,
        on_push: Callable[[Push], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare the door.

        Args:
            emulator_url: Address of ministack, whose ECR lies behind the door.
            folder: Where the certificate authority keeps its files.
            identify: Who an access key is; raises LookupError for a key that nobody has. Signatures are not checked: the
                door knows no secrets.
            on_push: Hears of every tag that a push or PutImage has set, once, before the client has its answer and outside
                of any lock. What it raises is raised when the door is left.
            clock: Seconds since 1970, for the validity of tokens.
        """
        self.url = ""
        self.passages: list[Passage] = []
        self._emulator_url = emulator_url.rstrip("/")
        self._folder = folder
        self._identify, self._on_push, self._clock = identify, on_push, clock
        self._tokens: dict[str, tuple[Identity, float]] = {}
        self._filters: dict[tuple[str, str, str], Sequence[str]] = {}
        self._failures: list[Exception] = []
        # One push at a time looks whether its tag is taken and takes it.
        self._tagging = threading.Lock()
        self._authority: Authority | None = None
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._pool = urllib3.PoolManager(retries=False, maxsize=8)

    def __enter__(self) -> Self:
        """Listen."""
        self._authority = Authority(self._folder)
        self._server = Server(self._answer, self._gate)
        self.url = f"http://127.0.0.1:{self._server.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, name="registry-door")
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop, and wait until nothing of it runs.

        Raises:
            ExceptionGroup: What `on_push` or the door itself raised meanwhile, unless another error is on its way.
        """
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
        self._pool.clear()
        if self._failures and error is None:
            msg = "the registry door or its listener failed"
            raise ExceptionGroup(msg, self._failures)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a client needs to come through the door: buildah, skopeo and the AWS CLI alike."""
        if self._authority is None:
            msg = "the door has no address yet: use it inside `with RegistryDoor(...)`"
            raise RuntimeError(msg)
        return {"HTTPS_PROXY": self.url, "SSL_CERT_FILE": str(self._authority.bundle), "AWS_ENDPOINT_URL_ECR": self.url}

    def know_exclusions(self, account: str, region: str, repository: str, filters: Sequence[str]) -> None:
        """Make known the exclusion filters of a repository that was not created through the door: ministack keeps none."""
        self._filters[account, region, repository] = list(filters)

    # The door's two faces

    def _gate(self, target: str) -> ssl.SSLContext | str:
        host, _, port = target.rpartition(":")
        if self._authority is not None and port == "443" and _REGISTRY.fullmatch(host):
            return self._authority.context(host)
        reason = f"{target} is no ECR registry, and the rehearsal reaches nothing else"
        self.passages.append(Passage(method="CONNECT", target=target, status=403, reason=reason))
        return reason

    def _answer(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterator[bytes]:
        request = Request(environ)
        host = str(environ[TUNNEL])
        visit = _Visit(method=request.method, target=request.path if host else "")
        try:
            response = self._registry(request, visit, host) if host else self._api(request, visit)
        except _Refusal as refusal:
            visit.reason = refusal.message
            response = _registry_error(refusal) if host else _api_error(refusal)
        except Exception as error:  # noqa: BLE001 — raised when the door is left; the client gets an answer meanwhile
            _LOG.exception("%s %s", request.method, request.path)
            self._failures.append(error)
            visit.reason = f"the door failed: {error}"
            fault = _Refusal(500, "INTERNAL", visit.reason)
            response = _registry_error(fault) if host else _api_error(fault)
        self.passages.append(
            Passage(
                method=visit.method,
                target=visit.target,
                account=visit.account,
                repository=visit.repository,
                caller=visit.identity.caller_arn if visit.identity else "",
                actions=tuple(visit.actions),
                status=response.status_code,
                reason=visit.reason,
            )
        )
        return cast("Iterator[bytes]", response(environ, start_response))

    # The registry's protocol: https://distribution.github.io/distribution/spec/api/

    def _registry(self, request: Request, visit: _Visit, host: str) -> Response:
        visit.account, visit.region = cast("re.Match[str]", _REGISTRY.fullmatch(host)).groups()
        visit.identity = self._bearer(request, host)
        if request.path in {"/v2", "/v2/"}:
            visit.reason = "logged in"
            return self._forward(request, host)
        match = _PATH.fullmatch(request.path)
        kind = match["kind"].rpartition("/")[2] if match else ""
        actions = _ASKS.get((request.method, kind))
        if match is None or actions is None:
            raise _Refusal(405, "UNSUPPORTED", f"ECR does not know {request.method} {request.path}")
        visit.repository = match["name"]
        # Mounting a layer from another repository is switched off in ECR unless an account asks for it, and the emulator would
        # not judge the other repository: without these, an upload begins.
        query = {key: value for key, value in request.args.items() if key not in {"mount", "from"}}
        if request.method == "POST" and "digest" in query:
            actions = ["ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload"]
        self._judge(visit, actions, [visit.arn()], code="DENIED", status=403)
        if request.method == "PUT" and kind == "manifests":
            return self._put_manifest(request, visit, host, match["rest"])
        return self._forward(request, host, query=query)

    def _bearer(self, request: Request, host: str) -> Identity:
        sent = request.authorization
        found = self._tokens.get(sent.password or "") if sent and sent.type == "basic" and sent.username == "AWS" else None
        if found is None:
            challenge = {"WWW-Authenticate": f'Basic realm="https://{host}/",service="ecr.amazonaws.com"'}
            raise _Refusal(401, "UNAUTHORIZED", "Not Authorized: no authorization token of this door", challenge)
        identity, expires = found
        if self._clock() >= expires:
            raise _Refusal(403, "DENIED", "Your authorization token has expired. Reauthenticate and try again.")
        return identity

    def _put_manifest(self, request: Request, visit: _Visit, host: str, reference: str) -> Response:
        body = request.get_data()
        if reference.startswith("sha256:"):
            return self._forward(request, host, body=body)
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        with self._tagging:
            before = self._tagged(visit, reference)
            if before not in {None, digest} and self._immutable(visit, reference):
                raise _Refusal(400, "TAG_INVALID", _taken(reference, visit.repository))
            response = self._forward(request, host, body=body)
        if response.status_code == 201 and before != digest:  # noqa: PLR2004 — Created
            self._pushed(visit, reference, digest)
        return response

    # The API

    def _api(self, request: Request, visit: _Visit) -> Response:
        operation = request.headers.get("X-Amz-Target", "")
        if request.method != "POST" or not operation.startswith(_API):
            raise _Refusal(404, "UnknownOperationException", "here are ECR's API and a proxy to its registries, nothing else")
        visit.method = operation.removeprefix(_API)
        signed = _CREDENTIAL.match(request.headers.get("Authorization", ""))
        if signed is None:
            raise _Refusal(400, "MissingAuthenticationTokenException", "the request is not signed for ECR")
        visit.region = signed[2]
        try:
            visit.identity = self._identify(signed[1], request.headers.get("X-Amz-Security-Token", ""))
        except LookupError:
            said = "The security token included in the request is invalid."
            raise _Refusal(400, "UnrecognizedClientException", said) from None
        asked = cast("dict[str, Any]", json.loads(request.get_data() or b"{}"))
        visit.account = str(asked.get("registryId") or visit.identity.account)
        visit.repository = str(asked.get("repositoryName", ""))
        self._judge(visit, [f"ecr:{visit.method}"], _resources(visit, asked), code="AccessDeniedException", status=400)
        match visit.method:
            case "GetAuthorizationToken":
                return self._token(visit.identity, visit)
            case "PutImage":
                return self._put_image(visit, asked)
            case _:
                answer = self._call(visit.account, visit.region, visit.method, asked)
                return self._with_filters(visit, asked, answer)

    def _token(self, identity: Identity, visit: _Visit) -> Response:
        password, expires = secrets.token_urlsafe(32), self._clock() + TOKEN_HOURS * 3600
        self._tokens[password] = (identity, expires)
        data = {
            "authorizationToken": base64.b64encode(f"AWS:{password}".encode()).decode(),
            "expiresAt": int(expires),
            "proxyEndpoint": f"https://{visit.account}.dkr.ecr.{visit.region}.amazonaws.com",
        }
        return _json(200, {"authorizationData": [data]})

    def _put_image(self, visit: _Visit, asked: Mapping[str, Any]) -> Response:
        tag = str(asked.get("imageTag") or "")
        digest = str(asked.get("imageDigest") or f"sha256:{hashlib.sha256(str(asked.get('imageManifest')).encode()).hexdigest()}")
        with self._tagging:
            before = self._tagged(visit, tag) if tag else None
            if before == digest:
                said = f"Image with digest '{digest}' and tag '{tag}' already exists in the '{visit.repository}' repository"
                raise _Refusal(400, "ImageAlreadyExistsException", said)
            if before is not None and self._immutable(visit, tag):
                raise _Refusal(400, "ImageTagAlreadyExistsException", _taken(tag, visit.repository))
            status, answer = self._call(visit.account, visit.region, visit.method, asked)
        if status == 200 and tag:  # noqa: PLR2004 — OK
            self._pushed(visit, tag, digest)
        return _json(status, answer)

    def _with_filters(self, visit: _Visit, asked: Mapping[str, Any], answer: tuple[int, dict[str, Any]]) -> Response:
        """Keep the exclusion filters of tag mutability, which ministack drops, and show them where ECR shows them."""
        status, body = answer
        field = "imageTagMutabilityExclusionFilters"
        where = (visit.account, visit.region, visit.repository)
        if status == 200 and visit.method in {"CreateRepository", "PutImageTagMutability"}:  # noqa: PLR2004 — OK
            self._filters[where] = [str(each["filter"]) for each in asked.get(field, [])]
            shown = [body.get("repository", body)]
        else:
            shown = cast("list[dict[str, Any]]", body.get("repositories", []))
        for each in shown:
            if filters := self._filters.get((visit.account, visit.region, str(each.get("repositoryName")))):
                each[field] = [{"filter": pattern, "filterType": "WILDCARD"} for pattern in filters]
        return _json(status, body)

    # What ECR knows and decides

    def _judge(self, visit: _Visit, actions: Sequence[str], resources: Sequence[str], *, code: str, status: int) -> None:
        """Note the verdict.

        Raises:
            _Refusal: an action on one of the resources is not allowed.
        """
        identity = cast("Identity", visit.identity)
        visit.actions = actions
        for resource in resources:
            document = self._repository_policy(visit, resource)
            for action in actions:
                verdict = _judged(identity, action, resource, visit, document)
                visit.reason = verdict.reason
                if not verdict:
                    said = f"User: {identity.caller_arn} is not authorized to perform: {action} on resource: {resource} "
                    said += f"because {verdict.reason.partition(f' {action} on ')[0]} the {action} action"
                    raise _Refusal(status, code, said)

    def _repository_policy(self, visit: _Visit, resource: str) -> str | None:
        name = resource.partition(":repository/")[2]
        if not name or "*" in name:
            return None
        status, answer = self._call(visit.account, visit.region, "GetRepositoryPolicy", {"repositoryName": name})
        if status == 200:  # noqa: PLR2004 — OK
            return str(answer["policyText"])
        kind = str(answer.get("__type", "")).rpartition("#")[2]
        if kind not in {"RepositoryPolicyNotFoundException", "RepositoryNotFoundException"}:
            msg = f"the emulator answers GetRepositoryPolicy of {resource} with {status} {answer}"
            raise RuntimeError(msg)
        return None

    def _tagged(self, visit: _Visit, tag: str) -> str | None:
        """Digest of the image that wears `tag`, None if none does."""
        status, answer = self._call(
            visit.account,
            visit.region,
            "BatchGetImage",
            {"repositoryName": visit.repository, "imageIds": [{"imageTag": tag}]},
        )
        images = cast("list[dict[str, Any]]", answer.get("images", [])) if status == 200 else []  # noqa: PLR2004 — OK
        return str(images[0]["imageId"]["imageDigest"]) if images else None

    def _immutable(self, visit: _Visit, tag: str) -> bool:
        """Whether `tag` may not move: https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-tag-mutability.html ."""
        _, answer = self._call(visit.account, visit.region, "DescribeRepositories", {"repositoryNames": [visit.repository]})
        setting = str(answer["repositories"][0]["imageTagMutability"])
        immutable = setting.startswith("IMMUTABLE")
        if not setting.endswith("_WITH_EXCLUSION"):
            return immutable
        filters = self._filters.get((visit.account, visit.region, visit.repository))
        if filters is None:
            msg = (
                f"{visit.arn()} is {setting}, but its filters are not known: ministack keeps none. Create the repository "
                "through the door, or tell know_exclusions"
            )
            raise RuntimeError(msg)
        excluded = any(re.fullmatch(re.escape(each).replace(r"\*", ".*"), tag) for each in filters)
        return immutable != excluded

    def _pushed(self, visit: _Visit, tag: str, digest: str) -> None:
        push = Push(account=visit.account, region=visit.region, repository=visit.repository, tag=tag, digest=digest)
        try:
            self._on_push(push)
        except Exception as error:  # noqa: BLE001 — the listener's fault is raised when the door is left; the push stands
            self._failures.append(error)

    # To the emulator

    def _call(self, account: str, region: str, operation: str, asked: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """An API call as the root of `account`: ministack tells accounts apart by an access key id of twelve digits."""
        scope = f"{account}/20200101/{region}/ecr/aws4_request"
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"{_API}{operation}",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
        }
        answer = self._pool.request("POST", self._emulator_url, headers=headers, body=json.dumps(asked).encode())
        return answer.status, cast("dict[str, Any]", json.loads(answer.data))

    def _forward(
        self, request: Request, host: str, *, query: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Response:
        """Hand a registry request on, its body as a stream; ministack tells accounts apart by the host's name."""
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP_BY_HOP | {"authorization"}}
        headers["Host"] = host
        sent: Any = body
        if body is None and (request.content_length or "Transfer-Encoding" in request.headers):
            sent = iter(lambda: request.stream.read(_CHUNK), b"")
        answer = self._pool.request(
            request.method,
            f"{self._emulator_url}{request.path}{'?' if query else ''}{urlencode(query or {})}",
            headers=headers,
            body=sent,
            preload_content=False,
            decode_content=False,
            redirect=False,
        )

        def content() -> Iterator[bytes]:
            try:
                yield from answer.stream(_CHUNK)
            finally:
                answer.release_conn()

        kept = [(key, value) for key, value in answer.headers.items() if key.lower() not in _HOP_BY_HOP]
        return Response(content(), status=answer.status, headers=kept, direct_passthrough=True)


def _judged(identity: Identity, action: str, resource: str, visit: _Visit, document: str | None) -> Verdict:
    context: policy.Context = {
        # Real clients come over TLS; the door's API address is plain only since it is on loopback.
        "aws:SecureTransport": "true",
        "aws:RequestedRegion": visit.region,
        "aws:SourceVpc": None,
        "aws:SourceVpce": None,
        "aws:SourceArn": None,
        "aws:SourceAccount": None,
        "aws:PrincipalOrgID": None,
        "aws:PrincipalOrgPaths": None,
    }
    asked = policy.Request(caller=identity, action=action, resource=resource, context=context, resource_account=visit.account)
    return policy.judge(asked, resource_policy=document)


def _resources(visit: _Visit, asked: Mapping[str, Any]) -> list[str]:
    """The ARNs that an operation is judged on.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerregistry.html
    """
    if visit.repository:
        return [visit.arn()]
    if "resourceArn" in asked:
        return [str(asked["resourceArn"])]
    if names := asked.get("repositoryNames"):
        return [visit.arn(str(name)) for name in names]
    return [visit.arn("*")] if visit.method == "DescribeRepositories" else ["*"]


def _taken(tag: str, repository: str) -> str:
    said = f"The image tag '{tag}' already exists in the '{repository}' repository"
    return f"{said} and cannot be overwritten because the tag is immutable."


def _json(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    return Response(json.dumps(body), status=status, headers=headers, content_type="application/x-amz-json-1.1")


def _api_error(refusal: _Refusal) -> Response:
    return _json(refusal.status, {"__type": refusal.code, "message": refusal.message}, refusal.headers)


def _registry_error(refusal: _Refusal) -> Response:
    headers = {"Docker-Distribution-Api-Version": "registry/2.0", **refusal.headers}
    body = json.dumps({"errors": [{"code": refusal.code, "message": refusal.message}]})
    return Response(body, status=refusal.status, headers=headers, content_type="application/json; charset=utf-8")
