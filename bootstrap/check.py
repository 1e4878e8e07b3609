"""Looks at a stack's account and at GitHub, changes nothing, and says what is missing for the next step."""

import runpy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from bootstrap.checks_aws import CREDENTIALS, aws_checks, is_up
from bootstrap.checks_github import github_checks
from bootstrap.look import Check, Look, Outside
from bootstrap.place import BootstrapError, Place
from bootstrap.report import Report, Row, State
from components.catalogue import Catalogue, Declaration
from components.platform import Platform
from components.settings import Settings

__all__ = ["Look", "Outside", "check", "read_services"]


def check(look: Look, *, say: Callable[[str], None]) -> Report:
    """Look at everything that a stack needs.

    Args:
        look: Account, GitHub, DNS and services. Whether the stack is up is looked up here.
        say: Is given each row's text as soon as it is found.

    Returns:
        Every row, with what comes after the first `pulumi up` marked as later until then.
    """
    place = look.place
    rows: list[Row] = []

    def note(found: Iterator[Row], *, up: bool) -> None:
        for row in found:
            rows.append(row.due(up=up))
            say(rows[-1].lines())

    note(CREDENTIALS.rows(look), up=False)
    ours = rows[-1].state is State.READY
    up = ours and _is_up(place)
    look = replace(look, up=up)
    for each in aws_checks(place):
        # Another account's resources say nothing about this one.
        note(each.rows(look) if ours else _without_credentials(each, place), up=up)
    for each in github_checks(place, look.repositories):
        needs_key = each.key.startswith("app:")
        note(each.rows(look) if ours or not needs_key else _without_credentials(each, place), up=up)
    return Report(stack=place.settings.stack, account=place.account, up=up, rows=rows)


def _is_up(place: Place) -> bool:
    try:
        return is_up(place)
    except (BotoCoreError, ClientError):
        # The rows of IAM say what AWS refuses.
        return False


def _without_credentials(each: Check, place: Place) -> Iterator[Row]:
    yield each.not_looked_at(
        f"{each.subject}: credentials of account {place.account} are needed", f"export AWS_PROFILE={place.settings.stack}-admin"
    )


def read_services(root: Path, settings: Settings) -> Mapping[str, Declaration]:
    """Return what services.py declares, by name, without registering anything.

    Args:
        root: Folder of services.py.
        settings: The stack's settings.

    Raises:
        BootstrapError: services.py is missing, or has no function `services`.
        CatalogueError: a service is refused.
    """
    path = root / "services.py"
    if not path.is_file():
        msg = f"{path.name} is missing in {root}: the check reads from it which repositories and quotas are needed. Restore it."
        raise BootstrapError(msg)
    declare = runpy.run_path(str(path)).get("services")
    if declare is None:
        msg = f"{path.name} has no function services(platform), which declares the applications. Restore it."
        raise BootstrapError(msg)
    catalogue = Catalogue(settings=settings)
    declare(Platform(settings=settings, catalogue=catalogue, draft=True))
    catalogue.check()
    return catalogue.services
