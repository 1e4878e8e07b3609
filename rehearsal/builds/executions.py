"""Runs of pipelines, as CodePipeline remembers them and tells EventBridge of them. Keeps what it is told; runs nothing itself.

A run goes `start` → `fetched` → `built`; or it ends early by `source_failed` or `stopped`. Each step is an event, and
`answer` is CodePipeline's API for what came of it.
"""

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rehearsal.builds.pipeline import Source

Emit = Callable[[str, Mapping[str, Any]], object]
"""Puts an event on the bus: its detail-type, and its detail."""

_PREFIX: Final = "CodePipeline_20150709."
_MOST: Final = 100
_PIPELINE, _ACTION = "CodePipeline Pipeline Execution State Change", "CodePipeline Action Execution State Change"
_TYPES: Final[Mapping[str, Mapping[str, str]]] = {
    "Source": {"category": "Source", "owner": "AWS", "provider": "CodeStarSourceConnection", "version": "1"},
    "Build": {"category": "Build", "owner": "AWS", "provider": "CodeBuild", "version": "1"},
}
# What an event calls a run's status: https://docs.aws.amazon.com/codepipeline/latest/userguide/detect-state-changes-cloudwatch-events.html
_STATES: Final[Mapping[str, str]] = {
    "InProgress": "STARTED",
    "Succeeded": "SUCCEEDED",
    "Failed": "FAILED",
    "Stopped": "STOPPED",
    "Superseded": "SUPERSEDED",
    "Cancelled": "CANCELED",
}


@dataclass(kw_only=True)
class Action:
    """One action of a run: `Source` or `Build`."""

    name: str
    started: float
    status: str = "InProgress"
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    url: str = ""
    error: str = ""


@dataclass(kw_only=True)
class Run:
    """One execution of a pipeline.

    Attributes:
        id: Its id.
        pipeline: Name of the pipeline.
        started: Seconds since 1970.
        status: As the API names it.
        actions: In the order in which they began.
    """

    id: str
    pipeline: str
    started: float
    status: str = "InProgress"
    actions: list[Action] = field(default_factory=list[Action])

    @property
    def commit(self) -> str:
        """The commit, "" before the source action has succeeded."""
        return next((each.variables["CommitId"] for each in self.actions if "CommitId" in each.variables), "")


