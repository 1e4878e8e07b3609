"""Rollback and hotfix: a pin above the written image, and its lifting. Nothing is reverted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from slipway.changes import shown
from slipway.flows import MERGE, Desk, Outcome, summary, table
from slipway.gitrepo import StalePushError
from slipway.images import State, allowed, previous, states, untried
from slipway.layout import Environment, Image, SlipwayError, cleaned_reason, lifted, pinned, services_of
from slipway.registry import Wanted, refuse_missing
from slipway.render import body, counted, differences

PREVIOUS: Final = "previous"
_ATTEMPTS: Final = 5
_SHOWN_TAGS: Final = 5

_Edit: TypeAlias = Callable[[Mapping[str, State], Mapping[str, str]], dict[str, str]]
"""From each service's state and the text of its pin file to its new text."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for.

    Attributes:
        environment: Where.
        services: Which.
        reason: Why, in a line.
        direct: Commit to the environment's branch instead of opening a pull request.
    """

    environment: Environment
    services: Sequence[str]
    reason: str
    direct: bool = False


def pin(desk: Desk, request: Request, *, to: str) -> Outcome:
    """Hold services at an image: a tag, or `previous`, the newest that each ran there before what it runs now.

    Raises:
        SlipwayError: a service is not there, or may not be pinned to that image, or the registry does not have it.
    """
    request = replace(request, reason=cleaned_reason(request.reason))

    def edit(now: Mapping[str, State], texts: Mapping[str, str]) -> dict[str, str]:
        images = _chosen(desk, request, now, to)
        if desk.registries:
            wanted = [Wanted(environment=request.environment, service=service, image=image) for service, image in images.items()]
            refuse_missing(desk.registries.missing(wanted))
        return {service: pinned(text, service, images[service], request.reason) for service, text in texts.items()}

    return _write(desk, request, "Pin", edit)


def unpin(desk: Desk, request: Request) -> Outcome:
    """Let services run what was written last.

    Raises:
        SlipwayError: a service is not there.
    """
    request = replace(request, reason=cleaned_reason(request.reason))

    def edit(_: Mapping[str, State], texts: Mapping[str, str]) -> dict[str, str]:
        return {service: lifted(text, service) for service, text in texts.items()}

    return _write(desk, request, "Unpin", edit)


def _chosen(desk: Desk, request: Request, now: Mapping[str, State], to: str) -> Mapping[str, Image]:
    environment, services = request.environment, request.services
    if to == PREVIOUS:
        found = previous(desk.repo, environment, services, now)
        missing = [service for service in services if found[service] is None]
        if missing:
            msg = (
                f"{', '.join(missing)} ran no image in {environment.name} before the present one: `{PREVIOUS}` is allowed where "
                "one did. Name a tag."
            )
            raise SlipwayError(msg)
        return {service: image for service, image in found.items() if image}
    may = allowed(desk.repo, desk.platform, environment, services)
    chosen: dict[str, Image] = {}
    faults: list[str] = []
    for service in services:
        matching = [image for image in may[service] if image.tag == to]
        if len(matching) == 1:
            chosen[service] = matching[0]
            continue
        source = desk.platform.source_of(environment)
        ran = environment.name if source == environment else f"{environment.name} or {source.name}"
        latest = ", ".join(image.tag for image in may[service][: -_SHOWN_TAGS - 1 : -1]) or "none"
        what = f"{len(matching)} images of that tag ran" if matching else "it never ran"
        faults.append(
            f"{service}: tag is {to!r}, but {what} in {ran}: one that did is allowed, the newest are {latest}. Name one of them, "
            f"or `{PREVIOUS}`."
        )
    if faults:
        raise SlipwayError("\n".join(faults))
    return chosen


def _write(desk: Desk, request: Request, verb: str, edit: _Edit) -> Outcome:
    """Commit the edited pin files on the environment's branch or beside it; again, where the branch has moved meanwhile."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return _written(desk, request, verb, edit)
        except StalePushError:
            desk.repo.fetch()
    return _written(desk, request, verb, edit)


def _written(desk: Desk, request: Request, verb: str, edit: _Edit) -> Outcome:
    environment, repo = request.environment, desk.repo
    tip = repo.tip(environment.branch)
    texts = _pin_files(desk, request, tip)
    before = states(repo, tip, environment, request.services)
    edited = edit(before, texts)
    changes = {environment.pin_file(service): text for service, text in edited.items() if text != texts[service]}
    title = f"{verb} {', '.join(request.services)} in {environment.name}"
    if not changes:
        return Outcome(what="unchanged", text=f"{title}: it is so already")
    tree = repo.edited(repo.tree(tip), changes)
    if bad := untried(repo, desk.platform, environment, (tip, tree), request.services):
        source = desk.platform.source_of(environment)
        named = ", ".join(f"{service} ({image.tag})" for service, image in bad.items())
        msg = (
            f"{title}: beneath lies what {source.name} never ran: {named}. Only what it ran is allowed. Release what "
            f"{source.name} runs first, or pin at an image that ran."
        )
        raise SlipwayError(msg)
    after = states(repo, tree, environment, request.services)
    diffs = differences(repo, repo.tree(tip), tree, {service: environment.overlay(service) for service in request.services})
    told = [title, "", request.reason, "", *(f"{each}: {_now(before[each])} -> {_now(after[each])}" for each in request.services)]
    commit = repo.commit(tree, [tip], "\n".join([*told, *([f"\nAsked for by @{desk.actor}"] if desk.actor else [])]))
    if request.direct:
        repo.push(commit, environment.branch, expected=tip)
        return Outcome(what="committed", text=f"{title} (committed to {environment.branch})", branch=environment.branch)
    rows = [
        f"| `{each}` | {shown(before[each].running)} | {shown(after[each].running)} | {shown(after[each].newest)} | "
        f"{counted(diffs[each])} |"
        for each in request.services
    ]
    asked = f" Asked for by @{desk.actor}." if desk.actor else ""
    intro = "\n".join(
        [
            f"{request.reason}{asked}",
            "",
            "A pin holds until it is lifted; newer images are written beneath it and do not show. " + MERGE,
            "",
            *table(f"| service | {environment.name} now | after | written last | rendered |", rows),
            "",
        ]
    )
    branch = f"{verb.lower()}/{environment.name}-{desk.now:%Y%m%dT%H%M%SZ}-{commit[:7]}"
    repo.push(commit, branch, expected=None)
    made = desk.github.open(base=environment.branch, head=branch, title=title, body=body(intro, diffs, whole_at=desk.run_url))
    said = f"{title} (opened {made.url if made else branch})"
    return Outcome(what="opened", text=said, branch=branch, pull=made, whole=summary(intro, diffs))


def _pin_files(desk: Desk, request: Request, tip: str) -> dict[str, str]:
    environment = request.environment
    found = desk.repo.texts(tip, map(environment.pin_file, request.services))
    texts = {service: text for service in request.services if (text := found[environment.pin_file(service)]) is not None}
    if missing := [service for service in request.services if service not in texts]:
        known = services_of(desk.repo.paths(tip, "apps"))
        msg = (
            f"branch {environment.branch} has no pin file of {', '.join(missing)} for {environment.name}: one of "
            f"{', '.join(known)} is allowed. Correct the name, or bring the service there first."
        )
        raise SlipwayError(msg)
    return texts


def _now(state: State) -> str:
    return state.running.tag if state.running else "none"
