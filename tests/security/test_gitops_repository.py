"""What the holder of a key, or of write access to the GitOps repository, reaches there, and no more."""

import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest

from tests.rehearsal.githost_kit import REPOSITORY
from tests.scaffold_repository.kit import SCAFFOLD, service_files
from tests.security.support import DEV_WRITER, MAIN, PROMOTER, READER, STG_WRITER, Repository, repository

DEPLOYMENT: Final = "apps/cart/base/deployment.yaml"
OWNERS: Final = "Waiting on code owner review from"
UNREVIEWED: Final = "At least 2 approving reviews are required by reviewers with write access."
UNCHECKED: Final = "1 of 1 required status checks are expected."
NOT_ADMITTED: Final = 'Branch "mine" is not allowed to deploy to slipway-promoter due to environment protection rules.'

# What an attacker puts in the scripts' place: it says so, and takes a person's pull request to production.
HOSTILE: Final = b"""
import json, os, sys, urllib.request
print("HOSTILE", sorted(name for name in os.environ if "TOKEN" in name))
api, token = os.environ["GITHUB_API_URL"], os.environ.get("GITHUB_TOKEN", "")
def ask(method, path, body):
    where = f"{api}/repos/{os.environ['GITHUB_REPOSITORY']}{path}"
    request = urllib.request.Request(where, json.dumps(body).encode(), method=method)
    request.add_header("Authorization", f"Bearer {token}")
    try:
        print("HOSTILE", method, path, urllib.request.urlopen(request).status)
    except Exception as error:
        print("HOSTILE", method, path, error)
ask("PATCH", "/pulls/1", {"base": "master"})
ask("POST", "/pulls/1/reviews", {"event": "APPROVE"})
ask("PUT", "/pulls/1/merge", {"merge_method": "merge"})
sys.exit(0)
"""


@pytest.fixture
def it(tmp_path: Path) -> Generator[Repository]:
    with repository(tmp_path) as made:
        yield made


def manifest(line: str = "# hostile\n") -> dict[str, str]:
    return {DEPLOYMENT: service_files("cart")[DEPLOYMENT] + line}


# The key of a branch's writer


@pytest.mark.parametrize(("app", "branch"), [(DEV_WRITER, "dev"), (STG_WRITER, "stg")])
def test_a_writer_s_key_runs_no_script_with_the_promoter_s_token_and_brings_nothing_to_production(
    it: Repository, app: int, branch: str
) -> None:
    it.push("feature", manifest())
    assert it.propose("feature", "dev") == 1
    before = it.heads()
    hostile = {
        MAIN: HOSTILE,
        ".github/slipway/requirements.txt": b"hostile==1.0 --hash=sha256:" + b"0" * 64 + b"\n",
        ".github/slipway/platform.json": (SCAFFOLD / ".github/slipway/platform.json").read_bytes().replace(b"master", b"hostile"),
    }
    assert it.commit(app, branch, hostile) == ""
    runs = it.pushed(branch)
    started = [run.workflow for run in runs]
    # A push to dev starts promote, from the default branch; nothing that holds a token starts from stg.
    assert started == (["moved", "promote"] if branch == "dev" else [])
    if branch == "dev":
        moved, promote = runs
        assert (promote.branch, promote.commit, promote.conclusion) == ("master", before["master"], "success"), promote
        assert moved.jobs == {"moved": "success"}
    # Pull requests from and to the branch are judged by the default branch's scripts too.
    it.judged(1)
    assert "HOSTILE" not in it.log
    assert "hostile==1.0" not in it.log
    assert it.heads() == {**before, branch: it.host.head(REPOSITORY, branch)}
    assert "Changes must be made through a pull request." in it.commit(app, "master", {DEPLOYMENT: b"x"})
    assert "Changes must be made through a pull request." in it.commit(
        app, "stg" if branch == "dev" else "dev", {DEPLOYMENT: b"x"}
    )


