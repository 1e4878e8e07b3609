"""Promotion and release: what one branch brings to the next, on a branch of its own, in one pull request.

The branch is pinned: it is the source's commit itself, which no later image moves. Only where a removed service meets
machine-written files that changed meanwhile, it is a merge of the two in which the removal wins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from slipway import health
from slipway.changes import Move, moves, row, sections, shown
from slipway.github import GitHub, Pull
from slipway.gitrepo import Repo
from slipway.images import State, states, untried
from slipway.layout import Environment, Platform, SlipwayError, Step, services_of
from slipway.registry import Registries, Wanted, refuse_missing
from slipway.render import body, counted, differences, touched

MERGE: Final = "Merge it with a merge commit: squashed, it would conflict with the next one."
# docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands: a step's summary holds 1 MiB.
_SUMMARY_LENGTH: Final = 1_000_000
_NOT_LOOKED_UP: Final = "> Whether its images are in the registry was not looked up: see `gitops.id` in Slipway's settings."
_SHORT: Final = 12
_NAMED: Final = 3
# Stages of a path in Git's index: 1 the common ancestor's, 2 ours, 3 theirs.
_OURS_GONE, _THEIRS_GONE = frozenset({1, 3}), frozenset({1, 2})


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What every command works with.

    Attributes:
        platform: platform.json.
        repo: The clone, fetched.
        github: The API.
        reader: The API with a token that may read the applications' repositories, where there is one.
        registries: Where images are looked up; None looks none up.
        now: For names of branches.
        actor: Who asked, on GitHub; "" when nobody in particular.
        run_url: Address of the workflow run, or "".
    """

    platform: Platform
    repo: Repo
    github: GitHub
    reader: GitHub
    registries: Registries | None
    now: datetime
    actor: str = ""
    run_url: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command came to.

    Attributes:
        what: `opened`, `updated`, `closed`, `unchanged`, `skipped`, `committed`, `released`.
        text: For people.
        branch: The branch made or moved.
        pull: The pull request; None without one, or in a dry run.
        whole: The body before it was cut to GitHub's limit.
        tag: The tag of a release.
    """

    what: str
    text: str
    branch: str = ""
    pull: Pull | None = None
    whole: str = ""
    tag: str = ""


@dataclass(frozen=True, kw_only=True)
class Combined:
    """Two commits merged: the tree, and the machine-written files whose removal won."""

    tree: str
    removed: Sequence[str]


def combine(repo: Repo, platform: Platform, ours: str, theirs: str) -> Combined:
    """Merge two commits. Where one side removed a machine-written file that the other changed, the removal wins.

    Raises:
        SlipwayError: anything else collides; or Git took a machine-written file for another one that moved.
    """
    merge = repo.merge(ours, theirs)
    removed = [path for path, stages in merge.conflicts.items() if platform.owner(path) and stages in (_OURS_GONE, _THEIRS_GONE)]
    if colliding := sorted(merge.conflicts.keys() - removed):
        msg = "\n  ".join([f"{ours[:_SHORT]} and {theirs[:_SHORT]} change the same lines of {len(colliding)} files:", *colliding])
        msg += (
            "\nOnly a removed service's machine-written files are merged by rule. Merge the target's branch into a branch of the "
            "source, resolve there, bring that in by a pull request, and run again."
        )
        raise SlipwayError(msg)
    tree = repo.edited(merge.tree, dict.fromkeys(removed)) if removed else merge.tree
    _refuse_mixed(repo, platform, tree, (ours, theirs))
    return Combined(tree=tree, removed=sorted(removed))


def _refuse_mixed(repo: Repo, platform: Platform, tree: str, sides: tuple[str, str]) -> None:
    """Stop where a merge made up what a machine-written file holds: it changes on one branch, so one of the sides has it.

    Where one such file goes while another that is like it comes, Git takes them for one that moved. Scaffolded ones name their
    service in each line, and are never like each other.

    Raises:
        SlipwayError: there is such a file; it says which.
    """
    new, other = (repo.changed(side, tree) for side in sides)
    if mixed := sorted(
        path for path in new.keys() & other.keys() if platform.owner(path) and "D" not in (new[path], other[path])
    ):
        msg = "\n  ".join(
            [f"Git takes {len(mixed)} machine-written files for others that moved, and mixes what they hold:", *mixed]
        )
        msg += (
            "\nOnly what one of the two branches holds is allowed in them. Let each comment line of these files name its own "
            "service, as other services' do, by a pull request into the branch that the change comes from; then run again."
        )
        raise SlipwayError(msg)


def is_release(repo: Repo, platform: Platform, step: Step, *, base: str, head: str) -> bool:
    """Whether a commit, merged into another, is what the step's source was, or a removal's resolution by the workflow."""
    return was_tip(repo, step, head) or is_resolution(repo, platform, step, base=base, head=head)


def was_tip(repo: Repo, step: Step, head: str) -> bool:
    """Whether a commit was once what the step's source is."""
    return repo.in_history(head, repo.tip(step.source.branch))


