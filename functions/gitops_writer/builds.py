"""Decides which commit status a pipeline's run has. Pure.

An event only says that a run has changed: events come twice, late and out of order. The state that is reported is always the
one that CodePipeline has now.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, cast

from .core import Message

# components/naming.py: pipeline
_PIPELINE: Final = re.compile(r"slipway-[0-9a-f]{12}\.(?P<track>[a-z0-9-]+)\.(?P<service>[a-z0-9-]+)")
_EXECUTION: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+")
# https://docs.aws.amazon.com/codepipeline/latest/userguide/detect-state-changes-cloudwatch-events.html
_RUN: Final = "CodePipeline Pipeline Execution State Change"
_KINDS: Final = frozenset({_RUN, "CodePipeline Action Execution State Change"})
# GitHub cuts nothing: it refuses a longer one.
# https://docs.github.com/en/rest/commits/statuses#create-a-commit-status
_DESCRIPTION_LENGTH: Final = 140


class Skip(StrEnum):
    """Why an event is not reported."""

    FOREIGN = "foreign"
    GONE = "gone"
    NO_COMMIT = "no_commit"
    REPEATED = "repeated"


@dataclass(frozen=True, kw_only=True)
class Changed:
    """A run of a pipeline has changed.

    Attributes:
        pipeline: Name of the pipeline.
        track: Its track.
        service: Its service.
        execution: Id of the run.
        succeeded: Whether an action or the run has succeeded, so that the run must have a commit.
        failed: Whether the run as a whole has failed, which people are told of.
    """

    pipeline: str
    track: str
    service: str
    execution: str
    succeeded: bool
    failed: bool


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A message that is no event of CodePipeline; `why` says what is missing."""

    why: str


@dataclass(frozen=True, kw_only=True)
class Status:
    """A commit status.

    Attributes:
        repository: `owner/name`.
        commit: The commit.
        state: `pending`, `success`, `failure` or `error`.
        context: Names the check.
        description: Says the state in words.
        target_url: The log, or the run where there is no log.
    """

    repository: str
    commit: str
    state: str
    context: str
    description: str
    target_url: str


# https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_PipelineExecution.html
_STATES: Final[Mapping[str, tuple[str, str]]] = {
    "InProgress": ("pending", "The image is being built"),
    "Stopping": ("pending", "The build is being stopped"),
    "Succeeded": ("success", "The image was built and pushed"),
    "Failed": ("failure", "The build failed: nothing was deployed"),
    "Stopped": ("error", "The build was stopped: nothing was deployed"),
    "Cancelled": ("error", "The build was cancelled, because its pipeline was changed"),
    "Superseded": ("error", "A newer build overtook this one"),
}


def read(message: Message, track: str) -> Changed | Skip | Unreadable:
    """Read CodePipeline's event from a message of the queue of `track`."""
    try:
        body: object = json.loads(message.body)
    except (ValueError, RecursionError):
        return Unreadable(why="the message is no JSON: an event of CodePipeline is needed")
    whole = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    given: object = whole.get("detail")
    if not isinstance(given, dict):
        return Unreadable(why="the message has no `detail`: an event of CodePipeline is needed")
    detail = cast("dict[str, Any]", given)
    name = _PIPELINE.fullmatch(str(detail.get("pipeline")))
    if whole.get("detail-type") not in _KINDS or name is None or name["track"] != track:
        return Skip.FOREIGN
    execution = str(detail.get("execution-id"))
    if not _EXECUTION.fullmatch(execution):
        return Unreadable(why=f"execution-id is {execution[:60]!r}: the id of a run is needed")
    state = detail.get("state")
    return Changed(
        pipeline=name[0],
        track=track,
        service=name["service"],
        execution=execution,
        succeeded=state == "SUCCEEDED",
        failed=state == "FAILED" and whole.get("detail-type") == _RUN,
    )


def status(
    changed: Changed,
    region: str,
    run: Mapping[str, Any],
    actions: Sequence[Mapping[str, Any]],
    runs: Sequence[Mapping[str, Any]],
) -> Status | Skip:
    """The commit status of a run as it is now.

    Args:
        changed: The run.
        region: Its region.
        run: What GetPipelineExecution answers.
        actions: What ListActionExecutions answers for the run.
        runs: What ListPipelineExecutions answers for its pipeline.
    """
    repository, commit = _source(actions)
    if not commit:
        return Skip.NO_COMMIT
    if _repeated(changed.execution, commit, runs):
        return Skip.REPEATED
    state, description = _STATES[str(run["status"])]
    return Status(
        repository=repository,
        commit=commit,
        state=state,
        context=f"slipway/{changed.track}/{changed.service}",
        description=description[:_DESCRIPTION_LENGTH],
        target_url=_log(actions) or run_url(region, changed.pipeline, changed.execution),
    )


def message(changed: Changed, region: str, seen: Status | None, *, chat: bool) -> str:
    """What people are told of a failed run.

    Args:
        changed: The run.
        region: Its region.
        seen: The commit's status; None where no commit is known.
        chat: Whether a chat shows the topic: it shows custom notifications and no plain text.
            https://docs.aws.amazon.com/chatbot/latest/adminguide/custom-notifs.html
    """
    title = f"A build of {changed.service} on track {changed.track} has failed"
    place = run_url(region, changed.pipeline, changed.execution)
    lines = [f"Run: {place}"]
    if seen is not None:
        lines.insert(0, f"Commit: {seen.repository}@{seen.commit}")
        lines += [f"Log: {seen.target_url}"] if seen.target_url != place else []
    lines.append("docs/runbook.md, builds")
    if not chat:
        return "\n".join([title, *lines])
    content = {"textType": "client-markdown", "title": title, "description": "\n".join(lines)}
    return json.dumps({"version": "1.0", "source": "custom", "content": content})


def run_url(region: str, pipeline: str, execution: str) -> str:
    """A run in AWS's console."""
    place = f"https://{region}.console.aws.amazon.com/codesuite/codepipeline/pipelines"
    return f"{place}/{pipeline}/executions/{execution}/timeline?region={region}"


def _source(actions: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Repository and commit of the source action, "" before it has succeeded.

    https://docs.aws.amazon.com/codepipeline/latest/userguide/reference-variables.html#reference-variables-list-configured
    """
    for each in actions:
        if _category(each) == "Source" and each.get("status") == "Succeeded":
            told = cast("Mapping[str, str]", each.get("output", {}).get("outputVariables", {}))
            repository, commit = str(told.get("FullRepositoryName", "")), str(told.get("CommitId", ""))
            if _REPOSITORY.fullmatch(repository) and _COMMIT.fullmatch(commit):
                return repository, commit
    return "", ""


def _log(actions: Sequence[Mapping[str, Any]]) -> str:
    """Address of the last build's log, "" before there is one."""
    builds = sorted((each for each in actions if _category(each) == "Build"), key=lambda each: each["startTime"])
    url = str(builds[-1].get("output", {}).get("executionResult", {}).get("externalExecutionUrl", "")) if builds else ""
    return url if url.startswith("https://") else ""


def _category(action: Mapping[str, Any]) -> str:
    return str(action.get("input", {}).get("actionTypeId", {}).get("category", ""))


def _repeated(execution: str, commit: str, runs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a later run builds the same commit: then that run's state is the commit's."""
    begun = next((each["startTime"] for each in runs if each["pipelineExecutionId"] == execution), None)
    return begun is not None and any(
        each["startTime"] > begun and any(source.get("revisionId") == commit for source in each.get("sourceRevisions", ()))
        for each in runs
        if each["pipelineExecutionId"] != execution
    )
