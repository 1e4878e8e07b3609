"""From a run of a pipeline to a status on its commit, as the real components declare it and by the packaged function."""

import json
import platform
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
import yaml
from botocore.exceptions import ClientError

from components import naming
from components.build_reports import BuildReports, BuildReportsArgs
from components.ci_access import CiAccess, CiAccessArgs
from components.image_hook import ImageHook, ImageHookArgs
from components.settings import load
from rehearsal.builds import Source
from rehearsal.builds.door import BuildRuns
from rehearsal.builds.executions import Executions
from rehearsal.cloud import CloudWorld, Emulators, Place, bootstrap
from rehearsal.program import Program, evaluate_component
from tests.rehearsal import githost_kit
from tests.rehearsal.cloud.kit import REGION, Accounts, config_in

APP: Final = 104
REPOSITORY: Final = "example-org/shop"
PIPELINE: Final = naming.pipeline("develop", "shop")
LOG: Final = "https://eu-central-1.console.aws.amazon.com/codesuite/codebuild/projects/slipway-develop-shop/build/1/log"


class Reports:
    """The develop track's reporter in an account, with a Git host."""

    def __init__(self, emulators: Emulators, place: Place, world: githost_kit.World, runs: BuildRuns) -> None:
        """Declare it."""
        self.emulators, self.place, self.host, self._runs = emulators, place, world.host, runs
        self.host.create_repository(REPOSITORY, default_branch="develop")
        self.host.add_app(
            APP,
            "reporter",
            githost_kit.key(str(APP)).public_pem,
            installation_id=APP + 1000,
            permissions={"statuses": "write"},
            repositories=[REPOSITORY],
        )
        key = githost_kit.key(str(APP)).private_pem.decode()
        bootstrap(emulators, place, zone="dev.example.com", secrets={naming.reporter_key_secret(): key})
        whole = config_in("dev", place.account)
        config: dict[str, Any] = {
            name: yaml.safe_load(str(whole[f"slipway:{name}"])) for name in ("gitops", "builds", "clusters", "tracks")
        }
        config["gitops"] |= {"apiUrl": world.host.url, "gitUrl": world.host.url}
        machine = "arm64" if platform.machine() in {"aarch64", "arm64"} else "amd64"
        config["builds"] |= {"reporter": {"appId": APP, "installationId": APP + 1000}}
        for each in config["tracks"].values():
            each["architecture"] = machine
        for each in config["clusters"].values():
            each["nodes"]["instanceTypes"] = ["m7g.large" if machine == "arm64" else "m7i.large"]
        self.program: Program = evaluate_component(
            _declare,
            config={**whole, **{f"slipway:{key}": value for key, value in config.items()}},
            world=CloudWorld(emulators, places={"dev": place}),
        )

    @property
    def executions(self) -> Executions:
        """The account's runs."""
        return self._runs.of(self.place)

    def commit(self, text: str) -> str:
        """A commit of the service."""
        return self.host.put_files(REPOSITORY, "develop", {"a": text.encode()}, "Change")

    def source(self, commit: str) -> Source:
        """What the source action hands on."""
        variables = {"FullRepositoryName": REPOSITORY, "CommitId": commit}
        return Source(action="Source", namespace="S", variables=variables, artifact="source", bucket="b", key="k")

    def state(self, commit: str) -> str:
        """The state of the commit's one status, "" without one."""
        found = self.host.statuses(REPOSITORY, commit)
        return found["slipway/develop/shop"].state if found else ""

    def waiting(self, purpose: str) -> int:
        """Messages in a queue of the track, hidden ones too."""
        sqs = self.emulators.client("sqs", self.place.account, REGION)
        url = sqs.get_queue_url(QueueName=naming.queue("develop", purpose))["QueueUrl"]
        counted = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return int(counted["ApproximateNumberOfMessages"]) + int(counted["ApproximateNumberOfMessagesNotVisible"])


def until(look: Callable[[], bool], what: str) -> None:
    """Wait until something is so."""
    began = time.monotonic()
    while not look():
        assert time.monotonic() - began < 60, what
        time.sleep(0.02)


