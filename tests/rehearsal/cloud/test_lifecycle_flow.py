"""What the flow, the builds and GitHub are made of can be read back, changed, and taken away again."""

import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest

from components import image_hook
from rehearsal.cloud import CloudWorld, Emulators, Place, RealiseError
from rehearsal.cloud.row import same
from rehearsal.cloud.rows import builds, flow, github
from rehearsal.githost import GitHost, WebhookProxy
from tests.rehearsal.cloud.kit import DIGEST, REGION, Accounts, write_archives
from tests.rehearsal.cloud.standing import STACKS, Standing, Thing, new_accounts, places, realised, request_of

ROWS: Final = {**flow.ROWS, **builds.ROWS, **github.ROWS}
REPOSITORY: Final = "github:index/repository:Repository"
DEFAULT_BRANCH: Final = "github:index/branchDefault:BranchDefault"
FILE: Final = "github:index/repositoryFile:RepositoryFile"
WORKFLOWS: Final = "github:index/workflowRepositoryPermissions:WorkflowRepositoryPermissions"

# What is declared and cannot be read back, and why.
UNREADABLE: Final[Mapping[tuple[str, str], str]] = {
    ("aws:codebuild/project:Project", "cache"): "ministack drops it",
    ("aws:codebuild/project:Project", "logsConfig"): "ministack drops it",
    ("aws:ecr/repository:Repository", "forceDelete"): "the provider's own",
    ("aws:ecr/repository:Repository", "imageTagMutabilityExclusionFilters"): "ministack drops it",
    ("aws:lambda/function:Function", "code"): "AWS has the archive, not its path",
    ("aws:s3/bucket:Bucket", "forceDestroy"): "the provider's own",
    (DEFAULT_BRANCH, "rename"): "says how it came to be",
    (DEFAULT_BRANCH, "waitForRename"): "says how it came to be",
    ("github:index/branch:Branch", "sourceBranch"): "Git does not know",
    (REPOSITORY, "archiveOnDestroy"): "the provider's own",
    (REPOSITORY, "autoInit"): "says how it came to be",
    ("github:index/repositoryFile:RepositoryFile", "commitMessage"): "the next commit has another",
    ("github:index/repositoryFile:RepositoryFile", "overwriteOnCreate"): "the provider's own",
}


@dataclass(kw_only=True)
class Hosted(Standing):
    """With what stands in for GitHub."""

    host: GitHost


