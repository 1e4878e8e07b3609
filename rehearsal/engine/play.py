"""The play of `make e2e`: the rehearsal's own, made by the real engine and real Argo CD, and what only these can show."""

import functools
import re
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, cast

import yaml

from components import naming
from rehearsal.cloud.row import RealiseError
from rehearsal.engine.cli import ADMINISTRATOR, PREVIEW, Outcome, Running, Step
from rehearsal.engine.stage import EngineStage, State
from rehearsal.lab.control_plane import UNPULLABLE
from rehearsal.lab.kube import KubeError
from rehearsal.play import Play, expect
from rehearsal.program import Request, stack_config
from rehearsal.stage import StageError

COMMITS: Final = 20
"""How many commits are timed in each environment."""
TARGET_SECONDS: Final = 2.0
"""From commit to Synced, at the median: the issue's target."""

ADDED: Final = "reports"
_COLOURS: Final = ("green", "blue", "teal", "amber")
_SHIFTED: Final = 10
# What makes a colour, and what the deploy role could not make in the first version.
_COLOUR: Final = frozenset(
    {
        "aws:eks/accessEntry:AccessEntry",
        "aws:eks/addon:Addon",
        "aws:eks/cluster:Cluster",
        "aws:eks/nodeGroup:NodeGroup",
        "aws:eks/podIdentityAssociation:PodIdentityAssociation",
        "aws:iam/role:Role",
    }
)
_CUT_AFTER: Final = 60
_EVERY: Final = 3
_WAIT: Final = 120.0
_LOOK_SECONDS: Final = 0.05
_ANSWER_SECONDS: Final = 0.5
_NEW_SERVICE: Final = f'Service("{ADDED}", ServiceArgs(platform=platform, repository="{ADDED}", port=8080))'


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Seconds from a commit to its effect, over many commits to one environment's branch.

    Attributes:
        environment: Where.
        synced: Until Argo CD said Synced to that commit.
        running: Until all pods ran its image.
    """

    environment: str
    synced: Sequence[float]
    running: Sequence[float]

    @property
    def median_synced(self) -> float:
        """Median until Synced."""
        return statistics.median(self.synced)

    @property
    def median_running(self) -> float:
        """Median until running."""
        return statistics.median(self.running)


@dataclass(kw_only=True)
class EnginePlay(Play):
    """A play on the stage with the lab.

    Attributes:
        latencies: What was timed.
        states: Argo CD's state of every service, by when it was looked at.
    """

    stage: EngineStage  # pyright: ignore[reportIncompatibleVariableOverride] — set once, when the play is made
    latencies: list[Latency] = field(default_factory=list[Latency])
    states: dict[str, list[State]] = field(default_factory=dict[str, list[State]])

    def run(self) -> None:
        """Play all of it."""
        super().run()
        self.settled()
        self.heal()
        self.broken_manifest()
        self.missing_image()
        self.timed()
        _together(self.day_two, self.kept_registry, self.second_colour)
        self.torn_down()

    @property
    def where(self) -> str:
        """The environment that a change enters first."""
        return self.flow.first.environment

    @property
    def branch(self) -> str:
        """The GitOps branch that it reads."""
        return self.flow.first.branch

    def settled(self) -> None:
        """All that the day has changed comes to rest."""
        stage = self.stage
        with self.progress.step("", "Every application of every environment is synced and healthy") as step:
            for state in stage.states():
                stage.until(
                    f"{state.service} in {state.environment} to be well",
                    lambda state=state: stage.state(state.environment, state.service),
                    lambda state: state.settled,
                )
            self.states["after the day"] = stage.states()
            step.produced = f"{len(self.states['after the day'])} applications"

    def day_two(self) -> None:
        """What comes after the first day in one environment."""
        self.wrong_account()
        self.only_previews()
        self.added_and_removed()
        self.drift()

    # The first day

    def realise_all(self) -> None:
        """The owner of the GitOps repository first, twice; the others need nothing of each other."""
        owner, *others = self.flow.stacks
        self.realise(owner)
        self.know_repository(owner)
        _together(*(functools.partial(self.realise, each) for each in others))

    def realise(self, stack: str, title: str = "`pulumi up` by an administrator makes what the program declares") -> None:
        """`pulumi up`, cut off half-way in two environments, and a preview after it that shows nothing."""
        others = self.flow.stacks[1:]
        if stack in others[:1]:
            self._killed(stack)
        elif stack in others[1:2]:
            self._failing(stack)
        with self.progress.step(stack, title) as step:
            program = self.stage.realise(stack)
            outcome = self.stage.last(stack)
            step.produced = f"{self._made(program)}; {_counts(outcome)}; {_by(outcome)}"
        self._unchanged(stack, "A preview by the preview role shows no change")

    def _unchanged(self, stack: str, title: str) -> None:
        with self.progress.step(stack, title) as step:
            outcome = self._previewed(stack)
            unchanged(outcome)
            step.produced = f"{outcome.kept} resources stay as they are; {_by(outcome)}"

    def _killed(self, stack: str) -> None:
        """The engine is lost in the middle of an `up`: the lock it left is cancelled, and the next one goes on."""
        stage = self.stage
        with self.progress.step(stack, "`pulumi up` is killed half-way") as step:
            reached, gone = threading.Event(), threading.Event()
            made = [0]

            def hold(request: Request) -> None:
                made[0] += 1
                if made[0] > _CUT_AFTER:
                    reached.set()
                    gone.wait(_WAIT)
                    msg = f"{request.name} was not made: the engine is gone"
                    raise RealiseError(msg)

            def kill(running: Running) -> None:
                def wait() -> None:
                    if reached.wait(_WAIT):
                        self._until_nothing_is_made(stack)
                        running.kill()
                    gone.set()

                threading.Thread(target=wait, name="kill").start()

            stage.meddler.before_create[stack] = hold
            try:
                outcome = stage.engine.up(stack, check=False, begun=kill)
            finally:
                gone.set()
                del stage.meddler.before_create[stack]
            expect(outcome.code != 0, "a killed engine does not end well")
            stage.engine.run("cancel", "--yes", stack=stack)
            step.produced = f"killed after {_CUT_AFTER} resources; its lock is cancelled"

    def _until_nothing_is_made(self, stack: str) -> None:
        """Wait until the creations that were not held back have ended and the engine knows of them.

        The emulators have no notion of a creation whose answer is lost: its name would be taken.
        """
        deadline = time.monotonic() + _WAIT
        time.sleep(_ANSWER_SECONDS)
        while self.stage.meddler.making[stack] and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        time.sleep(_ANSWER_SECONDS)

    def _failing(self, stack: str) -> None:
        """AWS refuses every third resource."""
        stage = self.stage
        with self.progress.step(stack, "`pulumi up` is refused every third resource") as step:
            asked = [0]

            def refuse(request: Request) -> None:
                asked[0] += 1
                if asked[0] % _EVERY == 0:
                    msg = f"{request.type} {request.name!r}: Throttling: Rate exceeded"
                    raise RealiseError(msg)

            stage.meddler.before_create[stack] = refuse
            try:
                outcome = stage.engine.up(stack, "--continue-on-error", check=False)
            finally:
                del stage.meddler.before_create[stack]
            expect(outcome.code != 0, "an up with refused resources fails")
            said = [each for each in outcome.diagnostics if "Rate exceeded" in each]
            expect(bool(said), f"the refusals are shown, and shown was: {outcome.diagnostics}")
            step.produced = f"{len(said)} refusals, each shown with the resource's name"
            step.log += list(outcome.diagnostics)

    # What Argo CD does

    def heal(self) -> None:
        """Somebody changes what runs by hand."""
        stage = self.stage
        with self.progress.step(self.where, "A change by hand is taken back") as step:
            before = stage.state(self.where, self.service)
            kube = stage.cluster(self.where).kube
            path = kube.path("apps/v1", "Deployment", self.service, self.service)
            change = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "example.com/by-hand:1"}]
            kube.request("PATCH", path, change, content_type="application/json-patch+json")
            expect(stage.state(self.where, self.service).images != before.images, "the change is there at first")
            seconds = stage.settled(self.where, self.service, before.images[0])
            step.produced = f"taken back by self-heal after {seconds:.1f} s"

    def broken_manifest(self) -> None:
        """A manifest that does not render reaches the branch: what runs goes on, and Argo CD says what is wrong."""
        stage = self.stage
        path = f"apps/{self.service}/overlays/{self.where}/kustomization.yaml"
        with self.progress.step(self.where, "A broken manifest shows as Argo CD's error, and changes nothing that runs") as step:
            good, before = (
                stage.host.read(stage.gitops, self.branch, path) or b"",
                stage.state(self.where, self.service),
            )
            stage.host.put_file(stage.gitops, self.branch, path, good + b"\nresources: [nowhere.yaml\n", "Break the overlay")
            stage.until(
                "the error",
                lambda: stage.state(self.where, self.service),
                lambda state: state.sync == "Unknown" and "ComparisonError" in state.message,
            )
            broken = stage.state(self.where, self.service)
            self.states["with a broken manifest"] = [broken]
            expect(broken.running == before.running, f"as many pods run as before, and {broken.running} do")
            step.details["Argo CD's error"] = broken.message
            stage.host.put_file(stage.gitops, self.branch, path, good, "Mend the overlay")
            seconds = stage.settled(self.where, self.service, before.images[0])
            step.produced = f"{_first(broken.message)}; healthy {seconds:.1f} s after it was mended"

    def missing_image(self) -> None:
        """A tag that no registry has: its pods wait, the old ones go on."""
        stage = self.stage
        with self.progress.step(self.where, "An image that cannot be pulled shows, and the old pods go on") as step:
            before = stage.state(self.where, self.service)
            path = stage.settings[self.where].tracks[self.flow.first.track].image_file.format(service=self.service)
            good = stage.host.read(stage.gitops, self.branch, path) or b""
            stage.host.put_file(stage.gitops, self.branch, path, _with_tag(good, UNPULLABLE), "Name an image that is not there")
            stage.until(
                "the pods to wait, and Argo CD to say so",
                lambda: stage.state(self.where, self.service),
                lambda state: "ImagePullBackOff" in state.message and state.health != "Healthy",
            )
            waiting = stage.state(self.where, self.service)
            self.states["with an image that is not there"] = [waiting]
            expect(self._old_pods(before.images) > 0, "pods of the image before go on")
            step.details["Argo CD's tree of resources"] = self._tree()
            step.details["What the pods say"] = waiting.message
            stage.host.put_file(stage.gitops, self.branch, path, good, "Name the image before")
            stage.settled(self.where, self.service, before.images[0])
            step.produced = f"{waiting.health}: {_first(waiting.message)}"

    def _old_pods(self, images: Sequence[str]) -> int:
        pods = self.stage.cluster(self.where).kube.list("v1", "Pod", self.service)
        return sum(
            [each["image"] for each in pod["spec"]["containers"]] == list(images) and pod["status"].get("phase") == "Running"
            for pod in pods
        )

    def _tree(self) -> str:
        """What Argo CD shows below the Application: kind, name, health, and why."""
        argocd = self.stage.cluster(self.where).argocd
        tree: Any = argocd.request(f"/api/v1/applications/{self.service}/resource-tree") if argocd is not None else {}
        lines: list[str] = []
        for each in cast("list[dict[str, Any]]", tree.get("nodes", [])):
            health: dict[str, str] = each.get("health") or {}
            told = f"{health.get('status', '')} {health.get('message', '')}"
            lines.append(f"{each['kind']:<24} {each['name']:<44} {told}".rstrip())
        return "\n".join(sorted(lines))

    # How long it takes

    def timed(self) -> None:
        """Twenty commits to every environment's branch, one after another; the environments side by side."""
        with self.progress.step("", f"{COMMITS} commits to every environment are timed, from commit to running") as step:
            environments = self.flow.environments
            with ThreadPoolExecutor(len(environments)) as threads:
                self.latencies = list(threads.map(self._timed, environments))
            shown = [f"{each.environment} {each.median_synced:.2f} s (at most {max(each.synced):.2f})" for each in self.latencies]
            step.produced = f"Synced after {', '.join(shown)} at the median"
            slow = [each.environment for each in self.latencies if each.median_synced > TARGET_SECONDS]
            if slow:
                step.log.append(f"above the target of {TARGET_SECONDS} s: {', '.join(slow)}")

    def _timed(self, environment: str) -> Latency:
        stage = self.stage
        settings = stage.settings[environment]
        branch, cluster = settings.environment.gitops_branch, stage.cluster(environment)
        track = next(each for each in settings.tracks.values() if environment in each.environments)
        path = track.image_file.format(service=self.service)
        first = stage.host.read(stage.gitops, branch, path) or b""
        synced: list[float] = []
        running: list[float] = []
        for number in range(COMMITS):
            tag = f"20260102T{number:06}Z-{number:012x}"
            began = time.monotonic()
            commit = stage.host.put_file(stage.gitops, branch, path, _with_tag(first, tag), f"Bump {self.service} to {tag}")

            def there(commit: str = commit) -> bool:
                app = cluster.argocd.application(self.service) if cluster.argocd is not None else None
                sync: Mapping[str, Any] = (app or {}).get("status", {}).get("sync", {})
                return (sync.get("status"), sync.get("revision")) == ("Synced", commit)

            while not there():
                expect(time.monotonic() - began < _WAIT, f"Argo CD of {environment} syncs commit {commit[:12]}")
                time.sleep(_LOOK_SECONDS)
            synced.append(time.monotonic() - began)
            stage.until(
                f"{tag} to run in {environment}",
                lambda: stage.state(environment, self.service),
                lambda state, tag=tag: 0 < state.wanted == state.running and f":{tag}" in state.images[0],
            )
            running.append(time.monotonic() - began)
        stage.host.put_file(stage.gitops, branch, path, first, "Go back to what was there")
        return Latency(environment=environment, synced=synced, running=running)

    # Day two

    def wrong_account(self) -> None:
        """Credentials of another account are refused before anything is asked for."""
        stage = self.stage
        with self.progress.step(self.where, "Credentials of another account are refused") as step:
            other = stage.place(self.flow.stacks[0]).account
            before = _asked(stage, self.where)
            outcome = stage.engine.up(self.where, account=other, check=False)
            said = " ".join(outcome.diagnostics)
            expect(outcome.code != 0 and other in said, f"it is refused by name, and shown was: {said}")
            expect(_asked(stage, self.where) == before, "nothing was asked of any provider")
            step.produced = _first(next(line for each in outcome.diagnostics for line in each.splitlines() if other in line))

    def only_previews(self) -> None:
        """The preview role cannot deploy: AWS refuses it, and so does the cluster."""
        stage = self.stage
        where = self.where
        with self.progress.step(where, "An `up` with the preview role's credentials creates nothing") as step:
            self._catalogue(where, _NEW_SERVICE)
            before = stage.meddler.counts[where, "create"]
            outcome = self._up(where, "--continue-on-error", role=PREVIEW, check=False)
            self._catalogue(where)
            said = "\n".join(outcome.diagnostics)
            expect(outcome.code != 0, "it fails")
            tried = stage.meddler.counts[where, "create"] - before
            expect("AccessDenied" in said and "-preview/" in said, f"AWS refuses the role by name, and shown was: {said}")
            step.details["What the refusals say"] = said
            step.produced = f"{tried} creations tried, all refused; {_by(outcome)}"
        with self.progress.step(where, "The cluster lets the preview role try a namespace, and make none") as step:
            kube = stage.cluster(where).kube_of(stage.identities.caller(stage.identify(where, PREVIEW)[0]))
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ADDED}}
            kube.apply(namespace, dry_run=True)
            step.produced = f"refused by the admission policy: {_first(_refused(lambda: kube.apply(namespace)))}"

    def added_and_removed(self) -> None:
        """A service more creates, and nothing else; a service less deletes its own, and nothing else."""
        stage = self.stage
        title = f"A service more, {ADDED}: its preview by the preview role shows what it creates"
        with self.progress.step(self.where, title) as step:
            self._catalogue(self.where, _NEW_SERVICE)
            shown = self._previewed(self.where)
            step.produced = f"{_counts(shown)}; {_by(shown)}"
        with self.progress.step(self.where, f"A service more, {ADDED}, only creates") as step:
            outcome = self._up(self.where)
            expect(_creations(outcome) == _creations(shown), "the up creates what the preview has shown")
            others = [each for each in outcome.steps if each.operation != "create"]
            expect(not others, f"only creates, and there were {_named(others)}")
            _own(outcome.steps)
            step.produced = f"{_counts(outcome)}; {_by(outcome)}"
            stage.taken_over(self.where)
        with self.progress.step(self.where, "The sweep scaffolds its directory") as step:
            stage.sweep(self.flow.first.track)
            path = f"apps/{ADDED}/base/kustomization.yaml"
            expect(stage.host.read(stage.gitops, self.branch, path) is not None, f"{path} is on {self.branch}")
            step.produced = self._subject(self.branch)
        with self.progress.step(self.where, f"{ADDED} is removed, and takes only what is its own") as step:
            self._catalogue(self.where)
            outcome = self._up(self.where)
            others = [each for each in outcome.steps if each.operation != "delete"]
            expect(not others, f"only deletes, and there were {_named(others)}")
            _own(outcome.steps)
            namespace = stage.cluster(self.where).kube.get("v1", "Namespace", ADDED)
            expect(namespace is None, f"its namespace is gone, and it is {(namespace or {}).get('status')}")
            step.produced = f"{_counts(outcome)}; {_by(outcome)}"
            stage.taken_over(self.where)
        self._unchanged(self.where, "The preview after it shows no change")

    def kept_registry(self) -> None:
        """Release images cannot be built again: their registry is not deleted with its service."""
        stage, host = self.stage, self.flow.base.host
        with self.progress.step(host, f"{ADDED} comes and goes in {host}, and its release registry stays") as step:
            self._catalogue(host, _NEW_SERVICE)
            self._up(host)
            self._catalogue(host)
            refused = self._up(host, check=False)
            said = " ".join(refused.diagnostics)
            expect(refused.code != 0 and "protected" in said, f"the up refuses, and shown was: {said}")
            repository = naming.repository(self.flow.base.track, ADDED)
            (urn,) = [
                each.urn
                for each in stage.engine.program(host).of("ecr/repository:Repository")
                if each.inputs["name"] == repository
            ]
            stage.engine.run("state", "unprotect", urn, "--yes", stack=host)
            outcome = self._up(host)
            _own(outcome.steps)
            names = [each["repositoryName"] for each in stage.client(host, "ecr").describe_repositories()["repositories"]]
            expect(repository in names, f"{repository} stays in ECR, and there are {names}")
            step.details["What the refusal says"] = said
            step.produced = f"refused while protected; then {_counts(outcome)}, and {repository} is still in ECR; {_by(outcome)}"
            stage.taken_over(host)

    def second_colour(self) -> None:
        """The deploy role adds a cluster, shifts a tenth of the requests to it and back, and removes it (docs/blue-green.md)."""
        stage, stack = self.stage, self.flow.stacks[0]
        present = dict(stage.settings[stack].weights)
        active = stage.settings[stack].active_colour
        added = next(each for each in _COLOURS if each not in present)
        name = naming.cluster(stack, added)
        shifted = {**present, active: present[active] - _SHIFTED, added: _SHIFTED}
        with self.progress.step(stack, f"One colour more, {added}, at weight 0: previewed by the preview role") as step:
            self._colours(stack, {**present, added: 0})
            shown = self._previewed(stack)
            step.produced = f"{_counts(shown)}; {_by(shown)}"
        with self.progress.step(stack, f"The deploy role makes {added}: cluster, nodes, access, add-ons, Argo CD") as step:
            outcome = self._up(stack)
            kinds = {each.type for each in outcome.of("create")}
            expect(kinds >= _COLOUR, f"a colour has {sorted(_COLOUR)}, and made was {sorted(kinds)}")
            running = stage.clusters.get(name)
            expect(bool(running.record.groups) and running.argocd is not None, "it has nodes and its Argo CD")
            step.produced = f"{_counts(outcome)} in {outcome.seconds:.0f} s; {_by(outcome)}"
        for weights in (shifted, {**present, added: 0}):
            told = ", ".join(f"{colour} {weight}" for colour, weight in weights.items())
            with self.progress.step(stack, f"The deploy role shifts: {told}") as step:
                self._colours(stack, weights)
                outcome = self._up(stack)
                strange = _named(outcome.of("delete", "replace"))
                expect(bool(outcome.of("update")) and not strange, f"a shift only changes, and there was {strange}")
                step.produced = f"{_counts(outcome)}; {_by(outcome)}"
        with self.progress.step(stack, f"The deploy role removes {added}") as step:
            self._colours(stack, present)
            outcome = self._up(stack)
            expect(stage.clusters.find(name) is None, "its cluster is gone")
            step.produced = f"{_counts(outcome)} in {outcome.seconds:.0f} s; {_by(outcome)}"
            stage.taken_over(stack)
        self._unchanged(stack, "The preview after it shows no change")

    def _colours(self, stack: str, weights: Mapping[str, int]) -> None:
        """Declare clusters of these weights; one that the stack's file lacks is like its active one."""
        key, overrides, settings = "slipway:clusters", self.stage.overrides(stack), self.stage.settings[stack]
        declared = cast("Mapping[str, Mapping[str, Any]]", overrides.get(key) or yaml.safe_load(stack_config(stack)[key]))
        like = declared[settings.active_colour]
        clusters = {colour: {**declared.get(colour, like), "weight": weight} for colour, weight in weights.items()}
        self.stage.engine.configure(stack, {**overrides, key: clusters})

    def drift(self) -> None:
        """What is changed beside the program is shown by a refresh, and mended by the next up."""
        stage = self.stage
        with self.progress.step(self.where, "A refresh shows nothing while nothing has drifted") as step:
            outcome = stage.engine.run("refresh", "--preview-only", stack=self.where)
            stage.outcomes.append(outcome)
            expect(not outcome.steps, f"no drift, and there was {_named(outcome.steps)}")
            step.produced = f"{outcome.kept} resources are as declared; {_by(outcome)}"
        with self.progress.step(self.where, "What was changed by hand shows in a refresh, and the next up mends it") as step:
            touched = self._tamper()
            outcome = stage.engine.refresh(self.where)
            stage.outcomes.append(outcome)
            shown = {each.name: each.operation for each in outcome.steps}
            expect({name: shown.get(name) for name in touched} == touched, f"drift of {touched} is shown, and shown was {shown}")
            mended = self._up(self.where)
            back = stage.engine.run("refresh", "--preview-only", stack=self.where)
            expect(not back.steps, f"mended, and there was still {_named(back.steps)}")
            step.produced = f"{_named(outcome.steps)}; the up: {_counts(mended)}; {_by(mended)}"
            stage.taken_over(self.where)

    def _tamper(self) -> Mapping[str, str]:
        """Change three things by hand; what a refresh must say of each, by logical name."""
        stage, program = self.stage, self.stage.programs[self.where]
        rule = program.one("cloudwatch/eventRule:EventRule", self.service)
        stage.client(self.where, "events").put_rule(Name=rule.inputs["name"], EventPattern='{"source": ["by.hand"]}')
        alarm = program.of("cloudwatch/metricAlarm:MetricAlarm")[0]
        stage.client(self.where, "cloudwatch").delete_alarms(AlarmNames=[alarm.inputs["name"]])
        namespace = next(each for each in program.of("core/v1:Namespace") if each.inputs["metadata"]["name"] == self.worker)
        labels = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}
        stage.cluster(self.where).kube.patch("v1", "Namespace", self.worker, labels)
        return {rule.name: "update", alarm.name: "delete", namespace.name: "update"}

    def torn_down(self) -> None:
        """Every environment is taken down as docs/tear-down.md says, the GitOps repository's owner last."""
        stage = self.stage
        owner, *others = self.flow.stacks
        _together(*(functools.partial(self._torn_down, each) for each in others))
        self._torn_down(owner)
        expect(
            stage.host.head(stage.gitops, stage.settings[owner].environment.gitops_branch) is not None,
            "the GitOps repository stays",
        )

    def _torn_down(self, stack: str) -> None:
        """What is retained on purpose stays, and nothing else."""
        stage = self.stage
        with self.progress.step(stack, "`pulumi destroy` by the deploy role takes all down but its own roles") as step:
            self._unprotect(stack)
            outcome = stage.engine.destroy(stack, "--continue-on-error", check=False)
            stage.outcomes.append(outcome)
            order = [each.type.rpartition(":")[2] for each in outcome.steps if each.operation == "delete"]
            first, last = order.index("Application"), order.index("Release")
            expect(first < last, "Applications go before the charts")
            said = "\n".join(outcome.diagnostics)
            kept = "explicit deny in a permissions boundary" in said
            expect(outcome.code != 0 and kept, f"its boundary keeps its own roles, and shown was: {said}")
            strange = [each for each in self._left(stack) if not each.startswith("aws:iam/")]
            expect(not strange, f"only roles and policies are left, and left are {strange}")
            step.details["What the refusals say"] = said
            step.produced = f"{_counts(outcome)} in {outcome.seconds:.0f} s; {_by(outcome)}"
        with self.progress.step(stack, "`pulumi destroy` by an administrator takes the roles away") as step:
            outcome = stage.engine.destroy(stack, role=ADMINISTRATOR)
            stage.outcomes.append(outcome)
            left = self._left(stack)
            expect(not left, f"nothing is left but what is retained, and left are {left}")
            step.produced = f"{_counts(outcome)} in {outcome.seconds:.0f} s; {_by(outcome)}"

    def _unprotect(self, stack: str) -> None:
        """What a person does first: Pulumi's protection, and AWS's own."""
        stage = self.stage
        stage.engine.run("state", "unprotect", "--all", "--yes", stack=stack)
        balancers = stage.client(stack, "elbv2")
        for each in stage.programs[stack].of("lb/loadBalancer:LoadBalancer"):
            off = [{"Key": "deletion_protection.enabled", "Value": "false"}]
            balancers.modify_load_balancer_attributes(LoadBalancerArn=each.id, Attributes=off)
        # What `aws eks update-cluster-config --no-deletion-protection` does, which the emulator does not know.
        stage.cluster(stack).record.settings["deletionProtection"] = False

    def _left(self, stack: str) -> list[str]:
        """What still stands of a stack's resources and is not retained."""
        stage = self.stage
        left: list[str] = []
        for each in stage.programs[stack].resources:
            if not each.custom or each.retain_on_delete or each.type.startswith(("pulumi:", "kubernetes:")):
                continue
            if stage.world.row(each.type) is None:
                continue
            asked = Request(stack=stack, type=each.type, name=each.name, inputs={}, custom=True, parent="")
            try:
                found = stage.world.read(asked, each.id)
            except RealiseError:
                # What it was part of is gone.
                continue
            if found is not None:
                left.append(f"{each.type} {each.name}")
        return left

    # Parts of steps

    def _up(self, stack: str, *options: str, **more: Any) -> Outcome:  # noqa: ANN401 — passed on
        """`pulumi up`, kept for the report."""
        outcome = self.stage.engine.up(stack, *options, **more)
        self.stage.outcomes.append(outcome)
        return outcome

    def _previewed(self, stack: str) -> Outcome:
        """`pulumi preview`, likewise."""
        outcome = self.stage.engine.preview(stack)
        self.stage.outcomes.append(outcome)
        return outcome

    def _catalogue(self, stack: str, *more: str) -> None:
        """A stack's catalogue as in the checkout, and `more` calls."""
        self.stage.declare(stack, *more)


