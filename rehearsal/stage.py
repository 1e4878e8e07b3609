"""The world in a box: emulated accounts, a Git host, a registry door and an edge, with the declared program realised in them."""

import itertools
import json
import os
import platform
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, Self, cast

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bootstrap.accounts import secret_names
from bootstrap.apps import DEPLOYER_VARIABLE, App, apps
from bootstrap.checks_github import (
    DEPLOYER_KEY,
    PLATFORM_BRANCH,
    PROMOTER_ENVIRONMENT,
    PROMOTER_KEY,
    runner_variables,
    wanted_variables,
)
from bootstrap.look import Outside
from bootstrap.report import Step
from checks import stack_files
from components import naming
from components.settings import Settings, SettingsError, parse
from functions.gitops_writer import scaffold
from functions.gitops_writer.catalogue import parse as parse_entry
from functions.gitops_writer.settings import Layout
from rehearsal import first_day as bootstrapping
from rehearsal.actions import Actions
from rehearsal.builds import (
    Build,
    Images,
    PipelineError,
    Source,
    build_of,
    make_base_image,
    match_trigger,
    reach_artifact,
    run_buildspec,
    source_of,
)
from rehearsal.builds.door import BuildRuns
from rehearsal.cast import Cast, application_files, read_cast
from rehearsal.cloud import identity_of
from rehearsal.cloud.acts import publish_push, run_schedule
from rehearsal.cloud.emulators import MINISTACK, Emulators
from rehearsal.cloud.row import Place
from rehearsal.cloud.world import CloudWorld
from rehearsal.edge_door import Behind, EdgeDoor, Front
from rehearsal.flow import Flow, Lane, flow_of
from rehearsal.githost import GitHost, PushEvent, WebhookProxy
from rehearsal.githost.records import Status
from rehearsal.identities import Identities
from rehearsal.program import PLATFORM, ROOT, Program, evaluate, platform_folder, read_services, stack_config
from rehearsal.registry import Push, RegistryDoor
from rehearsal.standing import StandingWorld

DEVELOPER, REVIEWER = "alice", "bob"
REVIEWERS: Final = (REVIEWER, "carol", "dan", "erin", "frank", "grace")
"""Members of the platform's team: as many as a branch's rules may ask for."""

ORGANIZATION_OWNER: Final = "olga"
"""Whose token bootstrap's check has."""
# Numbers of Apps that stand in no setting.
_DEPLOYERS, _REPORTER, _INSTALLATIONS = 900_000_001, 900_001_001, 100_000

_WAIT_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.02
_GIT: Final = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
}


class StageError(Exception):
    """The play cannot go on: what was expected did not come about."""


class BuildFailedError(StageError):
    """A build ended badly.

    Attributes:
        run: Id of the pipeline's run.
    """

    def __init__(self, message: str, run: str) -> None:
        """Hold the parts."""
        super().__init__(message)
        self.run = run


@dataclass(frozen=True, kw_only=True)
class Built:
    """An image that a pipeline has made.

    Attributes:
        pipeline: Name of the pipeline.
        repository: Address of the image without tag.
        tag: Its tag.
        digest: Its digest.
        started: When its push became an event (monotonic seconds).
    """

    pipeline: str
    repository: str
    tag: str
    digest: str
    started: float

    @property
    def reference(self) -> str:
        """As kustomize renders it."""
        return f"{self.repository}:{self.tag}@{self.digest}"

    @property
    def shown(self) -> str:
        """The same for a line of the table: without the registry, and with the digest's beginning."""
        return f"{self.repository.partition('/')[2]}:{self.tag}@{self.digest[:19]}…"


