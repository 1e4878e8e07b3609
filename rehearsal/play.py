"""The play: one day of the flow, on the stage. Each step says where it is, what came of it, and how long it took.

What a step expects follows from the declared program and from design.md; where it does not come about, the play ends there
with the reason.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import yaml

from bootstrap.report import State
from components import naming
from rehearsal import first_day
from rehearsal.actions import Run, WorkflowError
from rehearsal.builds import ensure_tools
from rehearsal.cast import Part
from rehearsal.flow import Flow, Lane, Target
from rehearsal.program import Program, evaluate
from rehearsal.progress import Page, Progress, Step
from rehearsal.stage import REVIEWER, REVIEWERS, BuildFailedError, Built, Stage, StageError

_PAGE = "www/index.html"


@dataclass(kw_only=True)
class Play:
    """A play under way.

    Environments, tracks, branches and services come from the platform's settings and catalogue (`Stage.flow`, `Stage.cast`).

    Attributes:
        stage: Where it is played.
        progress: Where it is shown.
        built: Newest image by environment that builds, and service.
    """

    stage: Stage
    progress: Progress
    built: dict[tuple[str, str], Built] = field(default_factory=dict[tuple[str, str], Built])

    @property
    def flow(self) -> Flow:
        """The way of a commit through the platform."""
        return self.stage.flow

    @property
    def service(self) -> str:
        """Name of the public service that the play follows."""
        return self.stage.cast.service.name

    @property
    def worker(self) -> str:
        """Name of the worker that the play follows."""
        return self.stage.cast.worker.name

    @property
    def followed(self) -> tuple[str, str]:
        """Both."""
        return (self.service, self.worker)

    @property
    def target(self) -> Target:
        """The environment that releases lead to.

        Raises:
            StageError: the platform has none; the steps that need one are left out.
        """
        if self.flow.target is None:
            msg = "no environment is released to: leave this step out"
            raise StageError(msg)
        return self.flow.target

    def run(self) -> None:
        """Play all of it that this platform has."""
        self.chosen()
        self.first_day()
        if self.flow.early is not None:
            self.early(self.flow.early)
            self.promotion(self.flow.early)
        self.based()
        if self.flow.target is not None:
            self.released()
            self.rollback()
        self.failed_build()
        self.lost_event()
        self.poison()
        self.stale_event()
        self.shift()

    def chosen(self) -> None:
        """Say what is played, and what this platform has no place for."""
        with self.progress.step("", "Environments, tracks and services are read from settings and catalogue") as step:
            flow = self.flow
            way = [*(lane.environment for lane in flow.lanes), *([flow.target.environment] if flow.target else [])]
            step.produced = f"{' → '.join(way)}; {self.service} with an edge, {self.worker} as a worker"
        for line in [*self.stage.cast.notes, *self.stage.notes, *flow.skipped]:
            self.skip(line)

    def skip(self, why: str) -> None:
        """Show that something is not played, and why."""
        with self.progress.step("", "Not as in the example") as step:
            step.produced = why

    # The first day

    def first_day(self) -> None:
        """People's part, then the stacks in the order of the first day."""
        stage = self.stage
        with self.progress.step("", "People prepare GitHub: team, repositories, Apps") as step:
            stage.prepare_github()
            step.produced = f"{len(stage.cast.repositories)} application repositories, and the Apps of docs/adopt.md's table"
        for stack in self.flow.stacks:
            with self.progress.step(
                stack, "bootstrap prepares the account, and its check finds it ready for the first `up`"
            ) as step:
                step.details[f"What bootstrap prints for {stack}"] = stage.prepare_account(stack)
                step.produced = f"{len(first_day.commands(stage.settings[stack]))} commands of docs/adopt.md"
        self.realise_all()
        self.checked()
        lane = self.flow.early
        if lane is None:
            self.scaffold_by_hand()
            return
        with self.progress.step(lane.environment, "The sweep finds declared services without a directory") as step:
            before = stage.head(lane.branch)
            stage.sweep(lane.track)
            after = stage.head(lane.branch)
            commits = _commits(stage, before, after)
            expect(len(commits) == 1, f"one commit scaffolds all services, and {len(commits)} came: {commits}")
            wanted = {each.name for each in stage.cast.parts}
            found = {name for name in wanted if self._has_directory(lane, name)}
            expect(
                found == wanted,
                f"every service of the catalogue has a directory on {lane.branch}, and {sorted(wanted - found)} lack it",
            )
            step.produced = f"one commit on {lane.branch}: {commits[0]}"
            stage.sweep(lane.track)
            expect(stage.head(lane.branch) == after, "a second sweep finds nothing to do")

    def checked(self) -> None:
        """After the first day bootstrap's check finds everything ready that this world can answer."""
        for stack in self.flow.stacks:
            with self.progress.step(stack, "bootstrap --check finds everything ready that can be looked at here") as step:
                found = self.stage.checked(stack)
                later = found.report.of(State.LATER)
                expect(not later, f"nothing is left for later, and {[row.text for row in later]} are")
                left = found.unanswered
                step.details[f"What the check could not look at in {stack}"] = "\n".join(
                    f"not looked at: {row.text}" for row in found.report.of(State.NOT_LOOKED_AT)
                )
                step.produced = f"{len(found.report.of(State.READY))} ready; not looked at: {', '.join(left)}"

    def _has_directory(self, lane: Lane, service: str) -> bool:
        stage = self.stage
        return stage.host.read(stage.gitops, lane.branch, f"apps/{service}/base/kustomization.yaml") is not None

    def realise_all(self) -> None:
        """Every stack, the owner of the GitOps repository first; then once more, with the id of the repository it made."""
        owner, *others = self.flow.stacks
        self.realise(owner)
        self.know_repository(owner)
        for stack in others:
            self.realise(stack)

    def know_repository(self, owner: str) -> None:
        """Write the new repository's id into the stack files: the owner makes what needs it."""
        self.stage.write_down_repository()
        self.realise(owner, "The repository's id is written into the settings, and the program is evaluated again")

    def realise(self, stack: str, title: str = "The program is evaluated, and what it declares is made") -> None:
        """One stack's program becomes what it declares."""
        stage = self.stage
        with self.progress.step(stack, title) as step:
            before = self._standing(stack)
            step.produced = self._made(stage.realise(stack), before)

    def _standing(self, stack: str) -> int:
        return sum(1 for each in self.stage.world.realised if each.stack == stack)

    def _made(self, program: Program, before: int = 0) -> str:
        stack = program.stack
        made = self._standing(stack) - before
        resources = [each for each in program.resources if not each.type.startswith("slipway:")]
        return f"{len(resources)} resources declared, {made} of them made in account {self.stage.place(stack).account}"

    # The early track

    def early(self, lane: Lane) -> None:
        """A commit on the early track's branch becomes the image that its environment runs."""
        for service in self.followed:
            title = f"A change of {service} is merged to {lane.source}"
            built = self._build(lane, service, title, self._change(service, lane, "1"))
            self._hook(lane, service, built)
            self._renders(lane.environment, service, built)
        if self.flow.target is not None:
            self._refused(lane, self.service)

    # The base track

    def promotion(self, lane: Lane) -> None:
        """Manifests are promoted where that is due, and not otherwise."""
        stage, base = self.stage, self.flow.base
        where = base.environment
        with self.progress.step(where, f"What people changed on {lane.branch} is promoted") as step:
            run = self._after_push("promote", lane.branch)
            expect(run.outputs.get("outcome") == "opened", f"a pull request is opened, and the workflow said: {run.log}")
            step.details["The promotion's pull request"] = self._pull(run.outputs["pull-request"])
            stage.review_and_merge(stage.gitops, int(run.outputs["pull-request"]))
            expect(self._has_directory(base, self.service), f"{self.service} has arrived on {base.branch}")
            step.produced = f"pull request #{run.outputs['pull-request']}, reviewed and merged into {base.branch}"
        with self.progress.step(where, f"A new image in {lane.environment} alone is no reason to promote") as step:
            built = self._pipeline(lane, self.service, self._change(self.service, lane, "2")(), step)
            self._await(lane, self.service, built)
            run = self._after_push("promote", lane.branch)
            expect(run.outputs.get("outcome") == "skipped", f"the promotion is skipped, and the workflow said: {run.log}")
            step.produced = f"{built.tag} is in {lane.environment}; promotion skipped"
        with self.progress.step(where, f"A changed manifest in {lane.environment} is a reason to promote") as step:
            pull = stage.propose(
                stage.gitops,
                lane.branch,
                {f"apps/{self.service}/base/{name}": text for name, text in self._slower(lane).items()},
                "Allow more drain time",
            )
            stage.review_and_merge(stage.gitops, int(pull["number"]))
            run = self._after_push("promote", lane.branch)
            expect(run.outputs.get("outcome") == "opened", f"a pull request is opened, and the workflow said: {run.log}")
            step.details["The second promotion's pull request"] = self._pull(run.outputs["pull-request"])
            stage.review_and_merge(stage.gitops, int(run.outputs["pull-request"]))
            step.produced = f"pull request #{run.outputs['pull-request']}, reviewed and merged into {base.branch}"

    def based(self) -> None:
        """The base track builds what its environment runs."""
        lane = self.flow.base
        for service in self.followed:
            came = (
                f"{service}'s {self.flow.early.source} is merged into"
                if self.flow.early
                else f"A change of {service} is merged to"
            )
            push = self._merge(service) if self.flow.early else self._change(service, lane, "1")
            built = self._build(lane, service, f"{came} {lane.source}", push)
            self._hook(lane, service, built)
            self._renders(lane.environment, service, built)

    def scaffold_by_hand(self) -> None:
        """A platform without an early track: no writer makes directories, so people commit them."""
        lane = self.flow.base
        with self.progress.step(lane.environment, "A person commits the services' directories") as step:
            step.produced = self.stage.commit_scaffold(lane)

    # Releases

    def released(self) -> None:
        """The release; its environment runs what was tried before, pulled with its own identity."""
        stage, target = self.stage, self.target
        base = self.flow.base.environment
        # A token that may read the applications and nothing else: with it a release lists their commits.
        token = stage.host.add_user("reader-of-applications", role="read")
        stage.host.set_environment_secret(stage.gitops, "slipway-promoter", "SLIPWAY_APPLICATIONS_TOKEN", token)
        self._unwell()
        self._release(f"The release is reviewed and merged into {target.branch}")
        with self.progress.step(target.environment, "The merge is tagged, and a note says what it brought") as step:
            commit, run = stage.head(target.branch), self._after_push("released", target.branch)
            tag = run.outputs["tag"]
            expect(run.outputs["outcome"] == "released", f"tag and note are made, and the workflow said: {run.log}")
            at = stage.git("rev-parse", f"{tag}^{{commit}}", cwd=stage.host.path(stage.gitops))
            expect(str(at).strip() == commit, f"{tag} is on {commit}, and it is on {at}")
            release = stage.api(REVIEWER, "GET", f"/repos/{stage.gitops}/releases/tags/{tag}")
            note = str(release["body"])
            for service in self.followed:
                built = self.built[base, service]
                expect(f"{built.tag}@{built.digest}" in note, f"the note names {built.shown}")
            step.details["The release's note"] = Page(
                title=release["name"], mark=tag, state="Release", by=release["author"]["login"], text=note
            )
            run = self._after_push("released", target.branch)
            expect(run.outputs["outcome"] == "unchanged", f"a second run changes nothing, and the workflow said: {run.log}")
            step.produced = f"{tag}, approved by {', '.join(REVIEWERS[: stage.approvals(stage.gitops, target.branch)])}"
        for service in self.followed:
            self._renders(target.environment, service, self.built[base, service])
        self._pulled(self.built[base, self.service])

    def _unwell(self) -> None:
        """What is known not to be Healthy where releases are tried holds a release up, until it is Healthy again."""
        stage, where = self.stage, self.flow.base.environment
        if not stage.settings[where].gitops.report_health:
            self.skip("no release is refused for a Degraded service: slipway:gitops.reportHealth is off")
            return
        with self.progress.step(self.target.environment, f"A release is refused while a service is Degraded in {where}") as step:
            stage.tell(where, self.service, "Degraded")
            try:
                said, refused = stage.actions.dispatch("release").log, False
            except WorkflowError as error:
                said, refused = str(error), True
            named = re.search(rf"{self.service}: {where}/\w+: Degraded since [\w:-]+Z", said)
            expect(
                refused and named is not None, f"the release is refused and names {self.service}, and the workflow said: {said}"
            )
            for service in self.followed:
                stage.tell(where, service, "Healthy")
            step.produced = f"refused: {named[0] if named else ''}"

    # Rolling back

    def rollback(self) -> None:
        """A pin takes the released environment back, outlives the next image and the next release, and is lifted."""
        lane, target = self.flow.base, self.target.environment
        before = self.built[lane.environment, self.service]
        built = self._build(lane, self.service, f"A faulty change reaches {lane.source}", self._arrives("3"))
        self._hook(lane, self.service, built)
        self._release("It is released")
        self._renders(target, self.service, built)
        with self.progress.step(target, "The service is pinned to the image before") as step:
            number = self._pin(step, "pin", to="previous", reason="Checkout answers 500 since the last release")
            self._expect_image(target, before)
            self._expect_image(lane.environment, built)
            step.produced = (
                f"pull request #{number}: {target} renders {before.tag} again, {lane.environment} goes on with {built.tag}"
            )
        with self.progress.step(target, "A newer image and its release go beneath the pin") as step:
            mended = self._pipeline(lane, self.service, self._arrives("4")(), step)
            self._await(lane, self.service, mended)
            number = self._release_now(step)
            self._expect_image(lane.environment, mended)
            self._expect_image(target, before)
            step.produced = f"pull request #{number} released {mended.tag}; {target} still renders {before.tag}"
        with self.progress.step(target, "The pin is lifted") as step:
            number = self._pin(step, "unpin", reason="Mended")
            self._expect_image(target, mended)
            step.produced = f"pull request #{number}: {target} renders {mended.tag} at once"
            run = self._after_push("released", self.target.branch)
            expect(run.outputs["outcome"] == "skipped", f"a pin's merge gets no tag, and the workflow said: {run.log}")
        self._hotfix(mended)

    def _hotfix(self, released: Built) -> None:
        """One service's fix is released ahead of what else waits."""
        lane, target = self.flow.base, self.target.environment
        with self.progress.step(
            target, f"A hotfix of one service: pinned forward to what only {lane.environment} has run"
        ) as step:
            fixed = self._pipeline(lane, self.service, self._arrives("hotfix")(), step)
            self._await(lane, self.service, fixed)
            before = self.stage.image_in(self.stage.render(target, self.worker))
            self._expect_image(target, released)
            number = self._pin(step, "pin", to=fixed.tag, reason="The parser lets headers through")
            self._expect_image(target, fixed)
            after = self.stage.image_in(self.stage.render(target, self.worker))
            expect(after == before, f"{self.worker} stays at {before}, and it is {after}")
            step.produced = f"pull request #{number}: {target} renders {fixed.tag}, nothing else has changed"
        with self.progress.step(target, "The next release brings it too, and the pin is lifted") as step:
            released_by, number = self._release_now(step), self._pin(step, "unpin", reason="Released")
            self._expect_image(target, fixed)
            step.produced = f"pull requests #{released_by} and #{number}: {target} renders {fixed.tag} as before"

    # Builds

    def failed_build(self) -> None:
        """A build that fails raises its track's alarm, turns its commit red, and changes nothing else."""
        stage, lane = self.stage, self.flow.first
        part = self._part(self.service)
        repository, path = self._repository(part), part.path(part.dockerfile)
        good = (stage.host.read(repository, lane.source, path) or b"").decode()
        with self.progress.step(
            lane.environment, "A commit breaks the Dockerfile: its build fails and its commit turns red"
        ) as step:
            image = stage.settings[lane.host].tracks[lane.track].image_file.format(service=self.service)
            before, head = stage.host.read(stage.gitops, lane.branch, image), stage.head(lane.branch)
            broken = stage.change(repository, lane.source, {path: f"{good}COPY not-there /\n"}, "Break the Dockerfile")

            def state() -> str:
                status = stage.report(repository, str(broken.after), lane, self.service)
                return status.state if status else ""

            def begun() -> None:
                stage.wait_for("the commit to be pending", lambda: state() == "pending")

            try:
                stage.build_all(broken, begun)
            except BuildFailedError as error:
                said, run = str(error), error.run
            else:
                msg = "expected: the build of a broken Dockerfile fails"
                raise StageError(msg)
            stage.wait_for("the commit to turn red", lambda: state() == "failure")
            status = stage.report(repository, str(broken.after), lane, self.service)
            link = (status.target_url if status else "") or ""
            expect(link.startswith("https://"), f"the status leads to the run, and it leads to {link!r}")
            alarm = self._alarm_of_failed_builds(lane, run)
            unchanged = stage.host.read(stage.gitops, lane.branch, image) == before
            expect(unchanged, f"{image} on {lane.branch} stays as it was")
            # Other services of the repository are built from the same commit, and may well succeed.
            alone = len(stage.cast.repositories[part.repository]) == 1
            expect(not alone or stage.head(lane.branch) == head, f"nothing is committed to {lane.branch}")
            step.produced = f"pending, then red; alarm {alarm} counts it; {image} on {lane.branch} stays as it was"
            step.details["What the build said"] = said
            step.details["Where the red status leads"] = link
        with self.progress.step(
            lane.environment, "The Dockerfile is mended: its commit turns green, and the image arrives"
        ) as step:
            mended = stage.change(repository, lane.source, {path: good}, "Mend the Dockerfile")
            built = self._pipeline(lane, self.service, mended, step)

            def green() -> bool:
                status = stage.report(repository, str(mended.after), lane, self.service)
                return status is not None and status.state == "success"

            stage.wait_for("the commit to turn green", green)
            self._await(lane, self.service, built)
            expect(state() == "failure", "the broken commit stays red")
            step.produced = f"{built.tag} is on {lane.branch}; the commit is green"

    def _alarm_of_failed_builds(self, lane: Lane, run: str) -> str:
        """Return the alarm on the declared rule that the failed run's event matches."""
        stage, program = self.stage, self.stage.programs[lane.host]
        name = naming.build_rule(lane.track, "failed")
        rule = next(each for each in program.of("cloudwatch/eventRule:EventRule") if each.inputs["name"] == name)
        alarms = [
            each.inputs["name"]
            for each in program.of("cloudwatch/metricAlarm:MetricAlarm")
            if each.inputs.get("dimensions", {}).get("RuleName") == name
        ]
        expect(len(alarms) == 1, f"one alarm counts rule {name}, and {alarms} do")
        place = stage.place(lane.host)
        told = [(kind, detail) for kind, detail in stage.runs.told if detail["execution-id"] == run]
        matched = [
            detail["state"] for kind, detail in told if stage.matches(place, str(rule.inputs["eventPattern"]), kind, detail)
        ]
        expect(matched == ["FAILED"], f"rule {name} matches the run's failure alone, and it matches {matched}")
        return str(alarms[0])

    # What is lost is found

    def lost_event(self) -> None:
        """EventBridge delivers best-effort: the sweep mends what a lost event has left behind."""
        stage, lane, base = self.stage, self.flow.first, self.flow.base
        with self.progress.step(lane.environment, "ECR's event is lost, and the next sweep mends it") as step:
            stage.deaf, before = True, stage.head(lane.branch)
            try:
                built = self._pipeline(lane, self.service, self._change(self.service, lane, "5")(), step)
            finally:
                stage.deaf = False
            expect(stage.head(lane.branch) == before, "nothing is committed without an event")
            stage.sweep(lane.track)
            self._expect_image(lane.environment, built)
            step.produced = f"{built.tag} committed by the sweep"
        running = [base.environment, *([self.flow.target.environment] if self.flow.target else [])]
        with self.progress.step(
            base.environment, f"The sweep marks what {' and '.join(running)} run, so that it does not expire"
        ) as step:
            stage.sweep(base.track)
            marks = self._marks()
            wanted = {f"slipway-keep-{name}" for name in running}
            expect(wanted <= marks.keys(), f"every environment's image is marked, and {sorted(marks)} are")
            for name in running:
                digest = stage.image_in(stage.render(name, self.service)).partition("@")[2]
                expect(marks[f"slipway-keep-{name}"] == digest, f"{name}'s mark is on {digest}")
            step.produced = ", ".join(sorted(wanted))

    def poison(self) -> None:
        """An event that cannot be handled is kept with its reason; what is kept is put back by one command."""
        stage, lane = self.stage, self.flow.first
        path = stage.settings[lane.host].tracks[lane.track].image_file.format(service=self.worker)
        good = stage.host.read(stage.gitops, lane.branch, path) or b""
        with self.progress.step(
            lane.environment, "Somebody breaks an image file: its event is kept with the reason, the others go on"
        ) as step:
            stage.host.put_file(stage.gitops, lane.branch, path, b"kind: Component\nimages: [\n", "Break the file")
            kept = self._pipeline(lane, self.worker, self._change(self.worker, lane, "6")(), step)
            stage.wait_for("the event to be kept", lambda: stage.waiting(lane.track, "failures") > 0)
            (letter,) = stage.failures(lane.track)
            expect(
                (letter["service"], letter["event"]["detail"]["image-tag"]) == (self.worker, kept.tag),
                f"{self.worker}'s event is kept, and kept is {letter}",
            )
            expect("no YAML" in letter["reason"], f"the reason is told, and it is {letter['reason']}")
            built = self._pipeline(lane, self.service, self._change(self.service, lane, "7")(), step)
            self._await(lane, self.service, built)
            # Where both services have one repository, that change has built the worker too.
            kept = self.built[lane.environment, self.worker]
            step.produced = f"kept: {letter['reason']}"
            step.details[f"What `make replay STACK={lane.host}` shows"] = stage.replay(
                lane.host, "--track", lane.track, "--queue", "failures"
            )
        with self.progress.step(lane.environment, "The file is mended, and `make replay` puts the event back") as step:
            stage.host.put_file(stage.gitops, lane.branch, path, good, "Mend the file")
            stage.replay(lane.host, "--track", lane.track, "--queue", "failures", "--send-all")
            self._await(lane, self.worker, kept)
            stage.wait_for("the queue of failures to be empty", lambda: not stage.waiting(lane.track, "failures"))
            self._expect_image(lane.environment, kept, self.worker)
            step.produced = f"{self.worker} runs {kept.tag}; the queue of failures is empty"

    def stale_event(self) -> None:
        """Queues deliver late and more than once: the effect depends on neither."""
        stage, lane = self.stage, self.flow.first
        repository = naming.repository(lane.track, self.service)
        old = next(each for each in stage.events if each.repository == repository)
        newest = self.built[lane.environment, self.service]
        with self.progress.step(lane.environment, "The event of an older image comes once more, and changes nothing") as step:
            before, looked = stage.head(lane.branch), self._looked()
            expect(old.tag < newest.tag, "there is a newer image")
            stage.announce(old)
            stage.wait_for("the writer to compare it with the branch", lambda: self._looked() > looked)
            stage.wait_for("the event to be dealt with", lambda: not stage.waiting(lane.track, "images"))
            expect(stage.head(lane.branch) == before, "nothing is committed")
            expect(not stage.waiting(lane.track, "failures"), "and nothing has failed")
            step.produced = f"{old.tag} is older than {newest.tag}: no commit"

    def _looked(self) -> int:
        """How often writers have read a branch."""
        return sum(each.operation == "ReadBranch" for each in self.stage.host.requests)

    # Another colour

    def shift(self) -> None:
        """Blue and green: the traffic moves by weights alone. Declared only; no emulator updates a listener's weights."""
        where = self.flow.target.environment if self.flow.target else self.flow.base.environment
        if not self.stage.settings[where].clusters:
            self.skip(f"no traffic is shifted: {where} has no cluster")
            return
        active = self.stage.settings[where].active_colour
        other = next(each for each in ("green", "blue") if each != active)
        with self.progress.step(where, "Traffic is shifted to a second colour") as step:
            before, after = (self._shifted(where, active, other, weight) for weight in (0, 100))
            changed = sorted({each.type.rpartition(":")[2] for each in _changed(before, after)})
            rule = _changed_inputs(before, after, "aws:lb/listenerRule:ListenerRule", self.service)
            weights = [int(each["weight"]) for each in rule["actions"][0]["forward"]["targetGroups"]]
            expect(sorted(weights) == [0, 100], f"the listener rule forwards all to {other}, and its weights are {weights}")
            names = {each.urn for each in before.of("route53/record:Record")} == {
                each.urn for each in after.of("route53/record:Record")
            }
            balancers = before.one("lb/loadBalancer:LoadBalancer").inputs == after.one("lb/loadBalancer:LoadBalancer").inputs
            expect(names and balancers, "names and load balancer stay as they are")
            step.produced = f"weights {weights}; changed are {', '.join(changed)}; names and load balancer stay"

    def _shifted(self, environment: str, active: str, other: str, weight: int) -> Program:
        """A stack with two colours, the other one with so much of the traffic."""
        settings: Any = dict(self.stage.overrides(environment))
        colour = dict(settings["slipway:clusters"][active])
        wanted = {active: {**colour, "weight": 100 - weight}, other: {**colour, "weight": weight}}
        return evaluate(environment, config={**settings, "slipway:clusters": wanted}, catalogue=self.stage.catalogue)

    # Parts of steps

    def _change(self, service: str, lane: Lane, text: str) -> Callable[[], Any]:
        """A developer's commit to the branch that a lane builds."""
        part = self._part(service)
        files = {part.path("CHANGES"): f"{text}\n", part.path(_PAGE): f"<p>{service} {text}</p>\n"}
        return lambda: self.stage.change(self._repository(part), lane.source, files, f"Change {text}")

    def _merge(self, service: str) -> Callable[[], Any]:
        """The early track's branch merged into the base's."""
        first, base = self.flow.first, self.flow.base
        return lambda: self.stage.merge_branch(self._repository(self._part(service)), first.source, base.source)

    def _arrives(self, text: str) -> Callable[[], Any]:
        """A change of the service on the branch that the base track builds, by way of the early one where there is one."""
        change, early = self._change(self.service, self.flow.first, text), self.flow.early

        def arrive() -> Any:  # noqa: ANN401 — a PushEvent
            pushed = change()
            return self._merge(self.service)() if early else pushed

        return arrive

    def _part(self, service: str) -> Part:
        return next(each for each in self.stage.cast.parts if each.name == service)

    def _repository(self, part: Part) -> str:
        return f"{self.stage.settings[self.flow.base.environment].organization.name}/{part.repository}"

    def _pipeline(self, lane: Lane, service: str, event: Any, step: Step) -> Built:  # noqa: ANN401 — a PushEvent
        """The image of a service that a push becomes; every service of one repository is built with it."""
        built = {each.pipeline: each for each in self.stage.build_all(event)}
        beside = self.stage.cast.repositories[self._part(service).repository]
        wanted = {naming.pipeline(lane.track, each.name): each.name for each in beside}
        expect(
            built.keys() == wanted.keys(),
            f"a push to {event.branch} of {event.repository} starts {sorted(wanted)}, and it started {sorted(built)}",
        )
        for pipeline, name in wanted.items():
            self.built[lane.environment, name] = built[pipeline]
            step.log.append(f"{built[pipeline].reference}")
        return self.built[lane.environment, service]

    def _build(self, lane: Lane, service: str, title: str, push: Callable[[], Any]) -> Built:
        with self.progress.step(lane.environment, f"{title}; the pipeline builds") as step:
            built = self._pipeline(lane, service, push(), step)
            step.produced = f"{built.pipeline}: {built.repository.partition('/')[2]}:{built.tag}"
            return built

    def _hook(self, lane: Lane, service: str, built: Built) -> None:
        title = f"The push event goes rule → queue → function → commit on {lane.branch}"
        with self.progress.step(lane.environment, title) as step:
            self._await(lane, service, built)
            step.produced = f"{self._subject(lane.branch)}"

    def _await(self, lane: Lane, service: str, built: Built) -> None:
        """Until the track's image file of the service, on its branch, names the image."""
        stage = self.stage
        path = stage.settings[lane.host].tracks[lane.track].image_file.format(service=service)

        def committed() -> bool:
            content = stage.host.read(stage.gitops, lane.branch, path)
            whole = cast("dict[str, list[dict[str, str]]]", yaml.safe_load(content) if content else {})
            images = whole.get("images") or []
            return any((each.get("newTag"), each.get("digest")) == (built.tag, built.digest) for each in images)

        stage.wait_for(f"{built.tag} in {path} on {lane.branch}, for {lane.environment}", committed)
        self._heard(lane.branch)

    def _heard(self, branch: str) -> None:
        """Argo CD of every environment that reads the branch has heard of its tip, through the edge, by a signed webhook."""
        stage = self.stage
        head = stage.head(branch)
        for name, settings in stage.settings.items():
            if settings.environment.gitops_branch == branch and settings.clusters:
                stage.wait_for(
                    f"{head[:12]} on {branch} to reach Argo CD of {name} through the edge",
                    lambda name=name: any((each.environment, each.commit) == (name, head) for each in stage.edge.heard),
                )

    def _renders(self, environment: str, service: str, built: Built) -> None:
        with self.progress.step(environment, self.stage.shows.format(environment=environment, service=service)) as step:
            rendered = self._expect_image(environment, built, service)
            step.produced = built.shown
            step.details[f"What Argo CD applies for {service} in {environment}"] = rendered

    def _expect_image(self, environment: str, built: Built, service: str = "") -> str:
        rendered = self.stage.render(environment, service or self.service)
        image = self.stage.image_in(rendered)
        expect(image == built.reference, f"{environment} renders {built.reference}, and it renders {image}")
        return rendered

    def _after_push(self, workflow: str, branch: str) -> Run:
        """Run what the last push to a branch starts; answers with the one run of a workflow."""
        (run,) = [each for each in self.stage.actions.pushed(branch) if each.workflow == workflow]
        return run

    def _release(self, title: str) -> None:
        with self.progress.step(self.target.environment, title) as step:
            number = self._release_now(step)
            step.produced = f"pull request #{number}, reviewed and merged into {self.target.branch}"

    def _release_now(self, step: Step) -> str:
        stage = self.stage
        run = stage.actions.dispatch("release")
        expect(run.outputs.get("outcome") == "opened", f"a release is opened, and the workflow said: {run.log}")
        number = run.outputs["pull-request"]
        step.details[f"The release's pull request #{number}"] = self._pull(number)
        stage.review_and_merge(stage.gitops, int(number))
        self._heard(self.target.branch)
        return number

    def _pin(self, step: Step, action: str, *, reason: str, to: str = "previous") -> str:
        run = self.stage.actions.dispatch(
            "pin", action=action, environment=self.target.environment, services=self.service, to=to, reason=reason
        )
        number = run.outputs["pull-request"]
        expect(bool(number), f"a pull request is opened, and the workflow said: {run.log}")
        step.details[f"The {action}'s pull request #{number}"] = self._pull(number)
        self.stage.review_and_merge(self.stage.gitops, int(number))
        return number

    def _refused(self, lane: Lane, service: str) -> None:
        """Nobody but a track's account and those that it grants may pull from its registry."""
        target = self.target.environment
        if self.stage.place(target).account == self.stage.place(lane.host).account:
            self.skip(f"no pull is refused: {target} and the registry of {lane.track} have one account")
            return
        with self.progress.step(lane.environment, f"{target}'s nodes are refused {lane.track}'s image") as step:
            came, said = self._pull_as(target, self.built[lane.environment, service])
            expect(not came, f"{target} has no grant on {lane.track}'s repository, and its pull was let through")
            step.produced = f"403: no grant in {lane.track}'s repository"
            step.log += said.splitlines()

    def _pulled(self, built: Built) -> None:
        target, host = self.target.environment, self.flow.base.host
        with self.progress.step(target, f"{target}'s nodes pull that image from {host}'s registry") as step:
            came, said = self._pull_as(target, built)
            expect(came, f"the repository's policy lets {target} pull {built.reference}: {said}")
            step.produced = f"{built.digest[:19]}… as {self._node_role(target).rpartition('/')[2]}"

    def _pull_as(self, environment: str, built: Built) -> tuple[bool, str]:
        return self.stage.pull(self._node_role(environment), self.stage.place(environment).region, built.reference)

    def _node_role(self, environment: str) -> str:
        settings = self.stage.settings[environment]
        name = naming.role(environment, settings.active_colour, "nodes")
        return f"arn:aws:iam::{settings.environment.account}:role/{name}"

    def _marks(self) -> Mapping[str, str]:
        """Digest by mark in the base track's repository of the service."""
        lane = self.flow.base
        ecr = self.stage.client(lane.host, "ecr")
        images = ecr.describe_images(repositoryName=naming.repository(lane.track, self.service))["imageDetails"]
        return {
            tag: each["imageDigest"] for each in images for tag in each.get("imageTags", []) if tag.startswith("slipway-keep-")
        }

    def _slower(self, lane: Lane) -> Mapping[str, str]:
        """The base's Deployment with a longer grace period: a change that people make."""
        stage = self.stage
        path = f"apps/{self.service}/base/deployment.yaml"
        text = (stage.host.read(stage.gitops, lane.branch, path) or b"").decode()
        lines = text.splitlines()
        place = next(number for number, line in enumerate(lines) if line.strip() == "spec:" and line.startswith("    "))
        indent = " " * (len(lines[place]) - len(lines[place].lstrip()) + 2)
        kept = [line for line in lines if "terminationGracePeriodSeconds" not in line]
        return {
            "deployment.yaml": "\n".join([*kept[: place + 1], f"{indent}terminationGracePeriodSeconds: 45", *kept[place + 1 :]])
            + "\n"
        }

    def _pull(self, number: str) -> Page:
        """A pull request as its reviewer sees it."""
        pull = self.stage.api(REVIEWER, "GET", f"/repos/{self.stage.gitops}/pulls/{number}")
        return Page(
            title=pull["title"],
            mark=f"#{number}",
            state="Merged" if pull["merged"] else str(pull["state"]).capitalize(),
            by=pull["user"]["login"],
            text=pull["body"],
            target=pull["base"]["ref"],
            source=pull["head"]["ref"],
        )

    def _subject(self, branch: str) -> str:
        stage = self.stage
        line = stage.git("log", "-1", "--format=%h %an: %s", branch, cwd=stage.host.path(stage.gitops))
        return f"{str(line).strip()}"