@pytest.fixture(scope="module")
def standing(emulators: Emulators, accounts: Accounts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    """The three stacks, as declared."""
    moved = new_accounts(accounts)
    # Nothing leaves this machine: a delivery finds nobody.
    proxy = WebhookProxy(url="http://127.0.0.1:1", bundle="")
    folder = tmp_path_factory.mktemp("githost")
    with pytest.MonkeyPatch.context() as patch, GitHost(folder, webhook_proxy=proxy) as host:
        patch.setattr(image_hook, "ARCHIVES", write_archives(tmp_path_factory.mktemp("dist")))
        for service in ("storefront", "invoices"):
            host.create_repository(f"example-org/{service}", default_branch="master", auto_init=True)
        world = CloudWorld(emulators, github=host, places=places(moved))
        yield Hosted(world=world, emulators=emulators, host=host, things=realised(world, moved, ROWS))


def test_every_row_reads_and_deletes() -> None:
    assert [type_ for type_, row in ROWS.items() if row.read is None or row.delete is None] == []


@pytest.mark.parametrize("type_", sorted(ROWS))
def test_what_was_declared_is_what_is_read(standing: Hosted, type_: str) -> None:
    for thing in standing.of(type_):
        found = standing.read(thing)
        assert found is not None, thing
        declared = thing.request.inputs
        otherwise = {key: (declared[key], found[key]) for key in declared if key in found and not same(declared[key], found[key])}
        assert otherwise == {}, thing
        unread = {(type_, key) for key, value in declared.items() if value is not None and key not in found}
        assert unread <= UNREADABLE.keys(), thing


@pytest.mark.parametrize("type_", sorted(ROWS))
def test_an_import_reads_the_same_and_no_defaults(standing: Hosted, type_: str) -> None:
    outputs = {key for thing in standing.of(type_) for key in (standing.read(thing) or {}) if key not in thing.request.inputs}
    for thing in standing.of(type_):
        found = standing.world.read(replace(thing.request, inputs={}), thing.id)
        assert found is not None, thing
        declared = {key: value for key, value in thing.request.inputs.items() if key in found}
        if type_ == "github:index/repositoryWebhook:RepositoryWebhook":
            # The one secret: GitHub does not tell it.
            assert "secret" not in found["configuration"]
            declared["configuration"] = {key: declared["configuration"][key] for key in ("url", "contentType")}
        assert {key for key in declared if not same(declared[key], found[key])} == set(), thing
        assert found.keys() - declared.keys() <= outputs, thing
        # A default that is declared is left out where nobody knows of the declaration.
        missing = {key for key, value in thing.request.inputs.items() if value is not None} - found.keys()
        assert {(type_, key) for key in missing} <= UNREADABLE.keys() | DEFAULTS, thing


DEFAULTS: Final = {
    ("aws:ecr/repository:Repository", "encryptionConfigurations"),
    ("aws:sqs/queue:Queue", "sqsManagedSseEnabled"),
    ("aws:lambda/eventSourceMapping:EventSourceMapping", "maximumBatchingWindowInSeconds"),
    ("aws:lambda/eventSourceMapping:EventSourceMapping", "batchSize"),
    ("aws:lambda/function:Function", "architectures"),
    ("aws:lambda/function:Function", "loggingConfig"),
    (REPOSITORY, "visibility"),
    (REPOSITORY, "allowAutoMerge"),
    (REPOSITORY, "allowMergeCommit"),
    ("github:index/repositoryRuleset:RepositoryRuleset", "bypassActors"),
}


# Changes


EXPIRY: Final = {
    "rulePriority": 1,
    "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 9},
    "action": {"type": "expire"},
}
TAGS: Final = {"tags": {"team": "shop"}}
CHANGES: Final[Mapping[str, Mapping[str, Any]]] = {
    "aws:cloudwatch/eventRule:EventRule": {"description": None, "state": "DISABLED", **TAGS},
    "aws:cloudwatch/eventTarget:EventTarget": {"retryPolicy": {"maximumRetryAttempts": 3.0}, "input": '{"a": 1}'},
    "aws:cloudwatch/logGroup:LogGroup": {"retentionInDays": 7.0, **TAGS},
    "aws:cloudwatch/metricAlarm:MetricAlarm": {"threshold": 5.0, "actionsEnabled": False, "okActions": None, **TAGS},
    "aws:codebuild/project:Project": {
        "description": "Other",
        "buildTimeout": 9.0,
        "environment": {"type": "ARM_CONTAINER", "image": "i", "computeType": "BUILD_GENERAL1_LARGE"},
        **TAGS,
    },
    "aws:codepipeline/pipeline:Pipeline": {"executionMode": "SUPERSEDED", "triggers": None, **TAGS},
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": {"policy": json.dumps({"rules": [EXPIRY]})},
    "aws:ecr/repository:Repository": {
        "imageTagMutability": "MUTABLE",
        "imageTagMutabilityExclusionFilters": None,
        "imageScanningConfiguration": None,
        **TAGS,
    },
    "aws:ecr/repositoryPolicy:RepositoryPolicy": {"policy": '{"Version": "2012-10-17", "Statement": []}'},
    "aws:lambda/eventSourceMapping:EventSourceMapping": {"batchSize": 5.0, "enabled": False, "scalingConfig": None},
    "aws:lambda/function:Function": {
        "timeout": 60.0,
        "description": None,
        "environment": {"variables": {"OTHER": "b"}},
        "reservedConcurrentExecutions": 3.0,
        **TAGS,
    },
    "aws:s3/bucket:Bucket": TAGS,
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": {
        "rules": [
            {
                "id": "other",
                "status": "Disabled",
                "filter": {"prefix": "a/"},
                "expiration": {"days": 3.0},
                "abortIncompleteMultipartUpload": {"daysAfterInitiation": 2.0},
            }
        ]
    },
    "aws:s3/bucketPolicy:BucketPolicy": {"policy": '{"Version": "2012-10-17", "Statement": []}'},
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": {"blockPublicAcls": False},
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": {
        "rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms"}, "bucketKeyEnabled": True}]
    },
    "aws:scheduler/schedule:Schedule": {"scheduleExpression": "rate(5 minutes)", "state": "DISABLED", "description": "Other"},
    "aws:sns/topic:Topic": {"displayName": "Other", **TAGS},
    "aws:sns/topicPolicy:TopicPolicy": {"policy": '{"Version": "2012-10-17", "Statement": []}'},
    "aws:sqs/queue:Queue": {"messageRetentionSeconds": 300.0, "delaySeconds": 5.0, "sqsManagedSseEnabled": False, **TAGS},
    "aws:sqs/queuePolicy:QueuePolicy": {"policy": '{"Version": "2012-10-17", "Statement": []}'},
    "github:index/actionsVariable:ActionsVariable": {"value": "7"},
    REPOSITORY: {"description": "Other", "hasWiki": True, "allowRebaseMerge": None},
    "github:index/repositoryEnvironment:RepositoryEnvironment": {"canAdminsBypass": True},
    "github:index/repositoryEnvironmentDeploymentPolicy:RepositoryEnvironmentDeploymentPolicy": {"branchPattern": "other"},
    "github:index/repositoryRuleset:RepositoryRuleset": {
        "enforcement": "disabled",
        "bypassActors": [{"actorId": 5.0, "actorType": "RepositoryRole", "bypassMode": "always"}],
        "rules": {"deletion": True, "requiredStatusChecks": {"requiredChecks": [{"context": "other", "integrationId": 1.0}]}},
    },
    "github:index/repositoryWebhook:RepositoryWebhook": {
        "configuration": {"url": "https://other.example.com", "contentType": "form", "secret": "s", "insecureSsl": False},
        "events": ["push", "pull_request"],
        "active": False,
    },
    "github:index/teamRepository:TeamRepository": {"permission": "admin"},
    WORKFLOWS: {"defaultWorkflowPermissions": "write"},
}
# Nothing of them can be changed in place, or only with all that hangs on it. The branches' rules refuse changes of the files.
NOT_CHANGED: Final = {
    "aws:sns/topicSubscription:TopicSubscription",
    "github:index/branch:Branch",
    FILE,
    DEFAULT_BRANCH,
}


