"""What a pull request must hold before it may be merged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slipway import manifests, owners
from slipway.flows import combine, is_resolution, was_tip
from slipway.gitrepo import Repo, Version
from slipway.images import State, allowed, states, untried
from slipway.layout import Environment, Platform, SlipwayError, Step, image_in, is_pin_file, names_nothing, services_of
from slipway.registry import Registries, Wanted
from slipway.render import exported, render, touched


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Why a pull request must not be merged as it is, and the file that shows it, where one does."""

    text: str
    path: str = ""


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What was looked at, and what was found."""

    services: Sequence[str]
    overlays: int
    images: int
    findings: Sequence[Finding]


@dataclass(frozen=True, kw_only=True)
class _Request:
    """A pull request: tips of base and head, and what merging them changes."""

    repo: Repo
    platform: Platform
    branch: str
    base: str
    head: str
    tree: str
    changed: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What pull requests are held against.

    Attributes:
        platform: The platform.
        definitions: Custom resources that manifests may hold.
        registries: Where images are looked up; None looks none up.
    """

    platform: Platform
    definitions: manifests.Definitions
    registries: Registries | None = None


def verify(repo: Repo, rules: Rules, *, base: str, head: str) -> Verified:
    """Judge what the base would be after the merge.

    Args:
        repo: The clone, fetched.
        rules: What it is held against.
        base: Branch that the pull request goes to.
        head: Its head commit.

    Raises:
        SlipwayError: the two cannot be merged.
    """
    platform, registries = rules.platform, rules.registries
    repo.ensure(head)
    tip = repo.tip(base)
    combined = combine(repo, platform, tip, head)
    if combined.removed:
        # Git alone stops at these; a promotion or release branch would have been made without them.
        named = ", ".join(combined.removed)
        msg = f"{named}: removed on one side, machine-written on the other since. Run the promote or release workflow again."
        raise SlipwayError(msg)
    before = repo.tree(tip)
    request = _Request(
        repo=repo,
        platform=platform,
        branch=base,
        base=tip,
        head=head,
        tree=combined.tree,
        changed=repo.changed(before, combined.tree),
    )
    services = services_of(repo.paths(combined.tree, "apps"))
    reached = {
        (environment.name, service): environment.overlay(service)
        for environment in platform.environments.values()
        for service in touched(platform, request.changed, services, environment)
    }
    # What an environment runs is written on its own branch: on the others its files lag behind.
    now = {
        name: states(repo, request.tree, environment, [service for place, service in reached if place == name])
        for name, environment in platform.environments.items()
        if environment.branch == base
    }
    findings = _renderings(request, reached, now, rules.definitions)
    findings += _machine_written(request)
    findings += [
        Finding(path=owners.PATH, text=each) for each in owners.faults(repo.texts(combined.tree, [owners.PATH])[owners.PATH])
    ]
    for step in platform.releases:
        if step.target.branch == base:
            said = {each.path for each in findings}
            findings += _origin(request, step)
            findings += [each for each in _untried(request, step) if each.path not in said]
    wanted = _wanted(request, now) if registries else []
    findings += _missing(registries, wanted) if registries else []
    return Verified(services=services_of(request.changed), overlays=len(reached), images=len(wanted), findings=findings)


def _renderings(
    request: _Request,
    reached: Mapping[tuple[str, str], str],
    now: Mapping[str, Mapping[str, State]],
    definitions: manifests.Definitions,
) -> list[Finding]:
    """Every overlay that the change can reach: that it renders, and that the clusters would take what it renders to."""
    with exported(request.repo, request.tree) as folder:
        found = render(folder, reached.values())
    rendered = {place: found[overlay] for place, overlay in reached.items()}
    held = manifests.faults(
        request.platform, definitions, {place: each.text for place, each in rendered.items() if each.text}, now
    )
    return [
        Finding(path=f"{reached[place]}/kustomization.yaml", text=text)
        for place, each in rendered.items()
        for text in ([f"does not render: {each.fault}"] if each.fault else held.get(place, []))
    ]