def unchanged(outcome: Outcome) -> None:
    """Hold a preview to showing nothing.

    Raises:
        StageError: it shows something; the message names every resource and property.
    """
    if outcome.steps:
        msg = f"a preview of {outcome.stack} right after an up shows {_named(outcome.steps)}: a diff that never ends"
        raise StageError(msg)


def _asked(stage: EngineStage, stack: str) -> int:
    """How often providers were asked for something on behalf of a stack."""
    return sum(number for (whose, _), number in stage.meddler.counts.items() if whose == stack)


def _together(*lanes: Callable[[], None]) -> None:
    """Play side by side what needs nothing of each other; an error is raised when all have come to their end."""
    with ThreadPoolExecutor(len(lanes)) as threads:
        for each in [threads.submit(lane) for lane in lanes]:
            each.result()


def _refused(attempt: Callable[[], object]) -> str:
    """What the API server says, which must refuse it as a change by somebody who may only try.

    Raises:
        StageError: it refuses it otherwise, or not at all.
    """
    try:
        attempt()
    except KubeError as error:
        expect("only tries changes (dry run)" in str(error), f"it is refused by the admission policy, and not so: {error}")
        return str(error)
    msg = "expected: the API server refuses it, and it was made"
    raise StageError(msg)


def _by(outcome: Outcome) -> str:
    """Who ran it: role and session."""
    return f"as {outcome.caller.partition(':assumed-role/')[2] or outcome.caller}"