@dataclass(frozen=True, kw_only=True)
class Changed:
    """What was read: of everything before the changes and after them, of what was changed after it was changed back."""

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    back: Mapping[str, Any]
    things: Mapping[str, Thing]


@pytest.fixture(scope="module")
def changed(standing: Hosted) -> Changed:
    """One resource of each type is changed, and changed back."""
    before = {str(each): standing.read(each) for each in standing.things}
    things = {type_: standing.of(type_)[0] for type_ in CHANGES}
    new = {type_: replace(each.request, inputs=_with(each.request.inputs, CHANGES[type_])) for type_, each in things.items()}
    for type_, each in things.items():
        made, first = standing.world.update(new[type_], each.id, each.request.inputs), before[str(each)] or {}
        assert made.id == each.id, each
        # What others hold on to stays: `create` gave these, `read` gives them still.
        assert {key for key in ("arn", "name", "url") if made.outputs.get(key) != first.get(key)} == set(), each
    known = {str(each): Thing(request=new[type_], id=each.id) for type_, each in things.items()}
    after = {str(each): standing.read(known.get(str(each), each)) for each in standing.things}
    for type_, each in things.items():
        standing.world.update(each.request, each.id, new[type_].inputs)
    back = {str(each): standing.read(each) for each in things.values()}
    return Changed(before=before, after=after, back=back, things=things)


def _with(inputs: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**inputs, **changes}.items() if value is not None}


def test_a_change_is_shown_for_every_row_that_updates() -> None:
    shown_elsewhere = {DEFAULT_BRANCH, FILE}
    assert {type_ for type_, row in ROWS.items() if row.update is not None} - CHANGES.keys() == NOT_CHANGED & shown_elsewhere
    assert {type_ for type_, row in ROWS.items() if row.update is None} == NOT_CHANGED - shown_elsewhere


@pytest.mark.parametrize("type_", sorted(CHANGES))
def test_a_change_is_what_is_read_then_and_nothing_else_is(changed: Changed, type_: str) -> None:
    thing = changed.things[type_]
    before, after = changed.before[str(thing)], changed.after[str(thing)]
    new = _with(thing.request.inputs, CHANGES[type_])
    readable = {key for key in {*new, *CHANGES[type_]} if (type_, key) not in UNREADABLE}
    assert {key for key in readable if not same(new.get(key), after.get(key))} == set()
    others = ({*before, *after} - CHANGES[type_].keys()) - {"sourceCodeHash"}
    assert {key for key in others if not same(before.get(key), after.get(key))} == set()


