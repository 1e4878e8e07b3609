"""Who is at the registry's door: sessions of declared roles, with the policies that stand in the emulated accounts."""

from rehearsal.cloud import Emulators, identity_of
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
        self._sessions[given["AccessKeyId"]] = (role_arn, region, session)
        return {
            "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
            "AWS_SESSION_TOKEN": given["SessionToken"],
        }

    def __call__(self, access_key_id: str, session_token: str) -> Identity:
        """Who an access key is, with the role's policies as they are now.

        Raises:
            LookupError: nobody here has it.
        """
        del session_token
        role_arn, region, session = self._sessions[access_key_id]
        return identity_of(self._emulators, role_arn, region, session=session)


__all__ = ["Identities"]
