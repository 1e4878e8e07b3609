"""What promotion, release, verify and pin take, and how it grows with services and history.

For 25, 50, 100 and 200 services, with 25 commits for each: a repository with that history, made by `git fast-import`, is
served by the rehearsal's Git host, and the workflows' own command line works in a clone of it, over HTTP. Each of promotion,
release and verify is timed for one touched service and for a shared component that reaches all of them.

Prints how each figure grows, writes out/gitops.html, and exits 1 only if something does not come to its end: seconds depend on
the machine, and are shown beside the issue's limit.

    python -m benchmarks.gitops [--sizes 25 50 100 200]
"""

import argparse
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any, Final

import urllib3
from rich.console import Console
from rich.table import Table

from components.gitops import PLATFORM_FILE, SCAFFOLD, scaffold_files
from functions.gitops_writer import scaffold
from functions.gitops_writer.catalogue import Service
from functions.gitops_writer.manifests import write_entry
from functions.gitops_writer.settings import Layout
from rehearsal.githost import GitHost
from rehearsal.program import ROOT
from rehearsal.progress import Progress

SIZES: Final = (25, 50, 100, 200)
COMMITS_PER_SERVICE: Final = 25
# The issue's: promotion and verify of 200 services and 5,000 commits on two cores.
LIMIT_SECONDS: Final = 60.0
LIMITED: Final = ("promotion", "verify")
_REPOSITORY: Final = "example-org/gitops"
_PLATFORM: Final = json.loads((SCAFFOLD / PLATFORM_FILE).read_text(encoding="utf-8"))
_ENVIRONMENTS: Final = tuple(_PLATFORM["environments"])
_LAYOUT: Final = Layout(root="apps/{service}", own_overlay="dev")
# Of a hundred commits: so many by dev's writer, so many by stg's; the rest are people's, promotions and releases.
_DEV, _STG, _PEOPLE = 55, 85, 95
_BEGAN: Final = 1_767_225_600  # 2026-01-01
_MINUTE: Final = 60
_SHARED: Final = "shared/kustomization.yaml"
_SHARED_TEXT: Final = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nlabels:\n  - pairs: {team: team-%d}\n"


# A repository with a past