def test_changes_reach_no_other_resource(changed: Changed) -> None:
    meant = {str(each) for each in changed.things.values()}
    assert {key for key in changed.before.keys() - meant if changed.before[key] != changed.after[key]} == set()


def test_what_is_changed_back_is_as_it_was(changed: Changed) -> None:
    assert {key for key, value in changed.back.items() if not same(changed.before[key], value)} == set()


def test_a_function_gets_another_archive_and_another_machine_under_its_arn(standing: Hosted, tmp_path: Path) -> None:
    thing = standing.of("aws:lambda/function:Function")[0]
    archive = tmp_path / "other.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("other.py", "")
    before = standing.read(thing)
    new = replace(thing.request, inputs={**thing.request.inputs, "code": {"path": str(archive)}})
    standing.world.update(new, thing.id, thing.request.inputs)
    other = standing.read(thing)
    assert before is not None
    assert other is not None
    assert before["sourceCodeHash"] != other["sourceCodeHash"]
    machine = {"arm64": "x86_64", "x86_64": "arm64"}[thing.request.inputs["architectures"][0]]
    turned = replace(thing.request, inputs={**thing.request.inputs, "architectures": [machine]})
    standing.world.update(turned, thing.id, new.inputs)
    found = standing.read(Thing(request=turned, id=thing.id))
    assert found is not None
    assert (found["architectures"], found["arn"]) == ([machine], before["arn"])
    standing.world.update(thing.request, thing.id, turned.inputs)
    assert standing.read(thing) == before


def test_the_default_branch_is_renamed(standing: Hosted) -> None:
    (thing,) = standing.of(DEFAULT_BRANCH)
    new = replace(thing.request, inputs={**thing.request.inputs, "branch": "trunk"})
    standing.world.update(new, thing.id, thing.request.inputs)
    assert (standing.read(thing) or {})["branch"] == "trunk"
    standing.world.update(thing.request, thing.id, new.inputs)
    assert (standing.read(thing) or {})["branch"] == thing.request.inputs["branch"]


def test_what_a_person_changes_is_read(standing: Hosted) -> None:
    queue = standing.of("aws:sqs/queue:Queue")[0]
    sqs = standing.client(queue.request.stack, "sqs")
    sqs.set_queue_attributes(QueueUrl=queue.id, Attributes={"VisibilityTimeout": "77"})
    assert (standing.read(queue) or {})["visibilityTimeoutSeconds"] == 77
    (repository,) = standing.of(REPOSITORY)
    standing.host.edit_repository("example-org/gitops", {"has_wiki": True})
    assert (standing.read(repository) or {})["hasWiki"] is True
    standing.host.edit_repository("example-org/gitops", {"has_wiki": False})
    ids = [each.id for each in standing.of("aws:cloudwatch/eventTarget:EventTarget")]
    bare = request_of("dev", "aws:cloudwatch/eventTarget:EventTarget", "x", {})
    assert standing.world.read(bare, ids[0].replace("-images", "/images")) == standing.world.read(bare, ids[0]) is not None


# What is refused


class Lone:
    """An empty account and an empty owner."""

    def __init__(self, emulators: Emulators, account: str, host: GitHost) -> None:
        """Take an account."""
        self.emulators, self.place = emulators, Place(account=account, region=REGION)
        self.host, self.world = host, CloudWorld(emulators, github=host, places={"dev": self.place})

    def make(self, type_: str, **inputs: Any) -> Thing:  # noqa: ANN401 — JSON
        """A resource."""
        request = request_of("dev", type_, "thing", inputs)
        return Thing(request=request, id=self.world.create(request).id)

    def drop(self, thing: Thing) -> None:
        """Take it away."""
        self.world.delete(thing.request, thing.id)

    def read(self, thing: Thing) -> Mapping[str, Any] | None:
        """What stands there."""
        return self.world.read(thing.request, thing.id)

    def client(self, service: str) -> Any:  # noqa: ANN401 — as above
        """A client in the account."""
        return self.emulators.client(service, self.place.account, self.place.region)


