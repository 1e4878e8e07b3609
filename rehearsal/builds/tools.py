"""The tools that build images without a daemon, where their images live, and the base image that stands for a public one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PACKAGES: Final[Mapping[str, str]] = {"buildah": "buildah", "skopeo": "skopeo", "busybox": "busybox-static"}
"""Program, and the Debian or Ubuntu package that brings it."""

_SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHIMS: Final = Path(__file__).with_name("bin")

BASE_IMAGE: Final = "localhost/busybox:1"
"""What the applications' Dockerfiles are FROM. No public registry is reached: it is made of this machine's busybox."""

_BASE: Final = """\
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
ENV PATH=/bin
CMD ["sh"]
"""


class ToolError(Exception):
    """A tool is missing or has failed; the message says what to install, or ends with what the tool said."""


def ensure_tools(
    say: Callable[[str], None],
    *,
    packages: Mapping[str, str] = PACKAGES,
    path: str = _SYSTEM_PATH,
    as_root: bool | None = None,
) -> None:
    """Have what builds images (buildah, skopeo, a static busybox), or other tools; install them where that is possible.

    Args:
        say: Hears the installation's output, line by line; nothing when all is there.
        packages: Programs, and the package that brings each.
        path: Where programs are looked for.
        as_root: Whether packages may be installed; None asks the system.

    Raises:
        ToolError: something is missing and cannot be installed here.
    """
    missing = sorted(package for tool, package in packages.items() if not shutil.which(tool, path=path))
    if not missing:
        return
    command = f"apt-get install --no-install-recommends {' '.join(missing)}"
    if not (os.geteuid() == 0 if as_root is None else as_root) or not shutil.which("apt-get", path=path):
        msg = f"missing: {', '.join(missing)}. The rehearsal needs them. On Debian or Ubuntu, as root: {command}"
        raise ToolError(msg)
    say(f"missing: {', '.join(missing)}; installing them")
    environment = {"PATH": path, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    # Another apt may be at work: wait for it instead of failing.
    wait = ("-o", "DPkg::Lock::Timeout=120")
    for arguments in (("update",), ("install", "-y", "--no-install-recommends", *missing)):
        with subprocess.Popen(
            [shutil.which("apt-get", path=path) or "apt-get", *wait, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            for line in process.stdout or ():
                say(line.rstrip())
        if process.returncode:
            msg = f"apt-get {arguments[0]} ended with {process.returncode}, see its output above. By hand, as root: {command}"
            raise ToolError(msg)
    if absent := sorted(tool for tool in packages if not shutil.which(tool, path=path)):
        msg = f"apt-get has installed {', '.join(missing)}, and still {', '.join(absent)} is not on {path}"
        raise ToolError(msg)


@dataclass(frozen=True)
class Images:
    """A folder that holds images, logins and the home of the tools: nothing is read from or left in the user's own.

    Attributes:
        folder: The folder; it may be made later.
    """

    folder: Path

    def environment(self) -> dict[str, str]:
        """What a build needs to find the tools, the `docker` shim first among them, and this folder."""
        for name in ("home", "run", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        return {
            "PATH": f"{_SHIMS}:{Path(sys.executable).parent}:{_SYSTEM_PATH}",
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "LC_ALL": "C.UTF-8",
            "SLIPWAY_IMAGES": str(self.folder),
        }

    @property
    def login_file(self) -> Path:
        """Where `docker login` keeps what it was told; skopeo's `--authfile`."""
        return self.folder / "logins.json"

    def buildah(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """One buildah command on these images.

        Raises:
            ToolError: it failed and `check` is set.
        """
        where = ("--root", str(self.folder / "root"), "--runroot", str(self.folder / "run"), "--storage-driver", "vfs")
        done = subprocess.run(
            ["buildah", *where, *arguments],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            msg = f"buildah {' '.join(arguments)} ended with {done.returncode}: {done.stdout}{done.stderr}"
            raise ToolError(msg)
        return done


def make_base_image(images: Images, platform: str) -> None:
    """Have `BASE_IMAGE` for `platform` (`linux/arm64`) among `images`; made once, and again when another platform is wanted.

    The programs inside are this machine's, whatever the label says: building for another architecture than the machine's
    needs an emulator of that processor. The image is right in all that a registry and a manifest see.

    Raises:
        ToolError: buildah failed.
    """
    system, _, architecture = platform.partition("/")
    if system != "linux" or architecture not in {"amd64", "arm64"}:
        msg = f"platform is {platform!r}: linux/amd64 and linux/arm64 are known"
        raise ToolError(msg)
    has = images.buildah("inspect", "--type", "image", "--format", "{{.OCIv1.Architecture}}", BASE_IMAGE, check=False)
    if has.returncode == 0 and has.stdout.strip() == architecture:
        return
    context = images.folder / "base"
    context.mkdir(parents=True, exist_ok=True)
    busybox = shutil.which("busybox", path=_SYSTEM_PATH)
    if busybox is None:
        msg = "missing: busybox-static. The base image is made of it; ensure_tools brings it"
        raise ToolError(msg)
    shutil.copy(busybox, context / "busybox")
    (context / "Dockerfile").write_text(_BASE, encoding="utf-8")
    try:
        images.buildah(
            *("bud", "--isolation", "chroot", "--format", "docker", "--platform", platform, "--tag", BASE_IMAGE, str(context))
        )
    except ToolError as error:
        msg = f"the base image was not made. Is {busybox} the static one, of the package busybox-static? {error}"
        raise ToolError(msg) from error
