"""The fault suite: every fault by its name, and what becomes of the messages meanwhile and afterwards.

In each row a batch of three meets one fault: an event of `shop`, whose own fault it may be, and one of `good`, which Lambda
gives; one of `calm`, which the writer finds waiting. Whatever happens, each message ends deleted with a logged outcome, in the
failure queue, or visible again; each image ends in exactly one commit; and nothing that was written holds a secret.
"""

import json
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeAlias, cast

import pytest

from functions.gitops_writer import handler
from functions.gitops_writer.core import Message
from functions.gitops_writer.github import GitHubError
from rehearsal.githost.model import Call, Fault
from tests.functions.handlings import HANDLINGS, without
from tests.functions.kit import LONG, QUOTED, VISIBILITY_SECONDS, Bench, ecr_event, image_file, tag, written
from tests.rehearsal import githost_kit
from tests.rehearsal.githost_kit import REPOSITORY

OLD: Final = "20200101T000000Z-000000000000"
NONE: Final = "sha256:" + "0" * 64
SHOP, GOOD, CALM = "shop", "good", "calm"
OUTCOMES: Final = ("bumped", "skipped", "failed")
# A first receipt: half of 20 s to all of it. functions/gitops_writer/queues.py
FIRST: Final = (10, 20)


class Kind(StrEnum):
    """What becomes of messages while a fault lasts."""

    PASSES = "done within the invocation"
    BACK = "back to the queue, the whole batch"
    FAILED = "into the failure queue with its reason, the rest is done"
    DROPPED = "dropped with a record, the rest is done"


@dataclass(kw_only=True)
class Scene:
    """One row being played.

    Attributes:
        it: The writer and its world.
        pushed: Tag of each service's new image.
        message: What is sent of `shop`.
        mend: Ends the fault.
    """

    it: Bench
    pushed: str
    message: object
    mend: Callable[[], None] = lambda: None


Arrange: TypeAlias = Callable[[Scene], None]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A fault.

    Attributes:
        name: Its name.
        kind: What becomes of the messages.
        arrange: Brings the fault about.
        said: What the log, or the reason in the failure queue, says of it.
        seconds: When messages that went back are seen again, from and to.
        calls: Number of calls in the first invocation, by name.
        metrics: Sums of metrics over all invocations, by name.
        file: What `shop`'s file must be in the end, but for tag and digest; None where that is not the point.
        again: Messages that are seen again although they are done.
        remaining: Seconds that each invocation has.
    """

    name: str
    kind: Kind
    arrange: Arrange
    said: str = ""
    seconds: tuple[float, float] = FIRST
    calls: Mapping[str, int] = field(default_factory=dict[str, int])
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    file: bytes | None = None
    again: int = 0
    remaining: float = LONG


# How faults come about


def github(*faults: Fault | None, operation: str = "CommitImages") -> Arrange:
    """GitHub answers the next requests of an operation with faults, one each."""

    def arrange(scene: Scene) -> None:
        left = list(faults)
        scene.it.host.faults = lambda call: left.pop(0) if call.operation == operation and left else None
        scene.mend = lambda: setattr(scene.it.host, "faults", None)

    return arrange


TOKEN: Final = "/app/installations/<int:installation_id>/access_tokens"


def always(fault: Fault, *, operation: str = "CommitImages") -> Arrange:
    """GitHub answers every request of an operation so."""
    return github(*[fault] * 99, operation=operation)


def said(message: str, status: int = 200, kind: str = "", **headers: str) -> Fault:
    """GitHub's answer with a message: REST's, or an error of GraphQL at status 200."""
    error = {"message": message, **({"type": kind} if kind else {})}
    body = {"data": None, "errors": [error]} if status == 200 else error
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault(status=status, body=json.dumps(body).encode(), headers=named)


def aws(*names: str, code: str, times: float = float("inf")) -> Arrange:
    """AWS refuses the next calls of these names."""

    def arrange(scene: Scene) -> None:
        scene.it.wire.refuse(*names, code=code, times=times)
        scene.mend = lambda: setattr(scene.it.wire, "listener", None)

    return arrange


def file(content: bytes | None) -> Arrange:
    """`shop`'s image file holds this."""

    def arrange(scene: Scene) -> None:
        scene.it.put({image_file(SHOP): content})
        scene.mend = lambda: void(scene.it.put({image_file(SHOP): written(SHOP, OLD, NONE)}))

    return arrange


def void(_: object) -> None:
    """Nothing of interest."""


def message(body: object) -> Arrange:
    """What is sent of `shop` is this."""

    def arrange(scene: Scene) -> None:
        scene.message = body

    return arrange


