"""Judge the engine's AWS calls by the documents of the role that runs the engine, before they are sent."""

import functools
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rehearsal.cloud.authorization import Call, Permission, UnknownCallError, function_calls, permissions
from rehearsal.cloud.handlers import needs
from rehearsal.registry.policy import Identity, PolicyError, Request, judge

# As the evaluator words it.
_DENIAL: Final = re.compile(r"statement \d+ of the ([\w ]+?)(?: \((\w+)\))? explicitly denies ")


def _no_boundary(account: str, name: str) -> None:
    del account, name


@dataclass(kw_only=True)
class Caller:
    """A session of a role, or an account's root user, which no policy limits.

    Attributes:
        identity: The principal, with its policies as they were when the run began.
        boundary_of: Answers with the ARN of a role's present permissions boundary, by account and name.
        judged: How many permissions have been judged.
    """

    identity: Identity
    boundary_of: Callable[[str, str], str | None] = _no_boundary
    judged: int = 0
    _known: dict[str, str] = field(default_factory=dict[str, str])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def account(self) -> str:
        """Account that the caller acts in."""
        return self.identity.account

    @property
    def arn(self) -> str:
        """ARN of the caller, as `GetCallerIdentity` returns it."""
        return self.identity.caller_arn

    def refusal(self, service: str, operation: str, parameters: Mapping[str, Any], region: str) -> str:
        """Return AWS's words when the caller may not make a call, "" when it may.

        Args:
            service: boto3's name of the service.
            operation: The API's own name, such as `CreateQueue`.
            parameters: What it is sent with.
            region: Where.
        """
        if self.identity.is_root:
            return ""
        call = Call(
            service=service,
            operation=operation,
            parameters=parameters,
            account=self.account,
            region=region,
            boundary_of=functools.partial(self.boundary_of, self.account),
        )
        try:
            needed = permissions(call)
        except UnknownCallError as error:
            return f"the lab cannot judge this call: {error}"
        return next((fault for each in needed if (fault := self._fault(each))), "")

    def function_refusal(self, token: str, args: Mapping[str, Any], region: str) -> str:
        """Return AWS's words when the caller may not call a provider's function, "" when it may."""
        if self.identity.is_root:
            return ""
        try:
            calls = function_calls(token, args)
        except UnknownCallError as error:
            return f"the lab cannot judge this function: {error}"
        refused = (self.refusal(service, operation, parameters, region) for service, operation, parameters in calls)
        return next((each for each in refused if each), "")

    def handling_refusal(self, type_: str, verb: str, inputs: Mapping[str, Any], region: str) -> str:
        """Return AWS's words when the caller lacks one of a verb's permissions for a whole resource type, "" otherwise.

        Some rows make fewer calls than the real provider. This check covers the calls that they leave out.

        Args:
            type_: Pulumi type token.
            verb: `create`, `read`, `update` or `delete`.
            inputs: The resource's declared properties.
            region: Where.
        """
        if self.identity.is_root:
            return ""
        try:
            needed = needs(type_, verb, inputs, account=self.account, region=region)
        except UnknownCallError as error:
            return f"the lab cannot judge this resource: {error}"
        return next((fault for each in needed if (fault := self._fault(each))), "")

    def _fault(self, needed: Permission) -> str:
        key = repr((needed.action, needed.resource, sorted(needed.context.items())))
        with self._lock:
            self.judged += 1
            if key in self._known:
                return self._known[key]
        request = Request(
            caller=self.identity,
            action=needed.action,
            resource=needed.resource,
            context=needed.context,
            # ARNs of S3 and Route 53 name no account, AWS's own policies have `aws` in its place.
            resource_account=self.account,
        )
        try:
            verdict = judge(request)
        except PolicyError as error:
            fault = f"the lab cannot judge {needed.action} on {needed.resource} by {self.arn}: {error}"
        else:
            fault = "" if verdict else self._said(needed, verdict.reason)
        with self._lock:
            self._known[key] = fault
        return fault

    def _said(self, needed: Permission, reason: str) -> str:
        """Return AWS's message: https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html."""
        if denial := _DENIAL.match(reason):
            kind = "a permissions boundary" if "boundary" in denial[1] else "an identity-based policy"
            why = f"with an explicit deny in {kind}" + (f": statement {denial[2]}" if denial[2] else "")
        else:
            absent = reason.partition(f" {needed.action} on ")[0]
            why = f"because {absent} the {needed.action} action"
        what = f"perform: {needed.action} on resource: {needed.resource}"
        return f"AccessDenied: User: {self.arn} is not authorized to {what} {why}"


def root(account: str) -> Caller:
    """Return the root user of an account."""
    return Caller(identity=Identity(account=account, principal_arn=f"arn:aws:iam::{account}:root"))


def by_account(environment: Mapping[str, str]) -> Caller:
    """Take an access key of twelve digits for the root of that account, as the emulators do."""
    return root(environment.get("AWS_ACCESS_KEY_ID", ""))


__all__ = ["Caller", "by_account", "root"]