@pytest.fixture
def lone(emulators: Emulators, accounts: Accounts, tmp_path: Path) -> Iterator[Lone]:
    """An account in which nothing stands."""
    with GitHost(tmp_path, webhook_proxy=WebhookProxy(url="http://127.0.0.1:1", bundle="")) as host:
        yield Lone(emulators, next(accounts), host)


def test_a_rule_with_targets_stays(lone: Lone) -> None:
    rule = lone.make("aws:cloudwatch/eventRule:EventRule", name="r", scheduleExpression="rate(1 hour)")
    arn = f"arn:aws:sqs:{REGION}:{lone.place.account}:q"
    target = lone.make("aws:cloudwatch/eventTarget:EventTarget", rule="r", targetId="t", arn=arn)
    with pytest.raises(RealiseError, match=r"Rule can't be deleted since it has targets"):
        lone.drop(rule)
    lone.drop(target)
    lone.drop(rule)
    assert lone.read(rule) is None


def test_a_bucket_is_emptied_only_by_force(lone: Lone) -> None:
    name = f"lone-{lone.place.account}"
    bucket, s3 = lone.make("aws:s3/bucket:Bucket", bucket=name), lone.client("s3")
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=name, Key="a", Body=b"")
    s3.put_object(Bucket=name, Key="a", Body=b"1")
    s3.delete_object(Bucket=name, Key="a")
    with pytest.raises(RealiseError, match="BucketNotEmpty"):
        lone.drop(bucket)
    forced = Thing(request=replace(bucket.request, inputs={**bucket.request.inputs, "forceDestroy": True}), id=bucket.id)
    lone.drop(forced)
    assert lone.read(bucket) is None
    # What is gone already is no error.
    lone.drop(forced)


def test_images_go_only_by_force(lone: Lone) -> None:
    repository = lone.make("aws:ecr/repository:Repository", name="shop/a")
    lone.client("ecr").put_image(repositoryName="shop/a", imageManifest="{}", imageTag="t", imageDigest=DIGEST)
    with pytest.raises(RealiseError, match="RepositoryNotEmptyException"):
        lone.drop(repository)
    lone.drop(Thing(request=replace(repository.request, inputs={"name": "shop/a", "forceDelete": True}), id=repository.id))
    assert lone.read(repository) is None


def test_a_log_group_that_is_to_stay_stays(lone: Lone) -> None:
    group = lone.make("aws:cloudwatch/logGroup:LogGroup", name="/a", skipDestroy=True)
    lone.make("aws:cloudwatch/logGroup:LogGroup", name="/ab", retentionInDays=7.0)
    lone.drop(group)
    assert lone.read(group) == {"name": "/a", "arn": f"arn:aws:logs:{REGION}:{lone.place.account}:log-group:/a"}


def test_a_name_that_is_taken_is_refused(lone: Lone) -> None:
    name = f"taken-{lone.place.account}"
    for type_, inputs, fault in (
        ("aws:s3/bucket:Bucket", {"bucket": name}, "BucketAlreadyOwnedByYou"),
        ("aws:ecr/repository:Repository", {"name": "shop/a"}, "RepositoryAlreadyExistsException"),
        ("aws:cloudwatch/logGroup:LogGroup", {"name": "/a"}, "ResourceAlreadyExistsException"),
        (REPOSITORY, {"name": "a", "autoInit": True}, "expected an unused `owner/name`"),
        ("github:index/branch:Branch", {"repository": "a", "branch": "b", "sourceBranch": "main"}, "Reference already exists"),
        (
            "github:index/repositoryFile:RepositoryFile",
            {"repository": "a", "branch": "main", "file": "f", "content": "", "commitMessage": "m"},
            "refusing to overwrite it",
        ),
        (
            "github:index/actionsVariable:ActionsVariable",
            {"repository": "a", "variableName": "V", "value": "1"},
            "already exists",
        ),
        (
            "github:index/repositoryRuleset:RepositoryRuleset",
            {
                "repository": "a",
                "name": "r",
                "target": "branch",
                "enforcement": "active",
                "conditions": {"refName": {"includes": ["~ALL"], "excludes": []}},
                "rules": {"deletion": True},
            },
            "Name must be unique",
        ),
        (
            "github:index/repositoryWebhook:RepositoryWebhook",
            {"repository": "a", "configuration": {"url": "https://x", "contentType": "json"}, "events": ["push"]},
            "Hook already exists",
        ),
    ):
        lone.make(type_, **inputs)
        with pytest.raises(RealiseError, match=fault):
            lone.make(type_, **inputs)