def event(image_tag: str | None, service: str = SHOP, **detail: str) -> Arrange:
    """ECR tells this of `shop`."""
    return message(ecr_event(f"develop/{service}", image_tag, **detail))


def both(*arranges: Arrange) -> Arrange:
    """One fault and another."""

    def arrange(scene: Scene) -> None:
        mends: list[Callable[[], None]] = []
        for each in arranges:
            each(scene)
            mends.append(scene.mend)

        def mend() -> None:
            for each in mends:
                each()

        scene.mend = mend

    return arrange


def future(scene: Scene) -> None:
    """An image claims to be built 15 minutes after it was pushed."""
    ahead = tag(scene.it.time(-900))
    scene.it.push(SHOP, ahead)
    scene.message = ecr_event(f"develop/{SHOP}", ahead)


def deleted(scene: Scene) -> None:
    """People have deleted the service's directory."""
    scene.it.put({image_file(SHOP): None})


def unscaffoldable(scene: Scene) -> None:
    """There is no directory yet, and none can be made of the catalogue's entry."""
    scene.it.declare("new", health_path='/"')
    scene.it.push("new", scene.pushed)
    scene.message = ecr_event("develop/new", scene.pushed)


def branch_missing(scene: Scene) -> None:
    """Somebody has deleted the branch."""
    head = str(scene.it.host.head(REPOSITORY, "dev"))
    scene.it.host.delete_branch(REPOSITORY, "dev")
    scene.mend = lambda: scene.it.host.create_branch(REPOSITORY, "dev", source=head)


def rule_in_the_way(scene: Scene) -> None:
    """A rule of the branch does not let this App pass."""
    rule = {"type": "pull_request", "parameters": {"required_approving_review_count": 1}}
    number = scene.it.host.add_ruleset(REPOSITORY, githost_kit.ruleset("no writer", "dev", rule))
    scene.mend = lambda: scene.it.host.delete_ruleset(REPOSITORY, number)


def quota_used_up(status: int, kind: str = "", message: str = "API rate limit exceeded.") -> Arrange:
    """The hourly quota is used up, for ten minutes yet."""

    def arrange(scene: Scene) -> None:
        reset = str(int(scene.it.world.now) + 600)
        always(said(message, status, kind, X_RateLimit_Remaining="0", X_RateLimit_Reset=reset))(scene)

    return arrange


def one_change_refused(scene: Scene) -> None:
    """GitHub takes any commit that does not change `shop`."""

    def faults(call: Call) -> Fault | None:
        refused = call.operation == "CommitImages" and image_file(SHOP).encode() in call.body
        return said("A path was requested for addition which is not valid", kind="UNPROCESSABLE") if refused else None

    scene.it.host.faults = faults
    scene.mend = lambda: setattr(scene.it.host, "faults", None)


def cut_short(scene: Scene) -> None:
    """GitHub gives only a part of `shop`'s file, as it does of large ones."""
    whole = {each: written(each, OLD, NONE).decode() for each in (SHOP, GOOD, CALM)}
    blobs: dict[str, dict[str, object]] = {
        image_file(each): {"text": text, "byteSize": len(text), "isBinary": False, "isTruncated": each == SHOP}
        for each, text in whole.items()
    }

    def faults(call: Call) -> Fault | None:
        if call.operation != "ReadBranch":
            return None
        asked: dict[str, str] = json.loads(call.body)["variables"]
        target: dict[str, object] = {"oid": scene.it.host.head(REPOSITORY, "dev")}
        for name, path in asked.items():
            if name[1:].isdigit():
                directory = {"type": "tree", "oid": "0" * 40} if "." not in path else None
                target[f"f{name[1:]}"] = {"type": "blob", "oid": "1" * 40, "object": blobs[path]} if path in blobs else directory
        body = {"data": {"repository": {"commit": {"target": target}}}}
        return Fault(status=200, body=json.dumps(body).encode())

    scene.it.host.faults = faults


def damaged_key() -> str:
    """The key without a line in its middle: what is left must stay as secret as the whole."""
    lines = githost_kit.key(str(githost_kit.DEV_APP)).private_pem.decode().splitlines(keepends=True)
    return "".join(lines[:9] + lines[10:])


