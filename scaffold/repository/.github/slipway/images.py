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
            if image and TAG.fullmatch(image.tag) and image not in found[service][-1:]:
                found[service].append(image)
    return found


def allowed(repo: Repo, platform: Platform, environment: Environment, services: Sequence[str]) -> Mapping[str, list[Image]]:
    """The images that each service may be pinned to, oldest first.

    What the environment has rendered itself; and where its images are tried in another environment first, what that one has.
    """
    own = rendered(repo, environment, services)
    source = platform.source_of(environment)
    tried = own if source == environment else rendered(repo, source, services)
    return {service: sorted({*own[service], *tried[service]}) for service in services}


def previous(
    repo: Repo, environment: Environment, services: Sequence[str], running: Mapping[str, State]
) -> dict[str, Image | None]:
    """The newest image that each service has run in an environment before the one that it runs now."""
    history = rendered(repo, environment, services)
    found: dict[str, Image | None] = {}
    for service in services:
        now = running[service].running
        found[service] = max((image for image in history[service] if now and image < now), default=None)
    return found


def _files(environment: Environment, service: str) -> tuple[str, str]:
    return environment.image_file(service), environment.pin_file(service)
