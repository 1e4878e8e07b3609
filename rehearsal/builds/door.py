"""`BuildRuns`: CodePipeline's API for runs, and their events on the emulated buses; neither emulator has them.

A function asks over HTTP as with AWS. Each request is judged by the policies of the role that asks.
"""

import json
import re
import threading
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from rehearsal.builds.executions import Executions
from rehearsal.cloud import Emulators, Place, identity_of
from rehearsal.registry import policy

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_TARGET: Final = "CodePipeline_20150709."
_CREDENTIAL: Final = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d{8}/([a-z0-9-]+)/codepipeline/aws4_request")
_SESSION: Final = re.compile(r"arn:aws:sts::(\d{12}):assumed-role/([^/]+)/.+")


class _Handler(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: what is asked here is no news to whoever watches the play."""


class BuildRuns:
    """The runs of every account's pipelines, from entering to leaving the context.

    Enter it before a function is made: functions learn of it from `Emulators.endpoints`.

    Attributes:
        told: Every event: its detail-type and its detail.
    """

    def __init__(self, emulators: Emulators) -> None:
        """Begin without runs."""
        self.told: list[tuple[str, Mapping[str, Any]]] = []
        self._emulators = emulators
        self._of: dict[Place, Executions] = {}
        self._server: BaseWSGIServer | None = None

    def __enter__(self) -> Self:
        """Serve."""
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True, request_handler=_Handler)
        threading.Thread(target=self._server.serve_forever, name="build runs", daemon=True).start()
        self._emulators.endpoints["codepipeline"] = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop."""
        self._emulators.endpoints.pop("codepipeline", None)
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def of(self, place: Place) -> Executions:
        """The runs of an account and region; each step of one is an event on the default bus there."""
        if place not in self._of:
            events = self._emulators.client("events", place.account, place.region)

            def emit(kind: str, detail: Mapping[str, Any]) -> None:
                self.told.append((kind, detail))
                answer = events.put_events(
                    Entries=[{"Source": "aws.codepipeline", "DetailType": kind, "Detail": json.dumps(detail), "Resources": []}]
                )
                if answer["FailedEntryCount"]:
                    msg = f"EventBridge did not take {kind} of {detail.get('pipeline')}: {answer['Entries']}"
                    raise RuntimeError(msg)

            self._of[place] = Executions(emit=emit)
        return self._of[place]

    def _serve(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        return self._answer(Request(environ))(environ, start_response)

    def _answer(self, request: Request) -> Response:
        found = _CREDENTIAL.match(request.headers.get("Authorization", ""))
        if not found:
            return _json(403, {"__type": "MissingAuthenticationTokenException", "message": "Missing Authentication Token"})
        key, region = found.groups()
        operation = request.headers.get("X-Amz-Target", "").removeprefix(_TARGET)
        body = json.loads(request.get_data())
        session = _SESSION.fullmatch(self._caller(key, region))
        if session is None:
            return _json(403, {"__type": "UnrecognizedClientException", "message": "The security token is invalid."})
        account, role = session.groups()
        caller = identity_of(self._emulators, f"arn:aws:iam::{account}:role/{role}", region)
        arn = f"arn:aws:codepipeline:{region}:{account}:{body.get('pipelineName')}"
        verdict = policy.judge(policy.Request(caller=caller, action=f"codepipeline:{operation}", resource=arn))
        if not verdict:
            return _json(400, {"__type": "AccessDeniedException", "message": verdict.reason})
        return _json(*self.of(Place(account=account, region=region)).answer(operation, body))

    def _caller(self, key: str, region: str) -> str:
        """Who has an access key, as ministack knows it; a function's own keys are known to ministack alone."""
        return str(self._emulators.client_with(key, "sts", region).get_caller_identity()["Arn"])


def _json(status: int, body: Mapping[str, Any]) -> Response:
    return Response(json.dumps(body), status=status, content_type="application/x-amz-json-1.1")


__all__ = ["BuildRuns"]