def secret(text: str | None) -> Arrange:
    """The secret holds this in place of the key; None deletes it."""

    def arrange(scene: Scene) -> None:
        secrets = scene.it.client("secretsmanager")
        key = secrets.get_secret_value(SecretId="key")["SecretString"]
        if text is None:
            secrets.delete_secret(SecretId="key", ForceDeleteWithoutRecovery=True)
            scene.mend = lambda: void(secrets.create_secret(Name="key", SecretString=key))
        else:
            secrets.put_secret_value(SecretId="key", SecretString=text)
            scene.mend = lambda: void(secrets.put_secret_value(SecretId="key", SecretString=key))

    return arrange


# The table

SECONDARY: Final = "You have exceeded a secondary rate limit and have been temporarily blocked from content creation."
TIMEOUT: Final = "We couldn't respond to your request in time."
HALF: Final = b'{"data": {"createCommitOnBranch": {"commit": {"oi'
PARTIAL: Final = Fault(
    status=200, body=b'{"data": {"repository": {"commit": null}}, "errors": [{"message": "Something went wrong"}]}'
)
HTML: Final = b"<!DOCTYPE html><html><title>Unicorn!</title></html>"
COMMITS, READS, TOKENS = "github.CommitImages", "github.ReadBranch", "github.token"
KEYS: Final = "secrets-manager.GetSecretValue"


def passing(
    name: str, fault: Fault, operation: str = "CommitImages", *, calls: Mapping[str, int] | None = None, retries: float = 1
) -> Row:
    """Trouble that is over with the next request."""
    arrange = github(fault, operation=operation)
    return Row(name=name, kind=Kind.PASSES, arrange=arrange, calls=calls or {}, metrics={"retries": retries})


def back(  # noqa: PLR0913 — the columns of the table
    name: str,
    arrange: Arrange,
    text: str,
    least: float = 0,
    *,
    calls: Mapping[str, int] | None = None,
    metrics: Mapping[str, float] | None = None,
    seconds: tuple[float, float] | None = None,
    remaining: float = LONG,
) -> Row:
    """Trouble that the queue waits out, at least for so many seconds."""
    return Row(
        name=name,
        kind=Kind.BACK,
        arrange=arrange,
        said=text,
        seconds=seconds or (least + FIRST[0], least + FIRST[1]),
        calls=calls or {},
        metrics=metrics or {},
        remaining=remaining,
    )


def failed(name: str, arrange: Arrange, reason: str) -> Row:
    """What a person must mend."""
    return Row(name=name, kind=Kind.FAILED, arrange=arrange, said=reason, metrics={"failures": 1})


def dropped(reason: str, arrange: Arrange, name: str = "") -> Row:
    """What is of no interest."""
    metrics = {"skipped": 1.0, f"skipped_{reason}": 1.0}
    return Row(name=f"message-{name or reason}", kind=Kind.DROPPED, arrange=arrange, said=reason, metrics=metrics)


def kept(name: str, content: bytes, after: bytes = b"") -> Row:
    """A file that is no fault at all, and must come out as it went in but for tag and digest."""
    return Row(name=f"file-{name}", kind=Kind.PASSES, arrange=file(content), file=after or content)


STORM: Final = always(said("Expected branch to point to", kind="STALE_DATA"))
EXPIRED: Final = said("Bad credentials", 401)
LF: Final = written(SHOP, OLD, NONE)

