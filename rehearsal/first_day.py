"""Runs bootstrap and its check in emulated accounts, as people run them on the first day."""

import contextlib
import io
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

from bootstrap.accounts import secret_names
from bootstrap.bootstrap import main, run
from bootstrap.check import Look, Outside, check, read_services
from bootstrap.github import GitHub
from bootstrap.look import OutsideError
from bootstrap.place import Place
from bootstrap.report import Report, Row, State
from components.settings import Settings
from rehearsal.cloud.emulators import MOTO, SERVED_BY, Emulators

UNANSWERED: Final[Mapping[str, str]] = {
    "api": "the clusters of this world have no public address",
    "connection": "no emulator has CodeConnections",
    "delegation": "the emulated zones are in no public DNS",
    "quota": "no emulator has Service Quotas of more than VPCs",
    "slack": "no emulator has Amazon Q Developer in chat applications",
}
"""Reason by check that no emulator can answer. Its rows say so; they are never ready."""

_RUNNER: Final = 7
"""Which address of an allowed network a runner has here."""


def commands(settings: Settings) -> tuple[str, ...]:
    """Return the commands of docs/adopt.md that prepare one account, in their order. The play runs them as they stand there."""
    made = f".venv/bin/python -m bootstrap --stack {settings.stack}"
    looked = f".venv/bin/python -m bootstrap --check --stack {settings.stack}"
    puts = "".join(f" --put-key {purpose}={key_file(settings, purpose)}" for purpose in secret_names(settings))
    allowed = [each for cluster in settings.clusters.values() for each in cluster.endpoint.allow]
    runner = [ip_network(str(allowed[0]))] if allowed else []
    addresses = [each[min(_RUNNER, each.num_addresses - 1)] for each in runner]
    return (
        made,
        f"{made} --apply",
        *([f"{made} --apply{puts}"] if puts else []),
        looked,
        *(f"{looked} --runner-address {each}" for each in addresses),
    )


def key_file(settings: Settings, purpose: str) -> str:
    """Return the name of the file that docs/adopt.md puts into the secret for `purpose`."""
    return f"writer-{purpose}.pem" if purpose in settings.hosted_tracks else f"{purpose}.pem"


