"""What evaluating the dev program costs beside the SDK's own cost of registering as many bare resources.

Prints a table for 5, 10, 20 and 40 services: resources, milliseconds, the bare program's milliseconds, and their ratio.
Exits 1 if the ratio at 40 services is above the limit, or if the cost of a service more grows with their number.

    python -m benchmarks.evaluate
"""

import statistics
import sys
import time
from collections.abc import Callable
from typing import Final

import pulumi

from components.platform import Platform
from components.service import Service, ServiceArgs
from rehearsal.program import Program, evaluate, evaluate_component

SIZES: Final = (5, 10, 20, 40)
ROUNDS: Final = 5
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


def bare(count: int) -> Program:
    """A program of `count` resources, ten to a component as in ours."""

    def declare() -> None:
        parent: pulumi.Resource | None = None
        for number in range(count):
            if number % 10 == 0:
                parent = _Group(f"group-{number}")
            else:
                _Bare(f"bare-{number}", parent)

    return evaluate_component(declare)


def seconds(run: Callable[[], Program]) -> tuple[float, int]:
    """Median of the rounds' seconds, and how many resources were registered."""
    taken: list[float] = []
    registered = 0
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        registered = len(run().resources)
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken), registered


def main() -> int:
    """Measure, print, judge."""
    evaluate("dev", catalogue=catalogue(1))  # imports and first-use caches are not what is measured
    bare(10)
    print(f"{'services':>8} {'resources':>9} {'ours ms':>8} {'bare ms':>8} {'ratio':>6}   (limit {RATIO_LIMIT} at {SIZES[-1]})")
    per_resource: list[float] = []
    ratio = 0.0
    for size in SIZES:
        ours, registered = seconds(lambda size=size: evaluate("dev", catalogue=catalogue(size)))
        plain, _ = seconds(lambda registered=registered: bare(registered))
        ratio = ours / plain
        per_resource.append(ours / registered)
        print(f"{size:>8} {registered:>9} {ours * 1000:>8.0f} {plain * 1000:>8.0f} {ratio:>6.2f}")
    growth = per_resource[-1] / per_resource[0]
    print(f"cost per resource at {SIZES[-1]} services over that at {SIZES[0]}: {growth:.2f} (limit {GROWTH_LIMIT})")
    return 0 if ratio <= RATIO_LIMIT and growth <= GROWTH_LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
