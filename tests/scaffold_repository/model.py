"""Months of random life in a GitOps repository, beside a model that knows what each environment must then render.

Repository, Git host, scripts, writer and kustomize are the real ones. The model is dictionaries: who changed what, and what a
merge carries along. It asks the code under test nothing.

    python -m tests.scaffold_repository.model [--steps 400] [--lives 1] [--seed 0]
"""

import argparse
import functools
import random
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar, Final, TypeAlias, cast

import pygit2
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from functions.gitops_writer import core, scaffold
from functions.gitops_writer.catalogue import Service
from functions.gitops_writer.settings import Layout
from tests.rehearsal.githost_kit import DEV_APP, PROMOTER_APP, REPOSITORY, STG_APP
from tests.scaffold_repository.kit import BRANCHES, PLATFORM, Ran, shop

NAMES: Final = ("cart", "mail", "pay", "ship")
FIRST: Final = ("cart", "pay")
ENVIRONMENTS: Final = tuple(BRANCHES)
LAYOUTS: Final = {
    "dev": Layout(root="apps/{service}", own_overlay="dev"),
    "stg": Layout(root="apps/{service}", own_overlay=None),
}
# What a build's number becomes: a tag of the pipelines, a minute after the one before.
_EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
_SHARED: Final = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nlabels:\n  - pairs: {shared: v%d}\n"
_BASE_LINE: Final = "  revisionHistoryLimit: %d\n"
_BASE_AT_FIRST: Final = 5
_MERGED, _REFUSED = 200, 405

_SOME: Final = [list(some) for size in range(1, len(NAMES) + 1) for some in combinations(NAMES, size)]
_ANY: Final = range(12)
_EITHER: Final = (True, False)
_WHAT: Final = ("base", "overlay dev", "overlay stg", "overlay prd", "shared")
_TO: Final = ("previous", "older", "newest of stg", "lift", "lift")


def tag(number: int) -> core.Tag:
    """A build's tag; greater numbers are later."""
    return core.Tag(_EPOCH + timedelta(minutes=number), f"{number:012x}")


def digest(number: int) -> str:
    """The digest that belongs to it."""
    return f"sha256:{number:064x}"


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """What can be told from a rendering: its image, and which version of each file that people write is in it."""

    image: str
    base: int
    overlay: int
    shared: int


def files_of(service: str) -> dict[str, str]:
    """A new service as the writer scaffolds it, with a component that all services share."""
    images = {each: f"{PLATFORM.environments[each].registry}/{service}" for each in ENVIRONMENTS}
    declared = Service(name=service, namespace=service, port=8080, health_path="/", images=images, hosts={})
    found = dict(scaffold.files(declared, LAYOUTS["dev"]))
    for each in ENVIRONMENTS:
        overlay = f"apps/{service}/overlays/{each}"
        found[f"{overlay}/kustomization.yaml"] = found[f"{overlay}/kustomization.yaml"].replace(
            "components:\n", "components:\n  - ../../../../shared\n"
        )
        found[f"{overlay}/environment.env"] += "LEVEL=0\n"
    return found


def _text(tree: pygit2.Tree, path: str) -> str:
    return cast("pygit2.Blob", tree[path]).data.decode()


# The model


@dataclass
class Human:
    """What people write: versions of each service's base and overlays, and of what all share."""

    base: dict[str, int] = field(default_factory=dict[str, int])
    overlay: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    shared: int = 0

    def add(self, service: str) -> None:
        """A service comes, as it is scaffolded."""
        self.base[service] = _BASE_AT_FIRST
        self.overlay |= {(service, each): 0 for each in ENVIRONMENTS}

    def remove(self, service: str) -> None:
        """A service goes."""
        del self.base[service]
        for each in ENVIRONMENTS:
            del self.overlay[service, each]

    def seen_from(self, environments: Iterable[str]) -> object:
        """All of it that can matter to some environments."""
        kept = set(environments)
        return self.base, {key: value for key, value in self.overlay.items() if key[1] in kept}, self.shared


