"""The lab: control planes and Argo CD, real and on loopback, built from pinned Go modules, for the clusters of the program."""

from typing import Final

PACKAGES: Final = {"redis-server": "redis-server", "git": "git", "unshare": "util-linux", "ip": "iproute2"}
"""What it needs of the machine: Debian's package by command."""

__all__ = ["PACKAGES"]
