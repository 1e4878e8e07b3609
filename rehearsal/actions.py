"""Runs a repository's workflows as GitHub Actions does.

Each event takes its workflow files from the commit that GitHub takes them from, all files of that commit count, and a job has
the token, secrets and identity that GitHub would give it. A key, trigger, action or expression that this runner does not know is
an error, never ignored. It installs nothing: where a step installs hash-locked packages, this Python stands in, once it has made
sure to have the same versions.
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax
https://docs.github.com/en/actions/reference/workflows-and-actions/events-that-trigger-workflows
"""

import base64
import fnmatch
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
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlsplit

import jwt
import urllib3
import yaml

from rehearsal.expressions import ExpressionError, Function, Known, fill, holds
from rehearsal.githost import GitHost, views
from rehearsal.githost.identity import ACTIONS_APP
from rehearsal.githost.records import Pull, Repository
from rehearsal.githost.store import Note, Signature

_HEADS: Final = "refs/heads/"
_WORKFLOWS: Final = ".github/workflows/"
_BOT: Final = "github-actions[bot]"
_CHECKOUT: Final = "actions/checkout@"
_APP_TOKEN: Final = "actions/create-github-app-token@"  # noqa: S105 — an action's name
_TIMEOUT_SECONDS: Final = 120
_OK: Final = frozenset({200, 201})
# https://docs.github.com/en/actions/reference/workflows-and-actions/events-that-trigger-workflows#workflow_run
_CHAIN: Final = 3

# Keys that this runner reads; those of the second line change nothing here.
_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "workflow": frozenset({"name", "on", "permissions", "env", "jobs", "defaults", "concurrency", "run-name"}),
    "job": frozenset(
        {"name", "needs", "if", "permissions", "environment", "outputs", "env", "steps", "concurrency", "runs-on"}
        | {"timeout-minutes"}
    ),
    "step": frozenset(
        {"id", "name", "if", "uses", "with", "run", "env", "shell", "working-directory", "continue-on-error", "timeout-minutes"}
    ),
    "checkout": frozenset({"ref", "fetch-depth", "persist-credentials", "path"}),
    "app token": frozenset({"app-id", "client-id", "private-key", "owner", "repositories", "skip-token-revoke"}),
    "push": frozenset({"branches", "branches-ignore"}),
    "pull_request": frozenset({"types", "branches", "branches-ignore"}),
    "workflow_run": frozenset({"workflows", "types", "branches", "branches-ignore"}),
    "workflow_dispatch": frozenset({"inputs"}),
}
# https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#permissions
_SCOPES: Final = frozenset(
    {"actions", "artifact-metadata", "attestations", "checks", "contents", "deployments", "discussions", "id-token", "issues"}
    | {"models", "packages", "pages", "pull-requests", "security-events", "statuses"}
)
# https://docs.github.com/en/actions/reference/workflows-and-actions/events-that-trigger-workflows#pull_request
_PULL_TYPES: Final = ("opened", "synchronize", "reopened")
# Objects that the payload of one event has and that of another has not.
_PAYLOADS: Final = ("action", "inputs", "number", "pull_request", "workflow_run", "before", "after", "head_commit", "pusher")


class WorkflowError(Exception):
    """A workflow that failed, or that uses something which this runner does not know."""


class _StepError(Exception):
    """A step that failed."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A workflow run.

    Attributes:
        workflow: Name of its file, without the ending.
        name: The workflow's own name.
        event: What started it.
        branch: Its head branch.
        commit: Its head commit.
        conclusion: `success`, `failure` or `skipped`.
        jobs: Result by job.
        error: Why it failed, else "".
        log: What its steps printed.
        outputs: What its steps wrote to GITHUB_OUTPUT.
        summary: What they wrote to the run's summary, in Markdown.
    """

    workflow: str
    name: str
    event: str
    branch: str
    commit: str
    conclusion: str
    jobs: Mapping[str, str]
    error: str
    log: str
    outputs: Mapping[str, str]
    summary: str


@dataclass(frozen=True, kw_only=True)
class _Event:
    """An event that may start workflows.

    Attributes:
        name: As in `on`.
        ref: `github.ref`, which branch policies of environments judge.
        source: Commit that the workflow files are read from; also `github.sha`, which is checked out.
        branch: Head branch of the runs.
        commit: Head commit of the runs: check runs are reported there.
        actor: Who caused it.
        payload: `github.event`.
        action: Activity type.
        filtered: The branch that `branches` filters.
        of: Name of the workflow that has run, for `workflow_run`.
        base_ref: Base of a pull request.
        head_ref: Its head.
        depth: How many `workflow_run` lead here.
        inputs: Inputs of a `workflow_dispatch`.
    """

    name: str
    ref: str
    source: str
    branch: str
    commit: str
    actor: str
    payload: Mapping[str, Any]
    action: str = ""
    filtered: str = ""
    of: str = ""
    base_ref: str = ""
    head_ref: str = ""
    depth: int = 0
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class _Workflow:
    """A workflow file.

    Attributes:
        file: Name of its file, without the ending.
        path: Its path.
        body: What it says.
        triggers: Its `on`.
    """

    file: str
    path: str
    body: Mapping[str, Any]
    triggers: Mapping[str, Any]

    @property
    def name(self) -> str:
        """GitHub takes the path where the file gives no name."""
        return str(self.body.get("name") or self.path)