Written: TypeAlias = tuple[int, int, str]
"""Image, pin, and the pin's reason."""


@dataclass
class Branch:
    """An environment's branch: what people wrote, the image that it renders when nothing is pinned, and its pins with reasons."""

    human: Human = field(default_factory=Human)
    images: dict[str, int] = field(default_factory=dict[str, int])
    pins: dict[str, int] = field(default_factory=dict[str, int])
    reasons: dict[str, str] = field(default_factory=dict[str, str])

    def written(self, service: str) -> Written:
        """What machines wrote on this branch."""
        return self.images[service], self.pins.get(service, 0), self.reasons.get(service, "")

    def runs(self, service: str) -> int:
        """Number of the image that is rendered; 0 for none."""
        return self.pins.get(service) or self.images.get(service, 0)

    def merged(self, human: Human, images: Mapping[str, int] | None) -> "Branch":
        """What a merge makes of it: people's files as they come, machines' stay where they are written.

        Args:
            human: People's files of the source.
            images: The source's images, where they come along; None where this branch has its own.
        """
        services = human.base
        own = self.images if images is None else images
        return Branch(
            human=deepcopy(human),
            images={service: own.get(service, 0) for service in services},
            pins={service: number for service, number in self.pins.items() if service in services},
            reasons={service: reason for service, reason in self.reasons.items() if service in services},
        )


@dataclass
class Offer:
    """An open pull request of the promote or release workflow.

    Attributes:
        number: Its number.
        branch: Its head.
        human: What people wrote, as it brings it.
        images: What machines wrote, as it brings it; None for a promotion.
        removing: The state that its target's machines gave to each service that it removes, when it was made.
        serial: How many releases its source had been through by then.
    """

    number: int
    branch: str
    human: Human
    images: dict[str, int] | None
    removing: dict[str, Written]
    serial: int = 0


@dataclass
class Topic:
    """A person's open pull request into dev."""

    number: int
    what: str
    service: str
    version: int = 0
    written: Written = (0, 0, "")


@dataclass
class Pin:
    """An open pull request of the pin workflow; number 0 lifts."""

    number: int
    branch: str
    environment: str
    services: list[str]
    to: int
    reason: str


_RENDERED: Final[dict[tuple[str, str, str, str], Rendered]] = {}


# What may happen, and with what; what has more weight happens more often. hypothesis leaves whole rules out of a life
# (https://hypothesis.readthedocs.io/en/latest/stateful.html), and of a long one little would be left: so there is one rule.
_HAPPENINGS: Final[Mapping[str, tuple[int, Mapping[str, Sequence[object]]]]] = {
    "hook": (3, {"track": ["dev", "stg"], "services": _SOME, "late": _EITHER}),
    "declare": (2, {"service": NAMES, "built": _EITHER}),
    "change": (4, {"what": _WHAT, "service": NAMES, "back": (False, False, True), "at_once": _EITHER}),
    "remove": (2, {"service": NAMES, "at_once": _EITHER}),
    "put_back": (2, {"service": NAMES}),
    "merge_topic": (2, {"index": _ANY}),
    "promote": (3, {}),
    "merge_promotion": (3, {}),
    "release": (3, {}),
    "merge_release": (2, {"index": _ANY}),
    "pin": (4, {"environment": ENVIRONMENTS, "services": _SOME, "to": _TO, "pick": _ANY, "at_once": _EITHER}),
    "merge_pin": (2, {"index": _ANY}),
}
_KINDS: Final = [name for name, (weight, _) in _HAPPENINGS.items() for _ in range(weight)]
_HAPPENING: Final = st.sampled_from(_KINDS).flatmap(
    lambda name: st.tuples(
        st.just(name), st.fixed_dictionaries({key: st.sampled_from(options) for key, options in _HAPPENINGS[name][1].items()})
    )
)


