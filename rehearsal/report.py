"""out/rehearsal.html: what happened, what was declared and made, who was let through, and what no emulator does."""

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jinja2

from rehearsal import markdown
from rehearsal.progress import Step, elapsed
from rehearsal.stage import Stage

if TYPE_CHECKING:
    from benchmarks.engine import Measured
    from rehearsal.engine.cli import Outcome
    from rehearsal.engine.play import Latency
    from rehearsal.engine.stage import State

_TEMPLATE: Final = Path(__file__).with_name("report.html.j2")
_HISTORY: Final = 60
_TONES: Final = 6

# What stands in for what, where that is no matter of a single resource.
STAND_INS: Final[Mapping[str, str]] = {
    "Amazon ECR's push event": "ministack emits none: the registry door does, once per pushed tag",
    "ECR's judgement of cross-account pulls, tag immutability": (
        "no emulator judges them: the registry door evaluates the declared policies, tested against AWS's documented examples"
    ),
    "SQS's judgement of EventBridge": "no emulator judges it: the queue's declared policy is evaluated before delivery",
    "CodePipeline's and CodeBuild's runs": (
        "no emulator runs them: the declared trigger is matched, and the declared project's buildspec is run with buildah"
    ),
    "CodeConnections": "the Git host tells of pushes itself",
    "EventBridge Scheduler's clock": "the declared schedule's target is invoked when the play comes to it",
    "Kubernetes and Argo CD": "no cluster runs: what the declared Applications name is rendered with kustomize",
    "A load balancer's forwarding": "the declared listener rules are applied to Argo CD's webhooks, and to nothing else",
    "GitHub": "real git over HTTP, and the part of GitHub's API that the flow uses, on GitHub's published schema",
    "Argo CD's notifications": (
        "the play sets the commit status of a service's health itself; in `make test-lab` the real controller sets it as declared"
    ),
    "GitHub Actions": "the GitOps repository's own workflows are read and their steps run here",
    "GitHub's identity tokens": "their claims are held against the declared trust; nobody verifies their signature",
    "What workflows install": "nothing is installed: this Python stands in, once it is sure to have the very versions",
    "The public base image": "no public registry is reached: it is made of this machine's static busybox",
    "Lambda's Python": "functions run on this machine's interpreter, from the very archive that is declared",
    "A build machine of its own for every build": (
        "builds share this one: buildah asks for layers where another service's build has put them, and is refused"
    ),
    "Signatures of AWS requests": "who a key belongs to is looked up; the signature is not checked",
    "Service control policies and session policies": "not judged: the program declares none",
    "Retries of EventBridge, concurrency of the queue's mapping": "one try, and one poller: ministack knows no more",
    "CloudWatch alarms": "declared and kept, but no emulator evaluates them from the queues' metrics",
    "The processor": "images and function are built for this machine's architecture: one setting of the stack files",
}


# What the lab stands in for otherwise.
LAB_STAND_INS: Final[Mapping[str, str]] = {
    "Pulumi's providers of AWS, GitHub and Kubernetes": (
        "stand-ins that serve the engine's protocol from the rehearsal's one table; inputs are held to the SDK's classes, calls "
        "to AWS's service models, objects to the API server"
    ),
    "The component of pulumi_eks": (
        "a stand-in registers the children that the real one would, as far as this program asks for them"
    ),
    "Pulumi's host for Python": "a stand-in that starts the same interpreter on the same program",
    "Amazon EKS": (
        "a real control plane for each cluster, on loopback; add-ons are kept, not run; an access entry's groups count by "
        "Kubernetes' own RBAC, and the administrator's access policy as Kubernetes' own group of administrators"
    ),
    "AWS's IAM at the engine's calls": (
        "each emulated call is judged, before it is sent, by the documents of the role that runs the command line: inline, "
        "attached, boundary; no policy of a resource is judged there, and no call that AWS makes by itself"
    ),
    "The store of Pulumi's state": "a folder: what the roles may do with the state's bucket and key is not played",
    "Rights on what a Helm chart brings": (
        "a release is judged by the right on Helm's own records; what is in the chart is made by the lab, with all rights"
    ),
    "Kubernetes and Argo CD": "real; the version of Argo CD is the lab's, a little newer than the chart's",
    "Nodes, kubelets and pods": (
        "KWOK plays them: pods run at once, no container does; one tag stands for an image that cannot be pulled"
    ),
    "Helm charts": (
        "none can be fetched: what each release brings (definitions, controllers) is done by the lab; values are held to the "
        "chart's keys"
    ),
    "metrics-server": "every container uses half of what it requests",
    "A load balancer's forwarding": (
        "the declared listener rules are applied to Argo CD's webhooks, which reach the real Argo CD where its "
        "TargetGroupBinding stands"
    ),
}