@dataclass(kw_only=True)
class _Job:
    """A job that runs.

    Attributes:
        id: Its key.
        body: What the workflow says of it.
        contexts: For expressions.
        folder: Its own, fresh.
        token: The job's token.
        permissions: What the token may do.
        environment: Name of the job's environment, or "".
        env: Variables of its steps.
        outputs: What its steps put out.
        log: What they printed.
    """

    id: str
    body: Mapping[str, Any]
    contexts: dict[str, Any]
    folder: Path
    token: str
    permissions: Mapping[str, str]
    environment: str
    env: dict[str, str]
    outputs: dict[str, str] = field(default_factory=dict[str, str])
    log: list[str] = field(default_factory=list[str])
    paths: list[str] = field(default_factory=list[str])
    tokens: list[str] = field(default_factory=list[str])

    @property
    def work(self) -> Path:
        """GITHUB_WORKSPACE."""
        return self.folder / "work"

    @property
    def temp(self) -> Path:
        """RUNNER_TEMP."""
        return self.folder / "temp"


@dataclass(kw_only=True)
class Actions:
    """The runner of one repository.

    Secrets, variables and environments are those that the Git host holds.

    Attributes:
        host: The Git host.
        repository: `owner/name`.
        say: Called with each line that a step prints.
        cloud: Address of AWS for the steps; "" where there is none.
        ids: Ids of the owner and of the repository, for OIDC subjects that carry them; without, subjects carry names alone.
    """

    host: GitHost
    repository: str
    say: Callable[[str], None] = lambda _: None
    cloud: str = ""
    ids: tuple[int, int] | None = None
    _runs: int = field(default=0, init=False)

    # Events

    def pushed(self, branch: str, *, check: bool = True) -> list[Run]:
        """Run every workflow that the last push to `branch` starts, and those that follow by `workflow_run`.

        A push by a workflow's own token starts none:
        https://docs.github.com/en/actions/concepts/security/github_token#when-github_token-triggers-workflow-runs

        Args:
            branch: The branch that moved.
            check: Raise if a run fails.

        Raises:
            WorkflowError: a run failed, or a workflow uses something unknown.
        """
        actor, commit = self.host.pushed_by(self.repository, branch), self._head(branch)
        if actor == _BOT:
            return []
        event = _Event(
            name="push",
            ref=_HEADS + branch,
            source=commit,
            branch=branch,
            commit=commit,
            actor=actor,
            payload={"ref": _HEADS + branch, "after": commit, "pusher": {"name": actor}},
            filtered=branch,
        )
        return _checked(self._started(event), check=check)

    def dispatch(  # noqa: D417 — inputs
        self, workflow: str, /, *, ref: str | None = None, actor: str = "operator", check: bool = True, **inputs: str
    ) -> Run:
        """Start a workflow by hand; answers with its run. Those that follow by `workflow_run` run too.

        GitHub takes the file of the branch that is given, and offers only what the default branch has too:
        https://docs.github.com/en/actions/reference/workflows-and-actions/events-that-trigger-workflows#workflow_dispatch

        Args:
            workflow: Name of its file, without the ending.
            ref: Branch to run it on; the default branch without.
            actor: Login of the person who starts it.
            check: Raise if the run, or one that follows, fails.

        Raises:
            WorkflowError: it cannot be started by hand, an input is not its own or missing, or a step failed.
        """
        default = self.default_branch
        branch = ref or default
        for place in dict.fromkeys((default, branch)):
            found = self._workflows(self._head(place)).get(workflow)
            if found is None or "workflow_dispatch" not in found.triggers:
                msg = f"{self.repository} has no workflow {workflow} on {place} that can be started by hand"
                raise WorkflowError(msg)
        one = self._workflows(self._head(branch))[workflow]
        given = _inputs(one, inputs)
        event = _Event(
            name="workflow_dispatch",
            ref=_HEADS + branch,
            source=self._head(branch),
            branch=branch,
            commit=self._head(branch),
            actor=actor,
            payload={"ref": _HEADS + branch, "inputs": {key: _text(value) for key, value in given.items()}},
            inputs=given,
        )
        runs = self._run_all([one], event)
        return _checked(runs, check=check)[0]

    def verified(self, pull: Mapping[str, Any] | int, *, action: str = "opened", check: bool = True) -> list[Run]:
        """Run every workflow that an activity of a pull request starts, and those that follow by `workflow_run`.

        `pull_request` takes files and commit from the merge of head and base, `pull_request_target` from the default branch:
        https://github.blog/changelog/2025-11-07-actions-pull_request_target-and-environment-branch-protections-changes/

        Args:
            pull: The pull request, or its number.
            action: `opened`, `synchronize`, `reopened` or `edited`.
            check: Raise if a run fails.

        Raises:
            WorkflowError: a run failed, or a workflow uses something unknown.
        """
        found = self._repo.pulls[pull if isinstance(pull, int) else int(pull["number"])]
        actor = self.host.pushed_by(self.repository, found.head) if action == "synchronize" else found.author.login
        if actor == _BOT:
            return []
        default = self.default_branch
        common = {
            "branch": found.head,
            "commit": found.head_oid,
            "actor": actor,
            "payload": {"action": action, "number": found.number, "pull_request": views.pull(self.host.url, self._repo, found)},
            "action": action,
            "filtered": found.base,
            "base_ref": found.base,
            "head_ref": found.head,
        }
        events = [
            _Event(name="pull_request_target", ref=_HEADS + default, source=self._head(default), **cast("Any", common)),
        ]
        if merge := self._merge_of(found):
            # Without a merge, because of a conflict, GitHub runs nothing for pull_request.
            events.insert(
                0, _Event(name="pull_request", ref=f"refs/pull/{found.number}/merge", source=merge, **cast("Any", common))
            )
        return _checked([run for event in events for run in self._started(event)], check=check)

    @property
    def default_branch(self) -> str:
        """The repository's default branch."""
        return self._repo.default_branch

    # Reading

    @property
    def _repo(self) -> Repository:
        found = self.host.repository(self.repository)
        if found is None:
            msg = f"there is no repository {self.repository}"
            raise WorkflowError(msg)
        return found

    def _head(self, branch: str) -> str:
        commit = self.host.head(self.repository, branch)
        if commit is None:
            msg = f"{self.repository} has no branch {branch}"
            raise WorkflowError(msg)
        return commit

    def _merge_of(self, pull: Pull) -> str | None:
        person = Signature(name="GitHub", email="noreply@github.com", seconds=int(pull.seconds))
        note = Note(message=f"Merge {pull.head_oid} into {pull.base}", author=person, committer=person)
        return self._repo.store.merge(self._head(pull.base), pull.head_oid, note)

    def _workflows(self, commit: str) -> dict[str, _Workflow]:
        """Return all workflow files of a commit by name, without the ending."""
        store = self._repo.store
        found: dict[str, _Workflow] = {}
        for path in sorted(store.files(commit)):
            name = path.removeprefix(_WORKFLOWS)
            if not path.startswith(_WORKFLOWS) or "/" in name or not name.endswith((".yml", ".yaml")):
                continue
            try:
                body: object = yaml.safe_load(getattr(store.resolve(f"{commit}:{path}"), "data", b""))
            except yaml.YAMLError as error:
                msg = f"{path} is no YAML: {error}"
                raise WorkflowError(msg) from error
            if not isinstance(body, dict):
                msg = f"{path} is no workflow: it holds {type(body).__name__}"
                raise WorkflowError(msg)
            said = cast("dict[Any, Any]", body)
            # YAML 1.1 reads a bare `on` as true.
            said = {("on" if key is True else str(key)): value for key, value in said.items()}
            file = name.rpartition(".")[0]
            found[file] = _Workflow(file=file, path=path, body=said, triggers=_triggers(path, said.get("on")))
        return found

    # Runs

    def _started(self, event: _Event) -> list[Run]:
        starts = [each for each in self._workflows(event.source).values() if _starts(each, event)]
        return self._run_all(starts, event)

    def _run_all(self, workflows: Iterable[_Workflow], event: _Event) -> list[Run]:
        """Run workflows, and after each what follows it by `workflow_run`, whatever became of it."""
        runs: list[Run] = []
        for workflow in workflows:
            run = self._run(workflow, event)
            runs.append(run)
            if event.depth >= _CHAIN:
                continue
            default = self.default_branch
            head = self._head(default)
            payload = {
                "id": self._runs,
                "name": run.name,
                "path": workflow.path,
                "event": run.event,
                "head_branch": run.branch,
                "head_sha": run.commit,
                "status": "completed",
                "conclusion": run.conclusion,
                "actor": {"login": event.actor},
            }
            follows = _Event(
                name="workflow_run",
                ref=_HEADS + default,
                source=head,
                branch=default,
                commit=head,
                actor=event.actor,
                payload={"action": "completed", "workflow_run": Known(payload)},
                action="completed",
                filtered=run.branch,
                of=run.name,
                depth=event.depth + 1,
            )
            runs += self._started(follows)
        return runs

    def _run(self, workflow: _Workflow, event: _Event) -> Run:
        self._runs += 1
        body = workflow.body
        _known(f"{workflow.path}", "workflow", body)
        contexts = self._contexts(workflow, event)
        _fill_all([body.get("run-name"), cast("dict[str, Any]", _group(body)).get("group")], contexts)
        jobs = cast("dict[str, dict[str, Any]]", body.get("jobs") or {})
        results: dict[str, dict[str, Any]] = {}
        log: list[str] = []
        outputs: dict[str, str] = {}
        errors: list[str] = []
        with tempfile.TemporaryDirectory(prefix="slipway-run-") as folder:
            summary = Path(folder, "summary")
            for name in _ordered(workflow.path, jobs):
                needs = {key: results[key] for key in _listed(jobs[name].get("needs"))}
                runner = _Runner(actions=self, workflow=workflow, event=event, folder=Path(folder), summary=summary)
                result, error = runner.job(name, jobs[name], {**contexts, "needs": Known(needs)}, log, outputs)
                results[name] = result
                errors += [error] if error else []
            found = {result["result"] for result in results.values()}
            return Run(
                workflow=workflow.file,
                name=workflow.name,
                event=event.name,
                branch=event.branch,
                commit=event.commit,
                conclusion="failure" if "failure" in found else "success" if "success" in found else "skipped",
                jobs={name: str(result["result"]) for name, result in results.items()},
                error="\n".join(errors),
                log="\n".join(log),
                outputs=outputs,
                summary=summary.read_text(encoding="utf-8") if summary.exists() else "",
            )

    def _contexts(self, workflow: _Workflow, event: _Event) -> dict[str, Any]:
        owner = self.repository.split("/", maxsplit=1)[0]
        payload = {
            **dict.fromkeys(_PAYLOADS),
            **event.payload,
            "repository": Known(views.repository(self.host.url, self._repo)),
            "sender": Known({"login": event.actor}),
        }
        github = {
            "actor": event.actor,
            "api_url": self.host.url,
            "base_ref": event.base_ref,
            "event": Known(payload),
            "event_name": event.name,
            "head_ref": event.head_ref,
            "ref": event.ref,
            "ref_name": event.ref.removeprefix(_HEADS).removeprefix("refs/pull/"),
            "ref_type": "branch",
            "repository": self.repository,
            "repository_owner": owner,
            "run_attempt": "1",
            "run_id": str(self._runs),
            "run_number": str(self._runs),
            "server_url": self.host.url,
            "sha": event.source,
            "triggering_actor": event.actor,
            "workflow": workflow.name,
            "workflow_ref": f"{self.repository}/{workflow.path}@{event.ref}",
        }
        declared = cast("dict[str, Any]", cast("dict[str, Any]", workflow.triggers.get("workflow_dispatch") or {}).get("inputs"))
        return {
            "github": Known(github),
            "inputs": Known({**dict.fromkeys(declared or {}), **event.inputs}),
            "vars": dict(self.host.variables(self.repository)),
        }


