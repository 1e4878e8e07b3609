"""What an account needs before the first `pulumi up`, made by a person with administrator's credentials.

State bucket and its key, GitHub's OIDC provider, the environment's hosted zone, and empty secrets for the keys that are
never Pulumi's. Everything is read first and only what differs is changed: run it as often as you like. Without `--apply`
it changes nothing and says what it would do.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TextIO, cast

import boto3  # pyright: ignore[reportMissingTypeStubs] — its clients are made at run time
from botocore.exceptions import BotoCoreError, ClientError

from bootstrap.accounts import PARTS, delegation, key_statements, same_policy, secret_names
from bootstrap.apps import APPS_BY_FILE
from bootstrap.check import Look, Outside, check, read_services
from bootstrap.first_day import without_connection
from bootstrap.place import STATE_KEY_ALIAS, BootstrapError, Place, check_caller, secret_exists, secret_value
from bootstrap.report import Report
from components.catalogue import CatalogueError
from components.settings import Settings, SettingsError, parse, read_stack_file

__all__ = ["ROOT", "STATE_KEY_ALIAS", "BootstrapError", "check", "key_statements", "main", "read_settings", "run", "same_policy"]

ROOT: Final = Path(__file__).resolve().parent.parent


def read_settings(stack: str, root: Path = ROOT) -> Settings:
    """Return the settings of `stack`, checked as the program checks them.

    Raises:
        SettingsError: there is no such file, it does not parse, or a setting is missing, unknown or wrong.
    """
    found = read_stack_file(stack, root)
    return parse(without_connection(found.namespace("slipway"), stack), stack=stack, written=found.written)


def run(place: Place, *, apply: bool, say: Callable[[str], None]) -> int:
    """Go through the parts; how many changes were due.

    Raises:
        BootstrapError: it must not go on.
    """
    check_caller(place)
    secret_names(place.settings)
    due = 0
    for part in PARTS:
        # A part is read whole before it is changed, and after the parts before it were.
        for step in list(part(place)):
            due += 1
            say(f"{'' if apply else 'would '}{step.text}")
            if apply:
                step.do()
    return due


def _next_steps(place: Place) -> Iterator[str]:
    stack, region = place.settings.stack, place.region
    if records := delegation(place):
        yield f"Records for the parent zone of {place.settings.environment.zone} (certificates wait for ever without them):"
        yield from (f"  {record}" for record in records)
    client = place.client("secretsmanager")
    names = secret_names(place.settings)
    if empty := [name for name in names.values() if not secret_exists(client, name) or secret_value(client, name) is None]:
        purposes = [purpose for purpose, name in names.items() if name in empty]
        yield f"Still empty: {', '.join(empty)}. Fill them: --put-key {purposes[0]}=FILE --apply"
    yield "Then, with these very credentials, for the roles of GitHub Actions are made by the first `pulumi up` itself:"
    yield f"  pulumi login 's3://{place.bucket}?region={region}'"
    yield f"  pulumi stack init {stack} --secrets-provider='awskms://{STATE_KEY_ALIAS}?region={region}'"
    yield f"  pulumi up --stack {stack}"


def main(
    arguments: Sequence[str] | None = None,
    *,
    session: Any = None,  # noqa: ANN401 — boto3.Session
    root: Path = ROOT,
    outside: Outside | None = None,
    settings: Settings | None = None,
) -> int:
    """Run the command.

    Args:
        arguments: As on the command line.
        session: boto3 session, or an object with its method `client(service, region_name=...)`.
        root: Folder of the stack files and of services.py.
        outside: How the check reaches GitHub, DNS and the internet; None reads GITHUB_TOKEN and uses the real ones.
        settings: The stack's settings where they do not come from the stack file as it is.

    Returns:
        0 when everything is as asked, 1 when bootstrap or AWS refuses, or when the check finds something missing.
    """
    parser = command_line()
    asked = parser.parse_args(arguments)
    if asked.check and (asked.apply or asked.put_key):
        parser.error("--check changes nothing: leave out --apply and --put-key, or run them first")
    if not asked.check and (asked.json or asked.runner_address or asked.app_key):
        parser.error("--json, --runner-address and --app-key belong to --check: add it, or leave them out")
    try:
        settings = settings or read_settings(asked.stack, root)
        place = Place(settings=settings, session=session or cast("Any", boto3).Session(), puts=dict(asked.put_key))
        if asked.check:
            return _check(place, asked, root, outside)
        due = run(place, apply=asked.apply, say=_say)
        if not due:
            _say("Nothing to do: the account is as it should be.")
        elif not asked.apply:
            _say(f"{due} changes, none made. With --apply they are made.")
        _say("\n".join(_next_steps(place)))
    except (BootstrapError, SettingsError, CatalogueError) as error:
        _say(f"bootstrap: {error}", sys.stderr)
        return 1
    except (BotoCoreError, ClientError) as error:
        text = (
            f"bootstrap: AWS says: {error} Take credentials of an administrator of the account (AWS_PROFILE) and run the command "
            "again. Everything made so far stays, and the next run goes on from there."
        )
        _say(text, sys.stderr)
        return 1
    return 0


def _check(place: Place, asked: argparse.Namespace, root: Path, outside: Outside | None) -> int:
    """Print the check's rows as they are found, or all of them as JSON."""
    outside = outside or Outside.real(place.settings.gitops.api_url)
    look = Look(
        place=place,
        outside=outside,
        services=read_services(root, place.settings),
        runner_addresses=asked.runner_address,
        app_keys=dict(asked.app_key),
    )
    report: Report = check(look, say=(lambda _: None) if asked.json else _say)
    _say(report.as_json() if asked.json else report.summary())
    return 0 if report.ready else 1


def _say(text: str, stream: TextIO | None = None) -> None:
    (stream or sys.stdout).write(f"{text}\n")


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m bootstrap", description=__doc__)
    parser.add_argument("--stack", required=True, help="stack whose account is prepared: dev, stg, prd")
    parser.add_argument("--apply", action="store_true", help="make the changes; without it they are only named")
    put = parser.add_argument("--put-key", action="append", type=_put, default=[], metavar="PURPOSE=FILE")
    put.help = "put a file into a secret: develop=app.private-key.pem, reader=…, ui=… (may be repeated)"
    look = parser.add_argument_group("check")
    look.add_argument("--check", action="store_true", help="look at account and GitHub, change nothing, and say what is missing")
    look.add_argument("--json", action="store_true", help="print the check's result as JSON")
    runner = look.add_argument("--runner-address", action="append", default=[], metavar="ADDRESS")
    runner.help = "address that deployments run from, to be compared with endpoint.allow (may be repeated)"
    key = look.add_argument("--app-key", action="append", type=_app_key, default=[], metavar="APP=FILE")
    key.help = "private key of an App whose key is in no secret here: promoter=promoter.pem, deployer=… (may be repeated)"
    return parser


def _put(text: str) -> tuple[str, Path]:
    purpose, separator, path = text.partition("=")
    if not (purpose and separator and path):
        # What was given is not quoted: it might be the key itself.
        msg = "it is not of the form PURPOSE=FILE: a purpose and a path are allowed. Name the file, never its content"
        raise argparse.ArgumentTypeError(msg)
    return purpose, Path(path)


def _app_key(text: str) -> tuple[str, Path]:
    purpose, path = _put(text)
    if purpose not in APPS_BY_FILE:
        msg = f"--app-key takes the key of one of {', '.join(APPS_BY_FILE)}. Keys of other Apps are read from Secrets Manager"
        raise argparse.ArgumentTypeError(msg)
    return purpose, path
