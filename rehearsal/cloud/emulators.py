"""Two emulators of AWS as child processes on loopback, and clients that can reach nothing else.

ministack serves what must *run*: events, queues, functions and the identities they act as. moto serves what is looked at:
network, load balancer, names, builds. Either holds any number of accounts apart, each in its own way: ministack takes the
account from an access key id of twelve digits, moto from a header.
"""

import contextlib
import http.client
import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

# Of this project: the emulators' processes import it.
_ROOT: Final = Path(__file__).resolve().parent.parent.parent

MINISTACK: Final = "ministack"
MOTO: Final = "moto"

# By boto3's name of the service.
SERVED_BY: Final[Mapping[str, str]] = {
    "cloudwatch": MINISTACK,
    # moto wants a location for a source that comes from a pipeline.
    "codebuild": MINISTACK,
    "ecr": MINISTACK,
    "events": MINISTACK,
    "iam": MINISTACK,
    "lambda": MINISTACK,
    "logs": MINISTACK,
    "scheduler": MINISTACK,
    "secretsmanager": MINISTACK,
    "sns": MINISTACK,
    "sqs": MINISTACK,
    "ssm": MINISTACK,
    "sts": MINISTACK,
    "acm": MOTO,
    "codepipeline": MOTO,
    "ec2": MOTO,
    "elbv2": MOTO,
    "route53": MOTO,
    # ministack has it too; moto's load balancer looks its log bucket up in moto.
    "s3": MOTO,
}
_HEALTH: Final[Mapping[str, str]] = {MINISTACK: "/_ministack/health", MOTO: "/moto-api/data.json"}
_START_SECONDS: Final = 60
_STOP_SECONDS: Final = 10
_TAIL_LINES: Final = 30
# Signed with, never checked.
_SECRET: Final = "rehearsal"  # noqa: S105 — no secret: the emulators do not look at it