GITHUB_PASSES: Final = (
    passing("401-expired-token-at-the-commit", EXPIRED, calls={TOKENS: 2, KEYS: 2, READS: 1, COMMITS: 2}, retries=0),
    passing("401-expired-token-at-the-read", EXPIRED, "ReadBranch", calls={TOKENS: 2, KEYS: 2, READS: 2, COMMITS: 1}, retries=0),
    passing("500-once", said("Server Error", 500), calls={TOKENS: 1, COMMITS: 2}),
    passing("500-once-at-the-read", said("Server Error", 500), "ReadBranch", calls={READS: 2, COMMITS: 1}),
    passing("500-once-at-the-token", said("Server Error", 500), TOKEN, calls={TOKENS: 2, COMMITS: 1}),
    passing("502-once", Fault(status=502, body=HTML)),
    passing("503-once", said("Service Unavailable", 503)),
    passing("408-once", said("Request Timeout", 408)),
    passing("504-before-the-commit", said(TIMEOUT, 504), calls={COMMITS: 2}),
    passing("504-after-the-commit", Fault(status=504, after=True), calls={COMMITS: 1}),
    passing("dropped-before-the-commit", Fault(drop=True), calls={COMMITS: 2}),
    passing("dropped-after-the-commit", Fault(drop=True, after=True), calls={COMMITS: 1}),
    passing("dropped-at-the-read", Fault(drop=True), "ReadBranch"),
    passing("dropped-at-the-token", Fault(drop=True), TOKEN),
    passing("body-cut-before-the-commit", Fault(status=200, body=HALF, cut=True), calls={COMMITS: 2}),
    passing("body-cut-after-the-commit", Fault(status=200, body=HALF, cut=True, after=True), calls={COMMITS: 1}),
    passing("body-cut-at-the-read", Fault(status=200, body=b'{"data": {"repo', cut=True), "ReadBranch"),
    passing("half-a-json", Fault(status=200, body=HALF)),
    passing("half-a-json-at-the-token", Fault(status=201, body=b'{"token": "ghs_'), TOKEN),
    passing("html-with-200", Fault(status=200, body=HTML, headers={"Content-Type": "text/html"})),
    passing("no-data-and-no-errors", Fault(status=200, body=b'{"data": null}')),
    passing("no-data-and-no-errors-at-the-read", Fault(status=200, body=b'{"data": null}'), "ReadBranch"),
    passing("an-error-beside-data-at-the-read", PARTIAL, "ReadBranch"),
    passing("empty-body", Fault(status=200)),
    passing("a-list-with-200", Fault(status=200, body=b"[]")),
    passing("a-token-answer-without-token", Fault(status=201, body=b"{}"), TOKEN, calls={TOKENS: 2}),
    passing("a-commit-without-its-id", Fault(status=200, body=b'{"data": {"createCommitOnBranch": null}}', after=True)),
    passing("error-without-a-type", said("Something went wrong while executing your query."), calls={COMMITS: 2}),
    passing("429-for-two-seconds", said("Slow down", 429, Retry_After="2")),
    passing("403-for-two-seconds", said(SECONDARY, 403, Retry_After="2")),
)

NOWHERE: Final = Fault(
    status=200,
    body=b'{"data": {"repository": null}, "errors": [{"type": "NOT_FOUND", "path": ["repository"], "message": "none such"}]}',
)
OLD_SERVER: Final = Fault(status=200, body=b'{"errors": [{"message": "no field", "extensions": {"code": "undefinedField"}}]}')
GITHUB_BACK: Final = (
    back("401-that-stays", always(EXPIRED), "401: Bad credentials", calls={TOKENS: 2, COMMITS: 2}, metrics={"refused": 1}),
    back("401-at-the-token", always(said("A JSON web token could not be decoded", 401), operation=TOKEN), "401: A JSON"),
    back("404-at-the-token", always(said("Not Found", 404), operation=TOKEN), "404: Not Found", calls={TOKENS: 1}),
    back("403-retry-after", always(said("secondary", 403, Retry_After="90")), "403: secondary", 90, calls={COMMITS: 1}),
    back("429-retry-after", always(said("Slow down", 429, Retry_After="120")), "429: Slow down", 120, calls={COMMITS: 1}),
    back("403-retry-after-at-the-token", always(said("x", 403, Retry_After="90"), operation=TOKEN), "403: x", 90),
    back("403-secondary-limit-without-a-time", always(said(SECONDARY, 403)), "secondary rate limit", 60, calls={COMMITS: 1}),
    back("429-without-a-time", always(Fault(status=429)), "429", 60, calls={COMMITS: 1}),
    back("403-quota-used-up-until-its-reset", quota_used_up(403), "API rate limit exceeded", 600),
    back("403-quota-used-up-without-a-word", quota_used_up(403, message=""), "GitHub answered 403", 600, calls={COMMITS: 1}),
    back("429-quota-used-up-until-its-reset", quota_used_up(429), "API rate limit exceeded", 600),
    back("503-retry-after", always(said("Down for a while", 503, Retry_After="30")), "503: Down for a while", 30),
    back("500-that-stays", always(said("Server Error", 500)), "500: Server Error", calls={COMMITS: 3}, metrics={"retries": 2}),
    back("dropped-each-time", always(Fault(drop=True), operation="ReadBranch"), "no whole answer", calls={READS: 3}),
    back("stale-data-storm", STORM, "moved 20 times", calls={COMMITS: 20}, metrics={"conflicts": 20, "retries": 19}),
    back("stale-data-with-no-time-left", STORM, "moved 1 times", calls={COMMITS: 1}, metrics={"conflicts": 1}, remaining=25.0),
    back("403-without-a-word", always(Fault(status=403)), "GitHub answered 403", calls={COMMITS: 1}, metrics={"refused": 1}),
    back("graphql-rate-limited", always(said("Too much", kind="RATE_LIMITED")), "RATE_LIMITED", 60, calls={COMMITS: 1}),
    back("graphql-rate-limited-until-its-reset", quota_used_up(200, "RATE_LIMITED"), "RATE_LIMITED", 600),
    # As GitHub answers by now: https://github.com/cli/cli/issues/12812
    back("graphql-rate-limit", always(said("Too much", kind="RATE_LIMIT")), "RATE_LIMIT", 60, calls={COMMITS: 1}),
    back("graphql-rate-limit-until-its-reset", quota_used_up(200, "RATE_LIMIT"), "RATE_LIMIT", 600),
    # "200 or 403 ... Otherwise, wait for at least one minute":
    # https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api#exceeding-the-rate-limit
    back("graphql-secondary-limit-with-200", always(said(SECONDARY)), "secondary rate limit", 60, calls={COMMITS: 1}),
    back("graphql-forbidden", always(said("Not accessible by integration", kind="FORBIDDEN")), "FORBIDDEN", calls={COMMITS: 1}),
    back("graphql-not-found", always(said("No such branch: dev", kind="NOT_FOUND")), "NOT_FOUND", calls={COMMITS: 1}),
    back("graphql-repository-not-found", always(NOWHERE, operation="ReadBranch"), "NOT_FOUND", calls={READS: 1}),
    back("graphql-a-field-that-an-old-server-lacks", always(OLD_SERVER), "no field", calls={COMMITS: 1}),
    back("branch-missing", branch_missing, "has no branch 'dev'", calls={READS: 1, COMMITS: 0}),
    back("rule-in-the-way", rule_in_the_way, "rule violations", calls={COMMITS: 1}, metrics={"refused": 1}),
)

