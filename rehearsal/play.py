"""The play: one day of the flow, on the stage. Each step says where it is, what came of it, and how long it took.

What a step expects follows from the declared program and from design.md; where it does not come about, the play ends there
with the reason.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import yaml

from components import naming
from rehearsal.actions import Run, WorkflowError
from rehearsal.builds import ensure_tools
from rehearsal.program import Program, evaluate
from rehearsal.progress import Page, Progress, Step
from rehearsal.stage import REVIEWER, STACKS, Built, Stage, StageError

SERVICE, WORKER = "storefront", "invoices"
_PAGE = "www/index.html"


@dataclass(kw_only=True)
class Play:
    """A play under way.

    Attributes:
        stage: Where it is played.
        progress: Where it is shown.
        built: Newest image by environment that builds, and service.
    """

    stage: Stage
    progress: Progress
    built: dict[tuple[str, str], Built] = field(default_factory=dict[tuple[str, str], Built])

    def run(self) -> None:
        """Play all of it."""
        self.first_day()
        self.dev()
        self.stg()
        self.prd()
        self.rollback()
        self.lost_event()
        self.poison()
        self.stale_event()
        self.shift()

    # The first day

    def first_day(self) -> None:
        """People's part, then the three stacks in the order of the first day."""
        stage = self.stage
        with self.progress.step("", "People prepare the accounts and GitHub") as step:
            stage.first_day()
            step.produced = "3 zones, 4 GitHub Apps with keys in Secrets Manager, 2 application repositories"
        self.realise_all()
        with self.progress.step("dev", "The sweep finds declared services without a directory") as step:
            before = stage.head("dev")
            stage.sweep("develop")
            after = stage.head("dev")
            commits = _commits(stage, before, after)
            expect(len(commits) == 1, f"one commit scaffolds all services, and {len(commits)} came: {commits}")
            found = {
                name for name in (SERVICE, WORKER) if stage.host.read(stage.gitops, "dev", f"apps/{name}/base/kustomization.yaml")
            }
            expect(found == {SERVICE, WORKER}, f"both services have a directory on dev, and {sorted(found)} have")
            step.produced = f"one commit on dev: {commits[0]}"
            stage.sweep("develop")
            expect(stage.head("dev") == after, "a second sweep finds nothing to do")

    def realise_all(self) -> None:
        """Every stack, the owner of the GitOps repository first."""
        for stack in STACKS:
            self.realise(stack)

    def realise(self, stack: str) -> None:
        """One stack's program becomes what it declares."""
        stage = self.stage
        with self.progress.step(stack, "The program is evaluated, and what it declares is made") as step:
            step.produced = self._made(stage.realise(stack))

    def _made(self, program: Program) -> str:
        stack = program.stack
        made = sum(1 for each in self.stage.world.realised if each.stack == stack)
        resources = [each for each in program.resources if not each.type.startswith("slipway:")]
        return f"{len(resources)} resources declared, {made} of them made in account {self.stage.place(stack).account}"

    # dev

    def dev(self) -> None:
        """Step 1 of the issue: a commit on develop becomes the image that dev runs."""
        for service in (SERVICE, WORKER):
            built = self._build(
                "dev", service, f"A change of {service} is merged to develop", self._change(service, "develop", "1")
            )
            self._hook("dev", "develop", service, built)
            self._renders("dev", service, built)
        self._refused("dev", SERVICE)

    # stg

    def stg(self) -> None:
        """Step 2: promotion where it is due and not otherwise; the release track builds what stg runs."""
        stage = self.stage
        with self.progress.step("stg", "What people changed on dev is promoted") as step:
            run = self._after_push("promote", "dev")
            expect(run.outputs.get("outcome") == "opened", f"a pull request is opened, and the workflow said: {run.log}")
            step.details["The promotion's pull request"] = self._pull(run.outputs["pull-request"])
            stage.review_and_merge(stage.gitops, int(run.outputs["pull-request"]))
            expect(
                stage.host.read(stage.gitops, "stg", f"apps/{SERVICE}/base/kustomization.yaml") is not None,
                f"{SERVICE} has arrived on stg",
            )
            step.produced = f"pull request #{run.outputs['pull-request']}, reviewed and merged into stg"
        with self.progress.step("stg", "A new image in dev alone is no reason to promote") as step:
            built = self._pipeline(self._change(SERVICE, "develop", "2")(), step)
            self.built["dev", SERVICE] = built
            self._await("dev", "develop", SERVICE, built)
            run = self._after_push("promote", "dev")
            expect(run.outputs.get("outcome") == "skipped", f"the promotion is skipped, and the workflow said: {run.log}")
            step.produced = f"{built.tag} is in dev; promotion skipped"
        with self.progress.step("stg", "A changed manifest in dev is a reason to promote") as step:
            pull = stage.propose(
                stage.gitops,
                "dev",
                {f"apps/{SERVICE}/base/{name}": text for name, text in self._slower().items()},
                "Allow more drain time",
            )
            stage.review_and_merge(stage.gitops, int(pull["number"]))
            run = self._after_push("promote", "dev")
            expect(run.outputs.get("outcome") == "opened", f"a pull request is opened, and the workflow said: {run.log}")
            step.details["The second promotion's pull request"] = self._pull(run.outputs["pull-request"])
            stage.review_and_merge(stage.gitops, int(run.outputs["pull-request"]))
            step.produced = f"pull request #{run.outputs['pull-request']}, reviewed and merged into stg"
        for service in (SERVICE, WORKER):
            built = self._build("stg", service, f"{service}'s develop is merged into master", self._merge(service))
            self._hook("stg", "release", service, built)
            self._renders("stg", service, built)

    # prd

    def prd(self) -> None:
        """Step 3: the release; prd runs what stg ran, pulled with its own identity."""
        stage = self.stage
        # A token that may read the applications and nothing else: with it a release lists their commits.
        token = stage.host.add_user("reader-of-applications", role="read")
        stage.host.set_environment_secret(stage.gitops, "slipway-promoter", "SLIPWAY_APPLICATIONS_TOKEN", token)
        self._unwell()
        self._release("The release is reviewed and merged into master")
        with self.progress.step("prd", "The merge is tagged, and a note says what it brought") as step:
            commit, run = stage.head("master"), self._after_push("released", "master")
            tag = run.outputs["tag"]
            expect(run.outputs["outcome"] == "released", f"tag and note are made, and the workflow said: {run.log}")
            at = stage.git("rev-parse", f"{tag}^{{commit}}", cwd=stage.host.path(stage.gitops))
            expect(str(at).strip() == commit, f"{tag} is on {commit}, and it is on {at}")
            release = stage.api(REVIEWER, "GET", f"/repos/{stage.gitops}/releases/tags/{tag}")
            note = str(release["body"])
            for service in (SERVICE, WORKER):
                built = self.built["stg", service]
                expect(f"{built.tag}@{built.digest}" in note, f"the note names {built.shown}")
            step.details["The release's note"] = Page(
                title=release["name"], mark=tag, state="Release", by=release["author"]["login"], text=note
            )
            run = self._after_push("released", "master")
            expect(run.outputs["outcome"] == "unchanged", f"a second run changes nothing, and the workflow said: {run.log}")
            step.produced = f"{tag}, approved by {REVIEWER}"
        for service in (SERVICE, WORKER):
            self._renders("prd", service, self.built["stg", service])
        self._pulled(self.built["stg", SERVICE])

    def _unwell(self) -> None:
        """What is known not to be Healthy in stg holds a release up, until it is said to be Healthy again."""
        stage = self.stage
        with self.progress.step("prd", "A release is refused while a service is Degraded in stg") as step:
            stage.tell("stg", SERVICE, "Degraded")
            try:
                said, refused = stage.actions.dispatch("release").log, False
            except WorkflowError as error:
                said, refused = str(error), True
            named = re.search(rf"{SERVICE}: stg/\w+: Degraded since [\w:-]+Z", said)
            expect(refused and named is not None, f"the release is refused and names {SERVICE}, and the workflow said: {said}")
            for service in (SERVICE, WORKER):
                stage.tell("stg", service, "Healthy")
            step.produced = f"refused: {named[0] if named else ''}"

    # Rolling back

    def rollback(self) -> None:
        """A pin takes prd back, outlives the next image and the next release, and is lifted."""
        before = self.built["stg", SERVICE]
        built = self._build(
            "stg",
            SERVICE,
            "A faulty change reaches master",
            self._then(self._change(SERVICE, "develop", "3"), self._merge(SERVICE)),
        )
        self._hook("stg", "release", SERVICE, built)
        self._release("It is released")
        self._renders("prd", SERVICE, built)
        with self.progress.step("prd", "The service is pinned to the image before") as step:
            number = self._pin(step, "pin", to="previous", reason="Checkout answers 500 since the last release")
            self._expect_image("prd", before)
            self._expect_image("stg", built)
            step.produced = f"pull request #{number}: prd renders {before.tag} again, stg goes on with {built.tag}"
        with self.progress.step("prd", "A newer image and its release go beneath the pin") as step:
            mended = self._pipeline(self._then(self._change(SERVICE, "develop", "4"), self._merge(SERVICE))(), step)
            self.built["stg", SERVICE] = mended
            self._await("stg", "release", SERVICE, mended)
            number = self._release_now(step)
            self._expect_image("stg", mended)
            self._expect_image("prd", before)
            step.produced = f"pull request #{number} released {mended.tag}; prd still renders {before.tag}"
        with self.progress.step("prd", "The pin is lifted") as step:
            number = self._pin(step, "unpin", reason="Mended")
            self._expect_image("prd", mended)
            step.produced = f"pull request #{number}: prd renders {mended.tag} at once"
            run = self._after_push("released", "master")
            expect(run.outputs["outcome"] == "skipped", f"a pin's merge gets no tag, and the workflow said: {run.log}")
        self._hotfix(mended)

    def _hotfix(self, released: Built) -> None:
        """One service's fix goes to prd ahead of what else waits on stg."""
        with self.progress.step("prd", "A hotfix of one service: pinned forward to what only stg has run") as step:
            fixed = self._pipeline(self._then(self._change(SERVICE, "develop", "hotfix"), self._merge(SERVICE))(), step)
            self.built["stg", SERVICE] = fixed
            self._await("stg", "release", SERVICE, fixed)
            self._expect_image("prd", released)
            number = self._pin(step, "pin", to=fixed.tag, reason="The parser lets headers through")
            self._expect_image("prd", fixed)
            self._expect_image("prd", self.built["stg", WORKER], WORKER)
            step.produced = f"pull request #{number}: prd renders {fixed.tag}, nothing else has changed"
        with self.progress.step("prd", "The next release brings it too, and the pin is lifted") as step:
            released_by, number = self._release_now(step), self._pin(step, "unpin", reason="Released")
            self._expect_image("prd", fixed)
            step.produced = f"pull requests #{released_by} and #{number}: prd renders {fixed.tag} as before"

    # What is lost is found

    def lost_event(self) -> None:
        """EventBridge delivers best-effort: the sweep mends what a lost event has left behind."""
        stage = self.stage
        with self.progress.step("dev", "ECR's event is lost, and the next sweep mends it") as step:
            stage.deaf, before = True, stage.head("dev")
            try:
                built = self._pipeline(self._change(SERVICE, "develop", "5")(), step)
            finally:
                stage.deaf = False
            expect(stage.head("dev") == before, "nothing is committed without an event")
            stage.sweep("develop")
            self.built["dev", SERVICE] = built
            self._expect_image("dev", built)
            step.produced = f"{built.tag} committed by the sweep"
        with self.progress.step("stg", "The sweep marks what stg and prd run, so that it does not expire") as step:
            stage.sweep("release")
            marks = self._marks()
            wanted = {f"slipway-keep-{name}" for name in ("stg", "prd")}
            expect(wanted <= marks.keys(), f"both environments' images are marked, and {sorted(marks)} are")
            running = {name: stage.image_in(stage.render(name, SERVICE)).partition("@")[2] for name in ("stg", "prd")}
            for name, digest in running.items():
                expect(marks[f"slipway-keep-{name}"] == digest, f"{name}'s mark is on {digest}")
            step.produced = ", ".join(sorted(wanted))

    def poison(self) -> None:
        """An event that cannot be handled is kept with its reason; what is kept is put back by one command."""
        stage, track = self.stage, self.stage.settings["dev"].tracks["develop"]
        path = track.image_file.format(service=WORKER)
        good = stage.host.read(stage.gitops, track.gitops_branch, path) or b""
        with self.progress.step(
            "dev", "Somebody breaks an image file: its event is kept with the reason, the others go on"
        ) as step:
            stage.host.put_file(stage.gitops, track.gitops_branch, path, b"kind: Component\nimages: [\n", "Break the file")
            kept = self._pipeline(self._change(WORKER, "develop", "6")(), step)
            stage.wait_for("the event to be kept", lambda: stage.waiting("develop", "failures") > 0)
            (letter,) = stage.failures("develop")
            expect(
                (letter["service"], letter["event"]["detail"]["image-tag"]) == (WORKER, kept.tag),
                f"{WORKER}'s event is kept, and kept is {letter}",
            )
            expect("no YAML" in letter["reason"], f"the reason is told, and it is {letter['reason']}")
            built = self._pipeline(self._change(SERVICE, "develop", "6")(), step)
            self._await("dev", "develop", SERVICE, built)
            self.built["dev", SERVICE] = built
            step.produced = f"kept: {letter['reason']}"
            step.details["What `make replay STACK=dev` shows"] = stage.replay("dev", "--queue", "failures")
        with self.progress.step("dev", "The file is mended, and `make replay` puts the event back") as step:
            stage.host.put_file(stage.gitops, track.gitops_branch, path, good, "Mend the file")
            stage.replay("dev", "--queue", "failures", "--send-all")
            self._await("dev", "develop", WORKER, kept)
            expect(not stage.waiting("develop", "failures"), "nothing is kept any more")
            self._expect_image("dev", kept, WORKER)
            self.built["dev", WORKER] = kept
            step.produced = f"{WORKER} runs {kept.tag}; the queue of failures is empty"

    def stale_event(self) -> None:
        """Queues deliver late and more than once: the effect depends on neither."""
        stage, branch = self.stage, self.stage.settings["dev"].tracks["develop"].gitops_branch
        repository = naming.repository("develop", SERVICE)
        old = next(each for each in stage.events if each.repository == repository)
        with self.progress.step("dev", "The event of an older image comes once more, and changes nothing") as step:
            before, looked = stage.head(branch), self._looked()
            expect(old.tag < self.built["dev", SERVICE].tag, "there is a newer image")
            stage.announce(old)
            stage.wait_for("the writer to compare it with the branch", lambda: self._looked() > looked)
            stage.wait_for("the event to be dealt with", lambda: not stage.waiting("develop", "images"))
            expect(stage.head(branch) == before, "nothing is committed")
            expect(not stage.waiting("develop", "failures"), "and nothing has failed")
            step.produced = f"{old.tag} is older than {self.built['dev', SERVICE].tag}: no commit"

    def _looked(self) -> int:
        """How often writers have read a branch."""
        return sum(each.operation == "ReadBranch" for each in self.stage.host.requests)

    # Another colour

    def shift(self) -> None:
        """Blue and green: the traffic moves by weights alone. Declared only; no emulator updates a listener's weights."""
        with self.progress.step("prd", "Traffic is shifted to a second colour") as step:
            before, after = (self._prd_with(green) for green in (0, 100))
            changed = sorted({each.type.rpartition(":")[2] for each in _changed(before, after)})
            rule = _changed_inputs(before, after, "aws:lb/listenerRule:ListenerRule", SERVICE)
            weights = [int(each["weight"]) for each in rule["actions"][0]["forward"]["targetGroups"]]
            expect(sorted(weights) == [0, 100], f"the listener rule forwards all to green, and its weights are {weights}")
            names = {each.urn for each in before.of("route53/record:Record")} == {
                each.urn for each in after.of("route53/record:Record")
            }
            balancers = before.one("lb/loadBalancer:LoadBalancer").inputs == after.one("lb/loadBalancer:LoadBalancer").inputs
            expect(names and balancers, "names and load balancer stay as they are")
            step.produced = f"weights {weights}; changed are {', '.join(changed)}; names and load balancer stay"

    def _prd_with(self, green: int) -> Program:
        settings: Any = dict(self.stage.overrides("prd"))
        clusters: Any = settings.get("slipway:clusters") or {}
        blue = dict(clusters["blue"])
        wanted = {"blue": {**blue, "weight": 100 - green}, "green": {**blue, "weight": green}}
        return evaluate("prd", config={**settings, "slipway:clusters": wanted})

    # Parts of steps

    def _change(self, service: str, branch: str, text: str) -> Callable[[], Any]:
        """A developer's commit to an application's branch."""
        stage = self.stage
        repository = f"{stage.settings['dev'].organization.name}/{service}"
        return lambda: stage.push_change(
            repository, branch, {"CHANGES": f"{text}\n", _PAGE: f"<p>{service} {text}</p>\n"}, f"Change {text}"
        )

    def _merge(self, service: str) -> Callable[[], Any]:
        stage = self.stage
        repository = f"{stage.settings['dev'].organization.name}/{service}"
        return lambda: stage.push_merge(repository, "develop", "master")

    @staticmethod
    def _then(first: Callable[[], Any], second: Callable[[], Any]) -> Callable[[], Any]:
        def both() -> Any:  # noqa: ANN401 — a PushEvent
            first()
            return second()

        return both

    def _pipeline(self, event: Any, step: Step) -> Built:  # noqa: ANN401 — a PushEvent
        """The one image that a push to an application's branch becomes."""
        built = self.stage.build_all(event)
        names = [each.pipeline for each in built]
        expect(len(built) == 1, f"a push to {event.branch} of {event.repository} starts one pipeline, and it started {names}")
        step.log.append(f"{built[0].reference}")
        return built[0]

    def _build(self, environment: str, service: str, title: str, push: Callable[[], Any]) -> Built:
        with self.progress.step(environment, f"{title}; the pipeline builds") as step:
            event = push()
            built = self._pipeline(event, step)
            self.built[environment, service] = built
            step.produced = f"{built.pipeline}: {built.repository.partition('/')[2]}:{built.tag}"
            return built

    def _hook(self, environment: str, track: str, service: str, built: Built) -> None:
        branch = self.stage.settings["dev"].tracks[track].gitops_branch
        with self.progress.step(environment, f"The push event goes rule → queue → function → commit on {branch}") as step:
            self._await(environment, track, service, built)
            step.produced = f"{self._subject(branch)}"

    def _await(self, environment: str, track: str, service: str, built: Built) -> None:
        """Until the track's image file of the service, on its branch, names the image."""
        stage, declared = self.stage, self.stage.settings["dev"].tracks[track]
        path = declared.image_file.format(service=service)

        def committed() -> bool:
            content = stage.host.read(stage.gitops, declared.gitops_branch, path)
            whole = cast("dict[str, list[dict[str, str]]]", yaml.safe_load(content) if content else {})
            images = whole.get("images") or []
            return any((each.get("newTag"), each.get("digest")) == (built.tag, built.digest) for each in images)

        stage.wait_for(f"{built.tag} in {path} on {declared.gitops_branch}, for {environment}", committed)
        self._heard(declared.gitops_branch)

    def _heard(self, branch: str) -> None:
        """Argo CD of every environment that reads the branch has heard of its tip, through the edge, by a signed webhook."""
        stage = self.stage
        head = stage.head(branch)
        for name, settings in stage.settings.items():
            if settings.environment.gitops_branch == branch:
                stage.wait_for(
                    f"{head[:12]} on {branch} to reach Argo CD of {name} through the edge",
                    lambda name=name: any((each.environment, each.commit) == (name, head) for each in stage.edge.heard),
                )

    def _renders(self, environment: str, service: str, built: Built) -> None:
        with self.progress.step(environment, self.stage.shows.format(environment=environment, service=service)) as step:
            rendered = self._expect_image(environment, built, service)
            step.produced = built.shown
            step.details[f"What Argo CD applies for {service} in {environment}"] = rendered

    def _expect_image(self, environment: str, built: Built, service: str = SERVICE) -> str:
        rendered = self.stage.render(environment, service)
        image = self.stage.image_in(rendered)
        expect(image == built.reference, f"{environment} renders {built.reference}, and it renders {image}")
        return rendered

    def _after_push(self, workflow: str, branch: str) -> Run:
        """Run what the last push to a branch starts; answers with the one run of a workflow."""
        (run,) = [each for each in self.stage.actions.pushed(branch) if each.workflow == workflow]
        return run

    def _release(self, title: str) -> None:
        with self.progress.step("prd", title) as step:
            number = self._release_now(step)
            step.produced = f"pull request #{number}, reviewed and merged into master"

    def _release_now(self, step: Step) -> str:
        stage = self.stage
        run = stage.actions.dispatch("release")
        expect(run.outputs.get("outcome") == "opened", f"a release is opened, and the workflow said: {run.log}")
        number = run.outputs["pull-request"]
        step.details[f"The release's pull request #{number}"] = self._pull(number)
        stage.review_and_merge(stage.gitops, int(number))
        self._heard("master")
        return number

    def _pin(self, step: Step, action: str, *, reason: str, to: str = "previous") -> str:
        run = self.stage.actions.dispatch("pin", action=action, environment="prd", services=SERVICE, to=to, reason=reason)
        number = run.outputs["pull-request"]
        expect(bool(number), f"a pull request is opened, and the workflow said: {run.log}")
        step.details[f"The {action}'s pull request #{number}"] = self._pull(number)
        self.stage.review_and_merge(self.stage.gitops, int(number))
        return number

    def _refused(self, environment: str, service: str) -> None:
        """Nobody but a track's account and those that it grants may pull: prd has no business in develop's registry."""
        with self.progress.step(environment, "prd's nodes are refused develop's image") as step:
            came, said = self._pull_as("prd", self.built[environment, service])
            expect(not came, "prd has no grant on develop's repository, and its pull was let through")
            step.produced = "403: no grant in develop's repository"
            step.log += said.splitlines()

    def _pulled(self, built: Built) -> None:
        with self.progress.step("prd", "prd's nodes pull that image from stg's registry") as step:
            came, said = self._pull_as("prd", built)
            expect(came, f"the repository's policy lets prd pull {built.reference}: {said}")
            step.produced = f"{built.digest[:19]}… as {self._node_role('prd').rpartition('/')[2]}"

    def _pull_as(self, environment: str, built: Built) -> tuple[bool, str]:
        return self.stage.pull(self._node_role(environment), self.stage.place(environment).region, built.reference)

    def _node_role(self, environment: str) -> str:
        settings = self.stage.settings[environment]
        name = naming.role(environment, settings.active_colour, "nodes")
        return f"arn:aws:iam::{settings.environment.account}:role/{name}"

    def _marks(self) -> Mapping[str, str]:
        """Digest by mark in the release repository of the service."""
        ecr = self.stage.client("stg", "ecr")
        images = ecr.describe_images(repositoryName=naming.repository("release", SERVICE))["imageDetails"]
        return {
            tag: each["imageDigest"] for each in images for tag in each.get("imageTags", []) if tag.startswith("slipway-keep-")
        }

    def _slower(self) -> Mapping[str, str]:
        """The base's Deployment with a longer grace period: a change that people make."""
        stage = self.stage
        path = f"apps/{SERVICE}/base/deployment.yaml"
        text = (stage.host.read(stage.gitops, "dev", path) or b"").decode()
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


__all__ = ["SERVICE", "WORKER", "Play", "expect", "prepare"]