class Life(RuleBasedStateMachine):
    """Everything that may happen, in every order."""

    told: ClassVar[list[str]] = []
    """What has happened in the present life, for those who look into a failure of a long one."""

    def __init__(self) -> None:
        """Begin with two services that run in all environments."""
        super().__init__()
        self.told.clear()
        self._stack = ExitStack()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="slipway-life-")))
        self.shop = self._stack.enter_context(shop(folder, ()))
        self.git = pygit2.Repository(str(self.shop.host.path(REPOSITORY)))
        self.tokens = {app: self.shop.world.app_token(app) for app in (DEV_APP, STG_APP, PROMOTER_APP)}
        self.branches = {each: Branch() for each in ENVIRONMENTS}
        self.ran = {each: {name: set[int]() for name in NAMES} for each in ENVIRONMENTS}
        self.builds = 0
        self.versions = 0
        self.serial = 0  # of what stg has been
        self.topics: list[Topic] = []
        self.promotion: Offer | None = None
        self.releases: list[Offer] = []
        self.pins: list[Pin] = []
        self._seen: dict[str, str] = {}
        try:
            self._begin()
        except BaseException:
            # The host's threads would keep the process alive.
            self.teardown()
            raise

    def _begin(self) -> None:
        files = {"shared/kustomization.yaml": _SHARED % 0}
        for service in FIRST:
            files |= files_of(service)
        tip = self.shop.change("master", dict(files))
        for branch in ("stg", "dev"):
            self.git.references[f"refs/heads/{branch}"].set_target(tip)
        for branch in self.branches.values():
            for service in FIRST:
                branch.human.add(service)
                branch.images[service] = 0
        self.master_was = tip
        self.hook("dev", list(FIRST), late=False)
        self.hook("stg", list(FIRST), late=False)
        self.release()
        self.merge_release(0)

    def teardown(self) -> None:
        """Close the host."""
        self._stack.close()

    def _tell(self, what: str) -> None:
        self.told.append(what)

    @rule(happening=_HAPPENING)
    def happens(self, happening: tuple[str, dict[str, Any]]) -> None:
        """One of all that may happen; nothing, where it cannot happen now."""
        name, given = happening
        getattr(self, name)(**given)

    # Machines

    def hook(self, track: str, services: list[str], *, late: bool) -> None:
        """Images are pushed, or an old event comes late."""
        self.builds += 1
        number = max(self.builds - 3, 1) if late else self.builds
        branch = self.branches[track]
        there = [service for service in services if service in branch.human.base]
        self._write(track, dict.fromkeys(services, number), new=())
        for service in there:
            branch.images[service] = max(branch.images[service], number)
        self._moved(track)
        self._tell(f"hook {track} {services} {number}{' late' if late else ''}")

    def declare(self, service: str, *, built: bool) -> None:
        """A service is declared: the writer makes its directory, with its first image or without. One that was removed stays."""
        if service in self.branches["dev"].human.base:
            return
        self.builds += 1
        number = self.builds if built else 0
        once = self._once_there(service)
        self._write("dev", {service: number}, new=(service,))
        if not once:
            self.branches["dev"].human.add(service)
            self.branches["dev"].images[service] = number
        self._moved("dev")
        self._tell(f"declare {service} {number}")

    def _once_there(self, service: str) -> bool:
        folder = self.shop.host.path(REPOSITORY)
        done = self.shop.world.git("log", "-1", "--format=%H", "dev", "--", f"apps/{service}", cwd=folder)
        return bool(done.stdout)

    def _write(self, track: str, numbers: Mapping[str, int], *, new: Sequence[str]) -> None:
        """The writer's commit, as it plans it."""
        tree = self._tree(track)
        layout = LAYOUTS[track]
        environments = ["dev"] if track == "dev" else ["stg"]
        paths, folders = core.wanted(numbers, layout, environments)
        there = frozenset(folder for folder in folders if folder in tree)
        head = self.shop.host.head(REPOSITORY, track) or ""
        snapshot = core.Snapshot(
            branch=track,
            head=head,
            files={path: core.Blob(text=_text(tree, path)) for path in paths if path in tree},
            directories=there,
            absent=frozenset(folders) - there,
            removed=frozenset(
                folder for folder in folders if folder not in there and new and self._once_there(folder.rsplit("/", 1)[1])
            ),
        )
        images = {
            service: core.Image(service=service, tag=tag(number), digest=digest(number), pushed_at=tag(number).time)
            if number
            else None
            for service, number in numbers.items()
        }
        planned = core.plan(images, snapshot, layout=layout, environments=environments, scaffold=files_of if new else None)
        failed = [each for each in planned.outcomes.values() if each.reason == core.Reason.FAILED]
        assert not failed, failed
        changes = {path: text.encode() for files in planned.changes.values() for path, text in files.items()}
        if changes:
            app = DEV_APP if track == "dev" else STG_APP
            done = self.shop.world.commit(self.tokens[app], track, head, changes)
            assert "errors" not in done, done

    def _tree(self, branch: str) -> pygit2.Tree:
        return self.git.references[f"refs/heads/{branch}"].peel(pygit2.Tree)

    def _moved(self, environment: str) -> None:
        """An environment's branch has a new tip: what it renders now has run there."""
        branch = self.branches[environment]
        for service in branch.human.base:
            if number := branch.runs(service):
                self.ran[environment][service].add(number)
        if environment == "stg":
            self.serial += 1

    # People

    def change(self, what: str, service: str, *, back: bool, at_once: bool) -> None:
        """A person changes manifests, or takes back what stg does not have yet. No two change the same lines."""
        if what == "shared":
            service = ""
        elif service not in self.branches["dev"].human.base or any(
            (each.service, each.what) == (service, "remove") for each in self.topics
        ):
            return
        if any((each.what, each.service) == (what, service) for each in self.topics):
            return
        self.versions += 1
        version = self._version("stg", what, service) if back else self.versions + _BASE_AT_FIRST
        if version in {None, self._version("dev", what, service)}:
            return
        tree = self._tree("dev")
        if what == "shared":
            changes = {"shared/kustomization.yaml": _SHARED % version}
        elif what == "base":
            path = f"apps/{service}/base/deployment.yaml"
            changes = {path: re.sub(r"  revisionHistoryLimit: \d+\n", _BASE_LINE % version, _text(tree, path))}
        else:
            path = f"apps/{service}/overlays/{what.split()[1]}/environment.env"
            changes = {path: re.sub(r"LEVEL=\d+", f"LEVEL={version}", _text(tree, path))}
        self._propose(Topic(number=0, what=what, service=service, version=version or 0), changes)
        self._tell(f"change {what} {service} {version}{' back' if back else ''}{' at once' if at_once else ''}")
        if at_once:
            self._merge_topic(self.topics.pop())

    def _version(self, environment: str, what: str, service: str) -> int | None:
        human = self.branches[environment].human
        if what == "shared":
            return human.shared
        return human.base.get(service) if what == "base" else human.overlay.get((service, what.split()[1]))

    def remove(self, service: str, *, at_once: bool) -> None:
        """A person removes a service."""
        dev = self.branches["dev"]
        if service not in dev.human.base or any(each.service == service for each in self.topics):
            return
        topic = Topic(number=0, what="remove", service=service, written=dev.written(service))
        self._propose(topic, dict.fromkeys(self.shop.files("dev", service)))
        self._tell(f"remove {service}{' at once' if at_once else ''}")
        if at_once:
            self._merge_topic(self.topics.pop())

    def put_back(self, service: str) -> None:
        """A person brings a service back that was removed: the writer does not."""
        if service in self.branches["dev"].human.base or not self._once_there(service):
            return
        self._propose(Topic(number=0, what="put back", service=service), dict(files_of(service)))
        self._tell(f"put-back {service}")
        self._merge_topic(self.topics.pop())

    def merge_topic(self, index: int) -> None:
        """A person's pull request is merged later."""
        if not self.topics:
            return
        topic = self.topics[index % len(self.topics)]
        self.topics.remove(topic)
        self._tell(f"merge-topic {topic.what} {topic.service}")
        self._merge_topic(topic)

    def _propose(self, topic: Topic, changes: Mapping[str, str | None]) -> None:
        name = f"topic-{len(self.told)}-{self.versions}"
        self.shop.change(name, changes, base="dev")
        asked = {"base": "dev", "head": name, "title": name, "body": ""}
        done = self.shop.world.repo("POST", "/pulls", self.shop.alice, asked)
        topic.number = done.body["number"]
        self.topics.append(topic)

    def _merge_topic(self, topic: Topic) -> None:
        dev = self.branches["dev"]
        service = topic.service
        if topic.what == "remove" and topic.written != dev.written(service):
            # Git alone stops where an image came meanwhile; here no workflow stands between. The person does it again.
            assert self._merge(topic.number) == _REFUSED
            return
        assert self._merge(topic.number) == _MERGED
        match topic.what:
            case "remove":
                dev.human.remove(service)
                del dev.images[service]
                dev.pins.pop(service, None)
                dev.reasons.pop(service, None)
            case "put back":
                dev.human.add(service)
                dev.images[service] = 0
            case "shared":
                dev.human.shared = topic.version
            case "base":
                dev.human.base[service] = topic.version
            case overlay:
                dev.human.overlay[service, overlay.split()[1]] = topic.version
        self._forget_pins("dev")
        self._moved("dev")

    def _merge(self, number: int) -> int:
        self.shop.world.repo("POST", f"/pulls/{number}/reviews", self.shop.bob, {"event": "APPROVE"})
        done = self.shop.world.repo("PUT", f"/pulls/{number}/merge", self.shop.alice, {"merge_method": "merge"})
        return done.status

    def _close(self, number: int) -> None:
        self.shop.world.repo("PATCH", f"/pulls/{number}", self.shop.alice, {"state": "closed"})

    def _run(self, *arguments: str) -> Ran:
        return self.shop.run(*arguments, token=self.tokens[PROMOTER_APP])

    def _verified(self, base: str, branch: str) -> Ran:
        return self._run("verify", f"--base={base}", f"--head={self.shop.host.head(REPOSITORY, branch)}")

    # Promotion

    def _removing(self, target: Branch, human: Human) -> dict[str, Written]:
        return {service: target.written(service) for service in target.human.base if service not in human.base}

    def _collides(self, offer: Offer, target: Branch) -> bool:
        """Whether Git stops at a service that the offer removes, since a machine of the target's branch wrote it once more."""
        for service, (image, *pin) in offer.removing.items():
            if service in target.human.base:
                now, *pinned = target.written(service)
                if pin != pinned or (offer.images is None and image != now):
                    return True
        return False

    def promote(self) -> None:
        """The promote workflow runs."""
        dev, stg = self.branches["dev"], self.branches["stg"]
        beyond = ("stg", "prd")
        here, there = dev.human.seen_from(beyond), stg.human.seen_from(beyond)
        offer = self.promotion
        if here == there:
            expected = "closed" if offer else "skipped"
        elif offer and offer.human.seen_from(beyond) == here and not self._collides(offer, stg):
            expected = "unchanged"
        else:
            expected = "updated" if offer else "opened"
        done = self._run("promote")
        self._tell(f"promote {expected}")
        assert (done.code, done.outputs.get("outcome")) == (0, expected), done
        if expected == "closed":
            self.promotion = None
        elif expected in {"opened", "updated"}:
            number = int(done.outputs["pull-request"])
            assert not offer or offer.number == number
            human = deepcopy(dev.human)
            self.promotion = Offer(
                number=number,
                branch=done.outputs["branch"],
                human=human,
                images=None,
                removing=self._removing(stg, human),
            )

    def merge_promotion(self) -> None:
        """The promotion is merged, whatever has happened since."""
        offer, stg = self.promotion, self.branches["stg"]
        if offer is None:
            return
        collides = self._collides(offer, stg)
        self._tell(f"merge-promotion{' which collides' if collides else ''}")
        done = self._verified("stg", offer.branch)
        assert done.code == int(collides), done
        if collides:
            # It stays, until the workflow has run again.
            return
        assert self._merge(offer.number) == _MERGED
        self.branches["stg"] = stg.merged(offer.human, None)
        self.promotion = None
        self._forget_pins("stg")
        self._moved("stg")

    # Release

    def _untried(self, after: Branch) -> list[str]:
        prd = self.branches["prd"]
        return [
            service
            for service in after.human.base
            if (number := after.runs(service))
            and number != prd.runs(service)
            and number not in self.ran["stg"][service] | self.ran["prd"][service]
        ]

    @staticmethod
    def _of_prd(branch: Branch) -> object:
        return branch.human.seen_from(["prd"]), branch.images

    def release(self) -> None:
        """The release workflow runs."""
        stg, prd = self.branches["stg"], self.branches["prd"]
        after = prd.merged(stg.human, stg.images)
        same = [
            offer
            for offer in self.releases
            if self._of_prd(prd.merged(offer.human, offer.images)) == self._of_prd(after) and not self._collides(offer, prd)
        ]
        untried = self._untried(after)
        if self._of_prd(after) == self._of_prd(prd):
            expected = "skipped"
        elif same:
            expected = "unchanged"
        else:
            expected = "refused" if untried else "opened"
        done = self._run("release")
        self._tell(f"release {expected}")
        if expected == "refused":
            assert done.code == 1, done
            assert all(f"  {service}: {tag(after.runs(service))} is written on stg" in done.err for service in untried), done
            return
        assert (done.code, done.outputs.get("outcome")) == (0, expected), done
        if expected == "opened":
            human = deepcopy(stg.human)
            self.releases.append(
                Offer(
                    number=int(done.outputs["pull-request"]),
                    branch=done.outputs["branch"],
                    human=human,
                    images=dict(stg.images),
                    removing=self._removing(prd, human),
                    serial=self.serial,
                )
            )

    def merge_release(self, index: int) -> None:
        """One of the open releases is merged, whatever has happened since."""
        if not self.releases:
            return
        offer = self.releases[index % len(self.releases)]
        prd = self.branches["prd"]
        after = prd.merged(offer.human, offer.images)
        collides = self._collides(offer, prd)
        refused = collides or bool(self._untried(after))
        self._tell(f"merge-release {offer.number}{' which is refused' if refused else ''}")
        done = self._verified("master", offer.branch)
        assert done.code == int(refused), done
        self.releases.remove(offer)
        if refused:
            self._close(offer.number)
            return
        assert self._merge(offer.number) == _MERGED
        self.branches["prd"] = after
        # An older one that is still open would bring nothing, or what has been taken back: people close it.
        for older in [each for each in self.releases if each.serial <= offer.serial]:
            self._close(older.number)
            self.releases.remove(older)
        self._forget_pins("prd")
        self._moved("prd")

    # Pins

    def _forget_pins(self, environment: str) -> None:
        """Close the pins of what is no longer there."""
        for pin in [each for each in self.pins if each.environment == environment]:
            if not all(service in self.branches[environment].human.base for service in pin.services):
                self._close(pin.number)
                self.pins.remove(pin)

    def pin(self, environment: str, services: list[str], to: str, pick: int, *, at_once: bool) -> None:
        """The pin workflow runs."""
        branch = self.branches[environment]
        busy = {service for each in self.pins if each.environment == environment for service in each.services}
        services = [service for service in services if service in branch.human.base and service not in busy]
        if not services:
            return
        ran = {service: set(self.ran[environment][service]) for service in services}
        if environment == "prd":
            ran = {service: ran[service] | self.ran["stg"][service] for service in services}
        may = sorted(set[int].intersection(*ran.values()))
        if to == "previous":
            services = services[:1]
            earlier = [each for each in self.ran[environment][services[0]] if each < branch.runs(services[0])]
            number = max(earlier, default=0)
            asked = ["pin", "--to=previous"]
            fine = bool(number)
        elif to == "lift":
            number, asked, fine = 0, ["unpin"], True
        else:
            number = self.branches["stg"].runs(services[0]) if to == "newest of stg" else (may[pick % len(may)] if may else 0)
            asked = ["pin", f"--to={tag(number)}"]
            fine = number in may
        after = deepcopy(branch)
        after.pins |= dict.fromkeys(services, number)
        if environment == "prd" and fine and self._untried(after):
            fine = False
        lifts_nothing = to == "lift" and not any(branch.pins.get(service) for service in services)
        reason = str(len(self.told))
        done = self._run(*asked, f"--environment={environment}", f"--service={','.join(services)}", f"--reason={reason}")
        self._tell(f"pin {environment} {services} {to} {number}{'' if fine else ' refused'}{' at once' if at_once else ''}")
        if not fine:
            assert done.code == 1, done
            return
        expected = "unchanged" if lifts_nothing else "opened"
        assert (done.code, done.outputs.get("outcome")) == (0, expected), done
        if expected == "opened":
            made = Pin(
                number=int(done.outputs["pull-request"]),
                branch=done.outputs["branch"],
                environment=environment,
                services=services,
                to=number,
                reason=reason if number else "",
            )
            self.pins.append(made)
            if at_once:
                self._merge_pin(made)

    def merge_pin(self, index: int) -> None:
        """A pin is merged later."""
        if not self.pins:
            return
        self._merge_pin(self.pins[index % len(self.pins)])

    def _merge_pin(self, pin: Pin) -> None:
        branch = self.branches[pin.environment]
        after = deepcopy(branch)
        after.pins |= dict.fromkeys(pin.services, pin.to)
        refused = pin.environment == "prd" and bool(self._untried(after))
        self._tell(f"merge-pin {pin.environment} {pin.services} {pin.to}{' which is refused' if refused else ''}")
        done = self._verified(BRANCHES[pin.environment], pin.branch)
        assert done.code == int(refused), done
        self.pins.remove(pin)
        if refused:
            self._close(pin.number)
            return
        assert self._merge(pin.number) == _MERGED
        branch.pins = {service: number for service, number in after.pins.items() if number}
        branch.reasons |= dict.fromkeys(pin.services, pin.reason)
        self._moved(pin.environment)

    # What must hold

    @invariant()
    def every_environment_renders_what_the_model_says(self) -> None:
        """Images, pins, and people's files: those of this environment, as they have come to it, and nothing else."""
        for environment, branch in self.branches.items():
            head = self.shop.host.head(REPOSITORY, BRANCHES[environment]) or ""
            told = repr(branch)
            if self._seen.get(environment) == head + told:
                continue
            found = self._rendered(environment)
            registry = PLATFORM.environments[environment].registry
            expected: dict[str, Rendered] = {}
            for service in branch.human.base:
                number = branch.runs(service)
                image = f"{registry}/{service}" + (f":{tag(number)}@{digest(number)}" if number else "")
                expected[service] = Rendered(
                    image=image,
                    base=branch.human.base[service],
                    overlay=branch.human.overlay[service, environment],
                    shared=branch.human.shared,
                )
            assert found == expected, (environment, found, expected)
            self._seen[environment] = head + told

    def _rendered(self, environment: str) -> dict[str, Rendered]:
        """What an environment renders now. The same files render to the same: they are rendered once."""
        tree = self._tree(BRANCHES[environment])
        if "apps" not in tree:
            return {}
        services = [str(entry.name) for entry in cast("Iterable[pygit2.Object]", tree["apps"])]
        keys = {each: (environment, each, str(tree[f"apps/{each}"].id), str(tree["shared"].id)) for each in services}
        missing = [key for key in dict.fromkeys(keys.values()) if key not in _RENDERED]
        if missing:
            with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
                self._export(tree, Path(folder))
                made = pool.map(
                    functools.partial(_kustomized, Path(folder)), [key[1] for key in missing], [environment] * len(missing)
                )
                _RENDERED.update(zip(missing, made, strict=True))
        return {service: _RENDERED[key] for service, key in keys.items()}

    def _export(self, tree: pygit2.Tree, folder: Path) -> None:
        self.git.checkout_tree(  # pyright: ignore[reportUnknownMemberType] — untyped
            tree, directory=str(folder), strategy=pygit2.enums.CheckoutStrategy.FORCE
        )

    @invariant()
    def production_runs_only_what_stg_has_run(self) -> None:
        """Told by what was rendered, not by the model."""
        for service, rendered in self._rendered("prd").items():
            numbers = self.ran["stg"][service]
            images = {f"{tag(number)}@{digest(number)}" for number in numbers}
            image = rendered.image.partition(":")[2]
            assert not image or image in images, (service, image, numbers)

    @invariant()
    def history_of_master_stays_readable(self) -> None:
        """Along its first parents stand merges alone: of what stg was, of a workflow's resolution, of a pin."""
        head = self.shop.host.head(REPOSITORY, "master") or ""
        if head == self.master_was:
            return
        of_stg = set(self._git("rev-list", "--first-parent", "stg").split())
        of_master = set(self._git("rev-list", "--first-parent", "master").split())
        for line in self._git("rev-list", "--first-parent", "--parents", f"{self.master_was}..{head}").splitlines():
            _, *parents = line.split()
            assert len(parents) == 2, line
            second = parents[1]
            if second in of_stg:
                continue
            brought = self._git("rev-list", "--parents", "--max-count=1", second).split()[1:]
            if len(brought) == 2:
                assert brought[0] in of_master, line
                assert brought[1] in of_stg, line
                continue
            changed = self._git("diff", "--name-only", brought[0], second).split()
            assert brought[0] in of_master, line
            assert all(re.fullmatch(r"apps/[^/]+/overlays/prd/pin/kustomization\.yaml", path) for path in changed), changed
        self.master_was = head

    def _git(self, *arguments: str) -> str:
        done = self.shop.world.git(*arguments, cwd=self.shop.host.path(REPOSITORY))
        assert done.returncode == 0, done.stderr
        return done.stdout