def is_resolution(repo: Repo, platform: Platform, step: Step, *, base: str, head: str) -> bool:
    """Whether the head is a merge that the release workflow makes. It is made again to see: whoever pushed it does not count."""
    parents = repo.parents(head)
    if len(parents) != 2:  # noqa: PLR2004 — a merge of two
        return False
    ours, theirs = parents
    if not (repo.in_history(ours, base) and was_tip(repo, step, theirs)):
        return False
    try:
        return combine(repo, platform, ours, theirs).tree == repo.tree(head)
    except SlipwayError:
        return False


@dataclass(frozen=True, kw_only=True)
class _Change:
    """What a step would bring to its target.

    Attributes:
        step: The step.
        source: Tip of the source's branch.
        target: Tip of the target's.
        combined: Their merge.
        paths: Changed paths that can matter to the target or beyond it, with A, D, M or T.
    """

    step: Step
    source: str
    target: str
    combined: Combined
    paths: Mapping[str, str]


def _change(desk: Desk, step: Step) -> _Change:
    source, target = desk.repo.tip(step.source.branch), desk.repo.tip(step.target.branch)
    combined = combine(desk.repo, desk.platform, target, source)
    return _Change(
        step=step,
        source=source,
        target=target,
        combined=combined,
        paths=between(desk, step, desk.repo.tree(target), combined.tree),
    )


def between(desk: Desk, step: Step, before: str, after: str) -> dict[str, str]:
    """Paths that differ between two trees and can matter to the target or beyond it, with A, D, M or T."""
    changed = desk.repo.changed(before, after)
    return {path: status for path, status in changed.items() if desk.platform.concerns(path, step.target)}


def promote(desk: Desk, step: Step) -> Outcome:
    """Offer what people changed in one environment to the next: the one pull request, opened or brought up to date."""
    prefix = f"promote/{step.source.name}-"
    change = _change(desk, step)
    pulls = desk.github.pulls(step.target.branch, prefix)
    if not change.paths:
        return _nothing(desk, step, pulls)
    pull = pulls[0] if pulls else None
    if pull and _brings_the_same(desk, change, pull):
        return Outcome(what="unchanged", text=f"#{pull.number} holds it already: {pull.url}", branch=pull.head, pull=pull)
    branch = pull.head if pull else f"{prefix}{change.source[:_SHORT]}"
    title, intro, diffs = _promotion(desk, change)
    text = body(intro, diffs, whole_at=desk.run_url)
    commit = _pinned(desk, change)
    desk.repo.push(commit, branch, expected=pull.commit if pull else None)
    if pull:
        desk.github.edit(pull, title=title, body=text)
    made = pull or desk.github.open(base=step.target.branch, head=branch, title=title, body=text)
    what = "updated" if pull else "opened"
    said = f"{title} ({what} {made.url if made else branch})"
    return Outcome(what=what, text=said, branch=branch, pull=made, whole=summary(intro, diffs))


