"""Runs a workflow of the GitOps repository as GitHub Actions does: the part of it that these workflows use.

The workflow is read from the branch that GitHub would read it from; its own steps run, in a clone of their own, with the
environment that the file gives them. What this does not know, it refuses. It installs nothing: where a step does, this Python
stands in, once it is sure to have the very versions.
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax
"""

import json
import os
import re
import secrets
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlsplit

import jwt
import urllib3
import yaml

from rehearsal.githost import GitHost

_EXPRESSION: Final = re.compile(r"\$\{\{\s*(?P<name>[a-z_]+(?:\.[\w-]+)*)\s*\}\}", re.IGNORECASE)
_CHECKOUT: Final = "actions/checkout@"
_APP_TOKEN: Final = "actions/create-github-app-token@"  # noqa: S105 — an action's name
_TIMEOUT_SECONDS: Final = 120
_CREATED: Final = 201


class WorkflowError(Exception):
    """A workflow that failed, or that uses what is not known here."""


@dataclass(frozen=True, kw_only=True)
class App:
    """A GitHub App as workflows know it.

    Attributes:
        app_id: Its id.
        installation_id: Its installation.
        slug: It acts as `<slug>[bot]`.
        private_key: PEM.
    """

    app_id: int
    installation_id: int
    slug: str
    private_key: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """A workflow run.

    Attributes:
        workflow: Name of its file, without the ending.
        log: What its steps printed.
        outputs: What its steps wrote to GITHUB_OUTPUT.
        summary: What they wrote to the run's summary, in Markdown.
    """

    workflow: str
    log: str
    outputs: Mapping[str, str]
    summary: str


