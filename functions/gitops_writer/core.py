"""What to do, decided from what is known: events, catalogue, registry's facts and the files at one head. Pure.

Every event ends in exactly one `Outcome`. Its reason says what became of it; nothing leaves without one.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import total_ordering
from typing import Any, Final, cast

from . import manifests
from .settings import Layout

# components/buildspec.yml makes the tag: when the build started, and what was built.
_TAG: Final = re.compile(r"(\d{8}T\d{6}Z)-([0-9a-f]{12})")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
# A build ends before it is pushed, so a tag's time lies before the push; this much is forgiven to clocks.
CLOCK_SKEW: Final = timedelta(minutes=5)
# components/registry.py: KEEP_TAGS. Putting a mark is a push as well, and raises an event like any other.
MARK_PREFIX: Final = "slipway-keep-"


class Reason(StrEnum):
    """What became of an event or a service. All but `BUMPED` and `FAILED` are skips."""

    BUMPED = "bumped"
    CURRENT = "current"
    OLDER = "older"
    SUPERSEDED = "superseded"
    UNTAGGED = "untagged"
    MARK = "mark"
    MALFORMED = "malformed"
    FOREIGN = "foreign"
    UNDECLARED = "undeclared"
    FUTURE = "future"
    GONE = "gone"
    NOT_PROMOTED = "not_promoted"
    REMOVED = "removed"
    SCAFFOLDED = "scaffolded"
    UNCHANGED = "unchanged"
    FAILED = "failed"


# Skips that say that somebody should look: the log has them as warnings.
SUSPICIOUS: Final = frozenset({Reason.MALFORMED, Reason.FOREIGN, Reason.UNDECLARED, Reason.FUTURE, Reason.GONE, Reason.REMOVED})


@total_ordering
@dataclass(frozen=True)
class Tag:
    """A build's tag; the later build is the greater one. Of two in one second (which one queue never makes) the text decides."""

    time: datetime
    commit: str

    def __str__(self) -> str:
        """As it stands in registry and file."""
        return f"{self.time:%Y%m%dT%H%M%SZ}-{self.commit}"

    def __lt__(self, other: "Tag") -> bool:
        """Whether it was built before the other."""
        return (self.time, self.commit) < (other.time, other.commit)


