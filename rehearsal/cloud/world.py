"""The world of emulated accounts: each registration becomes a resource in its stack's account, by the one table."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from rehearsal.cloud.emulators import Emulators
from rehearsal.cloud.row import Ask, Left, Place, RealiseError, Rows
from rehearsal.cloud.table import TABLE, why_not_emulated
from rehearsal.program import Created, Imagined, Request, stack_config

if TYPE_CHECKING:
    from rehearsal.githost import GitHost


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
        table: Rows = TABLE,
        places: Mapping[str, Place] | None = None,
    ) -> None:
        """Make a world.

        Args:
            emulators: Running emulators.
            github: What stands in for GitHub; without it what is declared there is only imagined.
            table: How types are realised.
            places: Account and region by stack; as in the stack files unless given.
        """
        self.emulators = emulators
        self.realised: list[Realised] = []
        self.imagined: list[NotEmulated] = []
        self.left: list[Left] = []
        self._github = github
        self._table = table if github else {type_: row for type_, row in table.items() if not type_.startswith("github:")}
        self._places = dict(places or {})
        self._lock = threading.Lock()

    def place(self, stack: str) -> Place:
        """Account and region of a stack."""
        with self._lock:
            if stack not in self._places:
                self._places[stack] = place_of(stack)
            return self._places[stack]

    def create(self, request: Request) -> Created:
        """Make the resource in its stack's account.

        Raises:
            RealiseError: it cannot be made as declared, or its type is neither in the table nor listed as not emulated.
        """
        row = self._table.get(request.type)
        if row is None:
            return self._imagine(request)
        ask = Ask(
            request=request,
            place=self.place(request.stack),
            emulators=self.emulators,
            owner=stack_config(request.stack).get("github:owner", "") if request.type.startswith("github:") else "",
            host=self._github,
        )
        began = time.perf_counter()
        try:
            created = row.create(ask)
            _all_read(ask)
        except RealiseError as error:
            msg = f"{request.type} {request.name!r} of {request.stack}: {error}"
            raise RealiseError(msg) from error
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

    def call(self, stack: str, token: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a provider function from the stack's account; those that no emulator serves are imagined."""
        place = self.place(stack)
        match token:
            case "aws:index/getCallerIdentity:getCallerIdentity":
                caller = self.emulators.client("sts", place.account, place.region).get_caller_identity()
                return {
                    "accountId": caller["Account"],
                    "arn": caller["Arn"],
                    "id": caller["Account"],
                    "userId": caller["UserId"],
                }
            case "aws:route53/getZone:getZone":
                return self._zone(stack, args)
            case _:
                return Imagined(account=place.account, region=place.region).call(stack, token, args)

    def _zone(self, stack: str, args: Mapping[str, Any]) -> dict[str, Any]:
        place = self.place(stack)
        name, private = str(args["name"]).rstrip("."), bool(args.get("privateZone", False))
        zones = self.emulators.client("route53", place.account, place.region).list_hosted_zones()["HostedZones"]
        found = [each for each in zones if each["Name"] == f"{name}." and each["Config"]["PrivateZone"] == private]
        if len(found) != 1:
            there = ", ".join(each["Name"] for each in zones) or "none"
            msg = (
                f"account {place.account} has {len(found)} hosted zones {name} where one is needed; there are: {there}. "
                "Bootstrap makes it, before the first up"
            )
            raise RealiseError(msg)
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


def place_of(stack: str) -> Place:
    """Account and region that a stack file names for its own environment."""
    environment = yaml.safe_load(stack_config(stack)["slipway:environments"])[stack]
    return Place(account=str(environment["account"]), region=str(environment["region"]))


def _all_read(ask: Ask) -> None:
    unread = ask.inputs.unread()
    if unread:
        msg = (
            f"{', '.join(unread)} would be dropped: the row maps no such property; map it in rehearsal/cloud/rows, or leave it "
            "there with the reason"
        )
        raise RealiseError(msg)


__all__ = ["CloudWorld", "NotEmulated", "Realised", "place_of"]
