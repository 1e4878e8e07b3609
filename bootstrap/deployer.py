"""`python -m bootstrap.deployer --stack dev`: what the deploy workflow asks of the deployer App, as outputs of a step."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bootstrap.bootstrap import ROOT, BootstrapError, read_settings
from components.catalogue import CatalogueError
from components.deployer import scopes
from components.platform import Platform, load_services, read_catalogue
from components.settings import SettingsError


def main(arguments: Sequence[str] | None = None, *, services: Callable[[Platform], None] | None = None, root: Path = ROOT) -> int:
    """Print `repositories=...` and a line per permission; 1 when the settings or services are refused."""
    parser = argparse.ArgumentParser(prog="python -m bootstrap.deployer", description=__doc__)
    parser.add_argument("--stack", required=True, help="stack that is deployed: dev, stg, prd")
    asked = parser.parse_args(arguments)
    try:
        found = scopes(settings := read_settings(asked.stack, root), read_catalogue(services or load_services(), settings))
    except (BootstrapError, SettingsError, CatalogueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"repositories={','.join(found.repositories)}\n")
    for name, level in found.permissions.items():
        sys.stdout.write(f"{name.replace('_', '-')}={level}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