@dataclass(kw_only=True)
class Executions:
    """The runs of one account's and region's pipelines.

    Attributes:
        emit: Hears each event.
        clock: Seconds since 1970.
    """

    emit: Emit
    clock: Callable[[], float] = time.time
    _runs: dict[str, list[Run]] = field(default_factory=dict[str, list[Run]])
    _lock: threading.Lock = field(default_factory=threading.Lock)
    # Of two runs the later one is later, also while the clock stands still.
    _ticks: Any = field(default_factory=lambda: itertools.count(1))

    def start(self, pipeline: str) -> Run:
        """Begin a run: its source action fetches."""
        run = Run(id=str(uuid.uuid4()), pipeline=pipeline, started=self._now())
        with self._lock:
            self._runs.setdefault(pipeline, []).append(run)
        self._tell(run)
        self._begin(run, "Source")
        return run

    def fetched(self, run: Run, source: Source) -> None:
        """The source has its commit, and the build begins."""
        self._end(run, "Source", "Succeeded", variables=source.variables)
        self._begin(run, "Build")

    def source_failed(self, run: Run, why: str) -> None:
        """The source could not be fetched."""
        self._end(run, "Source", "Failed", error=why)
        self._settle(run, "Failed")

    def built(self, run: Run, *, url: str, error: str = "") -> None:
        """The build has ended, with an error or without."""
        self._end(run, "Build", "Failed" if error else "Succeeded", url=url, error=error)
        self._settle(run, "Failed" if error else "Succeeded")

    def settle(self, run: Run, status: str) -> None:
        """The run ends by another way: `Stopped`, `Superseded`, `Cancelled`."""
        self._settle(run, status)

    def retry(self, run: Run) -> None:
        """The failed build is begun again in the same run."""
        run.status = "InProgress"
        self.emit(_PIPELINE, {**self._detail(run), "state": "RESUMED"})
        self._begin(run, "Build")

    # API

    def answer(self, operation: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Answer a request as CodePipeline does: HTTP status and JSON.

        https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_Operations.html
        """
        name, id_ = str(body["pipelineName"]), str(body.get("pipelineExecutionId", ""))
        with self._lock:
            runs = list(self._runs.get(name, ()))
        if not runs:
            return _error("PipelineNotFoundException", f"Account does not have a pipeline with name '{name}'")
        newest = sorted(runs, key=lambda each: -each.started)[: int(body.get("maxResults", _MOST))]
        match operation.removeprefix(_PREFIX):
            case "GetPipelineExecution":
                found = next((each for each in runs if each.id == id_), None)
                if found is None:
                    return _error("PipelineExecutionNotFoundException", f"No execution {id_} of pipeline '{name}'")
                revisions = [{"name": "source", "revisionId": found.commit}] if found.commit else []
                shown = {"pipelineName": name, "pipelineVersion": 1, "pipelineExecutionId": id_, "status": found.status}
                return 200, {"pipelineExecution": {**shown, "artifactRevisions": revisions, "executionMode": "QUEUED"}}
            case "ListPipelineExecutions":
                return 200, {"pipelineExecutionSummaries": [_summary(each) for each in newest]}
            case "ListActionExecutions":
                wanted = body.get("filter", {}).get("pipelineExecutionId")
                chosen = [(run, each) for run in newest if wanted in {None, run.id} for each in reversed(run.actions)]
                return 200, {"actionExecutionDetails": [_details(run, each) for run, each in chosen]}
            case other:
                return _error("UnknownOperationException", other)

    # Steps

    def _now(self) -> float:
        return self.clock() + next(self._ticks) / 1000

    def _begin(self, run: Run, name: str) -> None:
        run.actions.append(Action(name=name, started=self._now()))
        self._tell_action(run, run.actions[-1])

    def _end(  # noqa: PLR0913 — what an action leaves
        self, run: Run, name: str, status: str, *, variables: Mapping[str, str] | None = None, url: str = "", error: str = ""
    ) -> None:
        action = next(each for each in reversed(run.actions) if each.name == name)
        action.status, action.url, action.error = status, url, error
        action.variables = dict(variables or {})
        self._tell_action(run, action)

    def _settle(self, run: Run, status: str) -> None:
        run.status = status
        self._tell(run)

    def _detail(self, run: Run) -> dict[str, Any]:
        return {"pipeline": run.pipeline, "execution-id": run.id, "version": 1.0, "pipeline-execution-attempt": 1.0}

    def _tell(self, run: Run) -> None:
        self.emit(_PIPELINE, {**self._detail(run), "state": _STATES[run.status]})

    def _tell_action(self, run: Run, action: Action) -> None:
        kind = {**_TYPES[action.name]}
        more = {"stage": action.name, "action": action.name, "region": "", "type": kind}
        self.emit(_ACTION, {**self._detail(run), **more, "state": _STATES[action.status]})


def _summary(run: Run) -> dict[str, Any]:
    revisions = [{"actionName": "Source", "revisionId": run.commit}] if run.commit else []
    shown = {"pipelineExecutionId": run.id, "status": run.status, "startTime": run.started, "lastUpdateTime": run.started}
    return {**shown, "sourceRevisions": revisions, "executionMode": "QUEUED"}


def _details(run: Run, action: Action) -> dict[str, Any]:
    result: dict[str, Any] = {"externalExecutionUrl": action.url} if action.url else {}
    if action.error:
        result["errorDetails"] = {"code": "JobFailed", "message": action.error}
    return {
        "pipelineExecutionId": run.id,
        "actionExecutionId": str(uuid.uuid5(uuid.UUID(run.id), f"{action.name}{action.started}")),
        "pipelineVersion": 1,
        "stageName": action.name,
        "actionName": action.name,
        "startTime": action.started,
        "lastUpdateTime": action.started,
        "status": action.status,
        "input": {"actionTypeId": dict(_TYPES[action.name])},
        "output": {"executionResult": result, "outputVariables": dict(action.variables)},
    }


def _error(code: str, message: str) -> tuple[int, dict[str, Any]]:
    return 400, {"__type": code, "message": message}


__all__ = ["Action", "Emit", "Executions", "Run"]
