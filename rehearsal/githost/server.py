"""The HTTP side: one WSGI application for the API and for git, on a threaded server on loopback.

werkzeug's server, because its parts are what is needed and no more: a thread a connection, keep-alive, chunked request bodies
(git sends its larger packs so), a routing table; the standard library's has neither of the last two. It is named a development
server by its own page, which fits: it listens on 127.0.0.1 for the length of a test.
"""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from werkzeug import exceptions
from werkzeug.routing import Rule
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler
from werkzeug.wrappers import Request, Response

from rehearsal.githost import graphql_api, model, rest, smart_http, views
from rehearsal.githost.graphql_api import Session
from rehearsal.githost.hub import Hub
from rehearsal.githost.limits import Exceeded, Meter
from rehearsal.githost.model import Actor, Call, Fault, Faults, Json, Problem

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_BY_ASSERTION: Final = frozenset({"app", "installation", "installation of the App", "token"})
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LOG: Final = logging.getLogger(__name__)


class Handler(WSGIRequestHandler):
    """A connection."""

    # Head and body are written apart: with Nagle's algorithm the second waits for the client's delayed acknowledgement.
    disable_nagle_algorithm = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: `GitHost.requests` holds the record."""


class Server(ThreadedWSGIServer):
    """The threaded server; closing it also closes connections that clients keep alive."""

    def __init__(self, application: "Application") -> None:
        """Listen on a free port of 127.0.0.1."""
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__("127.0.0.1", 0, application, handler=Handler)
        self.daemon_threads = False  # joined when the server is closed: nothing outlives the host

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 — socketserver's signature
        """Note the connection."""
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 — socketserver's signature
        """Forget the connection."""
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Close every connection and wait for their threads."""
        with self._guard:
            for connection in self._open:
                # A client that is gone already has closed its side.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        super().server_close()


@dataclass(kw_only=True)
class _Exchange:
    """One API request on its way."""

    request: Request
    operation: str
    number: int
    started: float
    content: bool
    actor: Actor | None = None
    errors: tuple[str, ...] = ()
    limited: str = ""

    @property
    def login(self) -> str:
        return self.actor.login if self.actor else ""

    @property
    def resource(self) -> str:
        # REST and GraphQL have allowances of their own.
        return "graphql" if self.request.path == "/graphql" else "core"


