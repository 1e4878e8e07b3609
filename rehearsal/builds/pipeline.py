"""What a push means to a declared CodePipeline: whether it starts, with which source variables, and what the build is given.

Reads what `codepipeline.get_pipeline` returns; refuses what it does not know. Uses of the connection and of the artifact
bucket are judged by the policies of the declared roles, as AWS judges them.
https://docs.aws.amazon.com/codepipeline/latest/userguide/pipelines-filter.html
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from rehearsal.registry.policy import Context, Identity, Request, judge

_PROVIDER: Final = "CodeStarSourceConnection"
_REFERENCE: Final = re.compile(r"#\{([^}]*)\}")
# https://docs.aws.amazon.com/codepipeline/latest/userguide/reference-variables.html
_PLAIN: Final = "PLAINTEXT"
# CodePipeline's folder of a pipeline's artifacts, and that of one artifact within it. Only the first number has a page:
# https://repost.aws/questions/QUI91tw7A9SUOMohJurNqmgA/code-pipeline-truncates-folder-names-in-output-artifact-s-3-bucket
_PIPELINE_FOLDER: Final = 20
_ARTIFACT_FOLDER: Final = 10
# What the source action does over a connection with CODE_ZIP, with the keys that each request carries.
# https://docs.aws.amazon.com/dtconsole/latest/userguide/security-iam.html#permissions-reference-connections-access
_READS: Final[Mapping[str, Sequence[str]]] = {
    "GetBranch": ("FullRepositoryId", "BranchName"),
    "StartUploadArchiveToS3": ("FullRepositoryId", "BranchName"),
    # It is about an upload, not about a repository.
    "GetUploadArchiveToS3Status": (),
}
_KEYS: Final = ("FullRepositoryId", "BranchName", "ProviderAction", "ProviderPermissionsRequired")
_SERVICES: Final = ("codeconnections", "codestar-connections")
_WILD: Final = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
_GROUP: Final = {"{": "(?:", ",": "|", "}": ")"}


class PipelineError(ValueError):
    """A pipeline that cannot be read for certain."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What the source action of an execution hands on.

    Attributes:
        action: Name of the action.
        namespace: Namespace of its variables, "" without one.
        variables: Its output variables.
        artifact: Name of the output artifact, which holds the commit's files.
        bucket: Bucket of the artifact.
        key: Its key there.
    """

    action: str
    namespace: str
    variables: Mapping[str, str]
    artifact: str
    bucket: str
    key: str


@dataclass(frozen=True, kw_only=True)
class BuildAction:
    """What the build action gives to CodeBuild.

    Attributes:
        action: Name of the action.
        project: Name of the CodeBuild project.
        variables: Environment variables, references resolved.
        artifact: Name of the input artifact.
    """

    action: str
    project: str
    variables: Mapping[str, str]
    artifact: str


def match_trigger(definition: Mapping[str, Any], repository: str, branch: str) -> bool:
    """Whether a push to `branch` of `repository` (`owner/name`) starts the pipeline.

    Raises:
        PipelineError: the definition uses what is not known here, such as filters on paths.
    """
    pipeline = _pipeline(definition)
    triggers = cast("list[dict[str, Any]]", pipeline.get("triggers") or [])
    sources = {each["name"]: each for each in _sources(pipeline)}
    if not triggers:
        # Default change detection, which a trigger switches off.
        # https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-CodestarConnectionSource.html
        return any(
            _is_of(each, repository)
            and each["configuration"].get("BranchName") == branch
            and str(each["configuration"].get("DetectChanges", "true")).lower() == "true"
            for each in sources.values()
        )
    if pipeline.get("pipelineType") != "V2":
        msg = f"pipeline {pipeline.get('name')} has triggers and is of type {pipeline.get('pipelineType')!r}: triggers need V2"
        raise PipelineError(msg)
    return any(_matches(trigger, sources, repository, branch) for trigger in triggers)


def use_connection(  # noqa: PLR0913 — the keys of one request
    caller: Identity, connection: str, action: str, *, repository: str | None, branch: str | None, writes: bool = False
) -> None:
    """Judge one request over a connection as CodeConnections does, under both names of the service.

    Args:
        caller: The role that asks.
        connection: ARN of the connection.
        action: Provider action, such as `GetBranch` or `GitPush`.
        repository: `owner/name`; None where the request is about no repository.
        branch: The branch; None where the request is about none.
        writes: Whether the action changes something at the provider.

    Raises:
        PipelineError: the role's policies do not allow it.
    """
    prefix = connection.split(":")[2]
    given = (repository, branch, action, "read_write" if writes else "read_only")
    context: Context = {f"{each}:{key}": None for each in _SERVICES for key in _KEYS}
    context = {**context, **{f"{prefix}:{key}": value for key, value in zip(_KEYS, given, strict=True)}}
    verdict = judge(Request(caller=caller, action=f"{prefix}:UseConnection", resource=connection, context=context))
    if not verdict:
        about = f" for {repository}@{branch}" if repository else ""
        msg = (
            f"[Connections] {caller.principal_arn} does not have sufficient permissions to use the connection, by {action}"
            f"{about}: {verdict.reason}"
        )
        raise PipelineError(msg)


def reach_artifact(caller: Identity, action: str, bucket: str, key: str) -> None:
    """Judge one request to the artifact bucket, such as `s3:GetObject`.

    Raises:
        PipelineError: the role's policies do not allow it.
    """
    resource = f"arn:aws:s3:::{bucket}/{key}"
    asked = Request(caller=caller, action=action, resource=resource, resource_account=caller.account)
    if not (verdict := judge(asked)):
        msg = f"{caller.principal_arn} may not {action} the artifact {key}: {verdict.reason}"
        raise PipelineError(msg)


def source_of(  # noqa: PLR0913 — the push, and who fetches it
    definition: Mapping[str, Any], repository: str, branch: str, commit: str, message: str = "", *, caller: Identity
) -> Source:
    """What the source action hands on when a push of `commit` to `branch` has started the pipeline.

    Args:
        definition: The pipeline.
        repository: `owner/name`.
        branch: The pushed branch.
        commit: Its new tip.
        message: The commit's message.
        caller: The pipeline's role, which uses the connection and writes the artifact.

    Raises:
        PipelineError: the push does not start it, or the role may not use the connection for it, or not store the artifact.
    """
    if not match_trigger(definition, repository, branch):
        msg = f"a push to {branch} of {repository} does not start pipeline {_pipeline(definition).get('name')}"
        raise PipelineError(msg)
    pipeline = _pipeline(definition)
    action = next(each for each in _sources(pipeline) if _is_of(each, repository))
    configuration = action["configuration"]
    for name, carried in _READS.items():
        use_connection(
            caller,
            str(configuration["ConnectionArn"]),
            name,
            repository=repository if "FullRepositoryId" in carried else None,
            branch=branch if "BranchName" in carried else None,
        )
    artifact, bucket = _one(action, "outputArtifacts"), str(pipeline["artifactStore"]["location"])
    # The last part is random; the commit serves as well.
    key = f"{str(pipeline['name'])[:_PIPELINE_FOLDER]}/{artifact[:_ARTIFACT_FOLDER]}/{commit[:7]}"
    reach_artifact(caller, "s3:PutObject", bucket, key)
    return Source(
        action=action["name"],
        namespace=str(action.get("namespace") or ""),
        # The branch is the pushed one: with a trigger, BranchName of the configuration only counts for manual starts. Who the
        # author is, which GitHub knows, is left out: a reference to it is an error.
        # https://docs.aws.amazon.com/codepipeline/latest/userguide/reference-variables.html#reference-variables-list-configured
        variables={
            "BranchName": branch,
            "CommitId": commit,
            "CommitMessage": message,
            "ConnectionArn": str(configuration["ConnectionArn"]),
            "FullRepositoryName": repository,
            "ProviderType": "GitHub",
        },
        artifact=artifact,
        bucket=bucket,
        key=key,
    )


def build_of(definition: Mapping[str, Any], source: Source) -> BuildAction:
    """What the pipeline's one CodeBuild action is given after `source`.

    Raises:
        PipelineError: there is not exactly one such action, it takes another artifact, or a variable is not known.
    """
    pipeline = _pipeline(definition)
    actions = [each for each in _actions(pipeline) if each["actionTypeId"]["provider"] == "CodeBuild"]
    if len(actions) != 1:
        msg = f"pipeline {pipeline.get('name')} has {len(actions)} CodeBuild actions: one is known"
        raise PipelineError(msg)
    action, configuration = actions[0], actions[0]["configuration"]
    artifact = _one(action, "inputArtifacts")
    if artifact != source.artifact:
        msg = (
            f"action {action['name']} builds {artifact!r}, and the source's artifact is {source.artifact!r}: no files would come"
        )
        raise PipelineError(msg)
    variables: dict[str, str] = {}
    for each in cast("list[dict[str, str]]", json.loads(configuration.get("EnvironmentVariables") or "[]")):
        if each.get("type", _PLAIN) != _PLAIN:
            msg = f"variable {each['name']} of action {action['name']} is of type {each['type']}: {_PLAIN} is known"
            raise PipelineError(msg)
        variables[each["name"]] = _resolve(each["value"], source, action["name"])
    return BuildAction(action=action["name"], project=configuration["ProjectName"], variables=variables, artifact=artifact)


# Reading


def _pipeline(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", definition.get("pipeline", definition))


def _actions(pipeline: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [action for stage in pipeline["stages"] for action in stage["actions"]]


def _sources(pipeline: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [each for each in _actions(pipeline) if each["actionTypeId"]["provider"] == _PROVIDER]


def _is_of(action: Mapping[str, Any], repository: str) -> bool:
    return action["configuration"].get("FullRepositoryId") == repository


def _one(action: Mapping[str, Any], kind: str) -> str:
    names = [each["name"] for each in cast("list[dict[str, str]]", action.get(kind) or [])]
    if len(names) != 1:
        msg = f"action {action['name']} has the {kind} {names}: one is known"
        raise PipelineError(msg)
    return names[0]


def _matches(trigger: Mapping[str, Any], sources: Mapping[str, Mapping[str, Any]], repository: str, branch: str) -> bool:
    if trigger.get("providerType") != _PROVIDER:
        msg = f"a trigger's provider is {trigger.get('providerType')!r}: {_PROVIDER} is allowed"
        raise PipelineError(msg)
    configuration = cast("dict[str, Any]", trigger["gitConfiguration"])
    name = configuration["sourceActionName"]
    if name not in sources:
        msg = f"a trigger names the source action {name!r}: the pipeline has {sorted(sources)}"
        raise PipelineError(msg)
    if not _is_of(sources[name], repository):
        return False
    return any(_push_matches(each, branch) for each in cast("list[dict[str, Any]]", configuration.get("push") or []))


def _push_matches(filters: Mapping[str, Any], branch: str) -> bool:
    if strange := sorted(filters.keys() - {"branches", "tags"}):
        msg = f"a push filter has {strange}: branches and tags are known"
        raise PipelineError(msg)
    if "branches" not in filters:
        return False  # It listens to tags alone.
    branches = cast("dict[str, Sequence[str]]", filters["branches"])
    included, excluded = branches.get("includes") or [], branches.get("excludes") or []
    # "If both are specified, excludes take priority"; with excludes alone, every other branch is meant.
    if any(_glob(pattern).fullmatch(branch) for pattern in excluded):
        return False
    return not included or any(_glob(pattern).fullmatch(branch) for pattern in included)


def _resolve(value: str, source: Source, action: str) -> str:
    def variable(reference: re.Match[str]) -> str:
        namespace, _, name = reference[1].partition(".")
        if namespace != source.namespace or name not in source.variables:
            known = [f"{source.namespace}.{each}" for each in sorted(source.variables)]
            msg = f"action {action} refers to #{{{reference[1]}}}: known are {known}"
            raise PipelineError(msg)
        return source.variables[name]

    return _REFERENCE.sub(variable, value)


def _glob(pattern: str) -> re.Pattern[str]:
    """CodePipeline's glob patterns: https://docs.aws.amazon.com/codepipeline/latest/userguide/syntax-glob.html ."""
    text, grouped = "", False
    for part in re.findall(r"\*\*|\\.|\[!?[^\]]+\]|.", pattern, re.DOTALL):
        if part in _WILD:
            text += _WILD[part]
        elif part in _GROUP and (part == "{") != grouped:
            text, grouped = text + _GROUP[part], part != "}"
        elif part in {"{", "[", "\\"}:
            msg = f"the glob pattern {pattern!r} nests groups, or leaves {part!r} open"
            raise PipelineError(msg)
        elif part.startswith("["):
            inside = re.sub(r"([\\\[^&|~])", r"\\\1", part[1:-1].removeprefix("!"))
            text += f"(?!/)[{'^' if part.startswith('[!') else ''}{inside}]"
        else:
            text += re.escape(part[-1])
    if grouped:
        msg = f"the glob pattern {pattern!r} leaves a group open"
        raise PipelineError(msg)
    return re.compile(text, re.DOTALL)