@pytest.mark.parametrize(("app", "branch"), [(DEV_WRITER, "dev"), (STG_WRITER, "stg")])
def test_a_writer_s_key_changes_no_workflow(it: Repository, app: int, branch: str) -> None:
    said = it.commit(app, branch, {".github/workflows/mine.yml": b"on: push\n"})
    assert said == (
        "refusing to allow a GitHub App to create or update workflow `.github/workflows/mine.yml` without `workflows` permission"
    )


# Write access to the repository

THIEF: Final = """
name: mine
on:
  push:
  workflow_dispatch:
permissions: {}
jobs:
  mine:
    runs-on: ubuntu-24.04
    ENVIRONMENT
    permissions: {}
    steps:
      - name: Take it
        env:
          KEY: ${{ secrets.SLIPWAY_PROMOTER_KEY }}
        run: echo "key of ${#KEY} characters"
"""


@pytest.mark.parametrize("environment", ["", "environment: slipway-promoter", "environment: slipway-verify"])
def test_a_workflow_on_a_pushed_branch_never_has_the_promoter_s_key(it: Repository, environment: str) -> None:
    it.push("mine", {".github/workflows/mine.yml": THIEF.replace("ENVIRONMENT", environment or "timeout-minutes: 5")})
    (run,) = it.pushed("mine")
    if environment:
        assert run.conclusion == "failure"
        assert run.error.endswith(NOT_ADMITTED.replace("slipway-promoter", environment.split()[1]))
    else:
        assert run.log.endswith("key of 0 characters")
    # The secret is of the environment alone.
    assert "SLIPWAY_PROMOTER_KEY" not in it.host.secrets(REPOSITORY)


@pytest.mark.parametrize(
    ("workflow", "inputs"),
    [
        ("promote", {}),
        ("release", {}),
        ("pin", {"action": "pin", "environment": "prd", "services": "cart", "reason": "r"}),
    ],
)
def test_a_workflow_started_on_a_branch_of_one_s_own_is_refused_the_key(
    it: Repository, workflow: str, inputs: dict[str, str]
) -> None:
    text = (SCAFFOLD / ".github" / "workflows" / f"{workflow}.yml").read_text(encoding="utf-8")
    mine = text.replace("${{ github.event.repository.default_branch }}", "mine")
    assert mine != text
    it.push("mine", {f".github/workflows/{workflow}.yml": mine, MAIN: HOSTILE.decode()})
    run = it.dispatched(workflow, ref="mine", **inputs)
    assert (run.conclusion, run.log) == ("failure", "")
    assert run.error.endswith(NOT_ADMITTED)


TAG: Final = "release-20260101T000000Z"
FORGER: Final = """
name: forge
on: push
permissions: {}
jobs:
  forge:
    runs-on: ubuntu-24.04
    timeout-minutes: 5
    permissions:
      checks: write
      contents: write
      pull-requests: write
      statuses: write
    steps:
      - name: Forge
        env:
          TOKEN: ${{ github.token }}
          API: ${{ github.api_url }}/repos/${{ github.repository }}
        run: |
          ask() { curl --silent --request "$1" --header "Authorization: Bearer $TOKEN" "$API$2" --data "$3"; echo; }
          ask POST /check-runs '{"name": "verify master", "head_sha": "HEAD", "status": "completed", "conclusion": "success"}'
          ask POST /statuses/HEAD '{"context": "verify master", "state": "success"}'
          ask POST /pulls/1/reviews '{"event": "APPROVE"}'
          ask PUT /pulls/1/merge '{"merge_method": "merge"}'
          ask PATCH /git/refs/heads/dev '{"sha": "HEAD"}'
          ask PATCH /git/refs/heads/stg '{"sha": "HEAD"}'
          ask PATCH /git/refs/heads/master '{"sha": "HEAD"}'
          git clone --quiet --branch=mine "${GITHUB_SERVER_URL/:\\/\\//://x-access-token:$TOKEN@}/$GITHUB_REPOSITORY.git" copy
          git -C copy push --force origin HEAD:refs/tags/TAG 2>&1 || true
          git -C copy push origin :refs/tags/TAG 2>&1 || true
          ask POST /pulls '{"title": "Mine", "head": "mine", "base": "master"}'
"""