@dataclass(kw_only=True)
class Application:
    """The WSGI application.

    Attributes:
        hub: The host.
        latency_seconds: Wait before each API request.
        meter: Counts what actors ask, and holds them to limits.
        faults: Consulted before each API request.
        requests: Record of the API's answers.
        credentials: Every token given and every credential shown, for searches of what must not hold one.
    """

    hub: Hub
    meter: Meter
    latency_seconds: float = 0.0
    faults: Faults = model.no_faults
    requests: list[model.Request] = field(default_factory=list[model.Request])
    credentials: set[str] = field(default_factory=set[str], repr=False)

    def __post_init__(self) -> None:
        """Begin with nothing answered."""
        self._lock = threading.Lock()
        self._number = 0

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request."""
        request = Request(environ)
        try:
            response = self._answer(request)
        except Exception as error:  # noqa: BLE001 — kept and raised when the host is closed: a client gets 500
            _LOG.exception("the Git host failed at %s %s", request.method, request.path)
            self.hub.failures.append(error)
            response = rest.json_response({"message": f"the Git host failed: {error!r}"}, 500)
        if response is None:
            self._drop(environ)
            response = Response(status=502)
        return response(environ, start_response)

    @staticmethod
    def _drop(environ: "WSGIEnvironment") -> None:
        # From here on writing fails, which the server takes for a client that has gone.
        with contextlib.suppress(OSError):
            cast("socket.socket", environ["werkzeug.socket"]).shutdown(socket.SHUT_RDWR)

    def _answer(self, request: Request) -> Response | None:
        head, _, rest_of_path = request.path.lstrip("/").partition(".git/")
        if rest_of_path and head.count("/") == 1:
            return smart_http.serve(self.hub, request, head, rest_of_path)
        if request.path.startswith("/-/pre-receive/"):
            return smart_http.answer_hook(self.hub, request, request.path.rpartition("/")[2])
        return self._api(request)

    # The API

    def _api(self, request: Request) -> Response | None:
        started = time.perf_counter()
        if self.latency_seconds:
            time.sleep(self.latency_seconds)
        with self._lock:
            self._number += 1
            number = self._number
        route, arguments = self._match(request)
        exchange = _Exchange(
            request=request,
            operation=_operation(request, route),
            number=number,
            started=started,
            content=_generates_content(request, route),
        )
        problem: Problem | None = None
        try:
            exchange.actor = self._authenticate(request, route)
        except Problem as refused:
            problem = refused
        fault = self.faults(
            Call(
                number=number,
                method=request.method,
                path=request.path,
                operation=exchange.operation,
                actor=exchange.login,
                body=request.get_data(),
            )
        )
        response: Response | None
        if fault is not None and not fault.after:
            response = _faulty(fault)
        else:
            response = _refusal(problem) if problem else self._carry_out(exchange, route, arguments)
            response = _faulty(fault) if fault else response
        if response is not None:
            self._show_rate(exchange, response)
        self.requests.append(
            model.Request(
                method=request.method,
                path=request.path,
                operation=exchange.operation,
                actor=exchange.login,
                status=response.status_code if response is not None else 0,
                seconds=time.perf_counter() - started,
                fault=fault is not None,
                errors=exchange.errors,
                content=exchange.content,
                limited=exchange.limited,
            )
        )
        return response

    @staticmethod
    def _match(request: Request) -> tuple[Rule | None, dict[str, Any]]:
        try:
            # A client that is told of an address of its own takes it for GitHub Enterprise Server's, and asks below this path:
            # https://docs.github.com/en/enterprise-server@latest/rest/enterprise-admin#endpoint-urls
            path = request.path.removeprefix("/api/v3")
            rule, arguments = rest.URLS.bind_to_environ(request.environ).match(path, return_rule=True)
        except exceptions.HTTPException:
            return None, {}
        return rule, dict(arguments)

    def _authenticate(self, request: Request, rule: Rule | None) -> Actor | None:
        authorization = request.authorization
        if authorization is None:
            return None
        token = authorization.password if authorization.type == "basic" else authorization.token
        self.credentials.add(token or "")
        if rule and isinstance(rule.endpoint, rest.Special) and rule.endpoint.name in _BY_ASSERTION:
            return None  # these routes read their assertion themselves
        return self.hub.directory.actor_of(token or "")

    def _carry_out(self, exchange: _Exchange, rule: Rule | None, arguments: dict[str, Any]) -> Response:
        try:
            if rule is None:
                raise model.not_found()
            endpoint = cast("rest.Route | rest.Special", rule.endpoint)
            # Asking for the allowance costs nothing: https://docs.github.com/en/rest/rate-limit/rate-limit
            if endpoint.path != "/rate_limit" and (exceeded := self.meter.admit(exchange)):
                return _limited(exchange, exceeded)
            if isinstance(endpoint, rest.Special):
                return self._special(exchange, endpoint, arguments)
            owner, name = arguments.pop("owner"), arguments.pop("name")
            actor, repo = rest.authorise(self.hub, exchange.actor, endpoint, owner, name)
            ask = rest.Ask(hub=self.hub, repo=repo, actor=actor, request=exchange.request)
            answer = endpoint.handler(ask, **arguments)
            return answer if isinstance(answer, Response) else rest.json_response(answer)
        except Problem as problem:
            return _refusal(problem)

    def _special(self, exchange: _Exchange, special: rest.Special, arguments: dict[str, Any]) -> Response:
        request = exchange.request
        if special.name in _BY_ASSERTION:
            return self._as_app(request, special, arguments)
        if special.name == "rate_limit":
            login = exchange.login
            return rest.json_response(rest.resources(self.meter.rate(login, "core"), self.meter.rate(login, "graphql")))
        if exchange.actor is None:
            raise Problem(401, "This endpoint requires you to be authenticated.", kind="UNAUTHORIZED")
        if special.name == "organization":
            name, rest_of_path = arguments["organization"], arguments.get("rest_of_path", "")
            return rest.json_response(rest.organization(self.hub, exchange.actor, request, name, rest_of_path))
        session = Session(hub=self.hub, actor=exchange.actor, rate=self.meter.rate(exchange.login, "graphql"))
        body = request.get_json(force=True, silent=True)
        if not isinstance(body, dict):
            raise Problem(400, "Problems parsing JSON")
        answer = graphql_api.execute(session, cast("Json", body))
        exchange.errors = tuple(_error_kind(error) for error in answer.get("errors", ()))
        return rest.json_response(answer)

    def _as_app(self, request: Request, special: rest.Special, arguments: dict[str, Any]) -> Response:
        """Answer an App that shows its assertion."""
        directory = self.hub.directory
        assertion = (request.authorization.token if request.authorization else None) or ""
        if special.name == "token":
            body = cast("Json", request.get_json(force=True, silent=True) or {})
            made = directory.installation_token(arguments["installation_id"], assertion, body)
            self.credentials.add(str(made["token"]))
            return rest.created(made)
        if special.name == "installation":
            return rest.json_response(
                views.installation(directory.installation(f"{arguments['owner']}/{arguments['name']}", assertion))
            )
        app = directory.app_of(assertion)
        if special.name == "app":
            return rest.json_response(views.app(app))
        if app.installation_id != arguments["installation_id"]:
            raise model.not_found()
        return rest.json_response(views.installation(app))

    def _show_rate(self, exchange: _Exchange, response: Response) -> None:
        rate = self.meter.rate(exchange.login, exchange.resource)
        # A fault that sets one of them means to lie about it.
        response.headers.setdefault("X-RateLimit-Limit", str(rate.limit))
        response.headers.setdefault("X-RateLimit-Remaining", str(rate.limit - rate.used))
        response.headers.setdefault("X-RateLimit-Used", str(rate.used))
        response.headers.setdefault("X-RateLimit-Resource", exchange.resource)
        response.headers.setdefault("X-RateLimit-Reset", str(int(rate.reset_seconds)))
        response.headers.setdefault("X-GitHub-Request-Id", f"REHEARSAL:{exchange.number}")


def _operation(request: Request, rule: Rule | None) -> str:
    if rule is None:
        return request.path
    endpoint = cast("rest.Route | rest.Special", rule.endpoint)
    if endpoint.path == "/graphql":
        body = request.get_json(force=True, silent=True)
        return graphql_api.operation_of(cast("Json", body)) if isinstance(body, dict) else ""
    return endpoint.path


def _generates_content(request: Request, rule: Rule | None) -> bool:
    """Every write to a repository: see `Limits`."""
    if rule is None:
        return False
    endpoint = cast("rest.Route | rest.Special", rule.endpoint)
    if isinstance(endpoint, rest.Route):
        return request.method not in _READS
    body = request.get_json(force=True, silent=True) if endpoint.name == "graphql" else None
    return isinstance(body, dict) and graphql_api.is_mutation(cast("Json", body))


def _limited(exchange: _Exchange, exceeded: Exceeded) -> Response:
    """GitHub's answer to what exceeds a limit.

    https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit
    https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api#exceeding-the-rate-limit
    """
    exchange.limited = exceeded.kind
    if exceeded.kind == "secondary":
        said = (
            "You have exceeded a secondary rate limit and have been temporarily blocked from content creation. "
            "Please retry your request again later."
        )
        response = _refusal(Problem(403, said))
        response.headers["Retry-After"] = str(exceeded.retry_after_seconds)
        return response
    # The headers on every answer say when the hour is over; there is no Retry-After to a primary limit.
    said = f"API rate limit exceeded for user ID {exchange.actor.user_id if exchange.actor else 0}."
    if exchange.resource == "core":
        return _refusal(Problem(403, said))
    exchange.errors = ("RATE_LIMITED",)
    return rest.json_response({"errors": [{"type": "RATE_LIMITED", "message": said}]})


def _error_kind(error: Json) -> str:
    extensions = cast("Json", error.get("extensions") or {})
    return str(error.get("type") or extensions.get("code") or "")


def _refusal(problem: Problem) -> Response:
    body: Json = {"message": problem.message, "documentation_url": "https://docs.github.com/rest", "status": str(problem.status)}
    if problem.errors:
        body["errors"] = problem.errors
    return rest.json_response(body, problem.status)


def _faulty(fault: Fault) -> Response | None:
    if fault.drop:
        return None
    response = Response(fault.body, status=fault.status, content_type="application/json; charset=utf-8")
    response.headers.update(fault.headers)
    if fault.cut:
        # The server closes the connection after every answer.
        response.headers["Content-Length"] = str(2 * len(fault.body) + 1)
    return response
