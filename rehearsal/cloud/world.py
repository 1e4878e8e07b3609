"""The world of emulated accounts: each registration becomes a resource in its stack's account, by the one table."""

import contextlib
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from components import naming
from rehearsal.cloud.emulators import Emulators
from rehearsal.cloud.row import Ask, Left, Place, RealiseError, Row, Rows, Where, tried
from rehearsal.cloud.rows import kubernetes
from rehearsal.cloud.table import TABLE, why_not_emulated
from rehearsal.program import Created, Imagined, InvokeError, Request, stack_config

if TYPE_CHECKING:
    from rehearsal.githost import GitHost
    from rehearsal.lab.clusters import Clusters


@dataclass(frozen=True, kw_only=True)
class Realised:
    """A resource that stands in an emulated account, and how long it took to make."""

    stack: str
    type: str
    name: str
    id: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class NotEmulated:
    """A resource that was only imagined, and why."""

    stack: str
    type: str
    name: str
    reason: str


class CloudWorld:
    """Realises the stacks of one platform; one world serves all of them, also at once.

    Attributes:
        emulators: Where everything is made.
        realised: What was made, in its order.
        imagined: What was only imagined.
        left: Declared properties that no emulator keeps, each once.
    """

    def __init__(
        self,
        emulators: Emulators,
        *,
        github: "GitHost | None" = None,
        lab: "Clusters | None" = None,
        table: Rows = TABLE,
        places: Mapping[str, Place] | None = None,
    ) -> None:
        """Make a world.

        Args:
            emulators: Running emulators.
            github: What stands in for GitHub; without it what is declared there is only imagined.
            lab: What stands in for EKS; likewise.
            table: How types are realised.
            places: Account and region by stack; as in the stack files unless given.
        """
        self.emulators = emulators
        self.realised: list[Realised] = []
        self.imagined: list[NotEmulated] = []
        self.left: list[Left] = []
        self._github, self._lab = github, lab
        self._table = {type_: row for type_, row in table.items() if _stands(type_, github=bool(github), lab=bool(lab))}
        self._places = dict(places or {})
        self._lock = threading.Lock()

    def place(self, stack: str) -> Place:
        """Account and region of a stack."""
        with self._lock:
            if stack not in self._places:
                self._places[stack] = place_of(stack)
            return self._places[stack]

    def create(self, request: Request, *, where: Where | None = None) -> Created:
        """Make the resource in its stack's account, or in another place.

        Raises:
            RealiseError: it cannot be made as declared, or its type is neither in the table nor listed as not emulated.
        """
        row = self.row(request.type)
        if row is None:
            return self._imagine(request)
        ask = self._ask(request, where)
        began = time.perf_counter()
        with _named(request):
            _authorized(ask, "create")
            created = row.create(ask)
            _all_read(ask)
        seconds = time.perf_counter() - began
        with self._lock:
            self.realised.append(
                Realised(stack=request.stack, type=request.type, name=request.name, id=created.id, seconds=seconds)
            )
            for path, reason in ask.inputs.all_left():
                left = Left(type=request.type, property=path, reason=reason)
                if left not in self.left:
                    self.left.append(left)
        return created

    def read(self, request: Request, id_: str, *, where: Where | None = None) -> Mapping[str, Any] | None:
        """What stands under an id: its properties, as far as they can be read back; None if it is gone.

        Args:
            request: The resource; its inputs are what is known of it, none for an import.
            id_: Its physical id.
            where: What the provider was configured with; the stack's own place unless given.

        Raises:
            RealiseError: it cannot be read.
        """
        row = self.row(request.type)
        if row is None or row.read is None:
            return request.inputs
        ask = self._ask(request, where)
        with _named(request):
            _authorized(ask, "read")
            return row.read(ask, id_)

    def update(self, request: Request, id_: str, old: Mapping[str, Any], *, where: Where | None = None) -> Created:
        """Change a resource from the inputs `old` to the request's.

        Raises:
            RealiseError: it cannot be changed as declared.
        """
        row = self.row(request.type)
        if row is None or row.update is None:
            return Created(id=id_, outputs=request.inputs)
        ask = self._ask(request, where, old)
        with _named(request):
            _authorized(ask, "update")
            return row.update(ask, id_)

    def delete(self, request: Request, id_: str, *, where: Where | None = None) -> None:
        """Take a resource away; what is gone already is no error.

        Raises:
            RealiseError: it cannot be taken away.
        """
        row = self.row(request.type)
        if row is not None and row.delete is not None:
            ask = self._ask(request, where)
            with _named(request):
                _authorized(ask, "delete")
                row.delete(ask, id_)

    def check(self, request: Request, *, where: Where | None = None) -> Sequence[str]:
        """Why a resource would be refused, as far as that is known without making anything.

        The call that would make it is held to AWS's service model; an object for a cluster is tried there.
        """
        row = self.row(request.type)
        if row is None:
            return ()
        ask = self._ask(request, where)
        if row.check is not None:
            return row.check(ask)
        return tried(row, ask)

    def attempt(self, request: Request, *, where: Where | None = None) -> None:
        """Ask what the real provider asks to preview a creation or change.

        Raises:
            RealiseError: the caller may not ask it.
        """
        row = self.row(request.type)
        if row is not None and row.attempt is not None:
            with _named(request):
                row.attempt(self._ask(request, where))

    def replaced(
        self, request: Request, changed: Sequence[str], old: Mapping[str, Any], *, where: Where | None = None
    ) -> Sequence[str]:
        """Which of the changed inputs cannot be changed in place."""
        row = self.row(request.type)
        if row is None:
            return ()
        if row.update is None:
            return changed
        fixed = {*row.replaces, *(row.replaces_of(self._ask(request, where, old)) if row.replaces_of else ())}
        return [each for each in changed if each in fixed]

    def row(self, type_: str) -> Row | None:
        """How a type is realised here; None if it is only imagined."""
        found = self._table.get(type_)
        # Any kind at all, where an API server stands.
        return found if found is not None or self._lab is None else kubernetes.row_of(type_)

    def _ask(self, request: Request, where: Where | None, old: Mapping[str, Any] | None = None) -> Ask:
        return Ask(
            request=request,
            place=where.place if where else self.place(request.stack),
            provider=where.provider if where else {},
            caller=where.caller if where else None,
            emulators=self.emulators,
            owner=self._owner(request, where),
            host=self._github,
            lab=self._lab,
            old=old or {},
        )

    @staticmethod
    def _owner(request: Request, where: Where | None) -> str:
        if not request.type.startswith("github:"):
            return ""
        return str(where.provider.get("owner", "")) if where else stack_config(request.stack).get("github:owner", "")

    def call(self, stack: str, token: str, args: Mapping[str, Any], *, where: Where | None = None) -> dict[str, Any]:
        """Answer a provider function from the stack's account; those that no emulator serves are imagined.

        Raises:
            RealiseError: the caller's policies do not allow it.
        """
        place, caller = (where.place, where.caller) if where else (self.place(stack), None)
        if caller is not None and token.startswith("aws:") and (refused := caller.function_refusal(token, args, place.region)):
            msg = f"{token}: {refused}"
            raise RealiseError(msg)
        match token:
            case "aws:index/getCallerIdentity:getCallerIdentity" if caller is not None:
                account, name = caller.account, caller.arn.rpartition("/")[2]
                return {"accountId": account, "arn": caller.arn, "id": account, "userId": f"AROAEXAMPLE:{name}"}
            case "aws:index/getCallerIdentity:getCallerIdentity":
                caller = self.emulators.client("sts", place.account, place.region).get_caller_identity()
                return {
                    "accountId": caller["Account"],
                    # The emulators' credentials are the root user's, and a real run is the deploy role's.
                    "arn": f"arn:aws:sts::{caller['Account']}:assumed-role/{naming.role(stack, 'deploy')}/rehearsal",
                    "id": caller["Account"],
                    "userId": caller["UserId"],
                }
            case "aws:route53/getZone:getZone":
                return self._zone(place, args)
            case "aws:secretsmanager/getRandomPassword:getRandomPassword":
                return self._password(place, args)
            case _:
                return Imagined(account=place.account, region=place.region).call(stack, token, args)

    def _password(self, place: Place, args: Mapping[str, Any]) -> dict[str, Any]:
        """Another one at every call, as AWS's."""
        known = {"passwordLength": "PasswordLength", "excludePunctuation": "ExcludePunctuation"}
        strange = sorted(key for key, value in args.items() if value is not None and key not in known)
        if strange:
            msg = f"getRandomPassword is asked for {', '.join(strange)}: {', '.join(known)} are known to rehearsal/cloud/world.py"
            raise RealiseError(msg)
        asked = {theirs: args[ours] for ours, theirs in known.items() if args.get(ours) is not None}
        if "PasswordLength" in asked:
            asked["PasswordLength"] = int(asked["PasswordLength"])
        drawn = self.emulators.client("secretsmanager", place.account, place.region).get_random_password(**asked)
        return {**args, "id": place.region, "randomPassword": drawn["RandomPassword"]}

    def _zone(self, place: Place, args: Mapping[str, Any]) -> dict[str, Any]:
        name, private = str(args["name"]).rstrip("."), bool(args.get("privateZone", False))
        zones = self.emulators.client("route53", place.account, place.region).list_hosted_zones()["HostedZones"]
        found = [each for each in zones if each["Name"] == f"{name}." and each["Config"]["PrivateZone"] == private]
        if len(found) != 1:
            few = "no" if not found else "multiple"
            # The provider's words: https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/route53/zone_data_source.go
            msg = f"invocation of aws:route53/getZone:getZone returned an error: {few} matching Route 53 Hosted Zone found"
            raise InvokeError(msg)
        id_ = str(found[0]["Id"]).rpartition("/")[2]
        return {**args, "id": id_, "zoneId": id_, "name": name, "arn": f"arn:aws:route53:::hostedzone/{id_}"}

    def _imagine(self, request: Request, reason: str | None = None) -> Created:
        reason = reason or why_not_emulated(request.type)
        if reason is None:
            msg = (
                f"{request.type} {request.name!r} of {request.stack}: no row of the table realises this type; add one to "
                "rehearsal/cloud/rows, or say in NOT_EMULATED why none can"
            )
            raise RealiseError(msg)
        place = self.place(request.stack)
        with self._lock:
            self.imagined.append(NotEmulated(stack=request.stack, type=request.type, name=request.name, reason=reason))
        return Imagined(account=place.account, region=place.region).create(request)