@dataclass(kw_only=True)
class EmulatedSession:
    """Stands for a boto3 session of an administrator of one account.

    Attributes:
        emulators: Running emulators.
        account: The account.
        role_arn: Role that the person has, made here if need be: EKS takes roles, and no root.
    """

    emulators: Emulators
    account: str
    role_arn: str = ""
    _made: set[str] = field(default_factory=set[str])

    def client(self, service: str, region_name: str) -> Any:  # noqa: ANN401 — boto3 makes its clients' types at run time
        """Return a client, as a boto3 session does."""
        if service == "sts" and self.role_arn:
            self._make_role(region_name)
            return self.emulators.client_as(self.role_arn, service, region_name)
        return self.emulators.client(service, self.account, region_name, emulator=SERVED_BY.get(service, MOTO))

    def _make_role(self, region: str) -> None:
        name = self.role_arn.rpartition("/")[2]
        if name in self._made:
            return
        iam = self.emulators.client("iam", self.account, region)
        if name not in {each["RoleName"] for page in iam.get_paginator("list_roles").paginate() for each in page["Roles"]}:
            trust = {
                "Version": "2012-10-17",
                "Statement": [
                    {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{self.account}:root"}, "Action": "sts:AssumeRole"}
                ],
            }
            iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
        self._made.add(name)


def place_of(emulators: Emulators, settings: Settings, puts: Mapping[str, Path] | None = None) -> Place:
    """Return a stack's account as bootstrap sees it.

    Args:
        emulators: Running emulators.
        settings: The stack's settings.
        puts: File by purpose of a secret, as `--put-key` takes them.
    """
    admins = [each for cluster in settings.clusters.values() for each in cluster.admins]
    account = settings.environment.account
    session = EmulatedSession(emulators=emulators, account=account, role_arn=admins[0] if admins else "")
    return Place(settings=settings, session=session, puts=puts or {})


def apply(emulators: Emulators, settings: Settings, puts: Mapping[str, Path], say: Callable[[str], None]) -> int:
    """Run `python -m bootstrap --stack STACK --apply --put-key …`, and return how many changes it made.

    Args:
        emulators: Running emulators.
        settings: The stack's settings.
        puts: File by purpose of a secret.
        say: Is given each change.
    """
    return run(place_of(emulators, settings, puts), apply=True, say=say)


def perform(  # noqa: PLR0913 — a command's line, its working directory, and what stands for the world
    command: str,
    emulators: Emulators,
    settings: Settings,
    *,
    root: Path,
    folder: Path,
    outside: Outside | None = None,
) -> tuple[int, str]:
    """Run one of `commands` by bootstrap's own command line, in an emulated account; its status, and what it printed.

    Args:
        command: The command as docs/adopt.md has it.
        emulators: Running emulators.
        settings: The settings of the stack that it names.
        root: Folder of services.py.
        folder: Working directory: files that the command names are there.
        outside: GitHub, DNS and the internet; without it they are asked for nothing.
    """
    program, arguments = shlex.split(command)[:3], shlex.split(command)[3:]
    if program != [".venv/bin/python", "-m", "bootstrap"]:
        msg = f"{command!r} is no command of bootstrap"
        raise ValueError(msg)
    # `PURPOSE=FILE`: the working directory of this process is not the person's.
    arguments = [
        f"{one}={folder / file}" if (one := each.partition("=")[0]) and (file := each.partition("=")[2]) else each
        for each in arguments
    ]
    session = place_of(emulators, settings).session
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        status = main(arguments, session=session, root=root, settings=settings, outside=outside or outside_of(settings, ""))
    return status, printed.getvalue()


def outside_of(settings: Settings, token: str, unanswered: Mapping[str, str] | None = None) -> Outside:
    """Return this world's outside: the Git host, no DNS and no internet.

    Args:
        settings: The stack's settings; `gitops.apiUrl` is the Git host's.
        token: A person's token at the Git host, "" for none.
        unanswered: Reason by check that this world cannot answer; `UNANSWERED` unless given.
    """
    return Outside(
        github=GitHub(url=settings.gitops.api_url, token=token),
        name_servers=_no_dns,
        own_address=_no_address,
        unanswered=UNANSWERED if unanswered is None else unanswered,
    )


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A check's report, judged by what this world can answer.

    Attributes:
        report: All rows.
        faults: Rows that are missing, or that were not looked at although this world can answer them.
        unanswered: Reason by check that this world cannot answer, of those that the stack needs.
    """

    report: Report
    faults: Sequence[Row]
    unanswered: Mapping[str, str] = field(default_factory=dict[str, str])


def look(  # noqa: PLR0913 — a check joins the account, the Git host and the catalogue
    emulators: Emulators,
    settings: Settings,
    *,
    root: Path,
    token: str,
    unanswered: Mapping[str, str] | None = None,
    app_keys: Mapping[str, Path] | None = None,
    say: Callable[[str], None],
) -> Checked:
    """Run `python -m bootstrap --check --stack STACK`.

    Args:
        emulators: Running emulators.
        settings: The stack's settings; `gitops.apiUrl` is the Git host's.
        root: Folder of services.py.
        token: A person's token at the Git host, "" for none.
        unanswered: Reason by check that this world cannot answer; `UNANSWERED` unless given.
        app_keys: File by App whose key is in no account, as `--app-key` takes them.
        say: Is given each row.
    """
    outside = outside_of(settings, token, unanswered)
    place = place_of(emulators, settings)
    services = read_services(root, settings)
    report = check(Look(place=place, outside=outside, services=services, app_keys=app_keys or {}), say=say)
    excused = tuple(f"{key}:" for key in outside.unanswered)
    faults = [
        row
        for row in report.rows
        if row.state is State.MISSING or (row.state is State.NOT_LOOKED_AT and not f"{row.key}:".startswith(excused))
    ]
    left = {row.key.partition(":")[0] for row in report.of(State.NOT_LOOKED_AT) if row not in faults}
    return Checked(report=report, faults=faults, unanswered={key: why for key, why in outside.unanswered.items() if key in left})


def _no_dns(zone: str) -> Sequence[str]:
    msg = f"{zone} is in no public DNS"
    raise OutsideError(msg)


def _no_address() -> str:
    msg = "this world has no internet"
    raise OutsideError(msg)