def prepare(progress: Progress) -> None:
    """Have the tools that build images.

    Raises:
        rehearsal.builds.ToolError: one is missing and cannot be installed here; it says what to install.
    """
    with progress.step("", "Tools that build images without a daemon") as step:
        ensure_tools(progress.say)
        step.produced = "buildah, skopeo, busybox"


def expect(true: bool, what: str) -> None:
    """Hold the play to what it expects.

    Raises:
        StageError: it did not come about.
    """
    if not true:
        msg = f"expected: {what}"
        raise StageError(msg)


def _commits(stage: Stage, before: str, after: str) -> list[str]:
    lines = stage.git("log", "--format=%h %s", f"{before}..{after}", cwd=stage.host.path(stage.gitops))
    return str(lines).splitlines()


def _changed(before: Program, after: Program) -> list[Any]:
    old = before.urns()
    return [each for urn, each in after.urns().items() if urn in old and _compared(old[urn]) != _compared(each)]


def _compared(each: Any) -> tuple[object, ...]:  # noqa: ANN401 — Declared
    return (each.inputs, each.protect)


def _changed_inputs(before: Program, after: Program, type_: str, name: str) -> Mapping[str, Any]:
    (found,) = (each for each in _changed(before, after) if each.type == type_ and each.name == name)
    return found.inputs


__all__ = ["Play", "expect", "prepare"]
