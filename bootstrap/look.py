"""What every check is given, and how a check that cannot be answered still becomes a row."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, cast
from urllib.parse import quote

import urllib3
from botocore.exceptions import BotoCoreError, ClientError

from bootstrap.github import GitHub, GitHubError, NoTokenError, find_token
from bootstrap.place import BootstrapError, Place
from bootstrap.report import Row, State, Step
from components.catalogue import Declaration

# https://developers.google.com/speed/public-dns/docs/doh/json: a public resolver that answers by HTTPS, which offices let
# through where they hold back DNS.
_RESOLVER: Final = "https://dns.google/resolve"
_NS: Final = 2
# AWS's own page for this: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/working-with-security-groups.html
_OWN_ADDRESS: Final = "https://checkip.amazonaws.com"
_SECONDS: Final = 10.0
_OK: Final = 200


class OutsideError(Exception):
    """DNS or the internet does not answer."""


@dataclass(frozen=True, kw_only=True)
class Outside:
    """How a check reaches what is not AWS.

    Attributes:
        github: A client of GitHub.
        name_servers: Returns the name servers that public DNS names for a zone; raises `OutsideError`.
        own_address: Returns the public address of this machine; raises `OutsideError`.
        unanswered: Reason by key of a check that this world cannot answer (an emulator). Its row says so, and is never ready.
    """

    github: GitHub
    name_servers: Callable[[str], Sequence[str]]
    own_address: Callable[[], str]
    unanswered: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def real(cls, api_url: str) -> Self:
        """Return the real world, with the token of the person at the keyboard."""
        return cls(github=GitHub(url=api_url, token=find_token()), name_servers=name_servers, own_address=own_address)


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a check looks at.

    Attributes:
        place: The account.
        outside: Everything else.
        services: Every declared service by name.
        up: Whether the stack's first `pulumi up` has been made.
        runner_addresses: Addresses that deployments run from, as given.
        app_keys: File with the key of an App by its name, for those whose key is in no account.
    """

    place: Place
    outside: Outside
    services: Mapping[str, Declaration]
    up: bool = False
    runner_addresses: Sequence[str] = ()
    app_keys: Mapping[str, Path] = field(default_factory=dict[str, Path])

    @property
    def repositories(self) -> list[str]:
        """Names of the application repositories."""
        return sorted({each.repository for each in self.services.values()})


@dataclass(frozen=True, kw_only=True)
class Check:
    """A check of one or more rows.

    Attributes:
        key: Its rows' keys begin with it.
        step: The step of docs/adopt.md that its rows belong to.
        subject: What it looks at, for the row that says that it could not.
        find: Looks, and yields the rows.
        see: Command that looks at the same by hand.
        after_up: Whether its rows come after the first `pulumi up`.
    """

    key: str
    step: Step
    subject: str
    find: Callable[["Look", "Check"], Iterator[Row]]
    see: str
    after_up: bool = False

    def row(self, state: State, text: str, fix: str = "", *, name: str = "") -> Row:
        """Return a row of this check."""
        key = f"{self.key}:{name}" if name else self.key
        return Row(key=key, step=self.step, state=state, text=text, fix=fix, after_up=self.after_up)

    def ready(self, text: str, *, name: str = "") -> Row:
        """Return a row that is ready."""
        return self.row(State.READY, text, name=name)

    def missing(self, text: str, fix: str, *, name: str = "") -> Row:
        """Return a row that is missing."""
        return self.row(State.MISSING, text, fix, name=name)

    def not_looked_at(self, text: str, fix: str, *, name: str = "") -> Row:
        """Return a row that could not be looked at."""
        return self.row(State.NOT_LOOKED_AT, text, fix, name=name)

    def rows(self, look: Look) -> Iterator[Row]:
        """Look, and turn every refusal into a row: a check that ends half-way hides all those after it."""
        if reason := look.outside.unanswered.get(self.key):
            yield self.not_looked_at(f"{self.subject}: {reason}", self._see(look))
            return
        try:
            yield from self.find(look, self)
        except NoTokenError:
            yield self.not_looked_at(
                f"{self.subject}: no GitHub token is set", f"export GITHUB_TOKEN=$(gh auth token), or {self._see(look)}"
            )
        except (GitHubError, OutsideError) as error:
            yield self.not_looked_at(f"{self.subject}: {error}", self._see(look))
        except BootstrapError as error:
            yield self.missing(f"{self.subject}: {str(error).splitlines()[0]}", self._see(look))
        except (BotoCoreError, ClientError) as error:
            yield self.not_looked_at(f"{self.subject}: AWS says: {' '.join(str(error).split())}", self._see(look))

    def _see(self, look: Look) -> str:
        settings = look.place.settings
        return self.see.format(
            stack=settings.stack,
            region=look.place.region,
            account=look.place.account,
            zone=settings.environment.zone,
            org=settings.organization.name,
            platform=f"{settings.organization.name}/{settings.access.repository.name}",
            gitops=settings.gitops_repository,
            team=settings.gitops.team,
        )


def name_servers(zone: str) -> Sequence[str]:
    """Return the name servers that public DNS names for a zone, without their last dot; none where there is no delegation.

    Raises:
        OutsideError: the resolver does not answer.
    """
    answer = json.loads(_fetch(f"{_RESOLVER}?name={quote(zone)}&type=NS"))
    found = cast("list[dict[str, Any]]", answer.get("Answer") or [])
    return sorted(str(each["data"]).rstrip(".").lower() for each in found if each["type"] == _NS)


def own_address() -> str:
    """Return the public address that this machine is seen with.

    Raises:
        OutsideError: AWS's page does not answer.
    """
    return _fetch(_OWN_ADDRESS).decode().strip()


def _fetch(url: str) -> bytes:
    host = url.split("/")[2]
    try:
        answer = urllib3.PoolManager(retries=False, timeout=_SECONDS).request("GET", url)
    except urllib3.exceptions.HTTPError as error:
        msg = f"{host} does not answer ({type(error).__name__})"
        raise OutsideError(msg) from None
    if answer.status != _OK:
        msg = f"{host} answers {answer.status}"
        raise OutsideError(msg)
    return answer.data