GITHUB_FAILED: Final = (failed("graphql-unprocessable-for-one-change", one_change_refused, "GitHub does not take the change"),)

THROTTLED, DENIED = "ThrottlingException", "AccessDeniedException"
NEEDED: Final = (
    "ecr.DescribeImages",
    "ssm.GetParametersByPath",
    "secrets-manager.GetSecretValue",
)
AWS: Final = (
    *(Row(name=f"aws-{name}-throttled-twice", kind=Kind.PASSES, arrange=aws(name, code=THROTTLED, times=2)) for name in NEEDED),
    *(
        back(
            f"aws-{name}-{word}",
            aws(name, code=code),
            f"AWS {name.partition('.')[2]}: {code}",
            calls={COMMITS: 0},
        )
        for name in NEEDED
        for word, code in (("throttled", THROTTLED), ("denied", DENIED))
    ),
    Row(
        name="aws-delete-down",
        kind=Kind.PASSES,
        arrange=aws("sqs.DeleteMessageBatch", code="InternalError"),
        said="not deleted: will be seen again",
        again=1,
    ),
    back(
        "aws-visibility-down-while-github-is",
        both(always(said("Server Error", 500)), aws("sqs.ChangeMessageVisibilityBatch", code=DENIED)),
        "not put back",
        seconds=(VISIBILITY_SECONDS - 30, VISIBILITY_SECONDS),
    ),
    back("aws-secret-missing", secret(None), "AWS GetSecretValue: ResourceNotFoundException"),
    back("aws-secret-holds-no-key", secret("to be put here"), "holds no RSA private key", calls={TOKENS: 0}),
    back("aws-secret-holds-a-damaged-key", secret(damaged_key()), "holds no RSA private key", calls={TOKENS: 0}),
)

