"""Messages of Amazon SQS: how packages become such, and deliveries of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from math import ceil
from typing import Any, Final, NamedTuple
from uuid import uuid4

from django_q import clock
from django_q.brokers.advice import odd_name
from django_q.brokers.base import Delivery
from django_q.exceptions import PackageTooLarge

AT_ONCE: Final = 10
"""Messages in one question."""

LARGEST_LOAD: Final = 256 * 1024
"""Bytes in one question, or one message that is larger."""

LARGEST_MESSAGE: Final = 1024 * 1024

ATTRIBUTE: Final = 30
"""Bytes of the attribute of a message that waits."""

LONGEST_DELAY: Final = 900
LONGEST_LEASE: Final = 12 * 60 * 60 - 10 * 60
"""Seconds that SQS agrees to; for a lease it is 12 hours, which began a while ago."""

FIFO: Final = ".fifo"
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,75}(\.fifo)?|[A-Za-z0-9_-]{1,80}")
MARK: Final = re.compile(r"[!-~]{1,128}")
"""What SQS takes as the id of a group, or of a message that is to be there once."""

BLANK: Final = "\n"
"""Stands for an empty package: SQS has no empty messages."""

Message = Mapping[str, Any]


class Letter(NamedTuple):
    """A package as it is sent."""

    package: str
    task_id: str | None = None
    delay: int = 0

    @property
    def size(self) -> int:
        """Bytes, as SQS counts them: with what else the message may have."""
        return len(self.package.encode()) + (ATTRIBUTE if self.delay else 0)

    def words(self, queue: str, group: str | None) -> dict[str, Any]:
        """The letter as SQS wants it; `group` is for a FIFO queue, which knows no delay."""
        words: dict[str, Any] = {"MessageBody": self.package or BLANK}
        if queue.endswith(FIFO):
            mark = mark_of(self.task_id or uuid4().hex)
            words["MessageDeduplicationId"] = mark
            words["MessageGroupId"] = group or mark
        elif self.delay:
            words["DelaySeconds"] = min(self.delay, LONGEST_DELAY)
        if self.delay > words.get("DelaySeconds", 0):
            delay = {"DataType": "Number", "StringValue": str(self.delay)}
            words["MessageAttributes"] = {"delay": delay}
        return words

    def too_large(self, limit: str) -> PackageTooLarge:
        name = f"Task {self.task_id}" if self.task_id else "A task"
        message = (
            f"{name} has a package of {self.size} bytes; Amazon SQS takes {limit}."
        )
        return PackageTooLarge(message, hint="Pass a file name or an id instead.")


def deliver(message: Message, queue: str) -> Delivery:
    """A message as it is handed out. What only waited for its time is not counted."""
    times = int(message["Attributes"]["ApproximateReceiveCount"])
    # In a FIFO queue a single message can't be delayed: it is hidden when it comes.
    by_itself = 0 if queue.endswith(FIFO) else LONGEST_DELAY
    waits = ceil(max(0, delay_of(message) - by_itself) / LONGEST_LEASE)
    times = max(1, times - waits)
    package = "" if message["Body"] == BLANK else message["Body"]
    receipt = message["ReceiptHandle"]
    return Delivery(receipt, package, deliveries=times, attempts=times - 1)


def delay_of(message: Message) -> int:
    """Seconds that it was to wait, where SQS could not see to that alone."""
    delay = message.get("MessageAttributes", {}).get("delay", {})
    return int(delay.get("StringValue", 0))


def due_of(message: Message) -> float:
    """When it is due, by the clock of SQS."""
    delay = delay_of(message)
    return int(message["Attributes"]["SentTimestamp"]) / 1000 + delay if delay else 0


def moment_of(answer: Mapping[str, Any]) -> datetime:
    """What the clock of SQS said: that of this host may be wrong."""
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        return parsedate_to_datetime(headers.get("date"))
    except (TypeError, ValueError):
        return clock.now()


def by_id(entries: Sequence[Message]) -> dict[str, Message]:
    return {entry["Id"]: entry for entry in entries}


def loads(letters: Sequence[Letter]) -> Iterator[list[Letter]]:
    """The same in portions that SQS takes at once."""
    load: list[Letter] = []
    size = 0
    for letter in letters:
        if load and (len(load) == AT_ONCE or size + letter.size > LARGEST_LOAD):
            yield load
            load, size = [], 0
        load.append(letter)
        size += letter.size
    if load:
        yield load


def mark_of(text: str) -> str:
    """An id as SQS takes it."""
    is_fit = MARK.fullmatch(text) is not None
    return text if is_fit else sha256(text.encode()).hexdigest()


def check_name(queue: str) -> None:
    """Raises ConfigurationError for what can't be the name of a queue."""
    if NAME.fullmatch(queue) is None:
        names = "names have up to 80 letters, digits, '-' and '_'; '.fifo' may end them"
        raise odd_name("Amazon SQS", queue, names)