def _declare() -> None:
    settings = load()
    here, track = settings.environment, settings.tracks["develop"]
    access = CiAccess("access", CiAccessArgs(account=here.account, region=here.region, settings=settings))
    hook = ImageHook("develop", ImageHookArgs(track_name="develop", track=track, settings=settings, **access.place))
    BuildReports("develop", BuildReportsArgs(track_name="develop", settings=settings, hook=hook, **access.place))


@pytest.fixture(scope="module")
def reports(emulators: Emulators, accounts: Accounts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reports]:
    """The reporter as declared."""
    with githost_kit.world(tmp_path_factory.mktemp("host")) as world, BuildRuns(emulators) as runs:
        yield Reports(emulators, Place(account=next(accounts), region=REGION), world, runs)


def test_a_failed_build_turns_its_commit_red_and_the_next_one_turns_the_next_commit_green(reports: Reports) -> None:
    broken = reports.commit("broken")
    run = reports.executions.start(PIPELINE)
    reports.executions.fetched(run, reports.source(broken))
    until(lambda: reports.state(broken) == "pending", "the commit is not pending")
    reports.executions.built(run, url=LOG, error="exit status 1")
    until(lambda: reports.state(broken) == "failure", "the commit is not red")
    mended = reports.commit("mended")
    run = reports.executions.start(PIPELINE)
    reports.executions.fetched(run, reports.source(mended))
    reports.executions.built(run, url=LOG)
    until(lambda: reports.state(mended) == "success", "the commit is not green")
    assert reports.state(broken) == "failure"
    until(lambda: reports.waiting("builds") == 0, "events are left over")
    assert [reports.waiting(each) for each in ("undelivered", "unprocessed", "failures")] == [0, 0, 0]


def test_a_run_of_another_track_reaches_nobody(reports: Reports) -> None:
    commit = reports.commit("other")
    run = reports.executions.start(naming.pipeline("b-develop", "shop"))
    reports.executions.fetched(run, reports.source(commit))
    reports.executions.built(run, url=LOG, error="exit status 1")
    own = reports.executions.start(PIPELINE)
    reports.executions.fetched(own, reports.source(reports.commit("own")))
    until(lambda: reports.state(own.commit) == "pending", "the track's own commit is not pending")
    assert reports.state(commit) == ""


def test_the_reporter_s_role_sees_its_track_s_runs_and_the_writer_s_sees_none(reports: Reports) -> None:
    reports.executions.start(PIPELINE)
    reports.executions.start(naming.pipeline("release", "shop"))
    url = reports.emulators.endpoints["codepipeline"]

    def look(role: str, pipeline: str) -> Any:  # noqa: ANN401 — JSON
        arn = f"arn:aws:iam::{reports.place.account}:role/slipway-develop-{role}"
        client = reports.emulators.client_as(arn, "codepipeline", REGION, url=url)
        return client.list_pipeline_executions(pipelineName=pipeline)["pipelineExecutionSummaries"]

    assert look("reporter", PIPELINE)
    for role, pipeline in (("reporter", naming.pipeline("release", "shop")), ("writer", PIPELINE)):
        with pytest.raises(ClientError, match="AccessDenied"):
            look(role, pipeline)


def test_the_rule_that_counts_failed_builds_matches_a_failed_run_in_the_emulator_s_eyes(reports: Reports) -> None:
    events = reports.emulators.client("events", reports.place.account, REGION)
    rule = reports.program.one("cloudwatch/eventRule:EventRule", "builds-failed").inputs

    def matched(pipeline: str, state: str) -> bool:
        detail = {"pipeline": pipeline, "execution-id": "1", "state": state}
        kind = "CodePipeline Pipeline Execution State Change"
        told = {"source": "aws.codepipeline", "detail-type": kind, "detail": detail, "id": "1", "account": reports.place.account}
        told |= {"time": "2026-01-01T00:00:00Z", "region": REGION, "resources": []}
        return bool(events.test_event_pattern(EventPattern=rule["eventPattern"], Event=json.dumps(told))["Result"])

    assert matched(PIPELINE, "FAILED")
    assert not matched(PIPELINE, "SUCCEEDED")
    assert not matched(naming.pipeline("b-develop", "shop"), "FAILED")