def _stands(type_: str, *, github: bool, lab: bool) -> bool:
    """Whether what a type is made in is there."""
    if type_.startswith("github:"):
        return github
    return lab or not type_.startswith(("aws:eks/", "eks:", "kubernetes:"))


@contextlib.contextmanager
def _named(request: Request) -> Generator[None]:
    """Say of whom a refusal speaks."""
    try:
        yield
    except RealiseError as error:
        msg = f"{request.type} {request.name!r} of {request.stack}: {error}"
        raise RealiseError(msg) from error


def place_of(stack: str) -> Place:
    """Account and region that a stack file names for its own environment."""
    environment = yaml.safe_load(stack_config(stack)["slipway:environments"])[stack]
    return Place(account=str(environment["account"]), region=str(environment["region"]))


def _authorized(ask: Ask, verb: str) -> None:
    """Hold the caller to what the verb needs beyond the row's own calls.

    Raises:
        RealiseError: its policies do not allow it.
    """
    if ask.caller is None or not ask.request.type.startswith("aws:"):
        return
    refused = ask.caller.handling_refusal(ask.request.type, verb, ask.request.inputs, ask.place.region)
    if refused:
        raise RealiseError(refused)


def _all_read(ask: Ask) -> None:
    unread = ask.inputs.unread()
    if unread:
        msg = (
            f"{', '.join(unread)} would be dropped: the row maps no such property; map it in rehearsal/cloud/rows, or leave it "
            "there with the reason"
        )
        raise RealiseError(msg)


__all__ = ["CloudWorld", "NotEmulated", "Realised", "place_of"]