class EmulatorError(Exception):
    """An emulator did not start, or has ended."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """A running emulator."""

    name: str
    port: int
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Emulators:
    """Both emulators, from entering to leaving the context.

    Attributes:
        logs: Folder that holds `ministack.log` and `moto.log`.
        endpoints: Address by service, of what neither emulator serves; functions are told of them.
    """

    def __init__(self, logs: Path) -> None:
        """Prepare; `logs` is made if need be."""
        self.logs = logs
        self.endpoints: dict[str, str] = {}
        self._processes: dict[str, Process] = {}
        self._clients: dict[tuple[str, ...], Any] = {}
        self._lock = threading.Lock()
        self._scratch: Path | None = None
        self._boto3: Any = None

    def __enter__(self) -> Self:
        """Start both and wait until they answer.

        Raises:
            EmulatorError: one did not; the message ends with the tail of its log.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        self._scratch = Path(tempfile.mkdtemp(prefix="slipway-cloud-"))
        try:
            for name in _HEALTH:
                self._processes[name] = self._start(name)
            # While they start.
            self._boto3 = importlib.import_module("boto3").Session()
            for each in self._processes.values():
                self._await(each)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Stop both."""
        self._stop()

    def url(self, emulator: str) -> str:
        """Address of `ministack` or `moto`."""
        return self._processes[emulator].url

    def log(self, emulator: str) -> Path:
        """Where `ministack` or `moto` writes what it does."""
        return self._processes[emulator].log

    def client(self, service: str, account: str, region: str, *, emulator: str = "") -> Any:  # noqa: ANN401 — boto3 makes its clients' types at run time
        """The boto3 client of `service`, acting as the root of `account`.

        Args:
            service: boto3's name of the service.
            account: Twelve digits.
            region: An AWS region.
            emulator: Ask this emulator instead of the one that serves `service`.
        """
        return self._client(service, region, emulator or _served_by(service), account, "")

    def client_as(self, role_arn: str, service: str, region: str, *, session: str = "rehearsal", url: str = "") -> Any:  # noqa: ANN401 — as above
        """A client of ministack that acts as a role, with what the role's policies allow and no more.

        Args:
            role_arn: The role; its account is the one acted in.
            service: boto3's name of a service of ministack.
            region: An AWS region.
            session: Name of the session.
            url: Where the service is, if ministack does not serve it: see `endpoints`.
        """
        account = role_arn.split(":")[4]
        assumed = self.client("sts", account, region).assume_role(RoleArn=role_arn, RoleSessionName=session)["Credentials"]
        return self._client(service, region, MINISTACK, assumed["AccessKeyId"], assumed["SessionToken"], url)

    def client_with(self, access_key_id: str, service: str, region: str) -> Any:  # noqa: ANN401 — as above
        """A client of ministack with an access key that ministack has given to a session, such as a function's."""
        return self._client(service, region, MINISTACK, access_key_id, "")

    def _client(self, service: str, region: str, emulator: str, key: str, token: str, url: str = "") -> Any:  # noqa: ANN401, PLR0913, PLR0917 — as above; the parts of a client
        if emulator not in self._processes:
            msg = f"client of {service}: the emulators are not running; use it inside `with Emulators(...)`"
            raise EmulatorError(msg)
        identity = (service, region, emulator, key, url)
        with self._lock:
            # Making clients is not thread-safe, using them is.
            # https://boto3.amazonaws.com/v1/documentation/api/latest/guide/clients.html#caveats-1
            if identity not in self._clients:
                made = self._boto3.client(
                    service,
                    region_name=region,
                    # Explicit, so that no configuration of this machine can lead to real AWS.
                    endpoint_url=url or self._processes[emulator].url,
                    aws_access_key_id=key,
                    aws_secret_access_key=_SECRET,
                    aws_session_token=token or None,
                    config=_config(),
                )
                if emulator == MOTO:

                    def tell_account(request: Any, **_: object) -> None:  # noqa: ANN401 — botocore's request
                        request.headers["x-moto-account-id"] = key

                    made.meta.events.register("before-sign", tell_account)
                self._clients[identity] = made
            return self._clients[identity]

    # Processes

    def _start(self, name: str) -> Process:
        log = self.logs / f"{name}.log"
        with socket.create_server(("127.0.0.1", 0), backlog=128) as listener, log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "rehearsal.cloud.serve", name, str(listener.fileno())],
                cwd=_ROOT,
                env=self._environment(name),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[listener.fileno()],
                # Its own group: what it starts (Lambda's workers) is stopped with it, and Ctrl-C reaches us alone.
                start_new_session=True,
            )
            return Process(name=name, port=listener.getsockname()[1], log=log, process=process)

    def _environment(self, name: str) -> dict[str, str]:
        """The least that an emulator needs: whatever else is set here must not reach it, nor the functions it runs."""
        scratch = f"{self._scratch}/{name}"
        Path(scratch).mkdir()
        kept = {key: value for key, value in os.environ.items() if key in {"PATH", "LANG", "LC_ALL", "COVERAGE_PROCESS_START"}}
        return {
            **kept,
            "HOME": scratch,
            "TMPDIR": scratch,
            "PYTHONUNBUFFERED": "1",
            "AWS_ACCESS_KEY_ID": "000000000000",
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_EC2_METADATA_DISABLED": "true",
            # ministack
            "AUTH": "true",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "S3_DATA_DIR": f"{scratch}/s3",
            "STATE_DIR": f"{scratch}/state",
            "LAMBDA_STATE_TRANSITION_SECONDS": "0",
            # The functions of a rehearsal are used again and again: keep them warm.
            "LAMBDA_WARM_TTL_SECONDS": "3600",
        }

    @staticmethod
    def _await(each: Process) -> None:
        """Wait until it answers: the request waits in the socket's queue meanwhile."""
        deadline = time.monotonic() + _START_SECONDS
        fault = "it did not answer"
        while time.monotonic() < deadline:
            if each.process.poll() is not None:
                fault = f"it ended with {each.process.returncode}"
                break
            connection = http.client.HTTPConnection("127.0.0.1", each.port, timeout=1)
            try:
                connection.request("GET", _HEALTH[each.name])
                status = connection.getresponse().status
            except OSError as error:
                fault = f"it did not answer ({error})"
                continue
            finally:
                connection.close()
            if status == http.HTTPStatus.OK:
                return
            fault = f"it answered {status}"
            break
        lines = each.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
        tail = "\n  ".join(lines) or "(empty)"
        msg = f"{each.name} did not start within {_START_SECONDS} s: {fault}. Its log ({each.log}) ends with\n  {tail}"
        raise EmulatorError(msg)

    def _stop(self) -> None:
        self._clients.clear()
        for each in self._processes.values():
            if each.process.poll() is None:
                each.process.terminate()
        for each in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                each.process.wait(_STOP_SECONDS)
            # The group: also when the emulator was gone already, or could not be asked.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(each.process.pid, signal.SIGKILL)
            each.process.wait()
        self._processes.clear()
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)


def _served_by(service: str) -> str:
    if service not in SERVED_BY:
        msg = f"no emulator is known to serve {service}; served are {', '.join(sorted(SERVED_BY))}: add it to SERVED_BY"
        raise EmulatorError(msg)
    return SERVED_BY[service]


def _config() -> Any:  # noqa: ANN401 — botocore's Config
    return importlib.import_module("botocore.config").Config(
        # A fault shows at once: an emulator on loopback has nothing to be patient with.
        retries={"total_max_attempts": 1},
        connect_timeout=5,
        # Longer than a queue's long poll, which is 20 seconds.
        read_timeout=60,
        max_pool_connections=32,
        # Whatever proxy this machine has, loopback is not behind it.
        proxies={},
        inject_host_prefix=False,
        s3={"addressing_style": "path"},
        ignore_configured_endpoint_urls=True,
    )


__all__ = ["MINISTACK", "MOTO", "SERVED_BY", "EmulatorError", "Emulators"]
