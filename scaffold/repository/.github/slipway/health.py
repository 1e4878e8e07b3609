"""Which services are known not to be well: Argo CD of each cluster says so, as a commit status on what it has synced.

A status's context is `health <environment>/<colour>/<service>`, its state is `success` where the service is Healthy, and its
description begins with Argo CD's word. Of what nothing is said, nothing is known.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from slipway.changes import literal
from slipway.github import PAGE, GitHub, Status

COMMITS: Final = 1000
"""How many of a branch's tips are looked through at most, the newest first."""

_CONTEXT: Final = re.compile(r"health (?P<environment>[^/ ]+)/(?P<colour>[^/ ]+)/(?P<service>[^/ ]+)")
_SINCE: Final = re.compile(r"(?P<word>[A-Z][a-z]+) since (?P<since>\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z)")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one cluster said last of a service.

    Attributes:
        service: Name of the service.
        environment: Where it runs.
        colour: In which cluster.
        healthy: Whether it is well.
        word: Argo CD's word for it, or what else somebody wrote.
        since: Since when, as GitHub's API writes times.
    """

    service: str
    environment: str
    colour: str
    healthy: bool
    word: str
    since: str

    @property
    def shown(self) -> str:
        """For people, plain."""
        return f"{self.environment}/{self.colour}: {self.word} since {self.since}"

    @property
    def markdown(self) -> str:
        """The same in Markdown: whoever may set a status may write what they like."""
        return f"{literal(f'{self.environment}/{self.colour}')}: {literal(self.word)} since {self.since}"


@dataclass(frozen=True, kw_only=True)
class Health:
    """What is known of some services in one environment.

    Attributes:
        reports: The newest of each colour, by service; none of a service of which nothing is known.
        told: Whether anything is known of any service there.
    """

    reports: Mapping[str, Sequence[Report]]
    told: bool

    @property
    def unwell(self) -> list[Report]:
        """What is known not to be Healthy."""
        return [each for found in self.reports.values() for each in found if not each.healthy]


def read(github: GitHub, tips: Sequence[str], environment: str, services: Collection[str]) -> Health:
    """What is known of services in an environment: the newest status of each colour, by when it was set.

    A service that goes on is told of on an older commit than one that came later; so it is looked for along all of the
    branch's tips, until every service has been found in every colour.

    Args:
        github: The API, with a token that may read commit statuses.
        tips: What the environment's branch has been, newest first.
        environment: Its name.
        services: The services to look for.

    Raises:
        SlipwayError: GitHub does not say.
    """
    newest: dict[tuple[str, str], tuple[str, Report]] = {}
    colours: set[str] = set()
    for start in range(0, min(len(tips), COMMITS), PAGE):
        for statuses in github.statuses(tips[start : start + PAGE]):
            for status in statuses:
                match = _CONTEXT.fullmatch(status.context)
                if match is None or match["environment"] != environment:
                    continue
                colours.add(match["colour"])
                place = match["service"], match["colour"]
                # Of two at once, that of the newer commit counts, which comes first.
                if match["service"] in services and (place not in newest or newest[place][0] < status.created):
                    newest[place] = status.created, _report(status, match)
        if colours and all((service, colour) in newest for service in services for colour in colours):
            break
    reports: dict[str, list[Report]] = {}
    for (service, _), (_, report) in sorted(newest.items(), key=lambda each: each[0]):
        reports.setdefault(service, []).append(report)
    return Health(reports=reports, told=bool(colours))


def _report(status: Status, match: re.Match[str]) -> Report:
    said = " ".join("".join(each if each.isprintable() else " " for each in status.description).split())
    whole = _SINCE.fullmatch(said)
    return Report(
        service=match["service"],
        environment=match["environment"],
        colour=match["colour"],
        healthy=status.state == "success",
        word=whole["word"] if whole else said or status.state,
        since=whole["since"] if whole else status.created,
    )
