"""What runs in an emulator's process: `python -m rehearsal.cloud.serve <emulator> <descriptor>`.

The listening socket is made by `Emulators` and inherited: no port is chosen twice, and a request that comes before the
emulator is ready waits in the socket's queue instead of being refused.
"""

import asyncio
import importlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, cast


def moto(descriptor: int) -> None:
    """Serve moto."""
    server: Any = importlib.import_module("moto.server")
    serving: Any = importlib.import_module("werkzeug.serving")

    class Handler(server.MotoRequestHandler):
        # Keep-alive: without it every call pays for a connection and a thread.
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

    _open_zones()
    threading.Thread(target=_warm_up, daemon=True).start()
    application = server.DomainDispatcherApplication(server.create_backend_app)
    serving.make_server(
        "127.0.0.1", _port(descriptor), application, threaded=True, request_handler=Handler, fd=descriptor
    ).serve_forever()


def _open_zones() -> None:
    """Let every region have the zones that the program takes by default: their letters differ between accounts of AWS.

    https://docs.aws.amazon.com/global-infrastructure/latest/regions/az-ids.html
    """
    from moto.ec2.models import availability_zones_and_regions as moto_zones  # noqa: PLC0415 — moto's own process only

    from components.regions import ZONES  # noqa: PLC0415 — same

    known: Any = cast("Any", moto_zones).RegionsAndZonesBackend.zones
    for region, letters in ZONES.items():
        there = {each.name for each in known.get(region, ())}
        for letter in letters:
            if region in known and f"{region}{letter}" not in there:
                made = cast("Any", moto_zones).Zone(name=f"{region}{letter}", region_name=region, zone_id=f"{region}-az-{letter}")
                known[region].append(made)


def _warm_up() -> None:
    """Import what will be asked for while the program that asks is still starting: some services take seconds."""
    from moto.backends import get_backend  # noqa: PLC0415 — moto is imported in its own process only

    for service in ("ec2", "iam", "s3", "acm", "elbv2", "route53", "logs", "codebuild", "codepipeline"):
        cast("Any", get_backend)(service)
        importlib.import_module(f"moto.{service}.urls")


def ministack(descriptor: int) -> None:
    """Serve ministack, with what it lacks added (`rehearsal.cloud.amendments`)."""
    # Before the import, which reads them. They decide what its own addresses, such as a queue's URL, look like.
    os.environ.update(GATEWAY_PORT=str(_port(descriptor)), MINISTACK_HOST="127.0.0.1")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    app: Any = importlib.import_module("ministack.app")
    config: Any = importlib.import_module("hypercorn.config").Config()
    hypercorn: Any = importlib.import_module("hypercorn.asyncio")
    importlib.import_module("rehearsal.cloud.amendments").apply()
    config.bind = [f"fd://{descriptor}"]
    config.keep_alive_timeout = 75
    config.accesslog = None

    async def run() -> None:
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        await hypercorn.serve(app.app, config, shutdown_trigger=stopped.wait)

    asyncio.run(run())


def _port(descriptor: int) -> int:
    return int(socket.socket(fileno=os.dup(descriptor)).getsockname()[1])


EMULATORS: Final[dict[str, Callable[[int], None]]] = {"moto": moto, "ministack": ministack}


if __name__ == "__main__":
    EMULATORS[sys.argv[1]](int(sys.argv[2]))
