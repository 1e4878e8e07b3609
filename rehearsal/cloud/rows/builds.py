"""From a branch to an image: buckets, build projects, pipelines."""

from collections.abc import Mapping
from typing import Any, Final, cast

from rehearsal.cloud.emulators import MOTO
from rehearsal.cloud.row import Ask, Inputs, RealiseError, Row, Rows, tag_list
from rehearsal.cloud.rows.parts import ours, tag_changes, told
from rehearsal.program import Created

_AT_DELETION: Final = "counts when it is deleted"
_NO_BUCKET: Final = "NoSuchBucket"
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
_OBJECTS_AT_ONCE: Final = 1000


# S3


def _bucket(ask: Ask) -> Created:
    inputs = ask.inputs
    name, region = inputs.needed("bucket"), ask.place.region
    # https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html: us-east-1 is the one that is not named
    where: dict[str, Any] = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    ask.call("s3", "create_bucket", Bucket=name, **where)
    tags = inputs.tags()
    if tags:
        ask.call("s3", "put_bucket_tagging", Bucket=name, Tagging={"TagSet": tag_list(tags)})
    inputs.leave("forceDestroy", _AT_DELETION)
    return ask.done(name, **_bucket_outputs(ask, name))


def _bucket_outputs(ask: Ask, name: str) -> dict[str, Any]:
    return {
        "bucket": name,
        "arn": f"arn:aws:s3:::{name}",
        "bucketDomainName": f"{name}.s3.amazonaws.com",
        "bucketRegionalDomainName": f"{name}.s3.{ask.place.region}.amazonaws.com",
    }