def _nothing(desk: Desk, step: Step, pulls: Sequence[Pull]) -> Outcome:
    """Close what is open: merging it would bring what its source has taken back."""
    said = f"skipped promotion {step}: nothing changed outside of what {step.source.name} keeps for itself"
    for pull in pulls:
        note = f"Closed by the promote workflow: `{step.source.branch}` holds nothing more for `{step.target.branch}`.\n\n"
        desk.github.edit(pull, state="closed", body=body(note + pull.body, {}))
        desk.repo.push("", pull.head, expected=pull.commit)
        said += f"; closed #{pull.number}"
    return Outcome(what="closed" if pulls else "skipped", text=said, pull=pulls[0] if pulls else None)


def _brings_the_same(desk: Desk, change: _Change, pull: Pull) -> bool:
    """Whether merging the pull request as it stands comes to the same, images of the source aside."""
    desk.repo.ensure(pull.commit)
    merge = desk.repo.merge(change.target, pull.commit)
    return not merge.conflicts and not between(desk, change.step, merge.tree, change.combined.tree)


def _pinned(desk: Desk, change: _Change) -> str:
    """The commit to offer: the source's own, or the merge in which removals won."""
    if not change.combined.removed:
        return change.source
    step = change.step
    message = f"Merge {step.source.branch} into {step.target.branch}: removals win\n\n" + "\n".join(change.combined.removed)
    return desk.repo.commit(change.combined.tree, [change.target, change.source], message)


def _promotion(desk: Desk, change: _Change) -> tuple[str, str, Mapping[str, str]]:
    """Title, introduction and diffs of a promotion."""
    step = change.step
    before, after, diffs = _effect(desk, change)
    changed = services_of(change.paths)
    title = f"Promote {step.source.name} to {step.target.name}: {named(changed) or 'shared files'}"
    rows = [
        f"| `{service}` | {Move(before=before[service], after=after[service]).fate} | {counted(diffs.get(service, ''))} |"
        for service in sorted({*changed, *diffs})
    ]
    intro = [
        f"Brings `{step.source.branch}` at {change.source} to `{step.target.branch}`.",
        f"The promote workflow keeps up with what people change on `{step.source.branch}`; images do not move it. {MERGE}",
        "",
        *table(f"| service | | rendered for {step.target.name} |", rows),
        *_elsewhere(change),
    ]
    return title, "\n".join(intro) + "\n", diffs


def release(desk: Desk, step: Step, *, unhealthy: bool = False) -> Outcome:
    """Offer what one environment runs to the next, as it stands now: merging the pull request is the release.

    Args:
        desk: What to work with.
        step: From where to where.
        unhealthy: Also services that are known not to be Healthy where they come from.
    """
    prefix = "release/"
    change = _change(desk, step)
    if not change.paths:
        said = (
            f"nothing to release {step}: {step.target.branch} holds all of {step.source.branch} that concerns {step.target.name}"
        )
        return Outcome(what="skipped", text=said)
    pulls = desk.github.pulls(step.target.branch, prefix)
    for pull in pulls:
        if _brings_the_same(desk, change, pull):
            return Outcome(what="unchanged", text=f"#{pull.number} holds it already: {pull.url}", branch=pull.head, pull=pull)
    _refuse_untried(desk, change)
    _refuse_missing(desk, change)
    title, intro, folded, diffs = _release(desk, change, pulls, unhealthy=unhealthy)
    text = body(intro, diffs, folded, whole_at=desk.run_url)
    branch = f"{prefix}{desk.now:%Y%m%dT%H%M%SZ}"
    desk.repo.push(_pinned(desk, change), branch, expected=None)
    made = desk.github.open(base=step.target.branch, head=branch, title=title, body=text)
    said = f"{title} (opened {made.url if made else branch})"
    return Outcome(what="opened", text=said, branch=branch, pull=made, whole=summary(intro, diffs, folded))