@dataclass(frozen=True, kw_only=True)
class _Runner:
    """Runs the jobs of one run."""

    actions: Actions
    workflow: _Workflow
    event: _Event
    folder: Path
    summary: Path

    def job(
        self, name: str, body: Mapping[str, Any], contexts: dict[str, Any], log: list[str], outputs: dict[str, str]
    ) -> tuple[dict[str, Any], str]:
        """Run one job, if its condition holds, and report its check run; answers with its entry in `needs` and its error."""
        where = f"{self.workflow.path}: job {name}"
        _known(where, "job", body)
        needed = {str(each["result"]) for each in contexts["needs"].values()}
        status = _status(needed)
        shown = _filled(str(body.get("name") or name), contexts)
        _fill_all([_group(body).get("group")], contexts)
        result: dict[str, Any] = {"result": "skipped", "outputs": {}}
        error = ""
        if _holds(str(body.get("if", "success()")), contexts, status):
            result, error = self._run(name, body, contexts, log, outputs)
        # https://docs.github.com/en/pull-requests/collaborating-with-pull-requests/collaborating-on-repositories-with-code-quality-features/about-status-checks
        # Every job is a check run of the Actions App.
        self.actions.host.set_check_run(
            self.actions.repository, self.event.commit, shown, str(result["result"]), app_id=ACTIONS_APP
        )
        return Known(result), error

    def _run(
        self, name: str, body: Mapping[str, Any], contexts: dict[str, Any], log: list[str], outputs: dict[str, str]
    ) -> tuple[dict[str, Any], str]:
        host, repository = self.actions.host, self.actions.repository
        environment = self._environment(body, contexts)
        if refusal := self._refusal(environment):
            return {"result": "failure", "outputs": {}}, refusal
        permissions = _permissions(self.workflow.path, self.workflow.body, body, self.actions.host.repository(repository))
        api = {key.replace("-", "_"): level for key, level in permissions.items() if key != "id-token"}
        token = host.job_token(repository, api)
        github = Known({**contexts["github"], "token": token, "job": name})
        held = host.environments(repository).get(environment)
        repo = host.repository(repository)
        kept = {**(repo.secrets if repo else {}), **(held.secrets if held else {}), "GITHUB_TOKEN": token}
        folder = self.folder / f"job-{name}"
        for each in ("work", "temp"):
            (folder / each).mkdir(parents=True)
        job = _Job(
            id=name,
            body=body,
            contexts={
                **contexts,
                "github": github,
                "secrets": kept,
                "vars": {**contexts["vars"], **(held.variables if held else {})},
                "steps": Known(),
                "runner": Known({"os": "Linux", "arch": "X64", "temp": str(folder / "temp")}),
                "job": Known({"status": "success"}),
                "env": {},
            },
            folder=folder,
            token=token,
            permissions=permissions,
            environment=environment,
            env={},
            log=log,
            outputs=outputs,
        )
        for source in (self.workflow.body.get("env"), body.get("env")):
            job.env |= _filled_all(source, job.contexts)
        (folder / "temp" / "event.json").write_text(json.dumps(github["event"]), encoding="utf-8")
        try:
            with ExitStack() as stack:
                if permissions.get("id-token") == "write":
                    job.env |= stack.enter_context(identified(self._claims(job)))
                error = self._steps(job)
        finally:
            for each in (token, *job.tokens):
                host.revoke_token(each)
        given = _filled_all(body.get("outputs"), job.contexts)
        return {"result": "failure" if error else "success", "outputs": given}, error

    def _environment(self, body: Mapping[str, Any], contexts: Mapping[str, Any]) -> str:
        given: object = body.get("environment") or ""
        if isinstance(given, Mapping):
            said = cast("Mapping[str, Any]", given)
            if strange := said.keys() - {"name", "url"}:
                msg = f"{self.workflow.path}: environment has {sorted(strange)}: name and url are known"
                raise WorkflowError(msg)
            given = said["name"]
        return _filled(str(given), contexts)

    def _refusal(self, name: str) -> str:
        """Return why a run of this ref may not use an environment; GitHub makes one that does not exist.

        https://docs.github.com/en/actions/reference/workflows-and-actions/deployments-and-environments#deployment-branches-and-tags
        """
        if not name:
            return ""
        host, repository = self.actions.host, self.actions.repository
        found = host.environments(repository).get(name)
        if found is None:
            host.set_environment(repository, name)
            return ""
        ref = self.event.ref.removeprefix(_HEADS)
        if found.branches is None or any(_matches_name(pattern, ref) for pattern in found.branches):
            return ""
        return f'Branch "{ref}" is not allowed to deploy to {name} due to environment protection rules.'

    def _claims(self, job: _Job) -> Mapping[str, str]:
        """Return the claims of the job's OIDC token. https://docs.github.com/en/actions/reference/security/oidc ."""
        owner, name = self.actions.repository.split("/")
        if self.actions.ids:
            owner, name = f"{owner}@{self.actions.ids[0]}", f"{name}@{self.actions.ids[1]}"
        if job.environment:
            purpose = f"environment:{job.environment}"
        elif self.event.name == "pull_request":
            purpose = "pull_request"
        else:
            purpose = f"ref:{self.event.ref}"
        return {
            "iss": _ISSUER,
            "sub": f"repo:{owner}/{name}:{purpose}",
            "actor": self.event.actor,
            "base_ref": self.event.base_ref,
            "event_name": self.event.name,
            "head_ref": self.event.head_ref,
            "job_workflow_ref": job.contexts["github"]["workflow_ref"],
            "ref": self.event.ref,
            "repository": self.actions.repository,
            "repository_owner": self.actions.repository.split("/", maxsplit=1)[0],
            "sha": self.event.source,
            **({"environment": job.environment} if job.environment else {}),
        }

    # Steps

    def _steps(self, job: _Job) -> str:
        failed = ""
        steps = cast("list[dict[str, Any]]", job.body.get("steps") or [])
        for step in steps:
            _known(f"{self.workflow.path}: the step {step.get('name')!r}", "step", step)
        for number, step in enumerate(steps):
            status = _status({"failure"} if failed else set[str]())
            key = str(step.get("id") or f"__{number}")
            entry: dict[str, Any] = {"outputs": {}, "outcome": "skipped", "conclusion": "skipped"}
            job.contexts["env"] = dict(job.env)
            if _holds(str(step.get("if", "success()")), job.contexts, status):
                error = ""
                try:
                    entry["outputs"] = self._step(job, step)
                except _StepError as raised:
                    error = str(raised)
                entry["outcome"] = entry["conclusion"] = "failure" if error else "success"
                if error and step.get("continue-on-error") is True:
                    entry["conclusion"] = "success"
                else:
                    failed = failed or error
            job.contexts["steps"][key] = Known(entry)
        job.contexts["job"] = Known({"status": "failure" if failed else "success"})
        return failed

    def _step(self, job: _Job, step: Mapping[str, Any]) -> dict[str, str]:
        uses = str(step.get("uses", ""))
        given = _filled_all(step.get("with"), job.contexts)
        if uses.startswith(_CHECKOUT):
            _known(uses, "checkout", given)
            self._checkout(job, given)
            return {}
        if uses.startswith(_APP_TOKEN):
            _known(uses, "app token", {key: value for key, value in given.items() if not key.startswith("permission-")})
            return self._app_token(job, given)
        if uses or "run" not in step:
            msg = f"the step {step.get('name')!r} uses {uses}: this runner knows {_CHECKOUT}… and {_APP_TOKEN}…"
            raise WorkflowError(msg)
        return self._script(job, step)

    def _checkout(self, job: _Job, given: Mapping[str, str]) -> None:
        """Check out as https://github.com/actions/checkout does."""
        host, repository = self.actions.host, self.actions.repository
        work = job.work / given.get("path", ".")
        url = f"{host.url}/{repository}.git"
        header = "AUTHORIZATION: basic " + base64.b64encode(f"x-access-token:{job.token}".encode()).decode()
        with_token = ["-c", f"http.{host.url}/.extraheader={header}"]
        ref = given.get("ref") or self.event.ref
        branch = ref.removeprefix(_HEADS)
        commit = host.head(repository, branch)
        if not given.get("ref"):
            commit = self.event.source
        elif commit is None and re.fullmatch(r"[0-9a-f]{40}", ref):
            branch, commit = "", ref
        if commit is None:
            msg = f"A branch or tag with the name '{ref}' could not be found"
            raise _StepError(msg)
        if branch.startswith("refs/"):
            branch = ""
        depth = given.get("fetch-depth", "1")
        fetched = [f"--depth={depth}", "--no-tags", "origin", commit]
        if depth == "0":
            fetched = ["origin", "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*", commit]
        commands = [
            ["init", "-q", "-b", "master", str(work)],
            ["-C", str(work), "remote", "add", "origin", url],
            [*with_token, "-C", str(work), "fetch", "-q", *fetched],
            *([["-C", str(work), "update-ref", f"refs/remotes/origin/{branch}", commit]] if branch else []),
            ["-C", str(work), "checkout", "-q", "--force", *(["-B", branch] if branch else ["--detach"]), commit],
        ]
        if given.get("persist-credentials", "true") != "false":
            commands.append(["-C", str(work), "config", "--local", f"http.{host.url}/.extraheader", header])
        for command in commands:
            done = subprocess.run(["git", *command], check=False, env={**os.environ, **_NOBODY}, capture_output=True, text=True)
            if done.returncode:
                msg = f"actions/checkout failed: {done.stderr.strip()}"
                raise _StepError(msg)

    def _app_token(self, job: _Job, given: Mapping[str, str]) -> dict[str, str]:
        """Take an installation token as https://github.com/actions/create-github-app-token does."""
        owner, name = self.actions.repository.split("/")
        app, key = given.get("client-id") or given.get("app-id"), given.get("private-key")
        if not app or not key:
            msg = f"create-github-app-token: Input required and not supplied: {'private-key' if app else 'client-id'}"
            raise _StepError(msg)
        now = int(time.time())
        try:
            assertion = jwt.encode({"iss": app, "iat": now - 60, "exp": now + 540}, key, algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError) as error:
            msg = f"create-github-app-token: the private key cannot be read: {error}"
            raise _StepError(msg) from error
        repositories = [each for each in re.split(r"[\s,]+", given.get("repositories", "")) if each]
        where = f"{given.get('owner') or owner}/{repositories[0] if repositories else name}"
        found = self._api("GET", f"/repos/{where}/installation", assertion)
        permissions = {
            key.removeprefix("permission-").replace("-", "_"): level
            for key, level in given.items()
            if key.startswith("permission-")
        }
        body: dict[str, Any] = {}
        if repositories or not given.get("owner"):
            body["repositories"] = repositories or [name]
        if permissions:
            body["permissions"] = permissions
        made = self._api("POST", f"/app/installations/{found['id']}/access_tokens", assertion, body)
        if given.get("skip-token-revoke") != "true":
            job.tokens.append(str(made["token"]))
        return {"token": str(made["token"]), "installation-id": str(found["id"]), "app-slug": str(found["app_slug"])}

    def _api(self, method: str, path: str, assertion: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        headers = {"Authorization": f"Bearer {assertion}"}
        answer = urllib3.request(method, f"{self.actions.host.url}{path}", headers=headers, json=body)
        if answer.status not in _OK:
            msg = f"create-github-app-token: {method} {path}: {answer.status} {answer.data.decode(errors='replace')}"
            raise _StepError(msg)
        return cast("Mapping[str, Any]", answer.json())

    def _script(self, job: _Job, step: Mapping[str, Any]) -> dict[str, str]:
        if step.get("shell", "bash") != "bash":
            msg = f"the step {step.get('name')!r} runs in {step['shell']}: this runner knows bash"
            raise WorkflowError(msg)
        files = {name: job.temp / f"_{name.lower()}" for name in ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH")}
        for path in files.values():
            path.write_text("", encoding="utf-8")
        github = job.contexts["github"]
        here = {
            name: str(github[name.removeprefix("GITHUB_").lower()])
            for name in (
                *("GITHUB_ACTOR", "GITHUB_API_URL", "GITHUB_BASE_REF", "GITHUB_EVENT_NAME", "GITHUB_HEAD_REF", "GITHUB_JOB"),
                *("GITHUB_REF", "GITHUB_REF_NAME", "GITHUB_REF_TYPE", "GITHUB_REPOSITORY", "GITHUB_REPOSITORY_OWNER"),
                *("GITHUB_RUN_ATTEMPT", "GITHUB_RUN_ID", "GITHUB_RUN_NUMBER", "GITHUB_SERVER_URL", "GITHUB_SHA"),
                *("GITHUB_TRIGGERING_ACTOR", "GITHUB_WORKFLOW", "GITHUB_WORKFLOW_REF"),
            )
        }
        environment = {
            # kubectl is this interpreter's neighbour.
            "PATH": ":".join(
                map(str, [*job.paths, _python(job), Path(sys.executable).parent, os.environ.get("PATH", os.defpath)])
            ),
            "HOME": str(job.temp),
            **_NOBODY,
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            **here,
            "GITHUB_EVENT_PATH": str(job.temp / "event.json"),
            "GITHUB_WORKSPACE": str(job.work),
            "RUNNER_TEMP": str(job.temp),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            **{name: str(path) for name, path in files.items()},
            **({"AWS_ENDPOINT_URL": self.actions.cloud} if self.actions.cloud else {}),
            **job.env,
            **_filled_all(step.get("env"), job.contexts),
        }
        # https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#jobsjob_idstepsshell
        strict = ["--noprofile", "--norc", "-e", "-o", "pipefail"] if "shell" in step else ["-e"]
        done = subprocess.run(
            ["bash", *strict, "-c", _filled(str(step["run"]), job.contexts)],
            cwd=job.work / _filled(str(step.get("working-directory", ".")), job.contexts),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
        for line in done.stdout.splitlines():
            self.actions.say(line)
            job.log.append(line)
        outputs = _pairs(files["GITHUB_OUTPUT"])
        job.outputs |= outputs
        job.env |= _pairs(files["GITHUB_ENV"])
        job.paths[:0] = files["GITHUB_PATH"].read_text(encoding="utf-8").split()
        if done.returncode:
            msg = f"the step {step.get('name')!r} ended with {done.returncode}:\n{done.stdout}"
            raise _StepError(msg)
        return outputs


# Identity


_IDENTITY: Final = ("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
_ISSUER: Final = "https://token.actions.githubusercontent.com"


@contextmanager
def identified(claims: Mapping[str, str]) -> Generator[dict[str, str]]:
    """Serve a job its identity token, as GitHub's runner does; its address and bearer, as the job's environment.

    The emulator of AWS judges the claims (rehearsal/cloud/amendments.py). It verifies no signature, and this one is not GitHub's.
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


# Python


_PIP: Final = """
import re, sys
from importlib import metadata

words = sys.argv[1:]
if words[:1] != ["install"] or "--require-hashes" not in words or "--requirement" not in words:
    sys.exit(f"this runner installs nothing: pip {' '.join(words)} is not known. Install hash-locked requirements")
with open(words[words.index("--requirement") + 1], encoding="utf-8") as file:
    locked = re.findall(r"^([\\w.-]+)==([\\w.]+) ", file.read(), re.MULTILINE)
for name, version in locked:
    if (ours := metadata.version(name)) != version:
        sys.exit(f"the step installs {name} {version}, and this runner stands in with {ours}: lock both anew (make lock)")
"""


def _python(job: _Job) -> Path:
    """Return a folder with the `python3` of the runner, which has no packages.

    `-m venv` makes a Python that has this one's packages. Its `-m pip install` makes sure that they are of the locked versions.
    """
    folder = job.temp / "_python"
    if folder.exists():
        return folder
    folder.mkdir()
    real, pip = shlex.quote(sys.executable), shlex.quote(str(folder / "pip.py"))
    (folder / "pip.py").write_text(_PIP, encoding="utf-8")
    (folder / "inner").write_text(
        f'#!/bin/sh\nif [ "$1 $2" = "-m pip" ]; then shift 2; exec {real} {pip} "$@"; fi\nexec {real} "$@"\n', encoding="utf-8"
    )
    inner = shlex.quote(str(folder / "inner"))
    (folder / "python3").write_text(
        f'#!/bin/sh\nif [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin" && cp {inner} "$3/bin/python" && '
        f'cp {inner} "$3/bin/python3"; exit; fi\nexec {real} -S "$@"\n',
        encoding="utf-8",
    )
    for name in ("inner", "python3"):
        (folder / name).chmod(0o755)
    return folder


_NOBODY: Final = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0"}


# Reading workflows


def _triggers(path: str, on: object) -> Mapping[str, Any]:
    if isinstance(on, str):
        return {on: None}
    if isinstance(on, list):
        return {str(each): None for each in cast("list[object]", on)}
    if isinstance(on, Mapping):
        return cast("Mapping[str, Any]", on)
    msg = f"{path} has no `on`"
    raise WorkflowError(msg)


def _starts(workflow: _Workflow, event: _Event) -> bool:
    """Return whether an event starts a workflow."""
    if event.name not in workflow.triggers:
        return False
    said = cast("dict[str, Any]", workflow.triggers[event.name] or {})
    kind = "pull_request" if event.name.startswith("pull_request") else event.name
    _known(f"{workflow.path}: {event.name}", kind, said)
    if event.name.startswith("pull_request") and event.action not in _listed(said.get("types", list(_PULL_TYPES))):
        return False
    if event.name == "workflow_run":
        if "types" not in said:
            msg = f"{workflow.path}: workflow_run without types starts several runs; give `types: [completed]`"
            raise WorkflowError(msg)
        if event.action not in _listed(said["types"]) or event.of not in _listed(said.get("workflows")):
            return False
    if "branches" in said and "branches-ignore" in said:
        msg = f"{workflow.path}: {event.name} has both branches and branches-ignore"
        raise WorkflowError(msg)
    if "branches" in said:
        return _filtered(_listed(said["branches"]), event.filtered)
    return not _filtered(_listed(said.get("branches-ignore")), event.filtered)


def _filtered(patterns: Sequence[str], branch: str) -> bool:
    """Return whether a branch matches; later patterns decide.

    https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#filter-pattern-cheat-sheet
    """
    matched = False
    for pattern in patterns:
        wanted = not pattern.startswith("!")
        tokens = re.findall(r"\*\*|\*|\[[^\]]*\]|\\.|[?+]|.", pattern.removeprefix("!"))
        kept = ("?", "+")
        regex = "".join(
            ".*" if each == "**" else "[^/]*" if each == "*" else each if each in kept or each[0] in "[\\" else re.escape(each)
            for each in tokens
        )
        if re.fullmatch(regex, branch):
            matched = wanted
    return matched


def _matches_name(pattern: str, name: str) -> bool:
    """Return whether a ref matches a name pattern of an environment, in which `*` does not match `/`."""
    wanted, got = pattern.split("/"), name.split("/")
    return len(wanted) == len(got) and all(fnmatch.fnmatchcase(one, other) for one, other in zip(got, wanted, strict=True))


def _permissions(path: str, workflow: Mapping[str, Any], job: Mapping[str, Any], repo: Repository | None) -> Mapping[str, str]:
    """Return what a job's token may do: as the job says, else as the workflow says, else as the repository does."""
    said: object = job["permissions"] if "permissions" in job else workflow.get("permissions", _ABSENT)
    if said is _ABSENT:
        # https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#defining-access-for-the-github_token-permissions
        if repo is not None and repo.workflow_permissions == "read":
            return {"contents": "read", "packages": "read"}
        return dict.fromkeys(_SCOPES - {"id-token"}, "write")
    if said in {"read-all", "write-all"} if isinstance(said, str) else False:
        level = str(said).removesuffix("-all")
        return {scope: level for scope in _SCOPES if scope != "id-token" or level == "write"}
    if not isinstance(said, Mapping):
        msg = f"{path}: permissions is {said!r}: expected scopes with read, write or none"
        raise WorkflowError(msg)
    given = {str(key): str(value) for key, value in cast("Mapping[Any, Any]", said).items()}
    for scope, level in given.items():
        if scope not in _SCOPES or level not in {"none", "read", "write"} or (scope == "id-token" and level == "read"):
            msg = f"{path}: Unexpected value '{scope}: {level}' in permissions; a workflow's token cannot have it"
            raise WorkflowError(msg)
    return {scope: level for scope, level in given.items() if level != "none"}


_ABSENT: Final = object()


def _inputs(workflow: _Workflow, given: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the inputs of a run that is started by hand, with defaults, typed."""
    said = cast("dict[str, Any]", workflow.triggers["workflow_dispatch"] or {})
    _known(f"{workflow.path}: workflow_dispatch", "workflow_dispatch", said)
    known = cast("dict[str, dict[str, Any]]", said.get("inputs") or {})
    if strange := given.keys() - known.keys():
        msg = f"workflow {workflow.file} has no inputs {sorted(strange)}: {sorted(known)} are known"
        raise WorkflowError(msg)
    found: dict[str, Any] = {}
    for key, each in known.items():
        if not given.get(key) and "default" not in each and each.get("required"):
            msg = f"workflow {workflow.file} needs the input {key}: {each.get('description', '')}"
            raise WorkflowError(msg)
        value = given.get(key, _text(each.get("default", "")))
        kind = each.get("type", "string")
        options = [str(one) for one in each.get("options", [])]
        if kind == "choice" and value not in options:
            msg = f"workflow {workflow.file}: {key} is {value!r}; choose one of {options}"
            raise WorkflowError(msg)
        if kind == "boolean" and value not in {"true", "false", ""}:
            msg = f"workflow {workflow.file}: {key} is {value!r}; give true or false"
            raise WorkflowError(msg)
        found[key] = value == "true" if kind == "boolean" else value
    return found


def _ordered(path: str, jobs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return jobs so that each comes after those that it needs."""
    found: list[str] = []
    while len(found) < len(jobs):
        ready = [name for name, job in jobs.items() if name not in found and {*_listed(job.get("needs"))} <= {*found}]
        if not ready:
            msg = f"{path}: the jobs {sorted(jobs.keys() - {*found})} need jobs that are not there, or each other"
            raise WorkflowError(msg)
        found += ready
    return found


def _status(results: AbstractSet[str]) -> Mapping[str, Function]:
    """Return the status functions after what has had these results; a skipped job skips those that need it."""
    return {
        "always": lambda: True,
        "cancelled": lambda: False,
        "failure": lambda: "failure" in results,
        "success": lambda: results <= {"success"},
    }


def _group(body: Mapping[str, Any]) -> Mapping[str, Any]:
    said: object = body.get("concurrency") or {}
    return cast("Mapping[str, Any]", said) if isinstance(said, Mapping) else {"group": said}


def _known(where: str, kind: str, body: Mapping[str, Any]) -> None:
    if strange := body.keys() - _KEYS[kind]:
        msg = f"{where} has {sorted(map(str, strange))}: this runner knows {', '.join(sorted(_KEYS[kind]))}"
        raise WorkflowError(msg)


def _listed(value: object) -> list[str]:
    if value is None:
        return []
    return [str(each) for each in cast("list[object]", value)] if isinstance(value, list) else [str(value)]


def _filled_all(texts: object, contexts: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): _filled(_text(value), contexts) for key, value in cast("Mapping[Any, Any]", texts or {}).items()}


def _fill_all(texts: Iterable[object], contexts: Mapping[str, Any]) -> None:
    for text in texts:
        if text is not None:
            _filled(str(text), contexts)


def _pairs(path: Path) -> dict[str, str]:
    """Read a file of `name=value` lines and of `name<<END` blocks."""
    found: dict[str, str] = {}
    lines = iter(path.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if block := re.fullmatch(r"([^=<]+)<<(.+)", line):
            body: list[str] = []
            for each in lines:
                if each == block[2]:
                    break
                body.append(each)
            found[block[1]] = "\n".join(body)
        elif line:
            key, _, value = line.partition("=")
            found[key] = value
    return found


def _text(value: object) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _filled(text: str, contexts: Mapping[str, Any]) -> str:
    try:
        return fill(text, contexts)
    except ExpressionError as error:
        raise WorkflowError(str(error)) from error


def _holds(condition: str, contexts: Mapping[str, Any], functions: Mapping[str, Function]) -> bool:
    try:
        return holds(condition, contexts, functions)
    except ExpressionError as error:
        raise WorkflowError(str(error)) from error


def _checked(runs: list[Run], *, check: bool) -> list[Run]:
    failed = [run for run in runs if run.conclusion == "failure"]
    if check and failed:
        msg = f"workflow {failed[0].workflow}: {failed[0].error}"
        raise WorkflowError(msg)
    return runs


__all__ = ["Actions", "Run", "WorkflowError", "identified"]