def _creations(outcome: Outcome) -> set[str]:
    """URNs of what is created."""
    return {each.urn for each in outcome.of("create")}


def _counts(outcome: Outcome) -> str:
    counted = {operation: len(outcome.of(operation)) for operation in dict.fromkeys(each.operation for each in outcome.steps)}
    return ", ".join(f"{number} {operation}" for operation, number in counted.items()) or "no change"


def _named(steps: Sequence[Step]) -> str:
    return ", ".join(
        f"{each.operation} of {each.type.rpartition(':')[2]} {each.name}" + (f" ({', '.join(each.keys)})" if each.keys else "")
        for each in steps
    )


def _own(steps: Sequence[Step]) -> None:
    """Every step is about the service that came or went."""
    others = [each for each in steps if ADDED not in each.urn]
    expect(not others, f"only {ADDED}'s own resources are touched, and there was {_named(others)}")


def _with_tag(content: bytes, tag: str) -> bytes:
    """An image file with another tag, and without a digest, which would decide."""
    whole = cast("dict[str, Any]", yaml.safe_load(content))
    for each in cast("list[dict[str, str]]", whole.get("images") or []):
        each["newTag"] = tag
        each.pop("digest", None)
    return yaml.safe_dump(whole, sort_keys=False).encode()


def _first(text: str) -> str:
    """The beginning of a message, for a line of the table."""
    line = re.sub(r"\s+", " ", text)
    return line if len(line) < 160 else f"{line[:157]}…"  # noqa: PLR2004 — a line


__all__ = ["COMMITS", "TARGET_SECONDS", "EnginePlay", "Latency", "unchanged"]