def _refuse_untried(desk: Desk, change: _Change) -> None:
    """Stop a release of what was written beneath a pin of its source and never ran there.

    To carry that pin along instead would set one that nobody asked for in the target, where it would outlive the source's;
    and what is offered would be no commit of the source any more.

    Raises:
        SlipwayError: there is such a service; it says which, and the ways out.
    """
    source, target = change.step.source, change.step.target
    services = services_of(change.paths)
    found = untried(desk.repo, desk.platform, target, (change.target, change.combined.tree), services)
    if not found:
        return
    now = states(desk.repo, change.source, source, found)
    lines = [f"{len(found)} services would run in {target.name} what never ran in {source.name}:"]
    for service, image in found.items():
        pin = now[service].pin
        held = f", which is pinned at {pin.tag} ({now[service].reason or 'no reason'})" if pin else ""
        lines.append(f"  {service}: {image.tag} is written on {source.branch} but {source.name} never ran it{held}")
    lines.append(
        f"Only what {source.name} has run is allowed. Lift the pin in {source.name} first, so that it is tried; or pin the "
        f"service in {target.name} at what {source.name} runs, merge that, and release beneath it. Then run again."
    )
    raise SlipwayError("\n".join(lines))


def _refuse_missing(desk: Desk, change: _Change) -> None:
    """Stop a release of what the registry does not have, beneath a pin too: it shows when the pin is lifted.

    Raises:
        SlipwayError: there is such an image; or the registry cannot be asked.
    """
    if desk.registries is None:
        return
    target = change.step.target
    found = states(desk.repo, change.combined.tree, target, services_of(change.paths))
    wanted = [
        Wanted(environment=target, service=service, image=image)
        for service, state in found.items()
        for image in dict.fromkeys((state.running, state.newest))
        if image
    ]
    refuse_missing(desk.registries.missing(wanted))


def _health(desk: Desk, change: _Change, services: Sequence[str], *, unhealthy: bool) -> list[str]:
    """What the body says of services' health in the source, of those that a release changes and keeps.

    Raises:
        SlipwayError: one is known not to be Healthy, and that is not asked for; it says which, and the ways out.
    """
    source = change.step.source
    tips = desk.repo.tips(change.source, health.COMMITS) if services else []
    found = health.read(desk.github, tips, source.name, services)
    if found.unwell and not unhealthy:
        lines = [f"{len({each.service for each in found.unwell})} services are known not to be Healthy in {source.name}:"]
        lines += [f"  {each.service}: {each.shown}" for each in found.unwell]
        lines.append(
            f"Only what is Healthy there, or of which nothing is known, is allowed. Mend it in {source.name}, and run again once "
            "Argo CD says Healthy. Or release it as it is: run the workflow again with unhealthy (--unhealthy); the pull request "
            "then names each. What is said of a cluster that is gone is taken back by hand: see README.md."
        )
        raise SlipwayError("\n".join(lines))
    as_asked = f"as @{desk.actor} asked" if desk.actor else "as asked"
    lines = [
        f"\n> **`{each.service}` is not Healthy in {source.name}** ({each.markdown}). It is released all the same, {as_asked}."
        for each in found.unwell
    ]
    unknown = [f"`{service}`" for service in services if service not in found.reports]
    if found.told and unknown:
        lines.append(
            f"\nOf {len(services)} services, the health of {len(unknown)} in {source.name} is not known: {named(unknown)}."
        )
    return lines