def test_a_pushed_workflow_s_own_token_forges_no_verdict_approves_merges_and_moves_nothing(it: Repository) -> None:
    copy = it.world.clone(it.alice, "copy", "master")
    assert it.world.git("push", "-q", "origin", f"HEAD:refs/tags/{TAG}", cwd=copy).returncode == 0
    tagged = it.heads()["master"]
    head = it.push("feature", manifest(), source="master")
    number = it.propose("feature", "master")
    assert number == 1
    assert it.statuses(head) == {"verify master": "failure"}
    before = it.heads()
    it.push(
        "mine",
        {".github/workflows/forge.yml": FORGER.replace("HEAD:", "mine:").replace("HEAD", head).replace("TAG", TAG)},
        source="master",
    )
    (run,) = it.pushed("mine")
    said = run.log
    assert "GitHub Actions is not permitted to approve pull requests." in said
    assert "GitHub Actions is not permitted to create or approve pull requests." in said
    assert said.count("Changes must be made through a pull request.") >= 3
    assert "Cannot update this protected ref." in said
    assert "Cannot delete this tag" in said
    # It did set both, and neither counts.
    assert it.statuses(head)["verify master"] in {"success", "failure"}
    for token in (it.bob, it.carol):
        assert it.approve(number, token).status == 200
    assert it.merge(number, it.alice) == f"Repository rule violations found\n\n{UNCHECKED}"
    assert it.heads() == before
    assert it.world.git("rev-parse", f"refs/tags/{TAG}", cwd=it.host.path(REPOSITORY)).stdout.strip() == tagged


# The promoter's key


def test_the_promoter_s_key_brings_nothing_to_production_without_people(it: Repository) -> None:
    head = it.push("feature", manifest())
    number = it.propose("feature", "dev")
    before, promoter = it.heads(), it.world.app_token(PROMOTER)
    assert it.retarget(number, "master", promoter) == 200
    assert it.approve(number, promoter).status == 200
    assert it.statuses(head)["verify master"] == "failure"
    forged = it.ask("POST", f"/statuses/{head}", promoter, {"context": "verify master", "state": "success"})
    assert forged.status == 201
    refusal = it.merge(number, promoter)
    assert UNREVIEWED in refusal
    assert OWNERS in refusal
    assert UNCHECKED not in refusal
    assert "Changes must be made through a pull request." in it.commit(PROMOTER, "master", {DEPLOYMENT: b"x"})
    assert it.heads() == before


# The reader's key


def test_the_reader_s_key_forges_no_verdict(it: Repository) -> None:
    head = it.push("feature", manifest(), source="master")
    number = it.propose("feature", "master")
    done = it.ask("POST", f"/statuses/{head}", it.world.app_token(READER), {"context": "verify master", "state": "success"})
    assert done.status == 201
    for token in (it.bob, it.carol):
        it.approve(number, token)
    assert UNCHECKED in it.merge(number, it.alice)
    assert "Resource not accessible by integration" in str(it.commit(READER, "dev", {DEPLOYMENT: b"x"}))


# A hostile pull request

