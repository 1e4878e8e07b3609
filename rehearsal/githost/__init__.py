"""The rehearsal's Git host: real git over loopback HTTP, and the part of GitHub's API that the flow uses."""

from rehearsal.githost.host import GitHost
from rehearsal.githost.limits import Limits
from rehearsal.githost.model import Call, Fault, Faults, PushEvent, Request, no_faults
from rehearsal.githost.webhooks import Delivery, WebhookProxy

__all__ = ["Call", "Delivery", "Fault", "Faults", "GitHost", "Limits", "PushEvent", "Request", "WebhookProxy", "no_faults"]
