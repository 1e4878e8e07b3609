"""An emulated account for the tests of bootstrap/, and the private key of an App."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import boto3  # pyright: ignore[reportMissingTypeStubs] — its clients are made at run time
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bootstrap.bootstrap import main
from bootstrap.look import Outside
from tests.conftest import EXAMPLE

ACCOUNTS = {"dev": "111111111111", "stg": "222222222222", "prd": "333333333333"}
READS = ("Describe", "Get", "Head", "List")


class Account:
    """An emulated account, and what was asked of it.

    Made once a session, for making clients is what takes the time; what moto holds is new in every test.

    Attributes:
        session: A session of a person in it.
        calls: The API's operations that were called, in order.
        answers: What an operation answers instead of moto's: its parsed response, or an error's code.
    """

    def __init__(self, account: str) -> None:
        """A session in the account with these twelve digits."""
        self.calls: list[str] = []
        self.answers: dict[str, dict[str, Any] | str] = {}
        self._account = account
        self._clients: dict[str, Any] = {}
        self._session: Any = cast("Any", boto3).Session(aws_access_key_id="testing", aws_secret_access_key="testing")
        self._session.events.register("before-call", self._note)
        self.events = self._session.events

    def _note(self, model: Any, params: Any, **_: Any) -> Any:  # noqa: ANN401 — botocore's event
        self.calls.append(model.name)
        params["headers"]["x-moto-account-id"] = self._account
        match self.answers.get(model.name):
            case None:
                return None
            case str() as code:
                return SimpleNamespace(status_code=400), {"Error": {"Code": code, "Message": "as the test has it"}}
            case parsed:
                return SimpleNamespace(status_code=200), parsed

    @property
    def changes(self) -> list[str]:
        """The calls that change something."""
        return [call for call in self.calls if not call.startswith(READS)]

    def client(self, service: str, region_name: str = "eu-central-1") -> Any:  # noqa: ANN401 — boto3 makes its clients at run time
        """A client in it, as a boto3 session gives one."""
        assert region_name == "eu-central-1" or service == "chatbot"
        if service not in self._clients:
            self._clients[service] = self._session.client(service, region_name=region_name)
        return self._clients[service]

    def run(self, *arguments: str, stack: str = "dev", root: Path = EXAMPLE, outside: Outside | None = None) -> int:
        """Run bootstrap as its command line does."""
        self.calls.clear()
        return main(["--stack", stack, *arguments], session=self, root=root, outside=outside)


def make_key() -> tuple[str, str]:
    """A new RSA key as GitHub gives one for an App: the private and the public half."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()