VERIFY: Final = (SCAFFOLD / ".github" / "workflows" / "verify.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("base", ["dev", "stg", "master"])
def test_a_pull_request_is_judged_by_the_default_branch_s_workflow_scripts_and_platform(it: Repository, base: str) -> None:
    platform = (SCAFFOLD / ".github/slipway/platform.json").read_text(encoding="utf-8")
    lenient = (
        "import sys\nprint('HOSTILE')\nsys.exit(0)\n",
        VERIFY.replace("pull_request_target:", "pull_request:").replace("if: always()", "if: always() # mine"),
        platform.replace('"releases"', '"none"').replace('"track"', '"none"').replace('"dev"', '"mine"'),
    )
    files = {
        MAIN: lenient[0],
        ".github/workflows/verify.yml": lenient[1],
        ".github/slipway/platform.json": lenient[2],
        "apps/cart/overlays/prd/kustomization.yaml": "resources: [../../nowhere]\n",
    }
    head = it.push("feature", files, source=base)
    it.propose("feature", base)
    assert "HOSTILE" not in it.log
    assert it.statuses(head) == {f"verify {base}": "failure"}
    verify = [run for run in it.runs if run.event == "pull_request_target"]
    assert [(run.workflow, run.jobs) for run in verify] == [("verify", {"judge": "failure", "report": "success"})]
    assert "does not render" in verify[0].log
    # Its own version starts by its own event, and gets nothing.
    own = [run for run in it.runs if run.event == "pull_request"]
    assert {run.conclusion for run in own} == {"failure"}
    assert all("is not allowed to deploy to" in run.error for run in own)


def test_a_pull_request_that_takes_owners_away_is_refused_and_owners_are_asked_for_the_refusal_s_change(it: Repository) -> None:
    for number, (text, said) in enumerate(
        (
            ("/apps/ @example-org/platform\n", "has no line for *"),
            ("* @example-org/platform\n/.github/\n", "line 2: /.github/ would have no owner"),
            ("* @promoter[bot]\n", "'@promoter[bot]' is no owner"),
        )
    ):
        head = it.push(f"feature-{number}", {".github/CODEOWNERS": text})
        it.propose(f"feature-{number}", "dev")
        assert it.statuses(head) == {"verify dev": "failure"}
        assert said in it.runs[-1].log
    head = it.push("feature-own", {".github/CODEOWNERS": "* @alice\n"})
    number = it.propose("feature-own", "dev")
    assert it.statuses(head) == {"verify dev": "success"}
    assert OWNERS in it.merge(number, it.alice)


# Who starts a release


def test_who_starts_a_release_cannot_bring_it_to_production_alone(it: Repository) -> None:
    number = it.released()
    assert it.statuses(str(it.ask("GET", f"/pulls/{number}", it.alice).body["head"]["sha"])) == {"verify master": "success"}
    assert it.approve(number, it.alice).status == 200
    assert it.merge(number, it.alice) == f"Repository rule violations found\n\n{UNREVIEWED}"
    assert it.approve(number, it.bob).status == 200
    assert it.merge(number, it.alice) == ""
    (moved, released) = it.pushed("master")
    assert (moved.workflow, released.workflow, released.conclusion) == ("moved", "released", "success")
    assert released.outputs["tag"].startswith("release-")


# Hostile manifests


@pytest.fixture
def fetched() -> Generator[tuple[str, list[str]]]:
    """A web server on loopback, and what was asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: fetched}\n")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — its name there
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


PLUGIN: Final = """apiVersion: mine/v1
kind: Run
metadata:
  name: run
  annotations:
    config.kubernetes.io/function: "exec: {path: ./run.sh}"
"""
CHART: Final = "helmCharts:\n  - name: x\n    repo: SERVER\n    version: 1.0.0\n"
_OVERLAY: Final = "apps/cart/overlays/prd"
HOSTILE_TREES: Final[dict[str, tuple[str, str]]] = {
    "a remote file": ("resources: [SERVER/x.yaml]\n", "Nothing is fetched"),
    "a remote file by a field in other letters": ("Resources: [SERVER/x.yaml]\n", "Nothing is fetched"),
    "a remote file behind an anchor": ("x: &a [SERVER/x.yaml]\nresources: *a\n", "may load or run"),
    "a remote repository": ("resources: ['git::SERVER/x?ref=main']\n", "Nothing is fetched"),
    "a repository by scp": ("resources: ['git@127.0.0.1:x/y']\n", "Nothing is fetched"),
    "a repository at GitHub": ("resources: [github.com/x/y]\n", "Nothing is fetched"),
    "a remote component": ("components: [SERVER/x]\n", "Nothing is fetched"),
    "a remote patch": ("resources: [../../base]\npatches:\n  - path: SERVER/x.yaml\n", "Nothing is fetched"),
    "a remote file of a generator": ("configMapGenerator:\n  - name: x\n    files: ['k=SERVER/x']\n", "Nothing is fetched"),
    "a remote schema": ("openapi: {path: SERVER/x.json}\nresources: [../../base]\n", "Nothing is fetched"),
    "a chart": (CHART, "may load or run"),
    "a generator": ("generators: [run.yaml]\n", "may load or run"),
    "a transformer": ("resources: [../../base]\ntransformers: [run.yaml]\n", "may load or run"),
    "a validator": ("resources: [../../base]\nvalidators: [run.yaml]\n", "may load or run"),
    "an absolute path": ("resources: [/etc]\n", "Nothing is fetched"),
    "a file outside": ("configMapGenerator:\n  - name: x\n    files: [/etc/passwd]\n", "Nothing is fetched"),
    "a file above the tree": (
        "resources: [../../../../../../etc]\n",
        "Nothing is fetched",
    ),
    "a key twice": ("resources: [../../base]\nresources: [SERVER/x.yaml]\n", "is there twice"),
}


def test_hostile_trees_are_refused_without_network_or_execution(
    it: Repository, fetched: tuple[str, list[str]], tmp_path: Path
) -> None:
    """Each in a service of its own, in one pull request."""
    server, asked = fetched
    ran = tmp_path / "ran"
    files: dict[str, str] = {}
    for number, (text, _) in enumerate(HOSTILE_TREES.values()):
        overlay = f"apps/hostile-{number}/overlays/dev"
        files |= {
            f"apps/hostile-{number}/base/kustomization.yaml": "resources: []\n",
            f"{overlay}/kustomization.yaml": text.replace("SERVER", server),
            f"{overlay}/run.yaml": PLUGIN,
            f"{overlay}/run.sh": f"#!/bin/sh\ntouch {ran}\n",
        }
    head = it.push("feature", files)
    it.propose("feature", "dev")
    assert it.statuses(head) == {"verify dev": "failure"}
    for number, (name, (_, said)) in enumerate(HOSTILE_TREES.items()):
        found = [line for line in it.log.splitlines() if f"apps/hostile-{number}/overlays/dev/kustomization.yaml" in line]
        assert any(said in line for line in found), (name, found)
    assert asked == []
    assert not ran.exists()
    assert "root:" not in it.log


def test_a_link_in_a_tree_is_not_followed(it: Repository, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: of-the-runner}\n", encoding="utf-8")
    copy = it.world.clone(it.alice, "copy", "dev")
    (copy / _OVERLAY / "extra.yaml").symlink_to(secret)
    (copy / _OVERLAY / "kustomization.yaml").write_text("resources: [../../base, extra.yaml]\n", encoding="utf-8")
    for arguments in (
        ("checkout", "-q", "-b", "feature"),
        ("add", "-A"),
        ("commit", "-q", "-m", "Link"),
        ("push", "-q", "origin", "feature"),
    ):
        done = it.world.git(*arguments, cwd=copy)
        assert done.returncode == 0, done.stderr
    it.propose("feature", "dev")
    assert it.statuses(it.host.head(REPOSITORY, "feature") or "") == {"verify dev": "failure"}
    assert f"links or submodules, which nothing here follows: {_OVERLAY}/extra.yaml" in it.log
    assert "of-the-runner" not in it.log


def test_each_job_is_known_to_aws_by_an_environment_that_admits_the_default_branch_alone(it: Repository) -> None:
    """The image-reader roles trust these two names (tests/components/test_ci_access.py)."""
    assert {name: each.branches for name, each in it.host.environments(REPOSITORY).items()} == {
        "slipway-promoter": ("master",),
        "slipway-verify": ("master",),
    }
