"""Sessions of declared roles, with the policies that stand in the emulated accounts.

They are who comes to the registry's door, and who runs Pulumi.
"""

import functools
from collections.abc import Mapping

import jwt

from rehearsal.cloud import Emulators, identity_of
from rehearsal.cloud.caller import Caller, by_account
from rehearsal.cloud.identities import boundary_of
from rehearsal.registry import Identity


class Identities:
    """Assumes roles, and knows whom it has given credentials to."""

    def __init__(self, emulators: Emulators) -> None:
        """Begin with nobody."""
        self._emulators = emulators
        self._sessions: dict[str, tuple[str, str, str]] = {}

    def assume(self, role_arn: str, region: str, session: str) -> dict[str, str]:
        """Credentials of a session of `role_arn`, as environment variables."""
        sts = self._emulators.client("sts", role_arn.split(":")[4], region)
        given = sts.assume_role(RoleArn=role_arn, RoleSessionName=session)["Credentials"]
        return self._remember(given, role_arn, region, session)

    def _remember(self, given: Mapping[str, str], role_arn: str, region: str, session: str) -> dict[str, str]:
        self._sessions[given["AccessKeyId"]] = (role_arn, region, session)
        return {
            "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
            "AWS_SESSION_TOKEN": given["SessionToken"],
        }

    def assume_by_token(self, role_arn: str, region: str, session: str, claims: Mapping[str, str]) -> dict[str, str]:
        """Likewise for whom a workflow's identity token stands for: the role's trust policy lets its claims in or not.

        Nobody verifies the signature here; see rehearsal/cloud/amendments.py.
        """
        sts = self._emulators.client("sts", role_arn.split(":")[4], region)
        token = jwt.encode(dict(claims), "nobody looks at the signature here", algorithm="HS256")
        given = sts.assume_role_with_web_identity(RoleArn=role_arn, RoleSessionName=session, WebIdentityToken=token)[
            "Credentials"
        ]
        return self._remember(given, role_arn, region, session)

    def caller(self, environment: Mapping[str, str]) -> Caller:
        """Whose credentials an environment holds; a key of twelve digits is an account's root."""
        key = environment.get("AWS_ACCESS_KEY_ID", "")
        if key not in self._sessions:
            return by_account(environment)
        return Caller(identity=self(key, ""), boundary_of=functools.partial(boundary_of, self._emulators))

    def __call__(self, access_key_id: str, session_token: str) -> Identity:
        """Who an access key is, with the role's policies as they are now.

        Raises:
            LookupError: nobody here has it.
        """
        del session_token
        role_arn, region, session = self._sessions[access_key_id]
        return identity_of(self._emulators, role_arn, region, session=session)


__all__ = ["Identities"]
