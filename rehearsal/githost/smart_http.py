"""Git's own protocol over HTTP: `git http-backend` as a CGI program, behind the host's tokens and rules.

https://git-scm.com/docs/git-http-backend
"""

import os
import secrets
import stat
import subprocess
import sys
from pathlib import Path
from typing import Final

from werkzeug.datastructures import Headers
from werkzeug.wrappers import Request, Response

from rehearsal.githost import pre_receive
from rehearsal.githost.hub import Hub
from rehearsal.githost.identity import CONSOLE
from rehearsal.githost.model import ZERO, Actor, Problem
from rehearsal.githost.records import Repository
from rehearsal.githost.store import NOBODY

HOOKS: Final = "hooks"
REALM: Final = 'Basic realm="GitHub"'


def _plain(status: int, text: str, **headers: str) -> Response:
    return Response(f"{text}\n", status=status, headers=headers, content_type="text/plain; charset=utf-8")


def install_hook(root: Path) -> None:
    """Write the folder, below the host's, that every push takes its hooks from."""
    folder = root / HOOKS
    folder.mkdir(parents=True, exist_ok=True)
    hook = folder / "pre-receive"
    # -I -S: neither the caller's environment nor site-packages; the hook needs the standard library alone.
    hook.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{pre_receive.__file__}"\n', encoding="utf-8")
    hook.chmod(hook.stat().st_mode | stat.S_IXUSR)


def _actor(hub: Hub, request: Request) -> Actor | None:
    authorization = request.authorization
    if authorization is None:
        return None
    # Basic with any user name; `Authorization: bearer` is what actions/checkout sets as an extra header.
    token = authorization.password if authorization.type == "basic" else authorization.token
    return hub.directory.actor_of(token or "")


def serve(hub: Hub, request: Request, full_name: str, rest: str) -> Response:
    """One request of a git client.

    Args:
        hub: The host.
        request: The request.
        full_name: `owner/name`, as in the URL less `.git`.
        rest: What follows, such as `info/refs`.
    """
    pushing = rest == "git-receive-pack" or request.args.get("service") == "git-receive-pack"
    try:
        actor = _actor(hub, request)
    except Problem:
        return _plain(401, "Invalid username or token.", **{"WWW-Authenticate": REALM})
    if actor is None:
        # All repositories are private; git asks again with credentials.
        return _plain(401, "No anonymous access.", **{"WWW-Authenticate": REALM})
    try:
        repo = hub.repository(full_name, actor)
    except Problem:
        return _plain(404, "Repository not found.")
    if refusal := _refusal(repo, actor, pushing=pushing):
        return _plain(403, refusal)
    if rest != "git-receive-pack":
        return _backend(hub, request, repo, rest, "")
    session = secrets.token_hex(16)
    with hub.receiving(repo, actor, session):
        return _backend(hub, request, repo, rest, session)


def _refusal(repo: Repository, actor: Actor, *, pushing: bool) -> str:
    if not actor.may("contents", "write" if pushing else "read"):
        verb = "Permission to" if pushing else "Read access to"
        return f"{verb} {repo.full_name}.git denied to {actor.login}."
    return "This repository was archived so it is read-only." if pushing and repo.archived else ""


def _backend(hub: Hub, request: Request, repo: Repository, rest: str, session: str) -> Response:
    body = request.get_data()
    environment = {
        "PATH": os.environ["PATH"],
        **NOBODY,
        "GIT_PROJECT_ROOT": str(hub.root / "repositories"),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": f"/{repo.full_name}.git/{rest}",
        "QUERY_STRING": request.query_string.decode(),
        "REQUEST_METHOD": request.method,
        "CONTENT_TYPE": request.content_type or "",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
        "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_USER": CONSOLE.login,
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.hooksPath",
        "GIT_CONFIG_VALUE_0": str(hub.root / HOOKS),
        "GITHOST_PORT": hub.url.rpartition(":")[2],
        "GITHOST_SESSION": session,
    }
    done = subprocess.run(["git", "http-backend"], env=environment, input=body, capture_output=True, check=False)
    head, _, content = done.stdout.partition(b"\r\n\r\n")
    lines = (line.partition(": ") for line in head.decode().split("\r\n") if line)
    headers = Headers((name, value) for name, _, value in lines)
    status = headers.pop("Status", "200 OK")
    if done.returncode and not head:
        return _plain(500, done.stderr.decode(errors="replace"))
    return Response(content, status=status, headers=headers)


def answer_hook(hub: Hub, request: Request, session: str) -> Response:
    """The host's answer to its own pre-receive hook: the reasons for a refusal, or nothing."""
    quarantine, *lines = request.get_data(as_text=True).splitlines()
    updates = [tuple(line.split(" ", 2)) for line in lines if line]
    asked = [(ref, None if old == ZERO else old, None if new == ZERO else new) for old, new, ref in updates]
    return _plain(200, said) if (said := hub.judge_push(session, asked, quarantine)) else Response("")