ANCHORED: Final = LF.replace(f'"{OLD}"'.encode(), b"&tag a") + b"x-other: *tag\n"
FILES: Final = (
    failed("file-missing", both(file(None), lambda scene: void(scene.it.put({"apps/shop/README.md": b"x\n"}))), "is missing"),
    failed("file-without-the-entry", file(LF.replace(b"name: shop", b"name: web")), "has no entry of 'shop'"),
    failed("file-with-two-entries", file(LF + b"  - name: shop\n    newTag: a\n"), "has 2 entries of 'shop'"),
    failed("file-of-broken-yaml", file(b"images: [\n"), "no YAML"),
    failed("file-of-two-documents", file(LF + b"---\n" + LF), "no YAML"),
    failed("file-that-is-a-list", file(b"- name: shop\n  newTag: a\n"), "no YAML mapping"),
    failed("file-that-is-empty", file(b""), "no YAML mapping"),
    failed("file-whose-images-are-a-mapping", file(b"images:\n  name: shop\n"), "no list `images`"),
    failed("file-of-one-mebibyte", file(LF + b"#" * (1024 * 1024 - len(LF))), "65536 are allowed"),
    failed("file-that-is-binary", file(b"\x00\x01images: []\n"), "is no text"),
    failed("file-that-is-not-utf-8", file(b"# caf\xe9\n" + LF), "is not UTF-8"),
    failed("file-that-github-cuts-short", cut_short, "only in part"),
    failed("file-with-an-anchored-tag", file(ANCHORED), "carries an anchor"),
    failed("catalogue-entry-broken", unscaffoldable, "health_path"),
    *(
        failed(f"file-that-ruamel-stumbles-over-with-{name}", file(content), "no YAML")
        for name, content in {
            "KeyError": b"images:\n  - name: shop\n    newTag: !!bool x\n",
            "AttributeError": b"images:\n  - name: shop\n    digest: !!set x\n",
            "IndexError": b"images:\n  - name: shop\n    newTag: !!int\n",
            "TypeError": b"? images:\n  - name: shop\n",
            "NotImplementedError": b"x:\nimages:\n  - name: shop\n    newTag: #c\xe2\x80\xa8null\n\n",
        }.items()
    ),
    kept("crlf", LF.replace(b"\n", b"\r\n")),
    kept("comments", b"# above\n\n" + LF.replace(b"newTag", b"# between\n    newTag") + b"# below\n"),
    kept("anchors", b"x-labels: &labels {team: web}\ny-labels: *labels\n" + LF),
    kept("bom", b"\xef\xbb\xbf" + LF),
    kept("others-beside-it", LF + b"  - name: web\n    newTag: keep\n"),
    kept("unquoted-numeric-tag", LF.replace(f'"{OLD}"'.encode(), b"1234567"), LF),
    kept("unquoted-tag-in-exponent-form", LF.replace(f'"{OLD}"'.encode(), b"12e4567"), LF),
)

MESSAGES: Final = (
    failed("message-no-json", message("{ no json"), "is no JSON"),
    failed("message-no-object", message(["no", "object"]), "has no `detail`"),
    failed("message-no-detail", message({"source": "aws.ecr"}), "has no `detail`"),
    failed("message-nested-too-deeply", message("[" * 100_000), "is no JSON"),
    Row(
        name="failure-queue-down",
        kind=Kind.FAILED,
        arrange=both(message("{ no json"), aws("sqs.SendMessage", code=DENIED)),
        said="is no JSON",
        again=1,
    ),
    dropped("untagged", event(None)),
    dropped("malformed", event("latest")),
    dropped("malformed", event("20261301T000000Z-abcdefabcdef"), "malformed-in-time"),
    dropped("mark", event("slipway-keep-dev")),
    dropped("foreign", message(ecr_event("release/shop", OLD)), "foreign-repository"),
    dropped("foreign", event(OLD, **{"action-type": "DELETE"}), "foreign-action"),
    dropped("foreign", event(OLD, result="FAILURE"), "foreign-result"),
    dropped("foreign", message({**ecr_event("develop/shop", OLD), "detail-type": "ECR Replication Action"}), "foreign-type"),
    dropped("undeclared", event(OLD, "stranger")),
    dropped("gone", event(OLD)),
    dropped("future", future),
    dropped("removed", deleted),
)

ROWS: Final = (*GITHUB_PASSES, *GITHUB_BACK, *GITHUB_FAILED, *AWS, *FILES, *MESSAGES)


# The play


class Context:
    """What of Lambda's context is used."""

    def __init__(self, it: Bench, seconds: float) -> None:
        """Begin to count."""
        self._remaining = it.until(seconds)

    def get_remaining_time_in_millis(self) -> int:
        """By the world's clock."""
        return int(self._remaining() * 1000)


