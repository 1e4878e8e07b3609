"""GitHub's REST API as far as the check reads it, over HTTP: answers in the shapes that docs.github.com/rest shows."""

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import jwt

TOKEN = "github_pat_example"


class GitHubStandIn:
    """A small GitHub: what it answers by path, and who may ask.

    Attributes:
        answers: JSON by path without its query; a status by a number. Anything else is 404.
        as_app: The same for a path that an App asks, by App id.
        keys: Public key by App id.
        asked: Method and path of every request.
    """

    def __init__(self) -> None:
        """An empty one."""
        self.answers: dict[str, Any] = {}
        self.as_app: dict[tuple[str, str], Any] = {}
        self.keys: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                stand_in.asked.append((self.command, path))
                status, body = stand_in.answer(path, self.headers.get("Authorization", "").removeprefix("Bearer "))
                sent = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json; charset=utf-8")
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            do_POST = do_GET  # noqa: N815 — http.server's name
            do_PUT = do_GET  # noqa: N815 — same
            do_PATCH = do_GET  # noqa: N815 — same
            do_DELETE = do_GET  # noqa: N815 — same

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — its base names it so
                del format, args

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, path: str, token: str) -> tuple[int, Any]:
        """Answer a person with the token, or an App with a JWT of its key."""
        if token == TOKEN:
            return self._shown(self.answers.get(path))
        try:
            app = str(jwt.decode(token, options={"verify_signature": False})["iss"])
            jwt.decode(token, self.keys[app], algorithms=["RS256"])
        except (jwt.PyJWTError, KeyError):
            # https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api
            return 401, {"message": "A JSON web token could not be decoded"}
        return self._shown(self.as_app.get((app, path)))

    @staticmethod
    def _shown(found: object) -> tuple[int, Any]:
        if found is None:
            return 404, {"message": "Not Found"}
        if isinstance(found, int):
            return found, {"message": "Must have admin rights to Repository."}
        return 200, found

    def install(self, app: Mapping[str, Any], repositories: list[str], public_key: str = "") -> None:
        """Register an App's installation, seen by itself and by the organization's owners."""
        ident = str(app["app_id"])
        self.keys[ident] = public_key
        listed = self.answers.setdefault("/orgs/example-org/installations", {"total_count": 0, "installations": []})
        listed["installations"].append(dict(app))
        self.as_app[ident, "/app"] = {"id": app["app_id"], "slug": "app", "owner": {"login": "example-org"}}
        self.as_app[ident, f"/app/installations/{app['id']}"] = dict(app)
        for name in repositories:
            self.as_app[ident, f"/repos/example-org/{name}/installation"] = dict(app)

    def __enter__(self) -> Self:
        """Serve."""
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
