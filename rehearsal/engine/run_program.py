"""Runs a Pulumi program in a process of its own, as the engine's own host for Python does.

Started with `python -I` and the folder of the program as working directory: what it imports is the program's, not the
rehearsal's. Settings come as JSON on standard input.
"""

import asyncio
import json
import os
import runpy
import sys
import traceback

import pulumi
from pulumi.runtime.settings import Settings, configure
from pulumi.runtime.stack import run_in_stack


def main() -> int:
    """Run it; 0 if it ended well."""
    given = json.load(sys.stdin)
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 — this process stands alone
    pulumi.runtime.set_all_config(given["config"], given["secrets"])
    configure(
        Settings(
            monitor=given["monitor"],
            engine=given["engine"],
            project=given["project"],
            stack=given["stack"],
            parallel=given["parallel"],
            dry_run=given["preview"],
            organization=given["organization"],
        )
    )
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    path = os.path.join(os.getcwd(), "__main__.py")  # noqa: PTH109, PTH118 — as above

    def program() -> None:
        runpy.run_path(path, run_name="__main__")

    async def run() -> None:
        await run_in_stack(program)

    try:
        loop.run_until_complete(run())
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        return 1
    except Exception:  # noqa: BLE001 — handed to the engine, which shows it to its user
        pulumi.log.error(f"Program failed with an unhandled exception:\n{traceback.format_exc()}")
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


sys.exit(main())
