"""Which environments, tracks and branches a play goes through: read from the settings, never known by name. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from components.gitops import release_branches
from components.settings import Settings


class NoFlowError(Exception):
    """The settings leave the play without a stack or a way to an environment."""


@dataclass(frozen=True, kw_only=True)
class Lane:
    """A track, with the environment whose branch its writer commits to.

    Attributes:
        track: Name of the track.
        environment: The environment that reads the track's GitOps branch.
        host: Stack that hosts registry, pipelines and hook.
        branch: The GitOps branch.
        source: Branch of the application repositories that is built.
    """

    track: str
    environment: str
    host: str
    branch: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Target:
    """An environment that releases lead to: it runs the base track's images and no writer commits to its branch."""

    environment: str
    branch: str


@dataclass(frozen=True, kw_only=True)
class Flow:
    """The way of a commit through one platform.

    Attributes:
        stacks: Every stack, the owner of the GitOps repository first, as on the first day (docs/adopt.md).
        environments: The environments that run images, in the order of the settings.
        early: A track with an overlay, whose images come before a promotion; None where the platform has none.
        base: The track that writes the base.
        target: Where releases lead to; None where the platform has no such environment.
    """

    stacks: tuple[str, ...]
    environments: tuple[str, ...]
    early: Lane | None
    base: Lane
    target: Target | None

    @property
    def first(self) -> Lane:
        """The lane that a change enters first."""
        return self.early or self.base

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The lanes that the play goes through, in their order."""
        return (self.early, self.base) if self.early else (self.base,)

    @property
    def skipped(self) -> list[str]:
        """Return what the play leaves out on this platform, and why."""
        found: list[str] = []
        if self.early is None:
            found.append(
                f"promotion is not played: no track has an `overlay`, so every image is written to the base on {self.base.branch}"
            )
        if self.target is None:
            found.append(
                "release, rollback and hotfix are not played: no environment runs the images of track "
                f"{self.base.track} without reading its branch {self.base.branch}"
            )
        return found


def flow_of(settings: Mapping[str, Settings]) -> Flow:
    """Read the flow from the settings of all stacks.

    Raises:
        NoFlowError: the stack that owns the GitOps repository has no settings, or no environment runs the base's images.
    """
    any_settings = next(iter(settings.values()))
    owner = any_settings.gitops.owner
    if owner not in settings:
        msg = f"slipway:gitops.owner is {owner!r}, and there is no Pulumi.{owner}.yaml. Write it, or name another owner."
        raise NoFlowError(msg)
    ours = settings[owner]
    running = [name for name in ours.overlays if name in settings]
    lanes = {name: lane for name in ours.tracks if (lane := _lane(ours, name, running))}
    base = next((lane for name, lane in lanes.items() if not ours.tracks[name].overlay), None)
    if base is None:
        msg = "No environment with a stack file reads the branch of the track that writes the base. Write its stack file."
        raise NoFlowError(msg)
    targets = set(release_branches(ours))
    branches = {name: ours.environments[name].gitops_branch for name in running}
    return Flow(
        stacks=(owner, *(name for name in ours.environments if name != owner and name in settings)),
        environments=tuple(running),
        early=next((lane for name, lane in lanes.items() if ours.tracks[name].overlay), None),
        base=base,
        target=next((Target(environment=name, branch=branch) for name, branch in branches.items() if branch in targets), None),
    )


def _lane(settings: Settings, name: str, running: list[str]) -> Lane | None:
    track = settings.tracks[name]
    reading = [
        each
        for each in running
        if each in track.environments and settings.environments[each].gitops_branch == track.gitops_branch
    ]
    if not reading:
        return None
    return Lane(
        track=name,
        environment=reading[0],
        host=track.host,
        branch=track.gitops_branch,
        source=track.application_branch,
    )


__all__ = ["Flow", "Lane", "NoFlowError", "Target", "flow_of"]