@pytest.fixture
def scene(dev: Bench, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Three services at an old image, each with a newer one in the registry that nobody has told of."""
    maker: Callable[[], handler.Writer] = lambda: dev.writer  # noqa: E731 — a stand-in
    monkeypatch.setattr(handler, "_writer", maker)
    pushed = tag(dev.time(10))
    for service in (SHOP, GOOD, CALM):
        dev.declare(service)
        dev.push(service, pushed)
    dev.put({image_file(service): written(service, OLD, NONE) for service in (SHOP, GOOD, CALM)})
    return Scene(it=dev, pushed=pushed, message=ecr_event("develop/shop", pushed))


def invoke(scene: Scene, records: Sequence[Mapping[str, Any]], seconds: float = LONG) -> list[str]:
    """One invocation of Lambda's entry; the ids of the messages that it reports as failed."""
    answer = handler.handler({"Records": records}, Context(scene.it, seconds))
    reported = [each["itemIdentifier"] for each in answer["batchItemFailures"]]
    scene.it.acknowledge(records, reported)
    return reported


def commits(it: Bench, base: str) -> dict[str, list[str]]:
    """The writer's commits since `base`, by the service whose image file they change."""
    repository = it.host.repository(REPOSITORY)
    assert repository is not None
    made: dict[str, list[str]] = {SHOP: [], GOOD: [], CALM: []}
    for commit in repository.store.commits(str(it.host.head(REPOSITORY, "dev")), without=base):
        paths = repository.store.changed_paths(str(commit.parent_ids[0]), str(commit.id))
        for service, those in made.items():
            if commit.author.name == "writer-dev[bot]" and image_file(service) in paths:
                those.append(str(commit.id))
    return made


def summed(output: str) -> Counter[str]:
    """Sums of the metrics in what was printed."""
    sums: Counter[str] = Counter()
    for line in output.splitlines():
        blob = cast("dict[str, Any]", json.loads(line)) if "_aws" in line else {}
        for name, values in blob.items():
            if isinstance(values, list):
                sums[name] += sum(cast("list[int]", values))
    return sums


def name_of(row: Row) -> str:
    return row.name


def ended(it: Bench, row: Row) -> list[str]:
    """The outcomes that must be logged, one a message and no more."""
    last = {Kind.FAILED: "failed", Kind.DROPPED: "skipped"}.get(row.kind, "bumped")
    # What could not be given up has not ended: it is told of once it has.
    more = [] if row.kind is Kind.FAILED else ["skipped"] * row.again
    if row.kind is Kind.DROPPED:
        assert [line["reason"] for line in it.lines("skipped")] == [row.said]
    return sorted([last, "bumped", "bumped", *more])


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_a_fault_is_classified_and_nothing_is_lost_doubled_or_let_out(
    scene: Scene, row: Row, capfd: pytest.CaptureFixture[str]
) -> None:
    it = scene.it
    base = str(it.host.head(REPOSITORY, "dev"))
    row.arrange(scene)
    it.send(scene.message, ecr_event("develop/good", scene.pushed))
    records = it.receive()
    it.send(ecr_event("develop/calm", scene.pushed))
    it.wire.called.clear()

    reported = invoke(scene, records, row.remaining)

    assert {name: it.wire.called.count(name) for name in row.calls} == row.calls
    assert len(reported) == {Kind.BACK: len(records), Kind.FAILED: row.again}.get(row.kind, 0)
    if row.kind is Kind.BACK:
        assert not [line for line in it.lines() if line["message"] in OUTCOMES]
        waits = it.hidden()
        assert len(waits) == 3
        assert all(row.seconds[0] - 1 <= wait <= row.seconds[1] + 1 for wait in waits), waits
    else:
        assert len(it.hidden()) == row.again
    if row.kind is Kind.BACK or row.again:
        assert it.failures() == []
        scene.mend()
        it.world.now += VISIBILITY_SECONDS
        assert invoke(scene, it.receive()) == []

    # In the end, whatever it was:
    assert it.waiting() == (0, 0)
    assert row.said in it.log.getvalue()
    failures = it.failures()
    assert [each["event"] for each in failures] == ([scene.message] if row.kind is Kind.FAILED else [])
    assert all(row.said in each["reason"] for each in failures)
    made = commits(it, base)
    brought = {service: len(those) for service, those in made.items()}
    assert brought == {SHOP: 0 if row.kind in {Kind.FAILED, Kind.DROPPED} else 1, GOOD: 1, CALM: 1}
    assert all(f'newTag: "{scene.pushed}"' in it.read(image_file(service)) for service, count in brought.items() if count)
    assert {line["service"]: [line["commit"]] for line in it.lines("bumped")} == {
        service: those for service, those in made.items() if those
    }
    assert sorted(line["message"] for line in it.lines() if line["message"] in OUTCOMES) == ended(it, row)
    if row.file is not None:
        (found,) = it.client("ecr").describe_images(repositoryName="develop/shop")["imageDetails"]
        wanted = row.file.replace(OLD.encode(), scene.pushed.encode()).replace(NONE.encode(), found["imageDigest"].encode())
        assert it.host.read(REPOSITORY, "dev", image_file(SHOP)) == wanted
    printed = "".join(capfd.readouterr())
    sums = summed(printed)
    assert sums["bumped"] == sum(brought.values())
    assert {name: sums[name] for name in row.metrics} == row.metrics
    assert it.leaks(it.log.getvalue(), printed, json.dumps(failures), repr(it.writer)) == []


@pytest.mark.parametrize("code", [THROTTLED, DENIED])
def test_what_cannot_be_drained_waits_and_what_was_given_is_carried_out(scene: Scene, code: str) -> None:
    it = scene.it
    it.send(scene.message)
    records = it.receive()
    it.send(ecr_event("develop/good", scene.pushed))
    it.wire.refuse("sqs.ReceiveMessage", code=code)
    assert invoke(scene, records) == []
    assert f'newTag: "{scene.pushed}"' in it.read(image_file(SHOP))
    assert it.waiting() == (1, 0)
    (line,) = it.lines("not drained: what was given is carried out")
    assert line["detail"] == f"AWS ReceiveMessage: {code}"


def test_a_message_that_is_not_put_back_is_told_of(scene: Scene) -> None:
    it = scene.it
    it.send(scene.message)
    (record,) = it.receive()
    lost = Message(id="lost", handle="no-handle-of-any-message", body="{}")
    kept = Message(id=record["messageId"], handle=record["receiptHandle"], body=record["body"])
    assert it.writer.queue.put_back([lost, kept]) == ["lost"]
    assert it.hidden() != []


@pytest.mark.parametrize("fault", [said("x", 403, Retry_After="90"), said("API rate limit exceeded", kind="RATE_LIMITED")])
def test_what_comes_while_github_wants_to_be_left_alone_waits_as_well_and_asks_nothing(scene: Scene, fault: Fault) -> None:
    it = scene.it
    github(fault)(scene)
    it.send(scene.message)
    assert len(invoke(scene, it.receive())) == 1
    asked = len(it.host.requests)
    (least,) = it.hidden()
    it.world.now += 30
    it.send(ecr_event("develop/good", scene.pushed))
    assert len(invoke(scene, it.receive())) == 1
    assert len(it.host.requests) == asked
    assert least - 30 - 20 < min(it.hidden())
    it.world.now += max(it.hidden()) + 1
    assert invoke(scene, it.receive()) == []
    assert len(it.commits()) == 1


# All that a sweep can meet: it has no part in the queue.
SWEPT: Final = [row for row in ROWS if row.kind is Kind.BACK and not row.name.startswith(("aws-sqs", "aws-visibility"))]


@pytest.mark.parametrize("row", SWEPT, ids=name_of)
def test_a_sweep_that_meets_a_fault_says_so_and_the_next_one_mends(
    scene: Scene, row: Row, capfd: pytest.CaptureFixture[str]
) -> None:
    it = scene.it
    base = str(it.host.head(REPOSITORY, "dev"))
    row.arrange(scene)
    sweep = {"slipway": "sweep"}

    with pytest.raises(GitHubError) as raised:  # Lambda counts it, and logs its text
        handler.handler(sweep, Context(it, row.remaining))

    printed = "".join(capfd.readouterr())
    assert summed(printed)["swept"] == 0
    scene.mend()
    it.world.now += 900
    assert handler.handler(sweep, Context(it, LONG))["services"] == 3
    more = "".join(capfd.readouterr())
    assert summed(more)["swept"] == 1
    assert {service: len(those) for service, those in commits(it, base).items()} == {SHOP: 1, GOOD: 1, CALM: 1}
    logged_by_lambda = "".join(traceback.format_exception(raised.value))
    assert it.leaks(it.log.getvalue(), printed, more, logged_by_lambda) == []


def test_the_search_for_secrets_finds_them(dev: Bench) -> None:
    token = dev.writer.github.app.token()
    (assertion,) = dev.host.credentials - {token}
    line = githost_kit.key(str(githost_kit.DEV_APP)).private_pem.decode().splitlines()[7]
    for found in (token, assertion, assertion.split(".")[2], line, "Authorization: Bearer x", QUOTED):
        assert dev.leaks("harmless", f"before {found} after")
    assert dev.leaks("harmless", OLD, NONE) == []


def test_a_failures_line_names_its_service_as_every_other_line_does(scene: Scene) -> None:
    file(b"images: [\n")(scene)
    scene.it.run(scene.message)
    (line,) = scene.it.lines("failed")
    assert (line["service"], line["reason"], line["tag"]) == (SHOP, "failed", scene.pushed)


# What taking a handling away must break: tests/functions/handlings.py


def test_every_handling_stands_where_its_proof_takes_it_away_and_the_proofs_rows_exist() -> None:
    for handling in HANDLINGS:
        assert without(handling)
        assert {each for each in handling.tests if each.startswith("[")} <= {f"[{row.name}]" for row in ROWS}


def test_names_of_rows_and_handlings_are_of_one_each() -> None:
    for names in ([row.name for row in ROWS], [each.name for each in HANDLINGS]):
        assert len(names) == len(set(names))