@dataclass(kw_only=True)
class Stage:
    """All parts, from entering to leaving the context; folders and processes are gone afterwards.

    Attributes:
        say: Hears what happens, line by line.
        shows: What it means here that an environment has an image.
        folder: Everything that is written.
        flow: The way of a commit through this platform, read from its settings.
        cast: The services that the play follows, read from its catalogue.
        settings: Each stack's settings, as its program reads them.
        programs: What each stack declares, after `realise`.
        pushes: Branches that have moved at the Git host and that nobody has looked at yet.
        performed: Commands of docs/adopt.md that were run, in their order.
        notes: What the play adds to the settings, for people.
    """

    say: Callable[[str], None]
    shows: ClassVar[str] = "overlays/{environment} of {service} renders the image"
    folder: Path = field(init=False)
    flow: Flow = field(init=False)
    cast: Cast = field(init=False)
    emulators: Emulators = field(init=False)
    host: GitHost = field(init=False)
    door: RegistryDoor = field(init=False)
    edge: EdgeDoor = field(init=False)
    world: CloudWorld = field(init=False)
    standing: StandingWorld = field(init=False)
    identities: Identities = field(init=False)
    images: Images = field(init=False)
    runs: BuildRuns = field(init=False)
    actions: Actions = field(init=False)
    settings: dict[str, Settings] = field(default_factory=dict[str, Settings])
    programs: dict[str, Program] = field(default_factory=dict[str, Program])
    pushes: list[PushEvent] = field(default_factory=list[PushEvent])
    events: list[Push] = field(default_factory=list[Push])
    deaf: bool = False
    performed: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    _apps: dict[int, tuple[str, App]] = field(default_factory=dict[int, "tuple[str, App]"])
    _overrides: dict[str, dict[str, object]] = field(default_factory=dict[str, dict[str, object]])
    _tokens: dict[str, str] = field(default_factory=dict[str, str])
    _keys: dict[int, tuple[str, bytes]] = field(default_factory=dict[int, tuple[str, bytes]])
    _stack: ExitStack = field(default_factory=ExitStack)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _topics: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __enter__(self) -> Self:
        """Start every part, with nothing declared yet."""
        # What is wrong with settings or services is said before anything starts.
        settings = read_settings()
        self.flow = flow_of(settings)
        self.cast = read_cast(self.flow.stacks[0])
        with ExitStack() as stack:
            self.folder = Path(tempfile.mkdtemp(prefix="slipway-rehearsal-"))
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self.emulators = stack.enter_context(Emulators(self.folder / "logs"))
            self.runs = stack.enter_context(BuildRuns(self.emulators))
            self.edge = stack.enter_context(EdgeDoor(self.emulators, _fronts(settings), self.folder / "edge", self._behind()))
            (self.folder / "git").mkdir()
            proxy = WebhookProxy(url=self.edge.url, bundle=str(self.edge.bundle))
            self.host = stack.enter_context(GitHost(self.folder / "git", webhook_proxy=proxy))
            self.host.on_push(self._note_push)
            self._overrides = {name: _overrides(name, self.host.url) for name in self.flow.stacks}
            self.notes += _add_reporters(self._overrides, settings)
            self.settings = {name: parse_stack(name, self._overrides[name]) for name in self.flow.stacks}
            self.identities = Identities(self.emulators)
            self.door = stack.enter_context(
                RegistryDoor(
                    self.emulators.url("ministack"), self.folder / "door", identify=self.identities, on_push=self._on_image
                )
            )
            self.images = Images(self.folder / "images")
            self.world = self._make_world(stack)
            self.standing = StandingWorld(world=self.world)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop every part. A fault while stopping is told, and never takes the place of the reason for stopping."""
        try:
            self._stack.__exit__(kind, error, trace)
        except Exception as fault:
            if error is None:
                raise
            self.say(f"while stopping: {fault}")

    # What another stage does otherwise

    def _behind(self) -> Behind | None:
        """Who answers behind the edge; None where the edge plays Argo CD's part."""
        return None

    def _make_world(self, stack: ExitStack) -> CloudWorld:
        """Where what is declared is made; `stack` holds what must end with it."""
        del stack
        return CloudWorld(self.emulators, github=self.host)

    # The first day

    def place(self, stack: str) -> Place:
        """Account and region of a stack."""
        environment = self.settings[stack].environment
        return Place(account=environment.account, region=environment.region)

    def client(self, stack: str, service: str) -> Any:  # noqa: ANN401 — boto3 makes its clients' types at run time
        """A client in a stack's account."""
        place = self.place(stack)
        return self.emulators.client(service, place.account, place.region)

    def first_day(self) -> None:
        """What people do once, before the first `up`."""
        self.prepare_github()
        for stack in self.flow.stacks:
            self.prepare_account(stack)

    def prepare_github(self) -> None:
        """Make what people make at GitHub: organization, team, Apps, repositories with their environments and variables."""
        organization = self._any.organization
        self.host.add_organization(organization.name, number=organization.id)
        self.welcome_people()
        self.register_apps()
        self.make_platform_repository()
        self.make_applications()
        self.start_actions()
        self.forget_pushes()

    @property
    def _any(self) -> Settings:
        """Settings of the stack that owns the GitOps repository; what is read of them reads the same in every stack."""
        return self.settings[self.flow.stacks[0]]

    @property
    def _applications(self) -> list[str]:
        return sorted(self.cast.repositories)

    def _full(self, names: Iterable[str]) -> list[str]:
        return [f"{self._any.organization.name}/{name}" for name in names]

    def register_apps(self) -> None:
        """Register the GitHub Apps with the permissions of docs/adopt.md's table.

        Until there is a GitOps repository, an installation on selected repositories selects the platform repository.
        """
        for stack, app in self._wanted_apps():
            number = self._number_of(stack, app)
            if number in self._apps:
                continue
            slug = app.key.removeprefix("app:") + (f"-{stack}" if app.app_id is None else "")
            if slug in {each for each, _ in self._apps.values()}:
                slug = f"{slug}-{stack}"
            self._apps[number] = slug, app
            self._key(number)
            on = app.repositories
            if self._any.gitops.repository in on:
                on = [self.settings[stack].access.repository.name]
            self.host.add_app(
                number,
                slug,
                self._keys[number][1],
                installation_id=app.installation_id or number + _INSTALLATIONS,
                permissions=app.permissions,
                repositories=self._full(on),
            )

    def hand_over(self) -> None:
        """Move the installations onto the GitOps repository, once it is there."""
        for number, (_, app) in self._apps.items():
            self.host.install_app(number, self._full([*app.repositories, *app.tolerated]))

    def _wanted_apps(self) -> Iterator[tuple[str, App]]:
        for stack in self.flow.stacks:
            for app in apps(self.settings[stack], self._applications):
                yield stack, app

    def _number_of(self, stack: str, app: App) -> int:
        # A deployer's id stands in no setting.
        return app.app_id if app.app_id is not None else _DEPLOYERS + self.flow.stacks.index(stack)

    def make_platform_repository(self) -> None:
        """Make this repository's own: what the roles trust, with the deployments' environments and the workflows' variables."""
        for stack, settings in self.settings.items():
            wanted = settings.access.repository
            (name,) = self._full([wanted.name])
            if self.host.repository(name) is None:
                self.host.create_repository(name, default_branch=PLATFORM_BRANCH, auto_init=True, number=wanted.id)
            environment, number = settings.access.deploy_environment, _DEPLOYERS + self.flow.stacks.index(stack)
            self.host.set_environment(name, environment, branches=[PLATFORM_BRANCH])
            self.host.set_environment_secret(name, environment, DEPLOYER_KEY, self._key(number))
            self.host.set_environment_variable(name, environment, DEPLOYER_VARIABLE, self.host.client_id(number))
            labels = dict(zip(runner_variables(stack), (f"slipway-{stack}-preview", f"slipway-{stack}-deploy"), strict=True))
            for variable, value in {**wanted_variables(settings), **labels}.items():
                self.host.set_variable(name, variable, value)

    def prepare_account(self, stack: str) -> str:
        """Run bootstrap and its check in one account as docs/adopt.md has it, before the first `up`; what they printed.

        Raises:
            StageError: a command did not end well, or the check found a fault.
        """
        settings, folder = self.settings[stack], self.folder / "keys" / stack
        folder.mkdir(parents=True)
        for purpose in secret_names(settings):
            (folder / bootstrapping.key_file(settings, purpose)).write_text(self._secret(settings, purpose), encoding="utf-8")
        printed: list[str] = []
        for command in bootstrapping.commands(settings):
            status, said = bootstrapping.perform(
                command, self.emulators, settings, root=platform_folder(), folder=folder, outside=self._outside(settings)
            )
            self.performed.append(command)
            printed += [f"$ {command}", said.rstrip(), ""]
            # Something of this world stays unanswered, so a check never ends with 0: `checked` judges its rows.
            if status and " --check " not in command:
                msg = f"{command} ended with {status}: {said}"
                raise StageError(msg)
        self.checked(stack, until=Step.CONNECT)
        return "\n".join(printed)

    def checked(self, stack: str, *, until: Step = Step.ACTIONS) -> bootstrapping.Checked:
        """Run `bootstrap --check`; everything that this world can answer must be ready, or later by its nature.

        Args:
            stack: The stack.
            until: The last step of docs/adopt.md that has been done.

        Raises:
            StageError: something is missing; the message names the first row and its fix.
        """
        settings, files = self.settings[stack], self.folder / "keys" / "apps"
        files.mkdir(parents=True, exist_ok=True)
        keys: dict[str, Path] = {}
        for number, (_, app) in self._apps.items():
            if app.by_file and (app.by_file != "deployer" or number == _DEPLOYERS + self.flow.stacks.index(stack)):
                keys[app.by_file] = files / f"{number}.pem"
                keys[app.by_file].write_text(self._key(number), encoding="utf-8")
        found = bootstrapping.look(
            self.emulators,
            settings,
            root=platform_folder(),
            token=self._tokens[ORGANIZATION_OWNER],
            app_keys=keys,
            say=self.say,
        )
        done = list(Step)[: list(Step).index(until) + 1]
        if faults := [each for each in found.faults if each.step in done]:
            msg = f"bootstrap --check of {stack} finds {len(faults)} faults, the first: {faults[0].text}. {faults[0].fix}"
            raise StageError(msg)
        return found

    def _outside(self, settings: Settings) -> Outside:
        return bootstrapping.outside_of(settings, self._tokens[ORGANIZATION_OWNER])

    def _secret(self, settings: Settings, purpose: str) -> str:
        """What a person has for a secret: an App's key, or the client secret of the UI's OAuth App."""
        reporter = settings.builds.reporter if settings.builds else None
        if purpose in settings.hosted_tracks:
            return self._key(settings.hosted_tracks[purpose].writer.app_id)
        if purpose == "reporter" and reporter is not None:
            return self._key(reporter.app_id)
        return self._key(settings.gitops.reader.app_id) if purpose == "reader" else f"{secrets.token_hex(20)}\n"

    def welcome_people(self) -> None:
        """Make the developer, the organization's owner, and the team that reviews."""
        self._tokens[DEVELOPER] = self.host.add_user(DEVELOPER, role="write")
        self._tokens[ORGANIZATION_OWNER] = self.host.add_user(ORGANIZATION_OWNER, role="admin", owner=True)
        for login in REVIEWERS:
            self._tokens[login] = self.host.add_user(login, role="maintain")
        self.host.add_team(f"{self._any.organization.name}/{self._any.gitops.team}", list(REVIEWERS))

    def make_applications(self) -> None:
        """Make every application repository that the catalogue names, with the branches that the tracks build."""
        default = self.flow.base.source
        for repository, parts in self.cast.repositories.items():
            name = f"{self._any.organization.name}/{repository}"
            self.host.create_repository(name, default_branch=default)
            self.host.put_files(name, default, dict(application_files(parts)), "Begin")
            for branch in sorted({track.application_branch for track in self._any.tracks.values()} - {default}):
                self.host.create_branch(name, branch, source=default)

    def start_actions(self) -> None:
        """Start what runs the GitOps repository's workflows."""
        self.actions = Actions(
            host=self.host,
            repository=self._any.gitops_repository,
            say=self.say,
            cloud=self.emulators.url(MINISTACK),
        )

    def realise(self, stack: str) -> Program:
        """Evaluate a stack's program and make in its account what it declares; again, only what is new or differs."""
        program = evaluate(stack, config=self._overrides[stack], world=self.standing, catalogue=self.catalogue)
        self.standing.know(program)
        self._know(program)
        return program

    @property
    def catalogue(self) -> Callable[[Any], None]:
        """The platform's services, and the examples that the play needs."""
        return self.cast.catalogue(read_services(platform_folder()))

    def commit_scaffold(self, lane: Lane) -> str:
        """Commit every service's directory, as people do where no early track's writer does; answers with what was committed."""
        entries = [
            parse_entry(str(each.inputs["value"]))
            for each in self.programs[lane.host].of("ssm/parameter:Parameter")
            if str(each.inputs["name"]).startswith(f"{naming.catalogue_path(lane.track).rstrip('/')}/")
        ]
        layout = Layout(root="apps/{service}", own_overlay=None)
        files = {path: content.encode() for each in entries for path, content in scaffold.files(each, layout).items()}
        self.host.put_files(self.gitops, lane.branch, dict(files), "Add the services' directories")
        return f"{len(entries)} directories on {lane.branch}"

    def write_down_repository(self) -> None:
        """Do what a person does after the owner's first `up`: write the new repository's id into every stack file."""
        repository = self.host.repository(self.gitops)
        if repository is None:
            msg = f"{self.gitops} is not there"
            raise StageError(msg)
        for stack in self.flow.stacks:
            gitops = cast("dict[str, object]", self._overrides[stack]["slipway:gitops"])
            self._overrides[stack]["slipway:gitops"] = {**gitops, "id": repository.id}
            self.settings[stack] = parse_stack(stack, self._overrides[stack])
        self.hand_over()

    def _know(self, program: Program) -> None:
        stack = program.stack
        self.programs[stack] = program
        settings = self.settings[stack]
        if settings.owns_gitops:
            # As a person does once the stack has made the environment (docs/adopt.md).
            key = self._key(settings.gitops.promoter.app_id)
            self.host.set_environment_secret(self.gitops, PROMOTER_ENVIRONMENT, PROMOTER_KEY, key)
        # ministack keeps no exclusion filters of tag immutability: the door is told what was declared.
        place = self.place(stack)
        for each in program.of("ecr/repository:Repository"):
            filters = [one["filter"] for one in each.inputs.get("imageTagMutabilityExclusionFilters", [])]
            self.door.know_exclusions(place.account, place.region, each.inputs["name"], filters)

    def overrides(self, stack: str) -> Mapping[str, object]:
        """What differs here from the stack file, and nothing else does."""
        return self._overrides[stack]

    def _key(self, app_id: int) -> str:
        if app_id not in self._keys:
            made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            private = made.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
            )
            public = made.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            self._keys[app_id] = (private.decode(), public)
        return self._keys[app_id][0]

    # Pushes and pipelines

    def _note_push(self, event: PushEvent) -> None:
        with self._lock:
            self.pushes.append(event)

    def forget_pushes(self) -> list[PushEvent]:
        """Take the pushes noted so far."""
        with self._lock:
            taken, self.pushes = self.pushes, []
        return taken

    def _on_image(self, push: Push) -> None:
        """ECR's part: a pushed image becomes an event, unless events are being lost."""
        self.events.append(push)
        if self.deaf:
            self.say(f"the event of {push.repository}:{push.tag} is lost")
            return
        self.announce(push)

    def announce(self, push: Push) -> None:
        """Put ECR's event of a push onto its account's bus, for the first time or once more."""
        place = Place(account=push.account, region=push.region)
        publish_push(self.emulators, place, repository=push.repository, tag=push.tag, digest=push.digest)

    def pipelines_started_by(self, event: PushEvent) -> list[tuple[str, Mapping[str, Any]]]:
        """Stack and definition of every declared pipeline whose trigger matches a push: what CodeConnections does."""
        started: list[tuple[str, Mapping[str, Any]]] = []
        for stack in self.flow.stacks:
            pipelines = self.client(stack, "codepipeline")
            for each in pipelines.list_pipelines()["pipelines"]:
                definition = pipelines.get_pipeline(name=each["name"])
                if match_trigger(definition, event.repository, event.branch):
                    started.append((stack, definition))
        return started

    def build(
        self, stack: str, definition: Mapping[str, Any], event: PushEvent, begun: Callable[[], None] | None = None
    ) -> Built:
        """Run a pipeline for a push: its source, then its project's own buildspec, as the project's own role.

        Args:
            stack: The stack that declares it.
            definition: The pipeline.
            event: The push.
            begun: Called when the commit is fetched and nothing is built yet.

        Raises:
            BuildFailedError: the build failed.
        """
        place, name = self.place(stack), str(definition["pipeline"]["name"])
        runs = self.runs.of(place)
        run = runs.start(name)
        role = identity_of(self.emulators, definition["pipeline"]["roleArn"], place.region)
        try:
            source = source_of(definition, event.repository, event.branch, str(event.after), caller=role)
        except PipelineError as error:
            runs.source_failed(run, str(error))
            raise
        runs.fetched(run, source)
        try:
            if begun is not None:
                begun()
            url, built, declared = self._run_build(stack, definition, event, source)
        except BaseException:
            runs.settle(run, "Stopped")
            raise
        failed = next((each for each in built.phases if not each.succeeded), None) if not built.succeeded else None
        if failed is not None:
            words = f"{failed.name}: {failed.failed!r} ended with {failed.status}"
            runs.built(run, url=url, error=words)
            msg = f"the build of {name} failed in {words}"
            raise BuildFailedError(msg, run.id)
        runs.built(run, url=url)
        return Built(
            pipeline=name,
            repository=declared["REPOSITORY_URL"],
            tag=built.exported["IMAGE_TAG"],
            digest=built.exported["IMAGE_DIGEST"],
            started=time.monotonic(),
        )

    def _run_build(
        self, stack: str, definition: Mapping[str, Any], event: PushEvent, source: Source
    ) -> tuple[str, Build, Mapping[str, str]]:
        """Run a project's buildspec; where its log is, what came of it, and the project's variables."""
        place = self.place(stack)
        action = build_of(definition, source)
        (project,) = self.client(stack, "codebuild").batch_get_projects(names=[action.project])["projects"]
        reach_artifact(
            identity_of(self.emulators, project["serviceRole"], place.region), "s3:GetObject", source.bucket, source.key
        )
        declared = {each["name"]: each["value"] for each in project["environment"]["environmentVariables"]}
        make_base_image(self.images, declared["PLATFORM"])
        checkout = self.folder / "builds" / f"{action.project}-{str(event.after)[:12]}"
        self._export(event.repository, str(event.after), checkout)
        host = {
            **self.images.environment(),
            **self.door.environment,
            **self.identities.assume(project["serviceRole"], place.region, "build"),
            "AWS_REGION": place.region,
        }
        self.say(f"{definition['pipeline']['name']} builds {event.repository}@{str(event.after)[:12]}")
        built: Build = run_buildspec(
            project["source"]["buildspec"],
            source=checkout,
            variables={**declared, **action.variables},
            host=host,
            say=self.say,
        )
        console = f"https://{place.region}.console.aws.amazon.com/codesuite/codebuild/{place.account}"
        return f"{console}/projects/{action.project}/build/{action.project}:{event.after}/log", built, declared

    def build_all(self, event: PushEvent, begun: Callable[[], None] | None = None) -> list[Built]:
        """Run every pipeline that a push starts.

        Raises:
            BuildFailedError: a build failed; the others have been tried.
        """
        found: list[Built] = []
        failures: list[BuildFailedError] = []
        for stack, definition in self.pipelines_started_by(event):
            try:
                found.append(self.build(stack, definition, event, begun))
            except BuildFailedError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return found

    def matches(self, place: Place, pattern: str, kind: str, detail: Mapping[str, Any]) -> bool:
        """Whether a rule with this pattern takes an event of a pipeline; no emulator counts the rules that have matched."""
        told = {"id": "1", "source": "aws.codepipeline", "detail-type": kind, "detail": detail, "account": place.account}
        told |= {"time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "region": place.region, "resources": []}
        events = self.emulators.client("events", place.account, place.region)
        return bool(events.test_event_pattern(EventPattern=pattern, Event=json.dumps(told))["Result"])

    def report(self, repository: str, commit: str, lane: Lane, service: str) -> Status | None:
        """Return what the reporter App has said of a service's build of a commit; None if nothing yet."""
        return self.host.statuses(repository, commit).get(f"{naming.PROJECT}/{lane.track}/{service}")

    def _export(self, repository: str, commit: str, folder: Path) -> None:
        """The source artifact: the files of a commit, without its history."""
        folder.mkdir(parents=True, exist_ok=True)
        archive = self.git("archive", "--format=tar", commit, cwd=self.host.path(repository), text=False)
        subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)

    # People

    def git(self, *arguments: str, cwd: Path, text: bool = True) -> Any:  # noqa: ANN401 — str or bytes, as `text` says
        """Git as a person without any configuration runs it.

        Raises:
            StageError: it failed.
        """
        who = {"GIT_AUTHOR_NAME": DEVELOPER, "GIT_AUTHOR_EMAIL": f"{DEVELOPER}@example.com"}
        committer = {"GIT_COMMITTER_NAME": DEVELOPER, "GIT_COMMITTER_EMAIL": f"{DEVELOPER}@example.com"}
        done = subprocess.run(
            ["git", *arguments],
            cwd=cwd,
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.folder), **_GIT, **who, **committer},
            capture_output=True,
            check=False,
        )
        if done.returncode:
            msg = f"git {' '.join(arguments)} ended with {done.returncode}: {done.stderr.decode(errors='replace')}"
            raise StageError(msg)
        return done.stdout.decode() if text else done.stdout

    def clone(self, repository: str, branch: str) -> Path:
        """A fresh working copy of a branch, as the developer has it."""
        url = self.host.url.replace("http://", f"http://{DEVELOPER}:{self._tokens[DEVELOPER]}@")
        folder = Path(tempfile.mkdtemp(dir=self.folder, prefix="clone-"))
        self.git("clone", "-q", "-b", branch, f"{url}/{repository}.git", ".", cwd=folder)
        return folder

    def push_change(self, repository: str, branch: str, files: Mapping[str, str], message: str) -> PushEvent:
        """Commit and push files with real git; answers with the push that the host saw."""
        self.forget_pushes()
        copy = self.clone(repository, branch)
        self._write(copy, files, message)
        self.git("push", "-q", "origin", f"HEAD:{branch}", cwd=copy)
        return self._only_push(repository, branch)

    def change(self, repository: str, branch: str, files: Mapping[str, str], message: str) -> PushEvent:
        """Bring files to a branch as its rules allow it: by a push, or by a reviewed pull request."""
        if not self.approvals(repository, branch):
            return self.push_change(repository, branch, files, message)
        self.forget_pushes()
        pull = self.propose(repository, branch, files, message)
        self.review_and_merge(repository, int(pull["number"]))
        return self._only_push(repository, branch)

    def merge_branch(self, repository: str, source: str, target: str) -> PushEvent:
        """Merge one branch into another with a merge commit, as the target's rules allow it."""
        self.forget_pushes()
        title = f"Merge {source} into {target}"
        if self.approvals(repository, target):
            pull = self.api(DEVELOPER, "POST", f"/repos/{repository}/pulls", {"title": title, "head": source, "base": target})
            self.review_and_merge(repository, int(pull["number"]))
        else:
            copy = self.clone(repository, target)
            self.git("merge", "-q", "--no-ff", "-m", title, f"origin/{source}", cwd=copy)
            self.git("push", "-q", "origin", f"HEAD:{target}", cwd=copy)
        return self._only_push(repository, target)

    def propose(self, repository: str, branch: str, files: Mapping[str, str], message: str) -> Mapping[str, Any]:
        """A pull request of a developer's into a protected branch."""
        copy = self.clone(repository, branch)
        self._write(copy, files, message)
        # Two services of one repository may have changes of one name.
        topic = f"{DEVELOPER}/{message.lower().replace(' ', '-')}-{next(self._topics)}"
        self.git("push", "-q", "origin", f"HEAD:refs/heads/{topic}", cwd=copy)
        return self.api(DEVELOPER, "POST", f"/repos/{repository}/pulls", {"title": message, "head": topic, "base": branch})

    def review_and_merge(self, repository: str, number: int) -> str:
        """Approve a pull request as its branch's rules ask, and merge it with a merge commit; answers with the merge."""
        pull = self.api(REVIEWER, "GET", f"/repos/{repository}/pulls/{number}")
        self.verify(repository, pull)
        # Somebody reads it also where no rule asks for it.
        for login in REVIEWERS[: max(1, self.approvals(repository, str(pull["base"]["ref"])))]:
            self.api(login, "POST", f"/repos/{repository}/pulls/{number}/reviews", {"event": "APPROVE"})
        merged = self.api(REVIEWER, "PUT", f"/repos/{repository}/pulls/{number}/merge", {"merge_method": "merge"})
        return str(merged["sha"])

    def verify(self, repository: str, pull: Mapping[str, Any]) -> None:
        """Run `verify`, which the branch's rules ask for; it reports its result as the promoter App."""
        if repository == self.gitops:
            self.actions.verified(pull)

    def approvals(self, repository: str, branch: str) -> int:
        """Return how many approvals the declared rules of a branch ask for; 0 where it takes pushes."""
        program = self.programs.get(self.flow.stacks[0])
        rulesets = program.of("github:index/repositoryRuleset:RepositoryRuleset") if program else []
        asked = [
            int(each.inputs["rules"]["pullRequest"].get("requiredApprovingReviewCount", 0))
            for each in rulesets
            if f"refs/heads/{branch}" in each.inputs["conditions"]["refName"]["includes"]
            and each.inputs["rules"].get("pullRequest")
            and each.inputs["repository"] == repository.rpartition("/")[2]
        ]
        return max(asked, default=0)

    def tell(self, environment: str, service: str, word: str) -> None:
        """Say how a service is, on the tip that Argo CD has synced, as its notifications are declared to."""
        from components.argocd import health_reports  # noqa: PLC0415 — the SDK behind it takes seconds

        settings = self.settings[environment]
        reports = health_reports(settings, settings.active_colour)
        if reports is None:
            msg = f"slipway:gitops.reportHealth is off in {environment}: nothing is told of health. Set it."
            raise StageError(msg)
        self.host.set_status(
            self.gitops,
            self.head(settings.environment.gitops_branch),
            f"{reports.prefix}{service}",
            "success" if word == "Healthy" else "failure",
            description=f"{word} since {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            app_id=settings.gitops.reader.app_id,
        )

    def api(self, login: str, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 — JSON
        """One request of a person's to the Git host's API.

        Raises:
            StageError: the host refused; with its words.
        """
        import urllib3  # noqa: PLC0415 — heavy, and only this needs it here

        headers = {"Authorization": f"Bearer {self._tokens[login]}", "Accept": "application/vnd.github+json"}
        data = None if body is None else json.dumps(body).encode()
        answer = urllib3.request(method, f"{self.host.url}{path}", headers=headers, body=data)
        if answer.status >= 400:  # noqa: PLR2004 — HTTP's errors
            msg = f"{method} {path} as {login}: {answer.status} {answer.data.decode(errors='replace')}"
            raise StageError(msg)
        return answer.json()

    def _write(self, copy: Path, files: Mapping[str, str], message: str) -> None:
        for path, content in files.items():
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            (copy / path).write_text(content, encoding="utf-8")
        self.git("add", "-A", cwd=copy)
        self.git("commit", "-q", "-m", message, cwd=copy)

    def _only_push(self, repository: str, branch: str) -> PushEvent:
        found = [each for each in self.forget_pushes() if (each.repository, each.branch) == (repository, branch)]
        if len(found) != 1:
            msg = f"{len(found)} pushes to {branch} of {repository} were seen, not one"
            raise StageError(msg)
        return found[0]

    # Looking

    @property
    def gitops(self) -> str:
        """`owner/name` of the GitOps repository."""
        return self._any.gitops_repository

    def head(self, branch: str) -> str:
        """Tip of a branch of the GitOps repository.

        Raises:
            StageError: there is no such branch.
        """
        found = self.host.head(self.gitops, branch)
        if found is None:
            msg = f"{self.gitops} has no branch {branch}"
            raise StageError(msg)
        return found

    def sweep(self, track: str) -> Mapping[str, Any]:
        """Do now what a track's schedule does at its time.

        Raises:
            StageError: the function failed.
        """
        stack = self._any.tracks[track].host
        (schedule,) = (
            each.inputs["name"] for each in self.programs[stack].of("scheduler/schedule:Schedule") if each.name == track
        )
        answer = run_schedule(self.emulators, self.place(stack), schedule)
        if answer.error:
            msg = f"the sweep of track {track} failed ({answer.error}): {answer.payload}"
            raise StageError(msg)
        return cast("Mapping[str, Any]", answer.payload)

    def waiting(self, track: str, purpose: str) -> int:
        """How many messages a queue of a track holds, hidden ones too."""
        queues, url = self._queue(track, purpose)
        counted = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return int(counted["ApproximateNumberOfMessages"]) + int(counted["ApproximateNumberOfMessagesNotVisible"])

    def failures(self, track: str) -> list[Any]:
        """What a track's writer has given up, with its reasons; it stays there."""
        queues, url = self._queue(track, "failures")
        answer = queues.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
        return [json.loads(each["Body"]) for each in answer.get("Messages", [])]

    def _queue(self, track: str, purpose: str) -> tuple[Any, str]:
        stack = self._any.tracks[track].host
        queues = self.client(stack, "sqs")
        return queues, str(queues.get_queue_url(QueueName=naming.queue(track, purpose))["QueueUrl"])

    def replay(self, stack: str, *options: str) -> str:
        """The command that people use (`make replay`), with credentials of the stack's account; what it printed.

        Raises:
            StageError: it did not end well.
        """
        place = self.place(stack)
        done = subprocess.run(
            [sys.executable, "-m", "replay", "--stack", stack, *options],
            cwd=ROOT,
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "AWS_ENDPOINT_URL": self.emulators.url("ministack"),
                "AWS_ACCESS_KEY_ID": place.account,
                "AWS_SECRET_ACCESS_KEY": "rehearsal",
                "AWS_REGION": place.region,
                PLATFORM: str(platform_folder()),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            msg = f"make replay of {stack} ended with {done.returncode}: {done.stdout}{done.stderr}"
            raise StageError(msg)
        return done.stdout

    def wait_for(self, what: str, look: Callable[[], bool]) -> float:
        """Poll until `look` is true; answers with the seconds that took.

        Raises:
            StageError: it did not become true; the message ends with what is known of the writers.
        """
        began = time.monotonic()
        while not look():
            if time.monotonic() - began > _WAIT_SECONDS:
                msg = f"waited {_WAIT_SECONDS:.0f} s in vain for {what}\n{self._trouble()}"
                raise StageError(msg)
            time.sleep(_POLL_SECONDS)
        return time.monotonic() - began

    def _trouble(self) -> str:
        """What lies in the hook's queues, and the writers' last words."""
        lines: list[str] = []
        for stack in self.flow.stacks:
            queues = self.client(stack, "sqs")
            for url in queues.list_queues().get("QueueUrls", []):
                counted = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
                waiting = int(counted["ApproximateNumberOfMessages"]) + int(counted["ApproximateNumberOfMessagesNotVisible"])
                if waiting:
                    lines.append(f"{stack}: {waiting} messages in {url.rpartition('/')[2]}")
        log = self.emulators.log("ministack").read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        return "\n".join([*lines, "ministack's log ends with", *log])

    def checkout(self, branch: str) -> Path:
        """The files at the tip of a branch of the GitOps repository, as Argo CD's repo server has them."""
        folder = Path(tempfile.mkdtemp(dir=self.folder, prefix="render-"))
        self._export(self.gitops, self.head(branch), folder)
        return folder

    def render(self, environment: str, service: str) -> str:
        """What Argo CD would apply: the source that the declared Application names, rendered by kustomize.

        Raises:
            StageError: no such Application is declared, or kustomize fails.
        """
        source = self.application(environment, service)["source"]
        branch = str(source["targetRevision"]).removeprefix("refs/heads/")
        folder = self.checkout(branch)
        done = subprocess.run(
            ["kubectl", "kustomize", str(folder / source["path"])],
            env={"PATH": self.images.environment()["PATH"], "HOME": str(self.folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            msg = f"{source['path']} of {branch} does not render: {done.stderr}"
            raise StageError(msg)
        return done.stdout

    def application(self, environment: str, service: str) -> Mapping[str, Any]:
        """The specification of a service's declared Application in the active colour.

        Raises:
            StageError: none is declared.
        """
        for each in self.programs[environment].of("kubernetes:argoproj.io/v1alpha1:Application"):
            if each.inputs["metadata"]["name"] == service:
                return cast("Mapping[str, Any]", each.inputs["spec"])
        msg = f"{environment} declares no Application {service}"
        raise StageError(msg)

    def image_in(self, rendered: str) -> str:
        """The one image of the rendered Deployment.

        Raises:
            StageError: there is not exactly one.
        """
        found = [
            container["image"]
            for each in yaml.safe_load_all(rendered)
            if each and each["kind"] == "Deployment"
            for container in each["spec"]["template"]["spec"]["containers"]
        ]
        if len(found) != 1:
            msg = f"{len(found)} images are rendered, not one: {found}"
            raise StageError(msg)
        return str(found[0])

    def pull(self, role_arn: str, region: str, reference: str) -> tuple[bool, str]:
        """Pull an image through the registry's door as a role; whether it came, and what was said."""
        host = {**self.images.environment(), **self.door.environment, "AWS_REGION": region}
        host |= self.identities.assume(role_arn, region, "kubelet")
        registry = reference.partition("/")[0]
        # skopeo takes a tag or a digest, not both; the digest is what decides.
        repository, _, digest = reference.partition("@")
        name = f"{repository.rpartition(':')[0]}@{digest}"
        target = Path(tempfile.mkdtemp(dir=self.folder, prefix="pull-"))
        login = (
            f"aws ecr get-login-password --region {region} | skopeo login --username AWS --password-stdin "
            f'--authfile "{target}/auth.json" {registry}'
        )
        copy = f'skopeo copy --quiet --authfile "{target}/auth.json" docker://{name} dir:{target}/image'
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{login}\n{copy}"], env=host, capture_output=True, text=True, check=False
        )
        return done.returncode == 0, (done.stdout + done.stderr).strip()


def parse_stack(stack: str, overrides: Mapping[str, object]) -> Settings:
    """A stack's settings as its program will read them."""
    config = stack_config(stack, overrides)
    given = {key.removeprefix("slipway:"): yaml.safe_load(value) for key, value in config.items() if key.startswith("slipway:")}
    return parse(given, stack=stack)


def read_settings() -> dict[str, Settings]:
    """Return the settings of every stack that has a file.

    Raises:
        checks.stack_files.StackFileError: a file cannot be used.
        SettingsError: a setting is refused; each line begins with its file.
    """
    found: dict[str, Settings] = {}
    faults: list[str] = []
    for name, file in stack_files.read_all(platform_folder()).items():
        try:
            found[name] = parse_stack(name, {})
        except SettingsError as error:
            faults += [f"{file.path.name}: {line}" for line in str(error).splitlines()]
    if faults:
        raise SettingsError("\n".join(faults))
    return found


def _overrides(stack: str, url: str) -> dict[str, object]:
    """Where GitHub is, and what this machine is; all else is as in the stack file."""
    config = stack_config(stack)
    gitops = {**yaml.safe_load(config["slipway:gitops"]), "gitUrl": url, "apiUrl": url}
    # Known once its owner has made it.
    gitops.pop("id", None)
    changed: dict[str, object] = {"slipway:gitops": gitops}
    machine = "arm64" if platform.machine() in {"aarch64", "arm64"} else "amd64"
    tracks = yaml.safe_load(config["slipway:tracks"])
    changed["slipway:tracks"] = {name: {**each, "architecture": machine} for name, each in tracks.items()}
    if "slipway:clusters" in config:
        clusters = cast("dict[str, dict[str, Any]]", yaml.safe_load(config["slipway:clusters"]))
        for each in clusters.values():
            nodes: dict[str, Any] = each.get("nodes") or {}
            each["nodes"] = nodes
            given = cast("list[str]", nodes.get("instanceTypes") or [_INSTANCES["arm64"]])
            # Only this machine's own architecture is built for here.
            nodes["instanceTypes"] = [one for one in given if naming.architecture(one) == machine] or [_INSTANCES[machine]]
        changed["slipway:clusters"] = clusters
    return changed


def _add_reporters(overrides: Mapping[str, dict[str, object]], settings: Mapping[str, Settings]) -> list[str]:
    """Give hosts of tracks without a reporter one; a line that says so."""
    added: list[str] = []
    for name, each in settings.items():
        if name in overrides and each.builds is not None and each.builds.reporter is None and each.hosted_tracks:
            builds = json.loads(stack_config(name)["slipway:builds"])
            overrides[name]["slipway:builds"] = {
                **builds,
                "reporter": {"appId": _REPORTER, "installationId": _REPORTER + _INSTALLATIONS},
            }
            added.append(name)
    return [f"{' and '.join(added)} name no slipway:builds.reporter: one is added for the play"] if added else []


_INSTANCES: Final = {"arm64": "m7g.large", "amd64": "m7i.large"}


def _fronts(settings: Mapping[str, Settings]) -> Mapping[str, Front]:
    return {
        name: Front(
            place=Place(account=each.environment.account, region=each.environment.region),
            zone=each.environment.zone,
            secrets={f"argocd-{colour}-": naming.argocd_secret(f"webhook-{colour}") for colour in each.clusters},
        )
        for name, each in settings.items()
    }


__all__ = [
    "DEVELOPER",
    "ORGANIZATION_OWNER",
    "REVIEWER",
    "REVIEWERS",
    "BuildFailedError",
    "Built",
    "Stage",
    "StageError",
    "parse_stack",
    "read_settings",
]
