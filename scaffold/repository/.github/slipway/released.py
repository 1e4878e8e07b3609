"""What a merged release leaves behind: an annotated tag on the merge commit, and a GitHub release that tells what it brought."""

from datetime import UTC, datetime
from typing import Final

from slipway.changes import moves, row, sections
from slipway.flows import Desk, Outcome, between, is_release, named, table
from slipway.github import Merged
from slipway.images import states
from slipway.layout import Step, services_of
from slipway.render import body

_SHORT: Final = 12
_PARENTS: Final = 2


def released(desk: Desk, step: Step, commit: str) -> Outcome:
    """Tag a commit and write its note, if it is the merge of a release; what is there already stays as it is.

    What it is follows from Git alone: its second parent was the source's tip, or is the release workflow's own resolution. So
    the merge of a pin leaves nothing behind, whatever its branch is called.

    Args:
        desk: The desk.
        step: The way that the release took.
        commit: A commit that was the tip of the target's branch.

    Raises:
        SlipwayError: the tag lies on another commit.
    """
    repo, target = desk.repo, step.target
    parents = repo.parents(commit)
    if len(parents) != _PARENTS or not is_release(repo, desk.platform, step, base=parents[0], head=parents[1]):
        return Outcome(what="skipped", text=f"{commit[:_SHORT]} is no merge of a release {step}: it gets no tag and no note")
    tag = f"release-{datetime.fromtimestamp(repo.seconds(commit), UTC):%Y%m%dT%H%M%SZ}"
    pull = desk.github.merged(target.branch, commit)
    title, note = _note(desk, step, commit, pull)
    tagged = repo.tag(tag, commit, title)
    there = desk.github.release_at(tag)
    url = there or desk.github.publish(tag=tag, name=title, body=note)
    what = "released" if tagged or not there else "unchanged"
    return Outcome(what=what, text=f"{title}: {tag} ({url or 'dry run'})", whole=note, tag=tag)


def _note(desk: Desk, step: Step, commit: str, pull: Merged | None) -> tuple[str, str]:
    repo, target = desk.repo, step.target
    before, after = repo.tree(repo.parents(commit)[0]), repo.tree(commit)
    changed = between(desk, step, before, after)
    services = services_of(changed)
    was, now = (states(repo, tree, target, services) for tree in (before, after))
    found = moves(was, now, services, desk.platform.applications, desk.reader)
    who = "Merged without a pull request that GitHub knows of."
    if pull:
        approved = ", ".join(f"`{login}`" for login in pull.approvals) or "nobody"
        who = f"[#{pull.number}]({pull.url}), approved by {approved}" + (f", merged by `{pull.by}`." if pull.by else ".")
    shared = [path for path in changed if not services_of([path])]
    intro = [
        f"`{target.branch}` at {commit}: what {step.source.name} ran. {who}",
        "",
        *table("| service | before | now | commits | digest | |", [row(service, move) for service, move in found.items()]),
        *(["", "Files of no service:", *(f"- `{path}`" for path in shared)] if shared else []),
    ]
    title = f"Release to {target.name}: {named(services) or 'shared files'}"
    return title, body("\n".join(intro) + "\n", {}, sections(found, desk.platform.applications))
