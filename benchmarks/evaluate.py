"""What evaluating the dev program costs beside the SDK's own cost of registering as many bare resources.

A bare resource is one of the provider's own classes with literal inputs: no Output, no dependency, nothing computed. For
comparison, and without a limit, the table also has the least that the SDK can register at all: an untyped resource, which
no real program consists of.

Prints a table for 5, 10, 20 and 40 services: resources, milliseconds of processor time, those of the bare programs, and the
ratios. Exits 1 if the ratio at 40 services is above the limit, or if the cost of a service more grows with their number.

    python -m benchmarks.evaluate
"""

import sys
import time
from collections.abc import Callable
from typing import Final

import pulumi
import pulumi_aws as aws

from components.platform import Platform
from components.service import Service, ServiceArgs
from rehearsal.program import Program, evaluate, evaluate_component

SIZES: Final = (5, 10, 20, 40)
ROUNDS: Final = 3
# The limit: the same number of bare resources, in the same run.
RATIO_LIMIT: Final = 1.5
# Cost per resource at 40 services over that at 5: 1.0 is a straight line; above it the growth is more than linear.
GROWTH_LIMIT: Final = 1.25


def catalogue(count: int) -> Callable[[Platform], None]:
    """`count` services, every fourth of them a worker."""

    def services(platform: Platform) -> None:
        for number in range(count):
            name = f"service-{number:02}"
            port = None if number % 4 == 3 else 8080  # noqa: PLR2004 — every fourth
            Service(name, ServiceArgs(platform=platform, repository=name, port=port, priority=1_000 + number))

    return services


class _Bare(pulumi.CustomResource):
    """The least that the SDK can register: a type, a name, two plain properties, one output used by nobody."""

    def __init__(self, name: str, parent: pulumi.Resource | None) -> None:
        super().__init__("bench:index:Bare", name, {"name": name, "size": 1}, pulumi.ResourceOptions(parent=parent))


class _Group(pulumi.ComponentResource):
    def __init__(self, name: str) -> None:
        super().__init__("bench:index:Group", name, None, None)
        self.register_outputs({})


def bare(count: int, register: Callable[[str, pulumi.Resource | None], object]) -> Program:
    """A program of `count` resources, ten to a component as in ours."""

    def declare() -> None:
        parent: pulumi.Resource | None = None
        for number in range(count):
            if number % 10 == 0:
                parent = _Group(f"group-{number}")
            else:
                register(f"bare-{number}", parent)

    return evaluate_component(declare)


def parameter(name: str, parent: pulumi.Resource | None) -> object:
    """One of the provider's smaller classes."""
    return aws.ssm.Parameter(name, name=name, type="String", value="bare", opts=pulumi.ResourceOptions(parent=parent))


def seconds(run: Callable[[], Program]) -> tuple[float, int]:
    """The rounds' least seconds of processor time (what else the machine does only adds), and how many were registered."""
    taken: list[float] = []
    registered = 0
    for _ in range(ROUNDS):
        begin = time.process_time()
        registered = len(run().resources)
        taken.append(time.process_time() - begin)
    return min(taken), registered


def main() -> int:
    """Measure, print, judge."""
    evaluate("dev", catalogue=catalogue(1))  # imports and first-use caches are not what is measured
    bare(10, parameter)
    bare(10, _Bare)
    print(
        f"{'services':>8} {'resources':>9} {'ours ms':>8} {'bare ms':>8} {'ratio':>6}   (limit {RATIO_LIMIT} at {SIZES[-1]})"
        f" {'untyped ms':>11} {'ratio':>6}"
    )
    per_resource: list[float] = []
    ratio = 0.0
    for size in SIZES:
        ours, registered = seconds(lambda size=size: evaluate("dev", catalogue=catalogue(size)))
        plain, _ = seconds(lambda registered=registered: bare(registered, parameter))
        least, _ = seconds(lambda registered=registered: bare(registered, _Bare))
        ratio = ours / plain
        per_resource.append(ours / registered)
        print(
            f"{size:>8} {registered:>9} {ours * 1000:>8.0f} {plain * 1000:>8.0f} {ratio:>6.2f} {'':>20}"
            f" {least * 1000:>11.0f} {ours / least:>6.2f}"
        )
    growth = per_resource[-1] / per_resource[0]
    print(f"cost per resource at {SIZES[-1]} services over that at {SIZES[0]}: {growth:.2f} (limit {GROWTH_LIMIT})")
    return 0 if ratio <= RATIO_LIMIT and growth <= GROWTH_LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
