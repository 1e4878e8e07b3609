"""What the real engine takes for the dev program, beside a bare program of as many resources.

Preview, first up and no-op preview by the real command line, for 2 and 40 services. Nothing is made: providers answer as the
test monitor's imagined world does, so engine, program and protocol are what is measured, on both sides of the ratio.
Exits 1 if the no-op preview of 40 services takes more than 1.3 times that of the bare program.

    python -m benchmarks.engine
"""

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rehearsal.engine import provider, served
from rehearsal.engine.cli import Engine, Outcome
from rehearsal.engine.imagined import ImaginedRealm
from rehearsal.engine.plugins import Broker
from rehearsal.lab.build import build

SIZES: Final = (2, 40)
# The limit, for the larger of the sizes.
RATIO_LIMIT: Final = 1.3
# At most so many of what is compared.
ROUNDS: Final = 3
# The state is written once, at the end: after every step, as else, a file of a thousand resources is most of what is measured.
_NO_CHECKPOINTS: Final = {"PULUMI_EXPERIMENTAL": "true", "PULUMI_SKIP_CHECKPOINTS": "true"}
_STACK: Final = "dev"
_ACCOUNT: Final = "111111111111"
_SERVICES: Final = '''"""The catalogue of a benchmark."""

from components.platform import Platform
from components.service import Service, ServiceArgs


def services(platform: Platform) -> None:
    """So many services, every fourth a worker."""
    for number in range({count}):
        name = f"service-{{number:02}}"
        port = None if number % 4 == 3 else 8080
        Service(name, ServiceArgs(platform=platform, repository=name, port=port, priority=1_000 + number))
'''
_BARE: Final = '''"""Bare resources, ten to a component as in the real program: no Output, no dependency, nothing computed."""

import pulumi
import pulumi_aws as aws


class Group(pulumi.ComponentResource):
    def __init__(self, name):
        super().__init__("bench:index:Group", name)
        self.register_outputs({{}})


for number in range({count}):
    if number % 10 == 0:
        group = Group(f"group-{{number}}")
    else:
        aws.ssm.Parameter(
            f"bare-{{number}}", name=f"bare-{{number}}", type="String", value="bare", opts=pulumi.ResourceOptions(parent=group)
        )
'''


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Seconds of one program under the engine.

    Attributes:
        program: What ran.
        resources: How many it registers.
        preview: First preview; 0 where it was left out.
        up: First up.
        noop: Preview when nothing changes, the least of what was measured.
    """

    program: str
    resources: int
    preview: float
    up: float
    noop: float


class _Nowhere:
    """Clusters that nobody reaches."""

    def kubeconfig(self, name: str) -> str | None:
        return json.dumps({"clusters": [{"name": name}]})


def measure(pulumi: Path, say: Callable[[str], None], sizes: Sequence[int] = SIZES) -> list[Measured]:
    """Measure ours at each size, and at last a bare program of as many resources as the largest.

    The no-op previews of the last two are what is compared: where the ratio is above its limit they are run again in turn,
    since something else may have had the machine during one of them, and the least of each counts.
    """
    found: list[Measured] = []
    with ExitStack() as stack:
        engines: list[Engine] = []
        for size in sizes:
            engines.append(_engine(stack, pulumi))
            _write(engines[-1], "services.py", _SERVICES, size)
            found.append(_measured(engines[-1], f"{size} services"))
            say(f"{found[-1].program}: {found[-1].resources} resources, no-op preview {found[-1].noop:.1f} s")
        count = found[-1].resources
        engines.append(_engine(stack, pulumi))
        _write(engines[-1], "__main__.py", _BARE, count)
        found.append(_measured(engines[-1], f"bare, as many as {sizes[-1]} services", first=False))
        say(f"{found[-1].program}: {found[-1].resources} resources, no-op preview {found[-1].noop:.1f} s")
        for _ in range(ROUNDS - 1):
            if ratio(found) <= RATIO_LIMIT:
                break
            for number in (-2, -1):
                found[number] = replace(found[number], noop=min(found[number].noop, _noop(engines[number]).seconds))
            say(f"measured again: {ratio(found):.2f}")
    return found


def ratio(found: Sequence[Measured]) -> float:
    """No-op preview of the largest program over that of as many bare resources."""
    ours, bare = found[-2:]
    return ours.noop / bare.noop


def _write(engine: Engine, name: str, text: str, count: int) -> None:
    (engine.project(_STACK) / name).write_text(text.format(count=count), encoding="utf-8")


def _engine(stack: ExitStack, pulumi: Path) -> Engine:
    """A copy of the project with plugins that make nothing; `stack` ends it."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slipway-bench-")))
    plugins = served.plugins(ImaginedRealm(), provider.Meddler(), _Nowhere())
    broker = stack.enter_context(Broker(folder=folder / "plugins", plugins=plugins))
    engine = Engine(
        pulumi=pulumi, plugins=broker.bin, folder=folder / "engine", accounts={_STACK: _ACCOUNT}, extra=_NO_CHECKPOINTS
    )
    engine.copy_project()
    engine.configure(_STACK, {})
    return engine


def _measured(engine: Engine, program: str, *, first: bool = True) -> Measured:
    preview = engine.preview(_STACK).seconds if first else 0.0
    up = engine.up(_STACK)
    noop = _noop(engine)
    return Measured(program=program, resources=noop.kept, preview=preview, up=up.seconds, noop=noop.seconds)


def _noop(engine: Engine) -> Outcome:
    return engine.preview(_STACK, "--expect-no-changes")


def main() -> int:
    """Measure, print, judge."""
    found = measure(build(print).pulumi, lambda line: print(line, file=sys.stderr))
    print(f"{'program':<32} {'resources':>9} {'preview s':>10} {'first up s':>11} {'no-op preview s':>16}")
    for each in found:
        print(f"{each.program:<32} {each.resources:>9} {each.preview:>10.1f} {each.up:>11.1f} {each.noop:>16.1f}")
    print(f"no-op preview at {SIZES[-1]} services over bare: {ratio(found):.2f} (limit {RATIO_LIMIT})")
    return 0 if ratio(found) <= RATIO_LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
