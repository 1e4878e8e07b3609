"""From a branch to an image: buckets, build projects, pipelines."""

from typing import Any, Final

from rehearsal.cloud.row import Ask, Inputs, Row, Rows, tag_list
from rehearsal.program import Created

_AT_DELETION: Final = "counts when it is deleted"


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
    return ask.done(
        name,
        bucket=name,
        arn=f"arn:aws:s3:::{name}",
        bucketDomainName=f"{name}.s3.amazonaws.com",
        bucketRegionalDomainName=f"{name}.s3.{region}.amazonaws.com",
    )


def _public_access_block(ask: Ask) -> Created:
    bucket = ask.inputs.needed("bucket")
    closed = ask.inputs.renamed(
        {
            "blockPublicAcls": "BlockPublicAcls",
            "blockPublicPolicy": "BlockPublicPolicy",
            "ignorePublicAcls": "IgnorePublicAcls",
            "restrictPublicBuckets": "RestrictPublicBuckets",
        }
    )
    ask.call("s3", "put_public_access_block", Bucket=bucket, PublicAccessBlockConfiguration=closed)
    return ask.done(bucket)


def _encryption(ask: Ask) -> Created:
    bucket = ask.inputs.needed("bucket")
    rules: list[dict[str, Any]] = []
    for each in ask.inputs.blocks("rules"):
        rule: dict[str, Any] = each.renamed({"bucketKeyEnabled": "BucketKeyEnabled"})
        rule["ApplyServerSideEncryptionByDefault"] = each.block("applyServerSideEncryptionByDefault").renamed(
            {"sseAlgorithm": "SSEAlgorithm", "kmsMasterKeyId": "KMSMasterKeyID"}
        )
        rules.append(rule)
    ask.call("s3", "put_bucket_encryption", Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": rules})
    return ask.done(bucket)


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


def _bucket_policy(ask: Ask) -> Created:
    bucket = ask.inputs.needed("bucket")
    ask.call("s3", "put_bucket_policy", Bucket=bucket, Policy=ask.inputs.needed("policy"))
    return ask.done(bucket)


# CodeBuild


def _project(ask: Ask) -> Created:
    inputs = ask.inputs
    name, role = inputs.needed("name"), inputs.needed("serviceRole")
    ask.assumed_by(role, "codebuild.amazonaws.com", ask.arn("codebuild", f"project/{name}"))
    environment = inputs.block("environment")
    machine: dict[str, Any] = environment.same("type", "image", "computeType", "privilegedMode")
    machine["environmentVariables"] = [each.same("name", "value", "type") for each in environment.blocks("environmentVariables")]
    parameters: dict[str, Any] = inputs.renamed(
        {"description": "description", "buildTimeout": "timeoutInMinutes", "concurrentBuildLimit": "concurrentBuildLimit"}
    )
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
    made = ask.call(
        "codebuild",
        "create_project",
        name=name,
        serviceRole=role,
        source=inputs.block("source").same("type", "buildspec", "location"),
        artifacts=inputs.block("artifacts").same("type"),
        environment=machine,
        **inputs.tagged("tags", key="key", value="value"),
        **parameters,
    )["project"]
    return ask.done(made["arn"], name=name, arn=made["arn"])


# CodePipeline


def _pipeline(ask: Ask) -> Created:
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
        **inputs.same("roleArn", "pipelineType", "executionMode"),
    }
    role = str(declared["roleArn"])
    ask.assumed_by(role, "codepipeline.amazonaws.com", ask.arn("codepipeline", name))
    ask.introduce_role(role)
    ask.call("codepipeline", "create_pipeline", pipeline=declared, **inputs.tagged("tags", key="key", value="value"))
    return ask.done(name, name=name, arn=ask.arn("codepipeline", name))


def _stage(stage: Inputs) -> dict[str, Any]:
    actions: list[dict[str, Any]] = []
    for each in stage.blocks("actions"):
        action: dict[str, Any] = {
            "actionTypeId": each.same("category", "owner", "provider", "version"),
            **each.same("name", "configuration", "namespace", "roleArn", "runOrder"),
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
    "aws:codebuild/project:Project": Row(create=_project),
    "aws:codepipeline/pipeline:Pipeline": Row(create=_pipeline),
    "aws:s3/bucket:Bucket": Row(create=_bucket),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": Row(create=_lifecycle),
    "aws:s3/bucketPolicy:BucketPolicy": Row(create=_bucket_policy),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": Row(create=_public_access_block),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": Row(create=_encryption),
}