@dataclass
class History:
    """A stream for `git fast-import`: three branches on which writers, people and workflows take turns.

    Attributes:
        services: Names.
        stream: What has been written.
        files: Content by path of each branch.
        pending: Paths that changed on a branch since it was last merged into the next.
        commits: How many there are.
    """

    services: Sequence[str]
    stream: list[bytes] = field(default_factory=list[bytes])
    files: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    pending: dict[str, set[str]] = field(default_factory=lambda: {"dev": set[str](), "stg": set[str]()})
    commits: int = 0

    def begin(self) -> None:
        """The scaffold and all services, on all branches."""
        files = dict(scaffold_files(SCAFFOLD))
        files[_SHARED] = _SHARED_TEXT % 0
        for service in self.services:
            files |= _files(service)
        self.files["master"] = {}
        self.commit("master", files)
        for branch in ("stg", "dev"):
            self.files[branch] = dict(files)
            self.stream.append(f"reset refs/heads/{branch}\nfrom refs/heads/master\n\n".encode())

    def commit(self, branch: str, changes: Mapping[str, str], merged: str = "") -> None:
        """A commit on a branch, or a merge into it."""
        self.files[branch] |= changes
        if branch in self.pending:
            self.pending[branch] |= changes.keys()
        self.commits += 1
        who = f"someone <someone@example.com> {_BEGAN + self.commits * _MINUTE} +0000"
        message = f"Merge {merged}" if merged else "Write"
        lines = [f"commit refs/heads/{branch}\ncommitter {who}\ndata {len(message)}\n{message}\n".encode()]
        if merged:
            lines.append(f"merge refs/heads/{merged}\n".encode())
        for path, text in changes.items():
            raw = text.encode()
            lines.append(b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(raw), raw))
        self.stream.append(b"".join(lines) + b"\n")

    def image(self, branch: str, service: str) -> None:
        """A writer's commit."""
        place = "overlays/dev" if branch == "dev" else "base"
        path = f"apps/{service}/{place}/image/kustomization.yaml"
        number = self.commits
        minutes = f"{number // 1440 + 1:02}T{number // 60 % 24:02}{number % 60:02}00Z"
        text = write_entry(
            self.files[branch][path], service, tag=f"202601{minutes}-{number:012x}", digest=f"sha256:{number:064x}"
        )
        self.commit(branch, {path: text})

    def person(self, service: str, number: int) -> None:
        """A person's commit on dev."""
        path = f"apps/{service}/overlays/stg/environment.env"
        lines = [line for line in self.files["dev"][path].splitlines() if not line.startswith("LEVEL=")]
        self.commit("dev", {path: "\n".join([*lines, f"LEVEL={number}\n"])})

    def merge(self, source: str, target: str) -> None:
        """A promotion or a release: what has changed since the one before, for machines' files differ by branch."""
        changes = {path: self.files[source][path] for path in sorted(self.pending[source])}
        self.pending[source].clear()
        if changes:
            self.commit(target, changes, merged=source)

    def live(self, commits: int) -> None:
        """So many commits, the same ones each time."""
        luck = random.Random(len(self.services))  # noqa: S311 — no secret
        for service in self.services:
            self.image("dev", service)
            self.image("stg", service)
        while self.commits < commits - 2:
            service, lot = luck.choice(self.services), luck.randrange(100)
            if lot < _STG:
                self.image("dev" if lot < _DEV else "stg", service)
            elif lot < _PEOPLE:
                self.person(service, self.commits)
            else:
                self.merge("dev", "stg")
                self.merge("stg", "master")
        self.merge("dev", "stg")
        self.merge("stg", "master")


def _files(service: str) -> dict[str, str]:
    """A service as it is scaffolded, with a component that all services share."""
    images = {name: f"{each['registry']}/{service}" for each in _PLATFORM["tracks"].values() for name in each["environments"]}
    declared = Service(name=service, namespace=service, port=8080, health_path="/", images=images, hosts={})
    found = dict(scaffold.files(declared, _LAYOUT))
    for each in _ENVIRONMENTS:
        path = f"apps/{service}/overlays/{each}/kustomization.yaml"
        found[path] = found[path].replace("components:\n", "components:\n  - ../../../../shared\n")
    return found