def _kustomized(folder: Path, service: str, environment: str) -> Rendered:
    done = subprocess.run(  # noqa: S603 — the arguments are the tests' own
        [Path(sys.executable).parent / "kubectl", "kustomize", f"apps/{service}/overlays/{environment}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    def only(pattern: str) -> str:
        found = set(re.findall(pattern, done.stdout, re.MULTILINE))
        assert len(found) == 1, (pattern, found, done.stdout)
        return found.pop()

    return Rendered(
        image=only(r"^\s+(?:- )?image: (\S+)$"),
        base=int(only(r"^  revisionHistoryLimit: (\d+)$")),
        overlay=int(only(r"^  LEVEL: \"(\d+)\"$")),
        shared=int(only(r"^\s+shared: v(\d+)$")),
    )


def main() -> int:
    """Live long; 1 when something did not hold."""
    parser = argparse.ArgumentParser(prog="model", description="Months of random life in a GitOps repository.")
    parser.add_argument("--steps", type=int, default=400, help="steps of each life (default: 400)")
    parser.add_argument("--lives", type=int, default=1, help="how many, each with the seed after the one before (default: 1)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    for number in range(asked.seed, asked.seed + asked.lives):
        began = time.perf_counter()
        fine = _lived(random.Random(number), asked.steps)  # noqa: S311 — to be repeated, not to be secret
        counted = ", ".join(f"{word} {count}" for word, count in sorted(Counter(each.split()[0] for each in Life.told).items()))
        seconds = time.perf_counter() - began
        print(f"life {number}: {len(Life.told)} happenings in {seconds:.0f} s: {counted}", flush=True)  # noqa: T201 — a command's output
        if not fine:
            return 1
    return 0


def _lived(luck: random.Random, steps: int) -> bool:
    life = Life()
    try:
        for _ in range(steps):
            name = luck.choice(_KINDS)
            life.happens((name, {key: luck.choice(options) for key, options in _HAPPENINGS[name][1].items()}))
            life.every_environment_renders_what_the_model_says()
            life.production_runs_only_what_stg_has_run()
            life.history_of_master_stays_readable()
    except Exception:  # noqa: BLE001 — whatever it was: what led to it is to be read
        print(*Life.told, traceback.format_exc(), sep="\n")  # noqa: T201 — same
        return False
    finally:
        life.teardown()
    return True


if __name__ == "__main__":
    sys.exit(main())
