"""A network of the lab's own: nothing but loopback, so that what listens on every address is reached by nobody else."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

_MARK: Final = "SLIPWAY_LAB_NAMESPACE"
METRICS_ADDRESS: Final = "10.255.255.1"
"""An address beside loopback's own, which the API server takes for an endpoint; it takes none of 127.0.0.0/8."""


class NamespaceError(Exception):
    """No network namespace can be made here."""


def inside() -> bool:
    """Whether this process is in the lab's namespace."""
    return os.environ.get(_MARK) == "1"


def enter(module: str, arguments: Sequence[str]) -> None:
    """Run `python -m module` again in a namespace of its own, in the place of this process; does nothing inside one.

    Raises:
        NamespaceError: the machine does not let it be made.
    """
    if inside():
        return
    command = _unshare()
    tried = subprocess.run([*command, "ip", "link", "set", "lo", "up"], capture_output=True, text=True, check=False)
    if tried.returncode:
        msg = (
            f"the lab needs a network namespace, and `{' '.join(command)}` was refused: {tried.stderr.strip()}. Run it as root, "
            "or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1)"
        )
        raise NamespaceError(msg)
    script = f'ip link set lo up && ip address add {METRICS_ADDRESS}/32 dev lo && exec "$0" "$@"'
    os.execvpe(  # noqa: S606 — this very program
        command[0],
        [*command, "sh", "-c", script, sys.executable, "-m", module, *arguments],
        {**os.environ, _MARK: "1"},
    )


def _unshare() -> list[str]:
    for tool, package in (("unshare", "util-linux"), ("ip", "iproute2")):
        if shutil.which(tool) is None:
            msg = f"the lab needs a network namespace, and {tool} is missing: install {package}"
            raise NamespaceError(msg)
    return ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]


__all__ = ["METRICS_ADDRESS", "NamespaceError", "enter", "inside"]