# Measuring


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What something took.

    Attributes:
        what: In words.
        services: How many there were.
        commits: How many there were.
        seconds: How long it took.
        fault: What went wrong, "" when it came to its end.
    """

    what: str
    services: int
    commits: int
    seconds: float
    fault: str = ""


@dataclass
class Bench:
    """A repository, its host, and a clone in which the workflows' command line runs."""

    host: GitHost
    folder: Path
    history: History
    token: str
    approver: str
    pool: urllib3.PoolManager
    figures: list[Figure] = field(default_factory=list[Figure])

    @property
    def clone(self) -> Path:
        """Where it runs."""
        return self.folder / "clone"

    def timed(self, what: str, *arguments: str) -> Mapping[str, str]:
        """Run a command in a process of its own, as a workflow's step is; what it puts out."""
        outputs = self.folder / f"outputs-{len(self.figures)}"
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            **{f"GIT_{role}_{part}": "p@example.com" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")},
            "GIT_CONFIG_NOSYSTEM": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "GITHUB_API_URL": self.host.url,
            "GITHUB_REPOSITORY": _REPOSITORY,
            "GITHUB_TOKEN": self.token,
            "GITHUB_OUTPUT": str(outputs),
        }
        began = time.perf_counter()
        done = subprocess.run(arguments, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        took = time.perf_counter() - began
        fault = (done.stderr.strip() or done.stdout.strip() or f"ended with {done.returncode}") if done.returncode else ""
        services, commits = len(self.history.services), self.history.commits
        self.figures.append(Figure(what=what, services=services, commits=commits, seconds=took, fault=fault))
        text = outputs.read_text(encoding="utf-8") if outputs.exists() else ""
        return dict(line.split("=", 1) for line in text.splitlines())

    def script(self, what: str, *arguments: str) -> Mapping[str, str]:
        """Run the workflows' command line."""
        return self.timed(what, sys.executable, str(self.clone / ".github" / "slipway" / "main.py"), *arguments)

    def flow(self, command: str, base: str, what: str, reach: str) -> None:
        """Promote or release, verify what is offered, and merge it."""
        offered = self.script(f"{what}, {reach}", command)
        head = self.host.head(_REPOSITORY, offered.get("branch") or "none")
        if not head:
            last = self.figures[-1]
            if not last.fault:
                self.figures[-1] = replace(last, fault=f"nothing was offered: {offered.get('outcome')}")
            return
        self.script(f"verify of that {what}, {reach}", "verify", f"--base={base}", f"--head={head}")
        self._ask("POST", f"/pulls/{offered['pull-request']}/reviews", self.approver, {"event": "APPROVE"})
        self._ask("PUT", f"/pulls/{offered['pull-request']}/merge", self.token, {"merge_method": "merge"})

    def _ask(self, method: str, path: str, token: str, body: Any) -> None:  # noqa: ANN401 — JSON
        url, headers = f"{self.host.url}/repos/{_REPOSITORY}{path}", {"Authorization": f"Bearer {token}"}
        answer = self.pool.request(method, url, json=body, headers=headers)
        if answer.status >= 300:  # noqa: PLR2004 — no success
            msg = f"the Git host answers {method} {path} with {answer.status}: {answer.data!r}"
            raise RuntimeError(msg)


def measure(services: int) -> list[Figure]:
    """All figures for one size."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slipway-gitops-")))
        (folder / "host").mkdir()
        host = stack.enter_context(GitHost(folder / "host"))
        host.create_repository(_REPOSITORY)
        history = History(services=[f"service-{number:03}" for number in range(services)])
        history.begin()
        history.live(services * COMMITS_PER_SERVICE)
        repository = host.path(_REPOSITORY)
        subprocess.run(["git", "fast-import", "--quiet"], cwd=repository, input=b"".join(history.stream), check=True)
        subprocess.run(["git", "repack", "-adq"], cwd=repository, check=True)
        pool = stack.enter_context(urllib3.PoolManager(retries=False))
        alice, bob = host.add_user("alice"), host.add_user("bob")
        bench = Bench(host=host, folder=folder, history=history, token=alice, approver=bob, pool=pool)
        # What actions/checkout does with fetch-depth 0; the host lets everyone with a token read.
        url = f"{host.url.replace('http://', f'http://x:{alice}@')}/{_REPOSITORY}.git"
        bench.timed("checkout with the whole history", "git", "clone", "-q", "-b", "master", url, "clone")
        plain = f"{host.url}/{_REPOSITORY}.git"
        subprocess.run(["git", "remote", "set-url", "origin", plain], cwd=bench.clone, check=True)
        _days(bench)
        return bench.figures


def _days(bench: Bench) -> None:
    """One service changes, by people and by a new image; then what all share."""
    host, first = bench.host, bench.history.services[0]
    path = f"apps/{first}/base/kustomization.yaml"
    text = (host.read(_REPOSITORY, "dev", path) or b"") + b"buildMetadata: [originAnnotations]\n"
    host.put_files(_REPOSITORY, "dev", {path: text}, "Change one service", author="alice")
    image = f"apps/{first}/base/image/kustomization.yaml"
    old = (host.read(_REPOSITORY, "stg", image) or b"").decode()
    new = write_entry(old, first, tag=f"20260630T000000Z-{'a' * 12}", digest=f"sha256:{'a' * 64}")
    host.put_files(_REPOSITORY, "stg", {image: new.encode()}, "Write", author="alice")
    bench.flow("promote", "stg", "promotion", "one service")
    bench.flow("release", "master", "release", "one service")
    pinned = ("pin", "--environment=prd", f"--service={first}", "--to=previous", "--reason=bench")
    bench.script("pin of a service at its previous image", *pinned)
    host.put_files(_REPOSITORY, "dev", {_SHARED: (_SHARED_TEXT % 1).encode()}, "Change what all share", author="alice")
    bench.flow("promote", "stg", "promotion", "all services")
    bench.flow("release", "master", "release", "all services")


# Showing


def grows(points: Sequence[tuple[int, float]]) -> float | None:
    """The exponent of growth over the last two sizes: 1.0 is a straight line; None for fewer sizes, or no time at all."""
    if len(points) < 2 or min(seconds for _, seconds in points[-2:]) <= 0:  # noqa: PLR2004 — two points make a slope
        return None
    (small, before), (large, after) = points[-2:]
    return math.log(after / before) / math.log(large / small)


def limit_of(what: str) -> float | None:
    """The issue's limit in seconds, for the largest size."""
    return LIMIT_SECONDS if what.startswith(LIMITED) else None


def _by_name(figures: Sequence[Figure]) -> dict[str, list[Figure]]:
    found: dict[str, list[Figure]] = {}
    for each in figures:
        found.setdefault(each.what, []).append(each)
    return found


def _cells(group: Sequence[Figure]) -> list[str]:
    """Seconds, and the ratio to the size before."""
    cells: list[str] = []
    for index, each in enumerate(group):
        ratio = f"  x {each.seconds / group[index - 1].seconds:.1f}" if index and group[index - 1].seconds else ""
        cells.append("failed" if each.fault else f"{each.seconds:.2f}{ratio}")
    return cells


def _growth(group: Sequence[Figure]) -> str:
    exponent = grows([(each.services, each.seconds) for each in group if not each.fault])
    return "" if exponent is None else f"n^{exponent:.1f}"


def _verdict(group: Sequence[Figure]) -> str:
    limit = limit_of(group[0].what)
    if limit is None or group[-1].services < SIZES[-1]:
        return ""
    return f"{'✓' if group[-1].seconds < limit else '✗'} {limit:.0f} s"


def _heads(figures: Sequence[Figure]) -> list[str]:
    sizes = dict.fromkeys((each.services, each.commits) for each in figures)
    return ["services, commits", *(f"{services}, {commits:,}" for services, commits in sizes), "grows", "limit"]


def _rows(figures: Sequence[Figure]) -> list[list[str]]:
    return [[what, *_cells(group), _growth(group), _verdict(group)] for what, group in _by_name(figures).items()]


def table(figures: Sequence[Figure]) -> Table:
    """As the terminal shows it."""
    made = Table(title="Seconds, and the ratio to the size before", title_justify="left", show_edge=False, pad_edge=False)
    for index, head in enumerate(_heads(figures)):
        made.add_column(head, justify="left" if not index else "right", no_wrap=not index)
    for row in _rows(figures):
        made.add_row(*row)
    return made


_WIDE, _HIGH, _LEFT, _BELOW, _RIGHT = 920, 360, 46, 34, 250
_COLOURS: Final = ("#2563a8", "#b3261e", "#11743b", "#8a5a00", "#6b3fa0", "#00767a", "#a03f6b", "#4a5666", "#7a7a00", "#333")
_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
body { color: #1c2430; background: #fff }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #dde3ea; vertical-align: top }
td + td { white-space: nowrap } svg { width: 100%; height: auto } text { font: 11px system-ui, sans-serif; fill: #4a5666 }
"""


def page(figures: Sequence[Figure], said: str) -> str:
    """As a browser shows it."""
    heads = "".join(f"<th>{escape(each)}" for each in _heads(figures))
    rows = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}" for cell in row) for row in _rows(figures))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>The GitOps repository as it grows</title><style>{_STYLE}'
        f"</style><h1>The GitOps repository as it grows</h1><p>{escape(said)}</p><table><tr>{heads}</tr>\n{rows}</table>\n"
        f"<h2>Seconds by services, both doubling</h2>\n{_picture(figures)}</html>\n"
    )


def _picture(figures: Sequence[Figure]) -> str:
    """A line for each figure; both axes are logarithmic, so that a straight line of slope one grows as its cause does."""
    groups = _by_name([each for each in figures if not each.fault and each.seconds > 0])
    sizes = sorted({each.services for each in figures})
    seconds = [each.seconds for group in groups.values() for each in group] + [LIMIT_SECONDS]
    low, high = math.floor(math.log2(min(seconds))), math.ceil(math.log2(max(seconds)))
    first, last = math.log2(sizes[0]), math.log2(sizes[-1])
    across, up = (_WIDE - _LEFT - _RIGHT) / ((last - first) or 1), _HIGH / ((high - low) or 1)

    def at(services: int, took: float) -> tuple[float, float]:
        return _LEFT + (math.log2(services) - first) * across, _HIGH + 6 - (math.log2(took) - low) * up

    drawn: list[str] = []
    for power in range(low, high + 1):
        _, y = at(sizes[0], 2.0**power)
        drawn.append(f'<line x1="{_LEFT}" x2="{_WIDE - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e6eaef"/>')
        drawn.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{2.0**power:g}</text>')
    drawn += [f'<text x="{at(each, 1)[0]:.1f}" y="{_HIGH + 26}" text-anchor="middle">{each}</text>' for each in sizes]
    _, y = at(sizes[0], LIMIT_SECONDS)
    drawn.append(f'<line x1="{_LEFT}" x2="{_WIDE - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#b3261e" stroke-dasharray="4 3"/>')
    drawn.append(f'<text x="{_LEFT + 6}" y="{y + 13:.1f}">limit of promotion and verify</text>')
    # Names stand in the order of the lines' ends, apart from each other.
    below = 0.0
    coloured = zip(groups.items(), _COLOURS * len(groups), strict=False)
    for (what, group), colour in sorted(coloured, key=lambda each: -each[0][1][-1].seconds):
        points = [at(each.services, each.seconds) for each in group]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        below = max(points[-1][1], below + 14)
        drawn.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn.append(f'<text x="{points[-1][0] + 8:.1f}" y="{below + 4:.1f}" style="fill:{colour}">{escape(what)}</text>')
    return f'<svg viewBox="0 0 {_WIDE} {_HIGH + _BELOW}" role="img">{"".join(drawn)}</svg>'


def main() -> int:
    """Measure and print; 1 if something did not come to its end."""
    parser = argparse.ArgumentParser(prog="bench-gitops", description="What the workflows take as the repository grows.")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="numbers of services, ascending")
    parser.add_argument("--page", type=Path, default=ROOT / "out" / "gitops.html", help="where the page goes")
    asked = parser.parse_args()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    progress, figures = Progress(console), list[Figure]()
    with progress:
        for services in asked.sizes:
            with progress.step("", f"{services} services, {COMMITS_PER_SERVICE} commits each") as step:
                found = measure(services)
                figures += found
                step.produced = f"{sum(each.seconds for each in found):.0f} s of work"
    console.print(table(figures))
    said = (
        f"{os.cpu_count()} cores. Commits are {COMMITS_PER_SERVICE} for each service, so both double together: n^1.0 grows as "
        "they do. A limit holds for the largest size; it is shown and not judged, for seconds depend on the machine."
    )
    console.print(said)
    faults = [each for each in figures if each.fault]
    for each in faults:
        console.print(f"{each.what} at {each.services} services did not come to its end: {each.fault}", markup=False)
    asked.page.parent.mkdir(parents=True, exist_ok=True)
    asked.page.write_text(page(figures, said), encoding="utf-8")
    console.print(f"\npage: {asked.page.relative_to(ROOT) if asked.page.is_relative_to(ROOT) else asked.page}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