def _release(
    desk: Desk, change: _Change, others: Sequence[Pull], *, unhealthy: bool
) -> tuple[str, str, Mapping[str, str], Mapping[str, str]]:
    """Title, introduction, folded parts and diffs of a release."""
    step = change.step
    before, after, diffs = _effect(desk, change)
    changed = services_of(change.paths)
    kept = [each for each in sorted({*changed, *filter(diffs.get, diffs)}) if after[each].present]
    told = _health(desk, change, kept, unhealthy=unhealthy)
    title = f"Release to {step.target.name}: {named(changed) or 'shared files'}"
    found = moves(before, after, sorted({*changed, *diffs}), desk.platform.applications, desk.reader)
    rows = [f"{row(service, move)} {counted(diffs.get(service, ''))} |" for service, move in found.items()]
    intro = [
        f"Brings `{step.source.branch}` at {change.source} to `{step.target.branch}`. Merging it is the release.",
        f"Later builds do not move it: for them, run the release workflow again. {MERGE}",
        *([] if desk.registries else ["", _NOT_LOOKED_UP]),
        *(f"\n> **Another release is open**: #{pull.number}. Close the one that is not meant." for pull in others),
        *told,
        *_warnings(desk, change),
        "",
        *table(f"| service | {step.target.name} now | after | commits | digest | | rendered for {step.target.name} |", rows),
        *_elsewhere(change),
    ]
    return title, "\n".join(intro) + "\n", sections(found, desk.platform.applications), diffs


def _warnings(desk: Desk, change: _Change) -> list[str]:
    """Every pinned service of source or target, named."""
    source, target = change.step.source, change.step.target
    lines: list[str] = []
    for environment, commit in ((target, change.target), (source, change.source)):
        services = services_of(desk.repo.paths(commit, "apps"))
        for service, state in states(desk.repo, commit, environment, services).items():
            if state.pin:
                said = f"**`{service}` is pinned in {environment.name}** at {shown(state.pin)} ({state.reason or 'no reason'})."
                lines.append(f"\n> {said} {_consequence(environment, source, state)}")
    return lines


def _consequence(environment: Environment, source: Environment, state: State) -> str:
    if environment != source:
        return "The pin stays: the release goes beneath it and shows when it is lifted."
    newest = shown(state.newest)
    return (
        f"{source.name} has run {newest} and does not now: this release brings it to where no pin holds the service. Pin it "
        "there too, or wait."
    )


# What both show


def _effect(desk: Desk, change: _Change) -> tuple[Mapping[str, State], Mapping[str, State], Mapping[str, str]]:
    """States before and after, and how the target's rendering changes, for each service that it can reach."""
    repo, target = desk.repo, change.step.target
    before, after = repo.tree(change.target), change.combined.tree
    services = services_of([*repo.paths(before, "apps"), *repo.paths(after, "apps")])
    reached = touched(desk.platform, change.paths, services, target)
    diffs = differences(repo, before, after, {service: target.overlay(service) for service in reached})
    return states(repo, before, target, services), states(repo, after, target, services), diffs


def _elsewhere(change: _Change) -> list[str]:
    """Changed files that belong to no service, and removals that were decided by rule."""
    shared = [path for path in change.paths if not services_of([path])]
    lines = ["", "Files of no service:", *(f"- `{path}`" for path in shared)] if shared else []
    if change.combined.removed:
        lines += [
            "",
            "Removed on one branch and machine-written on the other since, so that Git alone would conflict; the removal wins:",
            *(f"- `{path}`" for path in change.combined.removed),
        ]
    return lines


def summary(intro: str, diffs: Mapping[str, str], folded: Mapping[str, str] | None = None) -> str:
    """The body as the workflow run's summary shows it: whole, or nearly so."""
    return body(intro, diffs, folded, limit=_SUMMARY_LENGTH)


def table(head: str, rows: Sequence[str]) -> list[str]:
    """A Markdown table's lines; none without rows."""
    return [head, "|" + " --- |" * (head.count("|") - 1), *rows] if rows else []


def named(services: Sequence[str]) -> str:
    """The first of the services, and how many more there are; "" for none."""
    rest = len(services) - _NAMED
    return ", ".join(services[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
