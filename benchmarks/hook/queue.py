"""A standard queue of SQS, as AWS describes it, in memory and on the benchmark's clock.

moto's takes 60 ms a message once a thousand wait, and its clock is the world's. This one also does what AWS allows a standard
queue to do and emulators do not: messages come in any order, and now and then one comes twice.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/standard-queues.html
"""

import heapq
import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from botocore.exceptions import ClientError

from benchmarks.hook.clock import Clock

_POLL_SECONDS: Final = 0.01
_PAGE: Final = 10


@dataclass(kw_only=True)
class _Message:
    id: str
    body: str
    receives: int = 0
    handle: str = ""


@dataclass(kw_only=True)
class StandardQueue:
    """One queue.

    Attributes:
        clock: For visibility.
        visibility_seconds: How long a received message stays hidden.
        most_receives: After so many a message goes to `dead`; by default those of components/image_hook.py.
        dead: The dead-letter queue; None keeps them for ever.
        twice: Share of messages that are delivered again although they are hidden.
    """

    clock: Clock
    visibility_seconds: float = 720.0
    most_receives: int = 12
    dead: "StandardQueue | None" = None
    twice: float = 0.0
    _ready: list[tuple[float, float, str]] = field(default_factory=list[tuple[float, float, str]])
    _held: dict[str, _Message] = field(default_factory=dict[str, _Message])
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _random: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 — the same order every time

    def __len__(self) -> int:
        """Messages that are not deleted, hidden or not."""
        with self._lock:
            return len(self._held)

    def bodies(self) -> list[str]:
        """What they hold."""
        with self._lock:
            return [each.body for each in self._held.values()]

    def send(self, body: str, *, receives: int = 0) -> None:
        """Put a message in."""
        message = _Message(id=str(uuid.uuid4()), body=body, receives=receives)
        with self._lock:
            self._held[message.id] = message
            self._show(message, 0)

    def _show(self, message: _Message, after_seconds: float) -> None:
        heapq.heappush(self._ready, (self.clock.now() + after_seconds, self._random.random(), message.id))

    def receive(self, most: int) -> list[_Message]:
        """Take what is visible, in no order."""
        found: list[_Message] = []
        dying: list[_Message] = []
        with self._lock:
            now = self.clock.now()
            while self._ready and len(found) < most and self._ready[0][0] <= now:
                _, _, identity = heapq.heappop(self._ready)
                message = self._held.get(identity)
                if message is None:
                    continue
                if message.receives >= self.most_receives and self.dead is not None:
                    dying.append(self._held.pop(identity))
                    continue
                message.receives += 1
                message.handle = f"{identity}:{message.receives}"
                self._show(message, 0.0 if self._random.random() < self.twice else self.visibility_seconds)
                found.append(_Message(id=identity, body=message.body, receives=message.receives, handle=message.handle))
        for each in dying:
            if self.dead is not None:
                self.dead.send(each.body)
        return found

    def delete(self, handle: str) -> None:
        """Take a message out; whoever holds any of its receipts may."""
        with self._lock:
            self._held.pop(handle.partition(":")[0], None)

    def hide(self, handle: str, seconds: float) -> None:
        """Let a message be seen again after so many seconds; only its latest receipt may."""
        with self._lock:
            message = self._held.get(handle.partition(":")[0])
            if message is None or message.handle != handle:
                return
            self._ready = [each for each in self._ready if each[2] != message.id]
            heapq.heapify(self._ready)
            self._show(message, seconds)


@dataclass(kw_only=True)
class Client:
    """What the writer asks of boto3's SQS client, of these queues.

    Attributes:
        queues: By URL.
        trouble: Called with every operation's name; what it raises is AWS's error.
    """

    queues: dict[str, StandardQueue]
    trouble: Callable[[str], None]

    # boto3's own names.

    def receive_message(self, *, QueueUrl: str, MaxNumberOfMessages: int = 1, WaitTimeSeconds: float = 0, **_: object) -> Any:  # noqa: ANN401, N803, D102
        self.trouble("ReceiveMessage")
        ended = time.monotonic() + WaitTimeSeconds
        while not (found := self.queues[QueueUrl].receive(MaxNumberOfMessages)) and time.monotonic() < ended:
            time.sleep(_POLL_SECONDS)
        return {
            "Messages": [
                {
                    "MessageId": each.id,
                    "ReceiptHandle": each.handle,
                    "Body": each.body,
                    "Attributes": {"ApproximateReceiveCount": str(each.receives)},
                }
                for each in found
            ]
        }

    def delete_message_batch(self, *, QueueUrl: str, Entries: Sequence[dict[str, str]]) -> Any:  # noqa: ANN401, N803, D102
        self.trouble("DeleteMessageBatch")
        for each in Entries:
            self.queues[QueueUrl].delete(each["ReceiptHandle"])
        return {"Successful": list(Entries)}

    def change_message_visibility_batch(self, *, QueueUrl: str, Entries: Sequence[dict[str, Any]]) -> Any:  # noqa: ANN401, N803, D102
        self.trouble("ChangeMessageVisibilityBatch")
        for each in Entries:
            self.queues[QueueUrl].hide(each["ReceiptHandle"], each["VisibilityTimeout"])
        return {"Successful": list(Entries)}

    def send_message(self, *, QueueUrl: str, MessageBody: str) -> Any:  # noqa: ANN401, N803, D102
        self.trouble("SendMessage")
        self.queues[QueueUrl].send(MessageBody)
        return {"MessageId": ""}


def throttled(operation: str) -> ClientError:
    """AWS's refusal of one request too many."""
    return ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, operation)


__all__ = ["Client", "StandardQueue", "throttled"]