@dataclass(kw_only=True)
class Lab:
    """What only the lab can tell.

    Attributes:
        states: Argo CD's state of services, by when it was looked at.
        latencies: Seconds from commit to Synced and to running.
        outcomes: What the command line did.
        measured: What the engine takes, for programs of some sizes.
        peak: Most resident bytes of everything together.
    """

    states: "Mapping[str, Sequence[State]]" = field(default_factory=dict[str, "Sequence[State]"])
    latencies: "Sequence[Latency]" = ()
    outcomes: "Sequence[Outcome]" = ()
    measured: "Sequence[Measured]" = ()
    peak: int = 0


@dataclass(kw_only=True)
class Findings:
    """What is known at the end of a play.

    Attributes:
        environments: The platform's environments that run images, in their order.
        made: By environment, how many resources of each type were made in its account.
        imagined: What was only imagined: type, how often, why.
        left: Declared properties that no emulator keeps: type, property, reason.
        passages: Refusals at the registry's door: caller, action, target, reason.
        let_through: How many requests the door let through.
        heard: What came to the edge: host, method, path, answer, and how often.
        history: The GitOps repository's history, as `git log --graph` draws it.
        lab: What the lab tells, where there was one.
    """

    environments: Sequence[str] = ()
    made: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    imagined: Sequence[tuple[str, int, str]] = ()
    left: Sequence[tuple[str, str, str]] = ()
    passages: Sequence[tuple[str, str, str, str]] = ()
    let_through: int = 0
    heard: Sequence[tuple[str, str, str, int, int]] = ()
    history: str = ""
    lab: Lab | None = None

    @property
    def total_made(self) -> int:
        """How many resources were made in all accounts."""
        return sum(sum(each.values()) for each in self.made.values())


def gather(stage: Stage, findings: Findings) -> None:
    """Read from the stage what the report shows; before it is left."""
    world = stage.world
    made = {name: Counter(each.type for each in world.realised if each.stack == name) for name in stage.flow.stacks}
    imagined = Counter((each.type, each.reason) for each in world.imagined)
    passed = Counter((each.host, each.method, each.path, each.status) for each in stage.edge.heard)
    refused = [each for each in stage.door.passages if each.refused and each.status != 401]  # noqa: PLR2004 — a login's first question
    history = ""
    if stage.host.repository(stage.gitops) is not None:
        history = stage.git(
            "log",
            "--graph",
            f"--max-count={_HISTORY}",
            "--format=%h %<(14,trunc)%an %s%d",
            "--decorate=short",
            "--branches",
            cwd=stage.host.path(stage.gitops),
        )
    findings.environments = stage.flow.environments
    findings.made = made
    findings.imagined = [(type_, number, reason) for (type_, reason), number in sorted(imagined.items())]
    findings.left = sorted((each.type, each.property, each.reason) for each in world.left)
    findings.passages = [(each.caller, ", ".join(each.actions), each.repository, each.reason) for each in refused]
    findings.let_through = sum(not each.refused for each in stage.door.passages)
    findings.heard = [(*each, number) for each, number in sorted(passed.items())]
    findings.history = str(history)


@contextmanager
def gathering(stage: Stage, findings: Findings) -> Generator[None]:
    """Gather at the end, also of a play that fails: what cannot be gathered then never hides why it failed."""
    try:
        yield
    except BaseException:
        with suppress(Exception):
            gather(stage, findings)
        raise
    gather(stage, findings)


def _stand_ins(findings: Findings) -> Mapping[str, str]:
    if findings.lab is None:
        return STAND_INS
    from rehearsal.lab.charts import NOT_PLAYED  # noqa: PLC0415 — of the lab alone

    return {**STAND_INS, **LAB_STAND_INS, **NOT_PLAYED}


def write_report(path: Path, steps: Sequence[Step], findings: Findings, failure: str) -> None:
    """Write the page; folders are made."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters["markdown"] = markdown.html
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    total = elapsed(steps)
    # Of a play that ended before its stage stood, the steps tell.
    environments = list(findings.environments) or list(dict.fromkeys(step.environment for step in steps if step.environment))
    shown: Mapping[str, Any] = {
        "environments": environments,
        "tones": {name: f"tone{number % _TONES}" for number, name in enumerate(environments)},
        "steps": steps,
        "failure": failure,
        "total": total,
        "longest": max((step.seconds for step in steps), default=0.0) or 1.0,
        "findings": findings,
        "stand_ins": _stand_ins(findings),
        "lab": findings.lab,
        "lanes": {name: [step for step in steps if step.environment == name] for name in environments},
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(template.render(shown), encoding="utf-8")


__all__ = ["STAND_INS", "Findings", "Lab", "gather", "gathering", "write_report"]
