"""Which image a service runs in an environment, which ones it has run, and which ones it may be pinned to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from slipway.gitrepo import Repo
from slipway.layout import TAG, Environment, Image, Platform, image_in, reason_in


@dataclass(frozen=True, kw_only=True)
class State:
    """What the machine-written files say of one service in one environment.

    Attributes:
        newest: What the writer wrote last; None before the first image.
        pin: What the pin puts above it; None without a pin.
        reason: Why it was pinned.
        present: Whether the service is there at all.
    """

    newest: Image | None = None
    pin: Image | None = None
    reason: str = ""
    present: bool = False

    @property
    def running(self) -> Image | None:
        """What the overlay renders."""
        return self.pin or self.newest


def states(repo: Repo, tree: str, environment: Environment, services: Iterable[str]) -> dict[str, State]:
    """Every service's state in a tree."""
    wanted = list(services)
    texts = repo.texts(tree, [path for each in wanted for path in (environment.image_file(each), environment.pin_file(each))])
    found: dict[str, State] = {}
    for service in wanted:
        image, pin = texts[environment.image_file(service)], texts[environment.pin_file(service)]
        found[service] = State(
            newest=image_in(image), pin=image_in(pin), reason=reason_in(pin), present=image is not None or pin is not None
        )
    return found


def rendered(repo: Repo, environment: Environment, services: Sequence[str]) -> dict[str, list[Image]]:
    """Every image that an environment's branch has rendered for each service, in the order of time.

    What was written beneath a pin and superseded before the pin was lifted has never run, and is not among them.
    """
    files = {path: (each, path == environment.pin_file(each)) for each in services for path in _files(environment, each)}
    versions = repo.versions(repo.tip(environment.branch), list(files))
    texts = repo.blobs(version.blob for version in versions if version.blob)
    now: dict[str, dict[bool, Image | None]] = {service: {True: None, False: None} for service in services}
    found: dict[str, list[Image]] = {service: [] for service in services}
    # One commit may change both files: only what holds after it was ever to be seen.
    for _, together in groupby(versions, key=lambda version: version.commit):
        changed: set[str] = set()
        for version in together:
            service, is_pin = files[version.path]
            now[service][is_pin] = image_in(texts[version.blob]) if version.blob else None
            changed.add(service)
        for service in changed:
            image = now[service][True] or now[service][False]
            if image and image not in found[service][-1:]:
                found[service].append(image)
    return found


def allowed(repo: Repo, platform: Platform, environment: Environment, services: Sequence[str]) -> Mapping[str, list[Image]]:
    """The images that each service may be pinned to, oldest first.

    What the environment has rendered itself; and where its images are tried in another environment first, what that one has.
    """
    ran = _ran(repo, platform, environment, services)
    return {service: sorted(filter(_sorts, ran[service])) for service in services}


def untried(
    repo: Repo, platform: Platform, environment: Environment, change: tuple[str, str], services: Iterable[str]
) -> dict[str, Image]:
    """The images that a change would let services run in an environment, and that ran neither there nor where they are tried.

    What is written beneath a pin counts once the pin is gone: a release of a service that is pinned where images are tried
    brings such an image, and so may the lifting of a pin.

    Args:
        repo: Where the trees are.
        platform: The platform.
        environment: Where they would run.
        change: The tree before, and the one after.
        services: Those that may change.

    Returns:
        The image by service, of those that have one.
    """
    wanted, source = list(services), platform.source_of(environment)
    if source == environment:
        return {}
    was, will = (states(repo, tree, environment, wanted) for tree in change)
    tried = states(repo, repo.tip(source.branch), source, wanted)
    # Most run there right now, which is quicker to see than that they once did.
    open_ = [each for each in wanted if will[each].running not in {None, was[each].running, tried[each].running}]
    ran = _ran(repo, platform, environment, open_)
    return {each: image for each in open_ if (image := will[each].running) and image not in ran[each]}


def _ran(repo: Repo, platform: Platform, environment: Environment, services: Sequence[str]) -> dict[str, set[Image]]:
    if not services:
        return {}
    places = {each.name: each for each in (environment, platform.source_of(environment))}
    found = [rendered(repo, each, services) for each in places.values()]
    return {service: {image for each in found for image in each[service]} for service in services}


def _sorts(image: Image) -> bool:
    """Whether the tag is a pipeline's: others have no order."""
    return TAG.fullmatch(image.tag) is not None


def previous(
    repo: Repo, environment: Environment, services: Sequence[str], running: Mapping[str, State]
) -> dict[str, Image | None]:
    """The newest image that each service has run in an environment before the one that it runs now."""
    history = rendered(repo, environment, services)
    found: dict[str, Image | None] = {}
    for service in services:
        now = running[service].running
        found[service] = max((image for image in filter(_sorts, history[service]) if now and image < now), default=None)
    return found


def _files(environment: Environment, service: str) -> tuple[str, str]:
    return environment.image_file(service), environment.pin_file(service)