def parse_tag(text: str) -> Tag | None:
    """The tag that `text` spells, None when it is of another form."""
    found = _TAG.fullmatch(text)
    if not found:
        return None
    try:
        time = datetime.strptime(found[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return Tag(time, found[2])


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message of the queue, however it was received."""

    id: str
    handle: str
    body: str
    receives: int = 1


@dataclass(frozen=True, kw_only=True)
class Event:
    """An image was pushed: the message says so, nothing is verified."""

    message: str
    service: str
    tag: Tag


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the registry says of an image."""

    digest: str
    pushed_at: datetime
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image that the registry holds under this tag."""

    service: str
    tag: Tag
    digest: str
    pushed_at: datetime


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of an event, or of a service in a sweep.

    Attributes:
        reason: In a word.
        service: The service, "" when none could be made out.
        message: Id of the event's message, "" in a sweep.
        tag: Tag of the image.
        digest: Its digest, where the registry was asked.
        detail: In a sentence.
        pinned: Environments whose pin hides what was written.
        pushed_at: When the image came to the registry.
    """

    reason: Reason
    service: str = ""
    message: str = ""
    tag: str = ""
    digest: str = ""
    detail: str = ""
    pinned: tuple[str, ...] = ()
    pushed_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Blob:
    """A file at a head; `fault` says why its text cannot be had."""

    text: str = ""
    fault: str = ""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A branch at one commit.

    Attributes:
        branch: The branch.
        head: The commit.
        files: Those that were asked for and exist.
        directories: Those that were asked for and exist.
        trees: What each of them is in Git, by path: as long as this is the same, all below it is.
        absent: Those that were asked for and do not exist.
        removed: Of these, those that once did: people took them away.
    """

    branch: str
    head: str
    files: Mapping[str, Blob] = field(default_factory=dict[str, Blob])
    directories: frozenset[str] = frozenset()
    trees: Mapping[str, str] = field(default_factory=dict[str, str])
    absent: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()

    def changed(self, changes: Mapping[str, str]) -> "Snapshot":
        """The same with files written over it."""
        return replace(self, files={**self.files, **{path: Blob(text=text) for path, text in changes.items()}})


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One commit to be made, none when `changes` is empty.

    Attributes:
        changes: By service, the files to be written.
        outcomes: By service, what becomes of it once they are.
        scaffolded: The services that are new on the branch.
    """

    changes: Mapping[str, Mapping[str, str]]
    outcomes: Mapping[str, Outcome]
    scaffolded: Sequence[str] = ()


Scaffold = Callable[[str], Mapping[str, str]]
"""The files of a new service by path; raises `ValueError` when the catalogue's entry does not allow it."""


# Events


def read_events(messages: Iterable[Message], prefix: str) -> tuple[list[Event], list[Outcome]]:
    """Take ECR's events out of messages.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html

    Returns:
        What was pushed, and the outcome of every other message: what is no event at all has failed, the rest is dropped.
    """
    events: list[Event] = []
    outcomes: list[Outcome] = []
    for message in messages:
        read = _read_event(message, prefix)
        if isinstance(read, Event):
            events.append(read)
        else:
            outcomes.append(read)
    return events, outcomes


def _read_event(message: Message, prefix: str) -> Event | Outcome:  # noqa: PLR0911 — one way out per reason
    try:
        body: object = json.loads(message.body)
    except (ValueError, RecursionError):
        return Outcome(reason=Reason.FAILED, message=message.id, detail="the message is no JSON: an ECR event is needed")
    detail: object = cast("dict[str, Any]", body).get("detail") if isinstance(body, dict) else None
    if not isinstance(detail, dict):
        return Outcome(reason=Reason.FAILED, message=message.id, detail="the message has no `detail`: an ECR event is needed")
    kind = cast("dict[str, Any]", body).get("detail-type")
    facts = {key: str(value) for key, value in cast("dict[str, Any]", detail).items() if value is not None}
    repository, text = facts.get("repository-name", ""), facts.get("image-tag", "")
    service = repository.removeprefix(prefix)
    known = Outcome(reason=Reason.FOREIGN, service=service, message=message.id, tag=text, digest=facts.get("image-digest", ""))
    if kind != "ECR Image Action" or (facts.get("action-type"), facts.get("result")) != ("PUSH", "SUCCESS"):
        said = f"{kind!r} {facts.get('action-type')} {facts.get('result')}: only successful pushes are of interest"
        return _as(known, Reason.FOREIGN, said)
    if not repository.startswith(prefix) or not service:
        return _as(known, Reason.FOREIGN, f"repository {repository!r}: only those of {prefix!r} are this track's")
    if not text:
        return _as(known, Reason.UNTAGGED, "an image without a tag: a part of another, or a leftover")
    if text.startswith(MARK_PREFIX):
        return _as(known, Reason.MARK, "the sweep's own mark")
    tag = parse_tag(text)
    if tag is None:
        return _as(known, Reason.MALFORMED, f"tag {text!r}: <UTC yyyymmddThhmmssZ>-<12 hex> is what the pipelines make")
    return Event(message=message.id, service=service, tag=tag)


def _as(outcome: Outcome, reason: Reason, detail: str) -> Outcome:
    return replace(outcome, reason=reason, detail=detail)


# Images


def refusal(tag: Tag, found: Found | None) -> tuple[Reason, str] | None:
    """Why an image must not be written, or None."""
    if found is None:
        return Reason.GONE, "the registry holds no such image: it has expired, or was deleted"
    if not _DIGEST.fullmatch(found.digest):
        return Reason.GONE, f"the registry answers digest {found.digest!r}: sha256 is needed"
    if tag.time > found.pushed_at + CLOCK_SKEW:
        return Reason.FUTURE, (
            f"built {tag.time.isoformat()}, pushed {found.pushed_at.isoformat()}: over {CLOCK_SKEW.seconds // 60} minutes ahead, "
            "it would win against every true image until then"
        )
    return None


def elect(
    events: Iterable[Event], declared: Iterable[str], look_up: Callable[[str, Tag], Found | None]
) -> tuple[dict[str, Image], dict[str, list[Event]], list[Outcome]]:
    """The newest eligible image of every service, from events in any order and number.

    Args:
        events: What was pushed.
        declared: The services of the catalogue.
        look_up: Asks the registry for a service's tag; called from the newest down, until one is eligible.

    Returns:
        Image by service; the events that led to it, also by service; the outcome of every other event.
    """
    known = frozenset(declared)
    outcomes: list[Outcome] = []
    by_service: dict[str, list[Event]] = {}
    for event in events:
        if event.service in known:
            by_service.setdefault(event.service, []).append(event)
        else:
            said = f"{event.service!r} is not in the catalogue: services.py does not declare it (any more)"
            outcomes.append(
                Outcome(reason=Reason.UNDECLARED, service=event.service, message=event.message, tag=str(event.tag), detail=said)
            )
    images: dict[str, Image] = {}
    chosen: dict[str, list[Event]] = {}
    for service, group in by_service.items():
        for tag in sorted({event.tag for event in group}, reverse=True):
            same = [event for event in group if event.tag == tag]
            if service in images:
                reason, said = Reason.SUPERSEDED, f"{images[service].tag} is in the same batch and newer"
            else:
                found = look_up(service, tag)
                refused = refusal(tag, found)
                if refused is None and found is not None:
                    images[service] = Image(service=service, tag=tag, digest=found.digest, pushed_at=found.pushed_at)
                    chosen[service] = same
                    continue
                reason, said = refused or (Reason.GONE, "")
            outcomes += [
                Outcome(reason=reason, service=service, message=event.message, tag=str(tag), detail=said) for event in same
            ]
    return images, chosen, outcomes


def newest(service: str, held: Iterable[Found]) -> tuple[Image | None, list[Outcome]]:
    """The newest eligible of all images that the registry holds, and those that are newer but refused."""
    tagged = [(tag, found) for found in held for text in found.tags if (tag := parse_tag(text)) is not None]
    refused: list[Outcome] = []
    for tag, found in sorted(tagged, key=lambda pair: pair[0], reverse=True):
        if (why := refusal(tag, found)) is None:
            return Image(service=service, tag=tag, digest=found.digest, pushed_at=found.pushed_at), refused
        refused.append(Outcome(reason=why[0], service=service, tag=str(tag), digest=found.digest, detail=why[1]))
    return None, refused


# Files


def wanted(services: Iterable[str], layout: Layout, environments: Iterable[str]) -> tuple[list[str], list[str]]:
    """Paths of the files, and of the directories, that planning for `services` reads.

    Args:
        services: The services.
        layout: Where their files stand.
        environments: Those that read the branch, whose pins may hide what is written.
    """
    files: list[str] = []
    directories: list[str] = []
    for service in services:
        files += [layout.image(service), *(layout.pin(service, each) for each in environments)]
        directories.append(layout.directory(service))
    return files, directories


def plan(
    images: Mapping[str, Image | None],
    snapshot: Snapshot,
    *,
    layout: Layout,
    environments: Iterable[str],
    scaffold: Scaffold | None,
) -> Plan:
    """What one commit on top of `snapshot` must change, so that each service is at its image or a newer one.

    Applied to its own result it changes nothing: that is what makes duplicates and replays harmless.

    Args:
        images: Image by service; None for a service that need only exist.
        snapshot: The branch, with all that `wanted` names.
        layout: Where files stand.
        environments: Those that read this branch.
        scaffold: Makes a new service's files; None where new services come by promotion.
    """
    environments = tuple(environments)
    changes: dict[str, Mapping[str, str]] = {}
    outcomes: dict[str, Outcome] = {}
    scaffolded: list[str] = []
    for service, image in sorted(images.items()):
        known = Outcome(
            reason=Reason.UNCHANGED,
            service=service,
            tag=str(image.tag) if image else "",
            digest=image.digest if image else "",
            pinned=tuple(each for each in environments if _pinned(snapshot, layout, service, each)),
            pushed_at=image.pushed_at if image else None,
        )
        try:
            outcome, written = _plan_one(known, image, snapshot, layout, scaffold)
        except (manifests.ManifestError, ValueError) as error:
            outcome, written = _as(known, Reason.FAILED, f"{layout.image(service)}: {error}"), {}
        if written and layout.directory(service) not in snapshot.directories:
            scaffolded.append(service)
        outcomes[service] = outcome
        if written:
            changes[service] = written
    return Plan(changes=changes, outcomes=outcomes, scaffolded=scaffolded)


def _plan_one(  # noqa: PLR0911 — one way out per reason
    known: Outcome, image: Image | None, snapshot: Snapshot, layout: Layout, scaffold: Scaffold | None
) -> tuple[Outcome, Mapping[str, str]]:
    service, path = known.service, layout.image(known.service)
    written: dict[str, str] = {}
    if layout.directory(service) not in snapshot.directories:
        if scaffold is None:
            said = f"{layout.directory(service)} is not on {snapshot.branch}: the sweep writes the image once it is promoted"
            return _as(known, Reason.NOT_PROMOTED, said), {}
        if layout.directory(service) in snapshot.removed:
            said = (
                f"{layout.directory(service)} was deleted on {snapshot.branch}: it is not made again. Remove the service's call"
            )
            return _as(known, Reason.REMOVED, said), {}
        written.update(scaffold(service))
        text = written[path]
    elif image is None:
        return known, {}
    elif path not in snapshot.files:
        msg = "the file is missing although the service's directory is there: restore it from Git's history or the scaffold"
        raise ValueError(msg)
    else:
        blob = snapshot.files[path]
        if blob.fault:
            raise ValueError(blob.fault)
        text = blob.text
    if image is None:
        return _as(known, Reason.SCAFFOLDED, "its directory was missing"), written
    entry = manifests.read_entry(text, service)
    present = parse_tag(entry.tag) if entry.tag else None
    # A tag of another form was written by hand, and says nothing of its age: the next image replaces it.
    if present is not None and present > image.tag:
        return _as(known, Reason.OLDER, f"{snapshot.branch} is at {present}, which is newer"), written
    if present == image.tag and entry.digest == image.digest:
        return _as(known, Reason.CURRENT, f"{snapshot.branch} is at this image already"), written
    written[path] = manifests.write_entry(text, service, tag=str(image.tag), digest=image.digest)
    return _as(known, Reason.BUMPED, f"from {entry.tag or 'no image'}"), written


def _pinned(snapshot: Snapshot, layout: Layout, service: str, environment: str) -> bool:
    blob = snapshot.files.get(layout.pin(service, environment))
    if blob is None or blob.fault:
        return False
    try:
        return not manifests.read_pin(blob.text, service).empty
    except manifests.ManifestError:
        # People's file, which Argo CD will complain of; the image beneath is written all the same.
        return False


# Marks


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The image that an environment renders; `known` is False where its files cannot be read, which must change no mark."""

    entry: manifests.Entry
    known: bool = True


def reference_paths(service: str, layout: Layout, environment: str) -> list[str]:
    """The files that say which image an environment renders, the strongest first: of components the last one wins."""
    return [layout.pin(service, environment), layout.overlay_image(service, environment), layout.base_image(service)]


def reference(snapshot: Snapshot, service: str, layout: Layout, environment: str) -> Reference:
    """The image of `service` that `environment` renders from `snapshot`."""
    for index, path in enumerate(reference_paths(service, layout, environment)):
        blob = snapshot.files.get(path)
        if blob is None:
            continue
        if blob.fault:
            return Reference(entry=manifests.Entry(), known=False)
        try:
            entry = (manifests.read_entry if index else manifests.read_pin)(blob.text, service)
        except manifests.ManifestError:
            return Reference(entry=manifests.Entry(), known=False)
        if not entry.empty:
            return Reference(entry=entry)
    return Reference(entry=manifests.Entry())


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A mark to be put on an image."""

    service: str
    name: str
    digest: str


def marks(service: str, held: Sequence[Found], references: Mapping[str, Reference]) -> tuple[list[Mark], list[Outcome]]:
    """How the registry's marks must move, so that each environment's image wears that environment's mark.

    A mark is moved and never taken away. An environment that references nothing may still run what it ran: without its
    image file it renders nothing, and Argo CD leaves what is there. And ECR deletes an image with its last tag, on which no
    facts that were read before can be relied: https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchDeleteImage.html

    Args:
        service: The service.
        held: All its tagged images.
        references: By environment.

    Returns:
        What to do, and a warning for each reference to an image that the registry does not hold.
    """
    todo: list[Mark] = []
    missing: list[Outcome] = []
    for environment, wants in references.items():
        name = f"{MARK_PREFIX}{environment}"
        worn = next((found for found in held if name in found.tags), None)
        entry = wants.entry
        if not wants.known or entry.empty:
            continue
        image = next((each for each in held if each.digest == entry.digest), None)
        if image is None and entry.digest is None:
            image = next((each for each in held if entry.tag in each.tags), None)
        if image is None:
            said = f"{environment} references {entry.tag}@{entry.digest}, which the registry does not hold: it cannot be pulled"
            missing.append(
                Outcome(reason=Reason.GONE, service=service, tag=entry.tag or "", digest=entry.digest or "", detail=said)
            )
        elif worn is None or worn.digest != image.digest:
            todo.append(Mark(service=service, name=name, digest=image.digest))
    return todo, missing
