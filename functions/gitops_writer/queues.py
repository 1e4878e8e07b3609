"""The queues: what else waits, what is done, what goes back, and what is given up."""

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .core import Message, Outcome

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
_PAGE: Final = 10
# The first wait of a message that goes back; it doubles with each receipt.
_FIRST_SECONDS: Final = 20
_LONGEST_SECONDS: Final = 900
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
_VISIBILITY_LIMIT_SECONDS: Final = 12 * 3600


@dataclass(frozen=True, kw_only=True)
class Queue:
    """The image queue and its failure queue.

    Attributes:
        client: SQS.
        url: The image queue.
        failure_url: The failure queue.
    """

    client: "SQSClient"
    url: str
    failure_url: str

    def drain(self, limit: int) -> list[Message]:
        """Receive what waits, at most `limit` messages, without waiting for more to come."""
        found: dict[str, Message] = {}
        while len(found) < limit:
            answer = self.client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=min(_PAGE, limit - len(found)),
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
                WaitTimeSeconds=0,
            )
            page = answer.get("Messages", [])
            if not page:
                break
            for each in page:
                message = Message(
                    id=each.get("MessageId", ""),
                    handle=each.get("ReceiptHandle", ""),
                    body=each.get("Body", ""),
                    receives=int(each.get("Attributes", {}).get("ApproximateReceiveCount", 1)),
                )
                found[message.id] = message
        return list(found.values())

    def delete(self, messages: Sequence[Message]) -> list[str]:
        """Delete what is done; the ids of those that could not be, which will be seen again and do no harm."""
        failed: list[str] = []
        for page in _pages(messages):
            answer = self.client.delete_message_batch(
                QueueUrl=self.url, Entries=[{"Id": str(n), "ReceiptHandle": each.handle} for n, each in enumerate(page)]
            )
            failed += [page[int(each["Id"])].id for each in answer.get("Failed", [])]
        return failed

    def put_back(self, messages: Sequence[Message], *, after_seconds: float = 0) -> list[str]:
        """Let messages be seen again, not before `after_seconds`; without it sooner the less often they were received.

        Otherwise they would stay away for the queue's whole visibility timeout, as those do whose ids are handed back.
        """
        failed: list[str] = []
        for page in _pages(messages):
            answer = self.client.change_message_visibility_batch(
                QueueUrl=self.url,
                Entries=[
                    {"Id": str(n), "ReceiptHandle": each.handle, "VisibilityTimeout": back_off(each.receives, after_seconds)}
                    for n, each in enumerate(page)
                ],
            )
            failed += [page[int(each["Id"])].id for each in answer.get("Failed", [])]
        return failed

    def give_up(self, message: Message, outcome: Outcome) -> None:
        """Put a message with its reason into the failure queue: `event` is what a replay sends again."""
        body = {"service": outcome.service, "reason": outcome.detail, "event": _event(message.body)}
        self.client.send_message(QueueUrl=self.failure_url, MessageBody=json.dumps(body))


def _event(body: str) -> Any:  # noqa: ANN401 — whatever was sent
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body


def back_off(receives: int, after_seconds: float) -> int:
    """Seconds until a message may be seen again: doubling with each receipt, but never less than was asked for; spread out.

    Doubling even where a time is asked for: an hour of answers that ask for one minute each would otherwise use up the receipts
    that the queue allows.
    """
    longest = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2 ** min(receives - 1, 10))
    jitter = random.uniform(0.5, 1)  # noqa: S311 — spreads load, hides nothing
    wait = max(longest * jitter, after_seconds + jitter * _FIRST_SECONDS if after_seconds else 0)
    return min(_VISIBILITY_LIMIT_SECONDS, max(1, round(wait)))


def _pages(messages: Sequence[Message]) -> Iterable[Sequence[Message]]:
    return (messages[start : start + _PAGE] for start in range(0, len(messages), _PAGE))
