"""The environment's front door, played: the declared listeners decide what passes, and Argo CD's webhook is received.

No emulator forwards requests. Here the listener rules that stand in the emulated accounts are applied to each request, as an
application load balancer would; what they forward to an Argo CD has its signature checked with that colour's secret.
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/listener-rules.html
"""

import fnmatch
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, cast

from werkzeug.wrappers import Request, Response

from rehearsal.cloud.emulators import Emulators
from rehearsal.cloud.row import Place
from rehearsal.registry.authority import Authority
from rehearsal.registry.proxy import TUNNEL, Server

if TYPE_CHECKING:
    import ssl

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_LAST: Final = 10**9
_HTTPS: Final = 443


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A request that came to the door.

    Attributes:
        environment: Whose door it was; "" where no zone fits.
        host: Host name asked for.
        method: HTTP method.
        path: Path.
        target: Name of the target group it was forwarded to; "" when the door answered by itself.
        status: HTTP status of the answer.
        commit: Commit that a push told of, "" for another event.
    """

    environment: str
    host: str
    method: str
    path: str
    target: str
    status: int
    commit: str = ""


@dataclass(frozen=True, kw_only=True)
class Front:
    """One environment as the door knows it.

    Attributes:
        place: Its account and region.
        zone: Name of its zone.
        secrets: Name of the webhook's secret by the start of its target groups' names.
    """

    place: Place
    zone: str
    secrets: Mapping[str, str]


Behind = Callable[[str, str, Request], Response]


class EdgeDoor:
    """A proxy on loopback that stands for every environment's load balancer.

    Attributes:
        url: Address of the proxy. Known once the door is entered.
        heard: What came, in order.
    """

    def __init__(self, emulators: Emulators, fronts: Mapping[str, Front], folder: Path, behind: Behind | None = None) -> None:
        """Prepare.

        Args:
            emulators: Where the listeners stand.
            fronts: The environments' doors by name.
            folder: Where the certificate authority keeps its files.
            behind: Who answers for a target group, by environment and the group's name; without it, Argo CD's part is played
                here, by its secret.
        """
        self._behind = behind
        self.url = ""
        self.heard: list[Heard] = []
        self._emulators, self._fronts, self._folder = emulators, fronts, folder
        self._authority: Authority | None = None
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def bundle(self) -> Path:
        """Certificates that a client of the door trusts."""
        return self._folder / "authority.pem"

    def __enter__(self) -> Self:
        """Listen."""
        self._authority = Authority(self._folder)
        self._server = Server(self._answer, self._gate)
        self.url = f"http://127.0.0.1:{self._server.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, name="edge-door")
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def _gate(self, target: str) -> "ssl.SSLContext | str":
        host, _, port = target.rpartition(":")
        if self._authority is None or port != str(_HTTPS) or self._front(host) is None:
            return f"{target} is no host of this platform, and the rehearsal reaches nothing else"
        return self._authority.context(host)

    def _front(self, host: str) -> tuple[str, Front] | None:
        # The certificate covers one label below the zone.
        return next(((name, each) for name, each in self._fronts.items() if host.partition(".")[2] == each.zone), None)

    def _answer(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterator[bytes]:
        request, host = Request(environ), str(environ[TUNNEL])
        found = self._front(host)
        if found is None:
            return cast("Iterator[bytes]", Response("no tunnel", 421)(environ, start_response))
        name, front = found
        target, response = self._pass(name, front, request, host)
        commit = ""
        if target and response.status_code == 200 and request.headers.get("X-GitHub-Event") == "push":  # noqa: PLR2004 — OK
            commit = str(cast("dict[str, Any]", json.loads(request.get_data())).get("after", ""))
        self.heard.append(
            Heard(
                environment=name,
                host=host,
                method=request.method,
                path=request.path,
                target=target,
                status=response.status_code,
                commit=commit,
            )
        )
        return cast("Iterator[bytes]", response(environ, start_response))

    def _pass(self, environment: str, front: Front, request: Request, host: str) -> tuple[str, Response]:
        """The target group's name and the answer: the first rule that fits, in the order of priorities."""
        elb = self._emulators.client("elbv2", front.place.account, front.place.region)
        for rule in _rules(elb):
            if not all(_fits(condition, request, host) for condition in rule["Conditions"]):
                continue
            action = rule["Actions"][-1]
            if action["Type"] == "fixed-response":
                fixed = action["FixedResponseConfig"]
                return "", Response(fixed.get("MessageBody", ""), int(fixed["StatusCode"]))
            groups = action["ForwardConfig"]["TargetGroups"]
            heaviest = max(groups, key=lambda each: int(each.get("Weight", 1)))
            name = str(heaviest["TargetGroupArn"]).split("/")[1]
            return name, self._behind(environment, name, request) if self._behind else self._argocd(front, name, request)
        return "", Response("no rule", 503)

    def _argocd(self, front: Front, target: str, request: Request) -> Response:
        """What Argo CD answers to a webhook: https://argo-cd.readthedocs.io/en/stable/operator-manual/webhook/ ."""
        secret = next((name for start, name in front.secrets.items() if target.startswith(start)), None)
        if secret is None:
            return Response("pods of a service answer here, and none runs in the rehearsal", 502)
        manager = self._emulators.client("secretsmanager", front.place.account, front.place.region)
        key = str(manager.get_secret_value(SecretId=secret)["SecretString"]).encode()
        signed = "sha256=" + hmac.new(key, request.get_data(), hashlib.sha256).hexdigest()
        if request.headers.get("Content-Type") != "application/json":
            return Response("unsupported content type", 400)
        if not hmac.compare_digest(signed, request.headers.get("X-Hub-Signature-256", "")):
            return Response("webhook signature is wrong", 400)
        return Response("", 200)


def _rules(elb: Any) -> Sequence[Mapping[str, Any]]:  # noqa: ANN401 — boto3 makes its clients' types at run time
    """Every rule of the HTTPS listener in the order in which a load balancer tries them."""
    found: list[Mapping[str, Any]] = []
    for balancer in elb.describe_load_balancers()["LoadBalancers"]:
        for listener in elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]:
            if listener["Port"] == _HTTPS:
                found += elb.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]
    return sorted(found, key=lambda rule: _LAST if rule["Priority"] == "default" else int(rule["Priority"]))


def _fits(condition: Mapping[str, Any], request: Request, host: str) -> bool:
    field = condition["Field"]
    if field == "host-header":
        return any(fnmatch.fnmatchcase(host.lower(), each.lower()) for each in _values(condition, "HostHeaderConfig"))
    if field == "path-pattern":
        return any(fnmatch.fnmatchcase(request.path, each) for each in _values(condition, "PathPatternConfig"))
    if field == "http-request-method":
        return request.method in _values(condition, "HttpRequestMethodConfig")
    msg = f"a listener rule has the condition {field}: host-header, path-pattern and http-request-method are known here"
    raise ValueError(msg)


def _values(condition: Mapping[str, Any], config: str) -> Sequence[str]:
    return cast("Sequence[str]", condition.get(config, condition).get("Values", []))


__all__ = ["Behind", "EdgeDoor", "Front", "Heard"]
