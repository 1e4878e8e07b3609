"""An emulated ECR of its own, two accounts, and identities like the program's."""

import contextlib
import importlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rehearsal.registry import Identity

DEV, PRD, REGION = "111111111111", "333333333333", "eu-central-1"
REPOSITORY: Final = "develop/storefront"
ARN: Final = f"arn:aws:ecr:{REGION}:{DEV}:repository/{REPOSITORY}"
HOST: Final = f"{DEV}.dkr.ecr.{REGION}.amazonaws.com"
PULL: Final = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
PUSH: Final = (
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:CompleteLayerUpload",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
)


@contextlib.contextmanager
def ministack(folder: Path) -> Generator[str]:
    """A ministack on a free port; its address. The socket is open before it starts, so clients wait and need not poll."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), "IOT_MTLS_ENABLED": "0"}
    with socket.create_server(("127.0.0.1", 0)) as listener, (folder / "ministack.log").open("wb") as log:
        port = listener.getsockname()[1]
        command = [sys.executable, "-m", "hypercorn", "ministack.app:app", "--bind", f"fd://{listener.fileno()}"]
        with subprocess.Popen(  # noqa: S603 — the command above
            command, env=environment, pass_fds=[listener.fileno()], stdout=log, stderr=log, cwd=folder
        ) as process:
            try:
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()


def document(*statements: Mapping[str, Any]) -> str:
    """A policy document."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def identity(account: str, name: str, actions: Sequence[str], *resources: str, boundary: str | None = None) -> Identity:
    """A role that may log in and do `actions` on `resources`."""
    return Identity(
        account=account,
        principal_arn=f"arn:aws:iam::{account}:role/{name}",
        session="rehearsal",
        policies=[
            document(
                {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
                {"Effect": "Allow", "Action": list(actions), "Resource": list(resources)},
            )
        ],
        boundary=boundary,
    )


def root(account: str) -> Identity:
    """An account's root."""
    return Identity(account=account, principal_arn=f"arn:aws:iam::{account}:root")


def ecr(url: str, keys: Mapping[str, str]) -> Any:  # noqa: ANN401 — boto3 makes its clients' types at run time
    """A client of ECR's API at `url`."""
    boto3: Any = importlib.import_module("boto3")
    config: Any = importlib.import_module("botocore.config")
    return boto3.client(
        "ecr",
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=keys["AWS_SESSION_TOKEN"],
        config=config.Config(retries={"total_max_attempts": 1}, proxies={}),
    )


def grant(*accounts: str) -> str:
    """The repository policy that the program declares for accounts that pull."""
    principals = {"AWS": [f"arn:aws:iam::{account}:root" for account in accounts]}
    return document({"Sid": "PullByEnvironments", "Effect": "Allow", "Principal": principals, "Action": list(PULL)})
