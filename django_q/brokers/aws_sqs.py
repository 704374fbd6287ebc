"""Amazon SQS: the server itself brings back what nobody has finished."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import ceil
from threading import Lock
from time import sleep
from typing import Any, Final

import boto3
from botocore.exceptions import ClientError

from django_q.brokers.base import Broker, Consignment, Delivery
from django_q.brokers.sqs_client import (
    LONGEST_WAIT,
    Account,
    is_too_long,
    is_without_queue,
    plain_words,
    verb_of,
)
from django_q.brokers.sqs_messages import (
    AT_ONCE,
    FIFO,
    LARGEST_MESSAGE,
    LONGEST_LEASE,
    Letter,
    Message,
    by_id,
    check_name,
    deliver,
    due_of,
    loads,
    moment_of,
)
from django_q.brokers.sqs_poll import Poll
from django_q.conf import get_options
from django_q.exceptions import BrokerError, BrokerUnavailable
from django_q.logs import clean

LONGEST_KEPT: Final = 14 * 24 * 60 * 60
"""Seconds after which SQS throws a message away that nobody has finished."""

LONGEST_PAUSE: Final = 8
"""Seconds that a caller waits who is no cluster: it may have other things to do."""

TRIES: Final = 3


class Sqs(Broker):
    """Carries packages in a queue of Amazon SQS, which has the name of the cluster.

    What is taken is invisible to others for `retry` seconds, which is told SQS with each
    question and begins anew when the cluster renews it. The receipt is the handle that
    SQS gives with each delivery. SQS also counts: a run that failed, a cluster that died
    and one that gave a task back unbegun are all one delivery more.
    """

    supports_receipts = True
    supports_renewal = True
    supports_delay = True
    supports_bulk = True
    supports_news = True

    connection: boto3.Session

    def __init__(self, list_key: str | None = None) -> None:
        super().__init__(list_key)
        self._prepare()

    def __setstate__(self, state: tuple[str, str | None]) -> None:
        super().__setstate__(state)
        self._prepare()

    def _prepare(self) -> None:
        self._account = Account.read(get_options().sqs)
        self._is_enlisted = False
        self._found_all = False
        self._wanted = AT_ONCE
        self._poll: Poll | None = None
        self._last_poll: Poll | None = None
        self._begin_process()

    def _begin_process(self) -> None:
        """No connection, and no lock, comes with us when the process forks."""
        self._process = os.getpid()
        self._lock = Lock()
        self._client: Any = None
        self._urls: dict[str, str] = {}

    @staticmethod
    def get_connection(list_key: str | None = None) -> boto3.Session:
        """A session; its client is made with the first verb, in each process anew."""
        return Account.read(get_options().sqs).open_session()

    @property
    def client(self) -> Any:
        """The client of boto3, which threads may share."""
        if self._process != os.getpid():
            self._begin_process()
            self.connection = self.get_connection(self.list_key)
        with self._lock:
            if self._client is None:
                self._client = self._account.open_client(self.connection)
            return self._client

    @property
    def lease_length(self) -> float:
        return float(min(max(1, int(get_options().retry or 60)), LONGEST_LEASE))

    # -- producing and consuming

    def enqueue(
        self,
        package: str,
        *,
        task_id: str | None = None,
        delay: float = 0,
        priority: int = 0,
    ) -> str:
        """Gives the id that SQS has for the message."""
        letter = Letter(package, task_id, ceil(delay))
        [message_id] = self._send(self.list_key, [letter])
        return message_id

    def enqueue_many(self, consignments: Sequence[Consignment]) -> None:
        by_queue = defaultdict(list)
        for package, queue, task_id, delay, _priority in consignments:
            by_queue[queue].append(Letter(package, task_id, ceil(delay)))
        for queue, letters in by_queue.items():
            for load in loads(letters):
                self._send(queue, load)

    def dequeue(self, count: int | None = None) -> list[Delivery]:
        """Never more than ten, which is what SQS gives at once."""
        self._wanted = min(count or get_options().bulk or 1, AT_ONCE)
        messages = self._answered() if self._is_enlisted else self._waited()
        self._found_all = not messages
        return [deliver(message, self.list_key) for message in messages]

    def acknowledge(self, receipt: str) -> bool:
        return bool(Sqs.acknowledge_many(self, [receipt]))

    def acknowledge_many(self, receipts: Sequence[str]) -> set[str]:
        return self._change("delete_message_batch", receipts)

    fail = delete = acknowledge

    # -- the queue as a whole

    def queue_size(self) -> int:
        return self._count("ApproximateNumberOfMessages")

    def lock_size(self) -> int:
        """With those that wait for their time."""
        return self._count(
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        )

    def purge_queue(self) -> None:
        """SQS does so once a minute at most."""
        self._ask("purge_queue", self.list_key)

    def delete_queue(self) -> None:
        """It is made anew when it is needed; SQS allows that after a minute."""
        self._ask("delete_queue", self.list_key)
        self._urls.pop(self.list_key, None)

    def ping(self) -> bool:
        self._urls.pop(self.list_key, None)
        with plain_words(self.list_key):
            return bool(self._url_of(self.list_key))

    def info(self) -> str:
        return "AWS SQS"

    # -- leases

    def enlist(self, cluster: str, lease: float) -> None:
        del cluster, lease
        self._is_enlisted = True

    def renew(self, receipts: Sequence[str]) -> set[str]:
        return self._hide(receipts, int(self.lease_length))

    def release(
        self, receipts: Sequence[str], *, delay: float = 0, failed: bool = False
    ) -> set[str]:
        del failed  # SQS has counted the delivery
        return self._hide(receipts, min(ceil(delay), LONGEST_LEASE))

    # -- waking up

    def news_fd(self) -> int | None:
        if not self._is_enlisted or not self._wait:
            return None
        if self._found_all:
            self._open_poll().ask(self._wanted)
        return None if self._poll is None else self._poll.descriptor

    def has_news(self) -> bool:
        if not self._is_enlisted or not self._wait or not self._found_all:
            return True
        poll = self._open_poll()
        poll.ask(self._wanted)
        return poll.is_answered

    def pulse(self) -> float:
        if not self._found_all:
            # It gives ten however many there are: the next look is no waste.
            return 0.001
        # The descriptor calls; without it each look is a request that costs.
        return super().pulse() if self._poll is None else 1.0

    def close(self) -> None:
        self._last_poll, self._poll = self._poll or self._last_poll, None
        if self._last_poll is not None:
            self._last_poll.end()
        if self._client is not None and self._process == os.getpid():
            self._client.close()
            self._client = None

    @property
    def _wait(self) -> int:
        """Seconds for which a cluster's question waits for a message."""
        wait = self._account.wait
        return LONGEST_WAIT if wait is None else wait

    def _open_poll(self) -> Poll:
        if self._poll is None:
            wait = self._wait
            client = self._account.open_client(self.connection, wait=wait)

            def receive(count: int) -> list[Message]:
                words = self._receiving(count, wait)
                with plain_words(self.list_key):
                    url = self._url_of(self.list_key)
                    answer = client.receive_message(QueueUrl=url, **words)
                return self._due(answer)

            fresh = self.lease_length / 3
            self._poll = Poll(receive, self._give_back, client.close, fresh)
        return self._poll

    # -- messages

    def _answered(self) -> Sequence[Message]:
        """What there is for a cluster, which is called when there is something."""
        if self._poll is not None and self._poll.is_asking:
            return ()
        taken = () if self._poll is None else self._poll.take()
        return taken or self._receive(self._wanted, 0)

    def _waited(self) -> Sequence[Message]:
        """The same for others, who wait for it."""
        wait = min(self._account.wait or 0, LONGEST_PAUSE)
        messages = self._receive(self._wanted, wait)
        if not messages and not self._account.wait:
            sleep(get_options().poll)
        return messages

    def _receive(self, count: int, wait: int) -> list[Message]:
        words = self._receiving(count, wait)
        return self._due(self._ask("receive_message", self.list_key, **words))

    def _receiving(self, count: int, wait: int) -> dict[str, Any]:
        return {
            "MaxNumberOfMessages": count,
            "WaitTimeSeconds": wait,
            "VisibilityTimeout": int(self.lease_length),
            "AttributeNames": ["ApproximateReceiveCount", "SentTimestamp"],
            "MessageAttributeNames": ["delay"],
        }

    def _due(self, answer: Mapping[str, Any]) -> list[Message]:
        """The messages of an answer whose time has come; the others wait on."""
        now, due = moment_of(answer), []
        for message in answer.get("Messages", []):
            rest = ceil(due_of(message) - now.timestamp())
            if rest <= 0:
                due.append(message)
            else:
                self._hide([message["ReceiptHandle"]], min(rest, LONGEST_LEASE))
        return due

    def _give_back(self, messages: Sequence[Message]) -> None:
        self._hide([message["ReceiptHandle"] for message in messages], 0)

    def _hide(self, receipts: Sequence[str], seconds: int) -> set[str]:
        """From now on, nobody gets these for so long; gives those that are still ours."""
        if receipts and not seconds:
            for poll in filter(None, (self._poll, self._last_poll)):
                poll.expect()
        verb = "change_message_visibility_batch"
        return self._change(verb, receipts, VisibilityTimeout=seconds)

    def _change(self, verb: str, receipts: Sequence[str], **words: Any) -> set[str]:
        ours = set()
        for begin in range(0, len(receipts), AT_ONCE):
            some = receipts[begin : begin + AT_ONCE]
            entries = [
                {"Id": str(n), "ReceiptHandle": receipt, **words}
                for n, receipt in enumerate(some)
            ]
            done, _refused = self._ask_for_each(verb, self.list_key, entries)
            ours |= {some[int(number)] for number in done}
        return ours

    def _send(self, queue: str, letters: Sequence[Letter]) -> list[str]:
        """Up to ten; gives their ids at SQS."""
        for letter in letters:
            if letter.size > LARGEST_MESSAGE:
                raise letter.too_large(f"{LARGEST_MESSAGE} bytes at most")
        entries = [
            {"Id": str(n), **letter.words(queue, self._account.message_group_id)}
            for n, letter in enumerate(letters)
        ]
        try:
            done, refused = self._ask_for_each("send_message_batch", queue, entries)
        except BrokerError as error:
            cause = error.__cause__
            if isinstance(cause, ClientError) and is_too_long(cause):
                longest = max(letters, key=lambda letter: letter.size)
                raise longest.too_large("less on this queue") from error
            raise
        for number, reason in refused.items():
            task = letters[int(number)].task_id or "without id"
            why = clean(reason.get("Message") or reason.get("Code", ""))
            raise BrokerError(f"Amazon SQS refuses task {task} on {queue!r}: {why}")
        return [done[str(n)]["MessageId"] for n in range(len(letters))]

    # -- talking to SQS

    def _ask_for_each(
        self, verb: str, queue: str, entries: Sequence[Message]
    ) -> tuple[dict[str, Message], dict[str, Message]]:
        """What was done, and what was refused, by the ids of the entries.

        What SQS failed to do for reasons of its own is asked for again.
        """
        done: dict[str, Message] = {}
        refused: dict[str, Message] = {}
        for _ in range(TRIES):
            answer = self._ask(verb, queue, Entries=entries)
            done |= by_id(answer.get("Successful", []))
            failed = by_id(answer.get("Failed", []))
            refused |= {n: f for n, f in failed.items() if f.get("SenderFault")}
            entries = [e for e in entries if e["Id"] in failed.keys() - refused.keys()]
            if not entries:
                return done, refused
        message = f"Amazon SQS could not do {len(entries)} of what it was asked for"
        raise BrokerUnavailable(f"{message} on queue {queue!r} ({verb}).")

    def _ask(self, verb: str, queue: str, **words: Any) -> Mapping[str, Any]:
        """The answer about a queue; one that is gone meanwhile is looked for again."""
        with plain_words(queue):
            is_known = queue in self._urls
            url = self._url_of(queue)
            ask = verb_of(self.client, verb)
            try:
                answer = ask(QueueUrl=url, **words)
            except ClientError as error:
                if not is_known or not is_without_queue(error):
                    raise
                del self._urls[queue]
                answer = ask(QueueUrl=self._url_of(queue), **words)
        return answer

    def _url_of(self, queue: str) -> str:
        """The address of a queue; it is made where there is none, if that is allowed."""
        if queue not in self._urls:
            check_name(queue)
            try:
                answer = self.client.get_queue_url(**self._account.name_of(queue))
            except ClientError as error:
                if not is_without_queue(error):
                    raise
                answer = self._create(queue)
            self._urls[queue] = answer["QueueUrl"]
        return self._urls[queue]

    def _create(self, queue: str) -> Mapping[str, str]:
        forbidden = self._account.forbids_making(queue)
        if forbidden is not None:
            raise forbidden
        attributes = {"MessageRetentionPeriod": str(LONGEST_KEPT)}
        if queue.endswith(FIFO):
            attributes["FifoQueue"] = "true"
        answer: Mapping[str, str] = self.client.create_queue(
            QueueName=queue, Attributes=attributes
        )
        return answer

    def _count(self, *names: str) -> int:
        answer = self._ask("get_queue_attributes", self.list_key, AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)