def _wanted(request: _Request, now: Mapping[str, Mapping[str, State]]) -> list[Wanted]:
    """The images that the change lets run."""
    return [
        Wanted(environment=request.platform.environments[name], service=service, image=state.running)
        for name, found in now.items()
        for service, state in found.items()
        if state.running
    ]


def _missing(registries: Registries, wanted: Sequence[Wanted]) -> list[Finding]:
    return [
        Finding(
            path=f"{each.environment.overlay(each.service)}/kustomization.yaml",
            text=f"runs {each.image.tag}, but {fault}: only an image that is there is allowed. Build it again, or pin another.",
        )
        for each, fault in registries.missing(wanted).items()
    ]


def _machine_written(request: _Request) -> list[Finding]:
    """Machine-written files that hold what no machine has written.

    On its own branch an image file is written by commits alone, never by a pull request; elsewhere it may only hold what that
    branch has held. A pin may be set on its own branch, in the machines' words. A service comes with empty files, and takes
    them with it.
    """
    held = {path: owner for path, status in request.changed.items() if status != "D" and (owner := request.platform.owner(path))}
    texts = request.repo.texts(request.tree, held)
    held = {path: owner for path, owner in held.items() if request.changed[path] != "A" or not names_nothing(texts[path])}
    was = request.repo.texts(request.base, held)
    findings: list[Finding] = []
    for owner in sorted(set(held.values()) - {request.branch}):
        paths = [path for path in held if held[path] == owner]
        versions = request.repo.versions(request.repo.tip(owner), paths)
        known = _contents(request.repo, versions)
        findings += [
            Finding(
                path=path,
                text=f"is written on branch {owner} only, by machine, and never had this content there. Take it out.",
            )
            for path in paths
            if (path, texts[path]) not in known
        ]
    for path in (path for path in held if held[path] == request.branch):
        pin = request.platform.pin_of(path)
        if pin is None:
            text = (
                "is written by machine, by commits on this branch: no pull request changes it. Take the change out; pin instead."
            )
            findings.append(Finding(path=path, text=text))
        elif fault := _pin_fault(request, *pin, texts[path] or "", was[path] or ""):
            findings.append(Finding(path=path, text=fault))
    return findings


def _contents(repo: Repo, versions: Sequence[Version]) -> set[tuple[str, str | None]]:
    blobs = repo.blobs(version.blob for version in versions if version.blob)
    return {(version.path, blobs[version.blob]) for version in versions if version.blob}


def _pin_fault(request: _Request, service: str, environment: Environment, text: str, before: str) -> str:
    if not is_pin_file(text, service, before):
        return "is not as the pin workflow writes it. Take the change out and run that workflow."
    image = image_in(text)
    if image and image not in allowed(request.repo, request.platform, environment, [service])[service]:
        return f"pins {image.tag}@{image.digest}, which never ran where it must have run. Run the pin workflow."
    return ""


def _origin(request: _Request, step: Step) -> list[Finding]:
    """A release brings what its source has been, or lets removals win in it; all else there is a pin."""
    repo, platform = request.repo, request.platform
    if was_tip(repo, step, request.head):
        return []
    pins = [platform.pin_of(path) for path in request.changed]
    if pins and all(pin and pin[1] == step.target for pin in pins):
        return []
    if is_resolution(repo, platform, step, base=request.base, head=request.head):
        return []
    text = (
        f"head {request.head} was never the tip of {step.source.branch}: into {request.branch} may come what that branch was, a "
        f"release branch that the release workflow made, or pins of {step.target.name} alone. Bring the change to "
        f"{step.source.branch} first, and release it from there."
    )
    return [Finding(text=text)]


def _untried(request: _Request, step: Step) -> list[Finding]:
    """Images that nobody has tried, whichever way they come: a release, a pin, or one that is lifted."""
    change = request.base, request.tree
    found = untried(request.repo, request.platform, step.target, change, services_of(request.changed))
    return [
        Finding(
            path=step.target.pin_file(service),
            text=f"{service} would run {image.tag}@{image.digest}, which never ran in {step.source.name}: only what did is "
            f"allowed in {step.target.name}. Let {step.source.name} run it first, or pin the service at an image that ran.",
        )
        for service, image in found.items()
    ]