def _read_bucket(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    # A bucket of another account, which moto shows too, is not this one.
    if not any(each["Name"] == id_ for each in ask.call("s3", "list_buckets")["Buckets"]):
        return None
    tagging = ask.find("s3", "get_bucket_tagging", "NoSuchTagSet", Bucket=id_) or {"TagSet": []}
    return told(ask, {**_bucket_outputs(ask, id_), "tags": {each["Key"]: each["Value"] for each in tagging["TagSet"]}})


def _update_bucket(ask: Ask, id_: str) -> Created:
    tags = ask.inputs.tags()
    if ask.changed("tags"):
        if tags:
            ask.call("s3", "put_bucket_tagging", Bucket=id_, Tagging={"TagSet": tag_list(tags)})
        else:
            ask.call("s3", "delete_bucket_tagging", Bucket=id_)
    return ask.done(id_, **_bucket_outputs(ask, id_))


def _delete_bucket(ask: Ask, id_: str) -> None:
    if ask.inputs.flag("forceDestroy"):
        _empty(ask, id_)
    ask.find("s3", "delete_bucket", _NO_BUCKET, Bucket=id_)


def _empty(ask: Ask, bucket: str) -> None:
    """Take away every version of every object."""
    while page := ask.find("s3", "list_object_versions", _NO_BUCKET, Bucket=bucket, MaxKeys=_OBJECTS_AT_ONCE):
        found = [{"Key": each["Key"], "VersionId": each["VersionId"]} for kind in _KINDS for each in page.get(kind, [])]
        if not found:
            break
        ask.call("s3", "delete_objects", Bucket=bucket, Delete={"Objects": found, "Quiet": True})


_KINDS: Final = ("Versions", "DeleteMarkers")
_CLOSED: Final = {
    "blockPublicAcls": "BlockPublicAcls",
    "blockPublicPolicy": "BlockPublicPolicy",
    "ignorePublicAcls": "IgnorePublicAcls",
    "restrictPublicBuckets": "RestrictPublicBuckets",
}


def _public_access_block(ask: Ask) -> Created:
    bucket = ask.inputs.needed("bucket")
    closed = ask.inputs.renamed(_CLOSED)
    ask.call("s3", "put_public_access_block", Bucket=bucket, PublicAccessBlockConfiguration=closed)
    return ask.done(bucket)


def _read_public_access_block(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    missing = ("NoSuchPublicAccessBlockConfiguration", _NO_BUCKET)
    answer = ask.find("s3", "get_public_access_block", *missing, Bucket=id_)
    if answer is None:
        return None
    there = {"bucket": id_, **ours(answer["PublicAccessBlockConfiguration"], _CLOSED)}
    return told(ask, there, **dict.fromkeys(_CLOSED, False))


def _delete_public_access_block(ask: Ask, id_: str) -> None:
    ask.find("s3", "delete_public_access_block", _NO_BUCKET, Bucket=id_)


_BY_DEFAULT: Final = {"sseAlgorithm": "SSEAlgorithm", "kmsMasterKeyId": "KMSMasterKeyID"}


def _encryption(ask: Ask) -> Created:
    bucket = ask.inputs.needed("bucket")
    rules: list[dict[str, Any]] = []
    for each in ask.inputs.blocks("rules"):
        rule: dict[str, Any] = each.renamed({"bucketKeyEnabled": "BucketKeyEnabled"})
        rule["ApplyServerSideEncryptionByDefault"] = each.block("applyServerSideEncryptionByDefault").renamed(_BY_DEFAULT)
        rules.append(rule)
    ask.call("s3", "put_bucket_encryption", Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": rules})
    return ask.done(bucket)


def _read_encryption(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    missing = ("ServerSideEncryptionConfigurationNotFoundError", _NO_BUCKET)
    answer = ask.find("s3", "get_bucket_encryption", *missing, Bucket=id_)
    if answer is None:
        return None
    rules: list[dict[str, Any]] = []
    for number, each in enumerate(answer["ServerSideEncryptionConfiguration"]["Rules"]):
        rule = {"applyServerSideEncryptionByDefault": ours(each["ApplyServerSideEncryptionByDefault"], _BY_DEFAULT)}
        # moto adds what is AWS's default.
        if each.get("BucketKeyEnabled") or "bucketKeyEnabled" in _declared(ask, "rules", number):
            rule["bucketKeyEnabled"] = each.get("BucketKeyEnabled", False)
        rules.append(rule)
    return {"bucket": id_, "rules": rules}


def _declared(ask: Ask, key: str, number: int) -> Mapping[str, Any]:
    """What the program says in one of a list of blocks."""
    blocks = cast("list[Mapping[str, Any]]", ask.request.inputs.get(key) or [])
    return blocks[number] if number < len(blocks) else {}


def _delete_encryption(ask: Ask, id_: str) -> None:
    ask.find("s3", "delete_bucket_encryption", _NO_BUCKET, Bucket=id_)


def _lifecycle(ask: Ask) -> Created:
    bucket = ask.inputs.needed("bucket")
    rules: list[dict[str, Any]] = []
    for each in ask.inputs.blocks("rules"):
        rule: dict[str, Any] = {
            **each.renamed({"id": "ID", "status": "Status"}),
            "Filter": each.block("filter").renamed({"prefix": "Prefix"}),
        }
        if each.has("expiration"):
            rule["Expiration"] = each.block("expiration").renamed({"days": "Days"})
        if each.has("abortIncompleteMultipartUpload"):
            rule["AbortIncompleteMultipartUpload"] = each.block("abortIncompleteMultipartUpload").renamed(
                {"daysAfterInitiation": "DaysAfterInitiation"}
            )
        rules.append(rule)
    ask.call("s3", "put_bucket_lifecycle_configuration", Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    return ask.done(bucket)


def _read_lifecycle(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    missing = ("NoSuchLifecycleConfiguration", _NO_BUCKET)
    answer = ask.find("s3", "get_bucket_lifecycle_configuration", *missing, Bucket=id_)
    if answer is None:
        return None
    rules: list[dict[str, Any]] = []
    for each in answer["Rules"]:
        rule: dict[str, Any] = {
            **ours(each, {"id": "ID", "status": "Status"}),
            "filter": ours(each.get("Filter", {}), {"prefix": "Prefix"}),
        }
        if "Expiration" in each:
            rule["expiration"] = ours(each["Expiration"], {"days": "Days"})
        if "AbortIncompleteMultipartUpload" in each:
            begun = each["AbortIncompleteMultipartUpload"]
            rule["abortIncompleteMultipartUpload"] = ours(begun, {"daysAfterInitiation": "DaysAfterInitiation"})
        rules.append(rule)
    return {"bucket": id_, "rules": rules}


def _delete_lifecycle(ask: Ask, id_: str) -> None:
    ask.find("s3", "delete_bucket_lifecycle", _NO_BUCKET, Bucket=id_)


def _bucket_policy(ask: Ask) -> Created:
    bucket = ask.inputs.needed("bucket")
    ask.call("s3", "put_bucket_policy", Bucket=bucket, Policy=ask.inputs.needed("policy"))
    return ask.done(bucket)


def _read_bucket_policy(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = ask.find("s3", "get_bucket_policy", "NoSuchBucketPolicy", _NO_BUCKET, Bucket=id_)
    return found and {"bucket": id_, "policy": found["Policy"]}


def _delete_bucket_policy(ask: Ask, id_: str) -> None:
    ask.find("s3", "delete_bucket_policy", _NO_BUCKET, Bucket=id_)


# CodeBuild


_PROJECT: Final = {
    "description": "description",
    "buildTimeout": "timeoutInMinutes",
    "serviceRole": "serviceRole",
}
_LOST: Final = ("cache", "logsConfig")


def _project(ask: Ask) -> Created:
    inputs = ask.inputs
    parameters = _project_parameters(ask)
    made = ask.call("codebuild", "create_project", **inputs.tagged("tags", key="key", value="value"), **parameters)["project"]
    for key in _LOST:
        inputs.lost(key, "ministack does not keep it")
    return ask.done(made["arn"], name=made["name"], arn=made["arn"])


def _project_parameters(ask: Ask) -> dict[str, Any]:
    inputs = ask.inputs
    name, role = inputs.needed("name"), inputs.needed("serviceRole")
    if inputs.has("concurrentBuildLimit"):
        # https://docs.aws.amazon.com/codebuild/latest/APIReference/API_CreateProject.html: "New builds are only started if the
        # current number of builds is less than or equal to this limit"; others fail, and ministack starts them all the same.
        msg = (
            f"project {name} has concurrentBuildLimit {inputs.number('concurrentBuildLimit')}: CodeBuild fails a start over it "
            "and does not queue it. Remove it; without one builds wait for the account's quota"
        )
        raise RealiseError(msg)
    ask.assumed_by(role, "codebuild.amazonaws.com", ask.arn("codebuild", f"project/{name}"))
    environment = inputs.block("environment")
    machine: dict[str, Any] = environment.same("type", "image", "computeType", "privilegedMode")
    machine["environmentVariables"] = [each.same("name", "value", "type") for each in environment.blocks("environmentVariables")]
    parameters: dict[str, Any] = {
        "name": name,
        "source": inputs.block("source").same("type", "buildspec", "location"),
        "artifacts": inputs.block("artifacts").same("type"),
        "environment": machine,
        **inputs.renamed(_PROJECT),
    }
    if inputs.has("cache"):
        parameters["cache"] = inputs.block("cache").same("type", "location", "modes")
    if inputs.has("logsConfig"):
        watch = inputs.block("logsConfig").block("cloudwatchLogs")
        parameters["logsConfig"] = {
            "cloudWatchLogs": {
                "status": watch.text("status", "ENABLED"),
                **watch.same("groupName", "streamName"),
            }
        }
    return parameters


def _project_name(id_: str) -> str:
    """An id is the ARN, and an import takes the name.

    https://www.pulumi.com/registry/packages/aws/api-docs/codebuild/project/#import
    """
    return id_.rpartition("/")[2]


def _read_project(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    found = next(iter(ask.call("codebuild", "batch_get_projects", names=[_project_name(id_)])["projects"]), None)
    if found is None:
        return None
    # Cache and logs are lost in ministack.
    there = {
        "name": found["name"],
        "arn": found["arn"],
        **ours(found, _PROJECT),
        **{key: found[key] for key in ("source", "artifacts", "environment")},
        "tags": {each["key"]: each["value"] for each in found.get("tags", [])},
    }
    return told(ask, there, buildTimeout=60)


def _update_project(ask: Ask, id_: str) -> Created:
    # All but the name can be given anew, and what is not given stays.
    # https://docs.aws.amazon.com/codebuild/latest/APIReference/API_UpdateProject.html
    tags = [{"key": key, "value": value} for key, value in ask.inputs.tags().items()]
    parameters: dict[str, Any] = {"description": "", "timeoutInMinutes": 60, "tags": tags, **_project_parameters(ask)}
    made = ask.call("codebuild", "update_project", **parameters)["project"]
    return ask.done(id_, name=made["name"], arn=made["arn"])


def _delete_project(ask: Ask, id_: str) -> None:
    ask.find("codebuild", "delete_project", "ResourceNotFoundException", name=_project_name(id_))


# CodePipeline


_PIPELINE: Final = {"roleArn": "roleArn", "pipelineType": "pipelineType", "executionMode": "executionMode"}
_ACTION: Final = {key: key for key in ("name", "configuration", "namespace", "roleArn", "runOrder")}
_KIND: Final = {key: key for key in ("category", "owner", "provider", "version")}


def _pipeline(ask: Ask) -> Created:
    tags = ask.inputs.tagged("tags", key="key", value="value")
    name = _put_pipeline(ask, "create_pipeline", **tags)
    return ask.done(name, name=name, arn=ask.arn("codepipeline", name))


def _put_pipeline(ask: Ask, operation: str, **tags: Any) -> str:  # noqa: ANN401 — the API's own
    inputs = ask.inputs
    name = inputs.needed("name")
    (store,) = inputs.blocks("artifactStores")
    declared: dict[str, Any] = {
        "name": name,
        "artifactStore": store.same("location", "type"),
        "stages": [_stage(each) for each in inputs.blocks("stages")],
        "triggers": [_trigger(each) for each in inputs.blocks("triggers")],
        # Pulumi has no version of its own; AWS counts from one.
        "version": 1,
        **inputs.renamed(_PIPELINE),
    }
    role = str(declared["roleArn"])
    ask.assumed_by(role, "codepipeline.amazonaws.com", ask.arn("codepipeline", name))
    ask.introduce_role(role)
    ask.call("codepipeline", operation, pipeline=declared, **tags)
    return name


def _read_pipeline(ask: Ask, id_: str) -> Mapping[str, Any] | None:
    answer = ask.find("codepipeline", "get_pipeline", "PipelineNotFoundException", name=id_)
    if answer is None:
        return None
    found, arn = answer["pipeline"], ask.arn("codepipeline", id_)
    tags = ask.call("codepipeline", "list_tags_for_resource", resourceArn=arn)["tags"]
    there = {
        "name": id_,
        "arn": arn,
        **ours(found, _PIPELINE),
        "artifactStores": [ours(found["artifactStore"], {"location": "location", "type": "type"})],
        "stages": [_shown_stage(each, _declared(ask, "stages", number)) for number, each in enumerate(found["stages"])],
        "triggers": [_shown_trigger(each) for each in found.get("triggers", [])],
        "tags": {each["key"]: each["value"] for each in tags},
    }
    # https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_PipelineDeclaration.html
    return told(ask, there, pipelineType="V1", executionMode="SUPERSEDED")


def _shown_stage(found: Mapping[str, Any], declared: Mapping[str, Any]) -> dict[str, Any]:
    said = cast("list[Mapping[str, Any]]", declared.get("actions") or [])
    actions: list[dict[str, Any]] = []
    for number, each in enumerate(found["actions"]):
        action = {
            **ours(each["actionTypeId"], _KIND),
            **ours(each, _ACTION),
            "inputArtifacts": [artifact["name"] for artifact in each.get("inputArtifacts", [])],
            "outputArtifacts": [artifact["name"] for artifact in each.get("outputArtifacts", [])],
        }
        # What moto adds is AWS's default.
        if action.get("runOrder") == 1 and "runOrder" not in (said[number] if number < len(said) else {}):
            del action["runOrder"]
        actions.append({key: value for key, value in action.items() if value not in ({}, [])})
    return {"name": found["name"], "actions": actions}


def _shown_trigger(found: Mapping[str, Any]) -> dict[str, Any]:
    git = found["gitConfiguration"]
    configuration: dict[str, Any] = {"sourceActionName": git["sourceActionName"], "pushes": git.get("push", [])}
    return {"providerType": found["providerType"], "gitConfiguration": configuration}


def _update_pipeline(ask: Ask, id_: str) -> Created:
    # UpdatePipeline takes the whole of it again, by its name.
    # https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_UpdatePipeline.html
    _put_pipeline(ask, "update_pipeline")
    arn, (new, gone) = ask.arn("codepipeline", id_), tag_changes(ask)
    if new:
        tags = [{"key": key, "value": value} for key, value in new.items()]
        ask.call("codepipeline", "tag_resource", resourceArn=arn, tags=tags)
    if gone:
        ask.call("codepipeline", "untag_resource", resourceArn=arn, tagKeys=gone)
    return ask.done(id_, name=id_, arn=arn)


def _delete_pipeline(ask: Ask, id_: str) -> None:
    found = ask.find("codepipeline", "get_pipeline", "PipelineNotFoundException", name=id_)
    if found is None:
        return
    ask.call("codepipeline", "delete_pipeline", name=id_)
    # The role was introduced for it; whoever still needs it there introduces it again.
    role = str(found["pipeline"]["roleArn"]).rpartition("/")[2]
    ask.by_aws("at AWS there is one IAM").find("iam", "delete_role", "NoSuchEntity", emulator=MOTO, RoleName=role)


def _stage(stage: Inputs) -> dict[str, Any]:
    actions: list[dict[str, Any]] = []
    for each in stage.blocks("actions"):
        action: dict[str, Any] = {
            "actionTypeId": each.renamed(_KIND),
            **each.renamed(_ACTION),
            "inputArtifacts": [{"name": name} for name in each.texts("inputArtifacts")],
            "outputArtifacts": [{"name": name} for name in each.texts("outputArtifacts")],
        }
        actions.append(action)
    return {"name": stage.needed("name"), "actions": actions}


def _trigger(trigger: Inputs) -> dict[str, Any]:
    git = trigger.block("gitConfiguration")
    configuration: dict[str, Any] = git.same("sourceActionName")
    configuration["push"] = [
        {
            part: each.block(theirs).same("includes", "excludes")
            for part, theirs in (("branches", "branches"), ("filePaths", "filePaths"), ("tags", "tags"))
            if each.has(theirs)
        }
        for each in git.blocks("pushes")
    ]
    return {**trigger.same("providerType"), "gitConfiguration": configuration}


ROWS: Final[Rows] = {
    "aws:codebuild/project:Project": Row(
        create=_project,
        read=_read_project,
        update=_update_project,
        delete=_delete_project,
        replaces=frozenset({"name"}),
    ),
    "aws:codepipeline/pipeline:Pipeline": Row(
        create=_pipeline,
        read=_read_pipeline,
        update=_update_pipeline,
        delete=_delete_pipeline,
        replaces=frozenset({"name"}),
    ),
    "aws:s3/bucket:Bucket": Row(
        create=_bucket,
        read=_read_bucket,
        update=_update_bucket,
        delete=_delete_bucket,
        replaces=frozenset({"bucket"}),
    ),
    # Each of these is put whole, and takes the place of what was there.
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": Row(
        create=_lifecycle,
        read=_read_lifecycle,
        update=lambda ask, _: _lifecycle(ask),
        delete=_delete_lifecycle,
        replaces=frozenset({"bucket"}),
    ),
    "aws:s3/bucketPolicy:BucketPolicy": Row(
        create=_bucket_policy,
        read=_read_bucket_policy,
        update=lambda ask, _: _bucket_policy(ask),
        delete=_delete_bucket_policy,
        replaces=frozenset({"bucket"}),
    ),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": Row(
        create=_public_access_block,
        read=_read_public_access_block,
        update=lambda ask, _: _public_access_block(ask),
        delete=_delete_public_access_block,
        replaces=frozenset({"bucket"}),
    ),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": Row(
        create=_encryption,
        read=_read_encryption,
        update=lambda ask, _: _encryption(ask),
        delete=_delete_encryption,
        replaces=frozenset({"bucket"}),
    ),
}