@dataclass(kw_only=True)
class Actions:
    """The runner of one repository.

    Attributes:
        host: The Git host.
        repository: `owner/name`.
        promoter: What `vars.SLIPWAY_PROMOTER_APP` and `secrets.SLIPWAY_PROMOTER_KEY` stand for.
        say: Hears what the steps print, line by line.
        applications: What `secrets.SLIPWAY_APPLICATIONS_TOKEN` stands for; "", as on GitHub, without it.
        cloud: Where AWS is to the steps; "" where there is none.
    """

    host: GitHost
    repository: str
    promoter: App
    say: Callable[[str], None]
    applications: str = ""
    cloud: str = ""
    _runs: int = field(default=0, init=False)

    def pushed(self, branch: str) -> list[Run]:
        """Run every workflow that a push to `branch` starts: those of the pushed branch itself."""
        found: list[Run] = []
        for name, workflow in self._workflows(branch).items():
            push = cast("dict[str, Any] | None", _triggers(workflow).get("push", {"branches": []}))
            if push is None or branch in push.get("branches", [branch]):
                pushed = {"github.ref_name": branch, "github.sha": self._commit(branch)}
                found.append(self._run(name, workflow, branch, pushed))
        return found

    def dispatch(self, name: str, **inputs: str) -> Run:
        """Start a workflow by hand; GitHub reads it from the default branch.

        Raises:
            WorkflowError: it cannot be started by hand, an input is not its own or missing, or a step failed.
        """
        default = self._default_branch()
        workflow = self._workflows(default).get(name)
        triggers = _triggers(workflow) if workflow else {}
        if workflow is None or "workflow_dispatch" not in triggers:
            msg = f"{self.repository} has no workflow {name} on {default} that can be started by hand"
            raise WorkflowError(msg)
        asked = cast("dict[str, dict[str, dict[str, Any]]]", triggers["workflow_dispatch"] or {})
        known = asked.get("inputs", {})
        if strange := inputs.keys() - known.keys():
            msg = f"workflow {name} has no inputs {sorted(strange)}: {sorted(known)} are known"
            raise WorkflowError(msg)
        given: dict[str, str] = {}
        for key, each in known.items():
            if key not in inputs and "default" not in each and each.get("required"):
                msg = f"workflow {name} needs the input {key}: {each.get('description', '')}"
                raise WorkflowError(msg)
            given[f"inputs.{key}"] = inputs.get(key, _text(each.get("default", "")))
        return self._run(name, workflow, default, {**given, "github.ref_name": default})

    def verified(self, pull: Mapping[str, Any]) -> Run:
        """Run `verify` for a pull request, as GitHub does when it is opened; the file is the pull request's own.

        Raises:
            WorkflowError: the check failed.
        """
        head, base = str(pull["head"]["sha"]), str(pull["base"]["ref"])
        context = {
            "github.base_ref": base,
            "github.event.pull_request.number": str(pull["number"]),
            "github.event.pull_request.head.sha": head,
            "github.event.pull_request.base.sha": str(pull["base"]["sha"]),
        }
        return self._run("verify", self._workflows(str(pull["head"]["ref"]))["verify"], base, context)

    def token(self, **permissions: str) -> str:
        """An installation token of the promoter App, as its action makes it.

        Args:
            permissions: What is asked for; all that the App has, if nothing is.

        Raises:
            WorkflowError: the host gave none.
        """
        now = int(time.time())
        claims = {"iss": str(self.promoter.app_id), "iat": now - 60, "exp": now + 540}
        assertion = jwt.encode(claims, self.promoter.private_key, algorithm="RS256")
        answer = urllib3.request(
            "POST",
            f"{self.host.url}/app/installations/{self.promoter.installation_id}/access_tokens",
            headers={"Authorization": f"Bearer {assertion}"},
            json={"permissions": permissions} if permissions else None,
        )
        if answer.status != _CREATED:
            msg = f"the promoter App got no token: {answer.status} {answer.data.decode(errors='replace')}"
            raise WorkflowError(msg)
        return str(answer.json()["token"])

    # One run

    def _run(self, name: str, workflow: Mapping[str, Any], branch: str, context: Mapping[str, str]) -> Run:
        self._runs += 1
        known = {
            **context,
            "github.repository": self.repository,
            "github.run_id": str(self._runs),
            "github.event.repository.default_branch": self._default_branch(),
            "github.token": self.token(),
            "vars.SLIPWAY_PROMOTER_APP": str(self.promoter.app_id),
            "secrets.SLIPWAY_PROMOTER_KEY": self.promoter.private_key,
            "secrets.SLIPWAY_APPLICATIONS_TOKEN": self.applications,
            "vars.SLIPWAY_IMAGE_READERS": self.host.variables(self.repository).get("SLIPWAY_IMAGE_READERS", ""),
        }
        jobs = cast("dict[str, dict[str, Any]]", workflow["jobs"])
        log: list[str] = []
        with tempfile.TemporaryDirectory(prefix="slipway-run-") as folder:
            for job in jobs.values():
                self._job(job, Path(folder), branch, known, log)
            outputs = Path(folder, "output")
            summary = Path(folder, "summary")
            pairs = [line.partition("=") for line in outputs.read_text(encoding="utf-8").splitlines()] if outputs.exists() else []
            return Run(
                workflow=name,
                log="\n".join(log),
                outputs={key: value for key, _, value in pairs},
                summary=summary.read_text(encoding="utf-8") if summary.exists() else "",
            )

    def _job(self, job: Mapping[str, Any], folder: Path, branch: str, known: dict[str, str], log: list[str]) -> None:
        if cast("dict[str, str]", job.get("permissions") or {}).get("id-token") != "write":
            self._steps(job, folder, branch, known, log)
            return
        purpose = "pull_request" if "github.base_ref" in known else f"ref:refs/heads/{known['github.ref_name']}"
        claims = {"iss": _ISSUER, "sub": f"repo:{self.repository}:{purpose}", "repository": self.repository}
        with identified(claims) as identity:
            self._steps(job, folder, branch, {**known, **identity}, log)

    def _steps(self, job: Mapping[str, Any], folder: Path, branch: str, known: dict[str, str], log: list[str]) -> None:
        work = folder / "work"
        for step in cast("list[dict[str, Any]]", job["steps"]):
            uses = str(step.get("uses", ""))
            if uses.startswith(_CHECKOUT):
                asked = _filled(_text(step.get("with", {}).get("ref", branch)), known)
                self._clone(work, asked, known["github.token"])
            elif uses.startswith(_APP_TOKEN):
                # https://github.com/actions/create-github-app-token#permission-permission-name
                asked = {
                    key.removeprefix("permission-").replace("-", "_"): str(level)
                    for key, level in cast("dict[str, Any]", step.get("with") or {}).items()
                    if key.startswith("permission-")
                }
                known[f"steps.{step['id']}.outputs.token"] = self.token(**asked)
                known[f"steps.{step['id']}.outputs.app-slug"] = self.promoter.slug
            elif uses:
                msg = f"the step {step.get('name')!r} uses {uses}: this runner knows {_CHECKOUT}… and {_APP_TOKEN}…"
                raise WorkflowError(msg)
            elif "--require-hashes" in step["run"]:
                _stand_in(str(step["run"]), work, folder)
            else:
                self._step(step, work, folder, known, log)

    def _clone(self, work: Path, ref: str, token: str) -> None:
        url = f"{self.host.url}/{self.repository}.git"
        # The address without the token stays: that is `persist-credentials: false`.
        with_token = url.replace("http://", f"http://x-access-token:{token}@")
        for command in (
            ["git", "init", "-q", str(work)],
            ["git", "-C", str(work), "remote", "add", "origin", url],
            ["git", "-C", str(work), "fetch", "-q", with_token, "+refs/heads/*:refs/remotes/origin/*"],
            ["git", "-C", str(work), "checkout", "-q", "--detach", self._commit(ref)],
        ):
            subprocess.run(command, check=True, env={**os.environ, **_NOBODY}, capture_output=True)

    def _commit(self, ref: str) -> str:
        return self.host.head(self.repository, ref) or ref

    def _step(self, step: Mapping[str, Any], work: Path, folder: Path, known: Mapping[str, str], log: list[str]) -> None:
        environment = {
            # Python by the name that the workflows use, and kubectl, are this interpreter's neighbours.
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
            "HOME": str(folder),
            **_NOBODY,
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": self.host.url,
            "GITHUB_SERVER_URL": self.host.url,
            "GITHUB_REPOSITORY": self.repository,
            "GITHUB_RUN_ID": known["github.run_id"],
            "GITHUB_OUTPUT": str(folder / "output"),
            "GITHUB_STEP_SUMMARY": str(folder / "summary"),
            "RUNNER_TEMP": str(folder),
            **{name: known[name] for name in _IDENTITY if name in known},
            **({"AWS_ENDPOINT_URL": self.cloud} if self.cloud else {}),
            **{key: _filled(_text(value), known) for key, value in step.get("env", {}).items()},
        }
        # https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#jobsjob_idstepsshell
        done = subprocess.run(
            ["bash", "-e", "-c", step["run"]],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
        for line in done.stdout.splitlines():
            self.say(line)
            log.append(line)
        if done.returncode:
            msg = f"the step {step.get('name')!r} ended with {done.returncode}:\n{done.stdout}"
            raise WorkflowError(msg)

    # Reading

    def _default_branch(self) -> str:
        return (self.host.path(self.repository) / "HEAD").read_text(encoding="utf-8").strip().removeprefix("ref: refs/heads/")

    def _workflows(self, branch: str) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for name in ("promote", "release", "released", "pin", "verify"):
            text = self.host.read(self.repository, branch, f".github/workflows/{name}.yml")
            if text is not None:
                found[name] = yaml.safe_load(text)
        return found


_IDENTITY: Final = ("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
_ISSUER: Final = "https://token.actions.githubusercontent.com"


@contextmanager
def identified(claims: Mapping[str, str]) -> Generator[dict[str, str]]:
    """Serve a job its identity token, as GitHub's runner does; where, and with which bearer, as the job's environment.

    Nobody here verifies its signature, which is none of GitHub's; its claims are what is let in (rehearsal/cloud/amendments.py).
    https://docs.github.com/en/actions/reference/security/oidc#methods-for-requesting-the-oidc-token
    """
    bearer = secrets.token_urlsafe()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fine = self.headers["Authorization"] == f"Bearer {bearer}"
            (audience,) = parse_qs(urlsplit(self.path).query)["audience"]
            now = int(time.time())
            token = jwt.encode({**claims, "aud": audience, "iat": now, "exp": now + 300}, bearer, algorithm="HS256")
            self.send_response(200 if fine else 401)
            self.end_headers()
            self.wfile.write(json.dumps({"value": token} if fine else {}).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — its name there
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield dict(zip(_IDENTITY, (f"http://127.0.0.1:{server.server_port}/?api-version=2.0", bearer), strict=True))
        finally:
            server.shutdown()


def _stand_in(run: str, work: Path, folder: Path) -> None:
    """Let this Python stand in for the one that a step would install packages into.

    Raises:
        WorkflowError: it has other versions than those the step names.
    """
    words = shlex.split(run.replace("\\\n", " "))
    locked = (work / words[words.index("--requirement") + 1]).read_text(encoding="utf-8")
    for name, version in re.findall(r"^([\w.-]+)==([\w.]+) ", locked, re.MULTILINE):
        if (ours := metadata.version(name)) != version:
            msg = f"the step installs {name} {version}, and this runner stands in with {ours}: lock both anew (make lock)"
            raise WorkflowError(msg)
    python = folder / words[words.index("venv") + 1].removeprefix("$RUNNER_TEMP/") / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n', encoding="utf-8")
    python.chmod(0o755)


_NOBODY: Final = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0"}


def _triggers(workflow: Mapping[Any, Any]) -> dict[str, Any]:
    # YAML 1.1 reads a bare `on` as true.
    on = workflow.get("on", workflow.get(True))
    return cast("dict[str, Any]", on if isinstance(on, dict) else {str(on): None})


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _filled(text: str, known: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match["name"] not in known:
            msg = f"the expression {match[0]} is not known here: {', '.join(sorted(known))} are"
            raise WorkflowError(msg)
        return known[match["name"]]

    filled = _EXPRESSION.sub(value, text)
    if "${{" in filled and "${{" in _EXPRESSION.sub("", text):
        msg = f"the expression in {text!r} is more than a name: this runner knows names alone"
        raise WorkflowError(msg)
    return filled


__all__ = ["Actions", "App", "Run", "WorkflowError", "identified"]