def test_a_queue_has_one_mapping_to_a_function(standing: Hosted) -> None:
    thing = standing.of("aws:lambda/eventSourceMapping:EventSourceMapping")[0]
    with pytest.raises(RealiseError, match=rf"ResourceConflictException.*{thing.id}"):
        standing.world.create(thing.request)


def test_a_repository_keeps_its_default_branch_and_an_archived_one_everything(lone: Lone) -> None:
    repository = lone.make(REPOSITORY, name="a", autoInit=True, archiveOnDestroy=True)
    branch = lone.make("github:index/branch:Branch", repository="a", branch="b", sourceBranch="main")
    with pytest.raises(RealiseError, match="Cannot delete the default branch"):
        lone.drop(Thing(request=branch.request, id="a:main"))
    lone.drop(repository)
    assert (lone.read(repository) or {})["archived"] is True
    with pytest.raises(RealiseError, match="archived so is read-only"):
        lone.drop(branch)
    lone.drop(Thing(request=replace(repository.request, inputs={"name": "a"}), id="a"))
    assert lone.read(repository) is None
    assert lone.read(branch) is None


def test_a_webhook_that_is_not_active_hears_of_no_push(lone: Lone) -> None:
    lone.make(REPOSITORY, name="a", autoInit=True)
    configuration = {"url": "https://x.example.com", "contentType": "json"}
    hook = {"repository": "a", "configuration": configuration, "events": ["push"], "active": False}
    lone.make("github:index/repositoryWebhook:RepositoryWebhook", **hook)
    lone.host.put_file("example-org/a", "main", "f", b"", "Push")
    lone.host.drain()
    assert "push" not in {each.event for each in lone.host.deliveries}


# The end


@pytest.fixture(scope="module")
def taken_down(standing: Hosted) -> Standing:
    """Everything is taken away, the last first."""
    for thing in reversed(standing.things):
        standing.world.delete(thing.request, thing.id)
    return standing


@pytest.mark.parametrize("type_", sorted(ROWS))
def test_what_is_taken_away_is_gone(taken_down: Hosted, type_: str) -> None:
    found = [taken_down.read(each) for each in taken_down.of(type_)]
    match type_:
        case t if t == REPOSITORY:
            assert [(each or {})["archived"] for each in found] == [True]
        case t if t == DEFAULT_BRANCH:
            assert [(each or {})["branch"] for each in found] == ["master"]
        case t if t == WORKFLOWS:
            # A repository is never without them: the provider sets the narrowest.
            assert [(each or {})["defaultWorkflowPermissions"] for each in found] == ["read"]
        case _:
            assert set(map(str, found)) == {"None"}
    for each in taken_down.of(type_):
        if type_ != REPOSITORY:
            taken_down.world.delete(each.request, each.id)


EMPTY: Final = (
    ("cloudwatch", "describe_alarms", "MetricAlarms"),
    ("codebuild", "list_projects", "projects"),
    ("codepipeline", "list_pipelines", "pipelines"),
    ("ecr", "describe_repositories", "repositories"),
    ("events", "list_rules", "Rules"),
    ("lambda", "list_event_source_mappings", "EventSourceMappings"),
    ("lambda", "list_functions", "Functions"),
    ("logs", "describe_log_groups", "logGroups"),
    ("s3", "list_buckets", "Buckets"),
    ("scheduler", "list_schedules", "Schedules"),
    ("sns", "list_subscriptions", "Subscriptions"),
    ("sns", "list_topics", "Topics"),
    ("sqs", "list_queues", "QueueUrls"),
)


def test_nothing_is_left_in_the_accounts(taken_down: Hosted) -> None:
    left = {
        f"{stack} {operation}": json.dumps(found, default=str)
        for stack in STACKS
        for service, operation, key in EMPTY
        if (found := getattr(taken_down.client(stack, service), operation)().get(key))
    }
    assert left == {}
    repo = taken_down.host.repository("example-org/gitops")
    assert repo is not None
    assert (repo.rulesets, repo.teams, repo.variables, taken_down.host.webhooks(repo.full_name)) == ({}, {}, {}, [])
    assert repo.environments == {}
    assert repo.store.refs().keys() == {"refs/heads/master"}
