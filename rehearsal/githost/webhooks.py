"""Webhooks: signed as GitHub signs them, sent in order by one thread, and recorded.

https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
https://docs.github.com/en/webhooks/webhook-events-and-payloads#delivery-headers
"""

import hashlib
import hmac
import json
import queue
import threading
import urllib.parse
import uuid
from dataclasses import dataclass
from typing import Final

import urllib3

from rehearsal.githost.model import Json

TIMEOUT_SECONDS: Final = 10.0
"""A receiver must answer within 10 seconds.
https://docs.github.com/en/webhooks/using-webhooks/handling-failed-webhook-deliveries"""


@dataclass(frozen=True, kw_only=True)
class Hook:
    """A repository's webhook.

    Attributes:
        id: Number on the host.
        repository: Full name.
        url: Where deliveries go.
        content_type: `json` or `form`.
        secret: Signs the body; no signature without one.
        events: Event names, or `*`.
        active: Whether anything but the ping is sent.
        insecure_ssl: Whether GitHub would not check the certificate; kept: this host checks it in any case.
    """

    id: int
    repository: str
    url: str
    content_type: str
    secret: str
    events: tuple[str, ...]
    active: bool = True
    insecure_ssl: bool = False

    def wants(self, event: str) -> bool:
        """Whether an event is sent to this hook; `ping` always is."""
        return event == "ping" or (self.active and ("*" in self.events or event in self.events))


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One attempt to deliver. GitHub does not repeat a failed one.

    Attributes:
        hook: Number of the hook.
        repository: Full name.
        guid: `X-GitHub-Delivery`.
        event: `X-GitHub-Event`.
        payload: What was sent.
        status: HTTP status got, or None when there was no answer.
        error: Why there was none, else "".
    """

    hook: int
    repository: str
    guid: str
    event: str
    payload: Json
    status: int | None
    error: str = ""


def sign(secret: str, body: bytes) -> str:
    """The value of `X-Hub-Signature-256`."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@dataclass(frozen=True, kw_only=True)
class WebhookProxy:
    """A proxy that stands for the receivers.

    Attributes:
        url: Its address.
        bundle: PEM file with the authority that signs the receivers' certificates.
    """

    url: str
    bundle: str


class Deliverer:
    """The one thread that sends, so that a receiver sees events in the order in which they happened."""

    def __init__(self, proxy: WebhookProxy | None = None) -> None:
        """Start the thread; deliveries go through `proxy` where there is one."""
        self.deliveries: list[Delivery] = []
        self._queue: queue.Queue[tuple[Hook, str, Json] | None] = queue.Queue()
        self._pool = (
            urllib3.ProxyManager(proxy.url, retries=False, timeout=TIMEOUT_SECONDS, ca_certs=proxy.bundle)
            if proxy
            else urllib3.PoolManager(retries=False, timeout=TIMEOUT_SECONDS)
        )
        self._thread = threading.Thread(target=self._run, name="githost-webhooks", daemon=True)
        self._thread.start()

    def send(self, hook: Hook, event: str, payload: Json) -> None:
        """Queue a delivery."""
        self._queue.put((hook, event, payload))

    def drain(self) -> None:
        """Wait until everything queued so far has been tried."""
        self._queue.join()

    def close(self) -> None:
        """Send what is queued and end the thread."""
        self._queue.put(None)
        self._thread.join()
        self._pool.clear()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                self.deliveries.append(self._deliver(*item))
            finally:
                self._queue.task_done()
        self._queue.task_done()

    def _deliver(self, hook: Hook, event: str, payload: Json) -> Delivery:
        body, content_type = json.dumps(payload).encode(), "application/json"
        if hook.content_type == "form":
            body, content_type = urllib.parse.urlencode({"payload": body}).encode(), "application/x-www-form-urlencoded"
        guid = str(uuid.uuid4())
        headers = {
            "User-Agent": "GitHub-Hookshot/rehearsal",
            "Content-Type": content_type,
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": guid,
            "X-GitHub-Hook-ID": str(hook.id),
        }
        if hook.secret:
            headers["X-Hub-Signature-256"] = sign(hook.secret, body)
        status: int | None = None
        error = ""
        try:
            status = self._pool.request("POST", hook.url, body=body, headers=headers, redirect=False).status
        except (urllib3.exceptions.HTTPError, ValueError) as failure:
            error = str(failure)
        return Delivery(
            hook=hook.id, repository=hook.repository, guid=guid, event=event, payload=payload, status=status, error=error
        )
