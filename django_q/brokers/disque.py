"""Disque: jobs in the memory of several nodes, any of which takes and gives them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from shlex import quote
from typing import Any, Final

from django_q.brokers.base import Broker, Consignment, Delivery
from django_q.brokers.disque_call import Calls
from django_q.brokers.disque_client import MOST_AT_ONCE, Nodes, connect
from django_q.brokers.disque_jobs import (
    LONGEST_DELAY,
    LONGEST_RETRY,
    Jobs,
    addition,
    deliver,
    facts_in,
    failures_in,
    job_of,
)
from django_q.conf import get_options
from django_q.exceptions import BrokerError, BrokerUnavailable
from django_q.logs import logger

GONE: Final = ("NOJOB", "ACKED")
"""What WORKING answers when the job has been acknowledged, or is not on this node."""


class Disque(Broker):
    """Carries packages as jobs of Disque.

    A job that was handed out comes back `retry` seconds later, unless it is told that
    somebody is working on it. A receipt is the job's id and the number of earlier
    deliveries; Disque itself knows the id alone, so a late receipt is as good as a new one.
    """

    supports_receipts = True
    supports_renewal = True
    supports_delay = True
    supports_bulk = True
    supports_peek = True
    supports_pause = True
    supports_news = True

    connection: Nodes
    _is_enlisted = False
    _found_all = False
    """The last look found less than it asked for: there is room for what comes."""

    _calls: Calls | None = None

    @property
    def lease_length(self) -> float:
        """RETRY, which is whole seconds; 0 would be once and never again."""
        options = get_options()
        return min(max(1, ceil(options.retry or options.lease)), LONGEST_RETRY)

    @staticmethod
    def get_connection(list_key: str | None = None) -> Nodes:
        """The nodes; one is connected with the first command, in each process anew."""
        return connect(get_options())

    # -- producing and consuming

    def enqueue(
        self,
        package: str,
        *,
        task_id: str | None = None,
        delay: float = 0,
        priority: int = 0,
    ) -> str:
        """Gives the id of the job. A repetition would be another job, so there is none."""
        job: bytes = self.connection.execute_command(
            *self._addition(self.list_key, package, delay), again=False, is_new=True
        )
        return job.decode()

    def enqueue_many(self, consignments: Sequence[Consignment]) -> None:
        added = [
            self._addition(each.queue, each.package, each.delay)
            for each in consignments
        ]
        self.connection.execute_each(added, again=False)

    def dequeue(self, count: int | None = None) -> list[Delivery]:
        wanted = count or get_options().bulk or 1
        if self._is_enlisted:
            jobs = self._called(wanted)
        else:
            # 0 would be for ever. Who serves a cluster has others to listen to.
            patience = max(1, min(1000, int(get_options().poll * 1000)))
            jobs = self._get(wanted, "TIMEOUT", patience)
        self._found_all = len(jobs) < wanted
        taken = [deliver(job) for job in jobs]
        # A job's time runs from when it was queued: without this, one that waited long
        # would come back at once.
        self._work_on([str(delivery.receipt) for delivery in taken])
        return taken

    def acknowledge(self, receipt: str) -> bool:
        return bool(Disque.acknowledge_many(self, [receipt]))

    def acknowledge_many(self, receipts: Sequence[str]) -> set[str]:
        """Gives all: a node can't tell whether a job that it doesn't know ever was."""
        verb = "FASTACK" if get_options().disque_fastack else "ACKJOB"
        self._in_loads(verb, [job_of(receipt) for receipt in receipts])
        return set(receipts)

    fail = delete = acknowledge

    # -- the queue as a whole

    def queue_size(self) -> int:
        """Jobs that wait, on all nodes that can be reached."""
        words = ("QLEN", self.list_key)
        return sum(self.connection.ask_all(lambda node: node.execute_command(*words)))

    def lock_size(self) -> int:
        """Jobs that no node offers: handed out, or delayed."""
        # What one node offers is known to others, which hold it back.
        offered = self._jobs("queued") if self.connection.are_several else set[str]()
        return len(self._jobs("active") - offered)

    def purge_queue(self) -> None:
        # DELJOB would leave the copies on other nodes, and these would bring it back.
        self._in_loads("FASTACK", sorted(self._jobs("active", "queued")))

    delete_queue = purge_queue

    def peek(self, count: int = 10) -> list[str]:
        """The next packages, without taking them; with a negative count the latest."""
        words = ("QPEEK", self.list_key, count)
        nodes = self.connection.ask_all(lambda node: node.execute_command(*words))
        jobs = {job[1]: job[2] for node in nodes for job in node}
        return [body.decode(errors="replace") for body in jobs.values()][: abs(count)]

    def pause(self) -> None:
        self.pause_as("out")

    def resume(self) -> None:
        self.pause_as("none")

    def is_paused(self) -> bool:
        return self.pause_as("state") in {"out", "all"}

    def pause_as(self, state: str) -> str:
        """Stop the queue on all nodes, `in`, `out` or `all`, or go on with `none`.

        Gives the state that follows; asked for `state`, it changes nothing.
        """
        words = [state] if state == "state" else [state, "bcast"]
        said: bytes = self.connection.execute_command("PAUSE", self.list_key, *words)
        return said.decode()

    def queues(self) -> list[str]:
        """The queues that the nodes know."""
        found = self._scan("QSCAN", "COUNT", MOST_AT_ONCE)
        return sorted(name.decode(errors="replace") for name in found)

    def ping(self) -> bool:
        try:
            return bool(self.connection.execute_command("PING"))
        except BrokerUnavailable as error:
            logger.error("%s", error)
            raise

    def info(self) -> str:
        if self._info is None:
            about = self.connection.execute_command("INFO")
            self._info = f"Disque {about.get('disque_version', 'of unknown version')}"
        return self._info

    def cautions(self) -> list[str]:
        said = []
        if (state := self.pause_as("state")) != "none":
            which = f"The queue {self.list_key!r} of Disque is paused ({state})"
            said.append(
                f"{which}: send PAUSE {quote(self.list_key)} none bcast to go on."
            )
        about = self.connection.execute_command("INFO")
        _version, _name, *nodes = self.connection.execute_command("HELLO")
        if len(nodes) == 1 and not about.get("aof_enabled"):
            what = "Disque is a single node and keeps jobs in memory only: a restart"
            said.append(f"{what} loses them all. Switch its `appendonly` on.")
        if (get_options().retry or 0) > LONGEST_RETRY:
            days = LONGEST_RETRY // (24 * 3600)
            what = f"Q_CLUSTER['retry'] is longer than the {days} days that a job of Disque"
            said.append(f"{what} can be kept from coming back: those are taken.")
        return said

    # -- leases: what a node knows of them

    def enlist(self, cluster: str, lease: float) -> None:
        self._is_enlisted = True

    def renew(self, receipts: Sequence[str]) -> set[str]:
        """Say that they are still worked on. In the second half of its life a job can't be
        kept any more: it is handed out again whatever we say.
        """
        unknown = self._work_on(receipts)
        # Where there are several nodes, one that can't be reached may know them.
        return set(receipts) - (set() if self.connection.are_several else unknown)

    def release(
        self, receipts: Sequence[str], *, delay: float = 0, failed: bool = False
    ) -> set[str]:
        """Give back; `failed` counts among the job's nacks. A job can't be made to wait
        again, so that a later one is put in its place.
        """
        if delay > 0:
            return {r for r in receipts if self._put_off(r, delay, failed=failed)}
        verb = "NACK" if failed else "ENQUEUE"
        left = [(verb, job_of(receipt)) for receipt in receipts]

        def give(node: Nodes) -> None:
            answers = node.execute_each(left)
            rest = [each for each, n in zip(left, answers, strict=True) if not n]
            known = node.execute_each([("SHOW", job) for _verb, job in rest])
            left[:] = [each for each, job in zip(rest, known, strict=True) if not job]

        give(self.connection)
        # Only the first of the others that has a copy: each would hand it out.
        if left and self.connection.are_several:
            self.connection.ask_all(give)
        return set(receipts)

    # -- waking up

    def news_fd(self) -> int | None:
        if not self._is_enlisted:
            return None
        if self._found_all:
            self._open_calls().ask()
        return None if self._calls is None else self._calls.descriptor

    def has_news(self) -> bool:
        if not self._is_enlisted or not self._found_all:
            return True
        calls = self._open_calls()
        calls.ask()
        return calls.are_answered()

    def pulse(self) -> float:
        is_called = self._calls is not None and self._calls.descriptor is not None
        return 1.0 if is_called else super().pulse()

    def close(self) -> None:
        if self._calls is not None:
            self._calls.end()
            self._calls = None
        self.connection.close()

    def _open_calls(self) -> Calls:
        if self._calls is None:
            nodes = self.connection.members
            self._calls = Calls(nodes, self.list_key, self.lease_length)
        return self._calls

    # -- talking to Disque

    def _called(self, wanted: int) -> Jobs:
        """What there is for a cluster, which is called when there is something."""
        if self._calls is not None and not self._calls.are_answered():
            return []
        came = [] if self._calls is None else self._calls.take(wanted)
        try:
            # Whoever waited for jobs gets a single one, however many there are.
            return came + self._get(wanted - len(came), "NOHANG")
        except BrokerError:
            if not came:
                raise
        return came

    def _get(self, wanted: int, *waiting: Any) -> Jobs:
        if wanted < 1:
            return []
        words = (*waiting, "COUNT", wanted, "WITHCOUNTERS", "FROM", self.list_key)
        jobs: Jobs | None = self.connection.execute_command("GETJOB", *words)
        return jobs or []

    def _addition(
        self, queue: str, package: str, delay: float = 0, failures: int = 0
    ) -> list[Any]:
        return addition(queue, package, int(self.lease_length), delay, failures)

    def _put_off(self, receipt: str, delay: float, *, failed: bool) -> bool:
        """Queue the package anew, for later, and only then be done with the former job."""
        words = ("SHOW", job_of(receipt))
        nodes = self.connection.ask_all(lambda node: node.execute_command(*words))
        jobs = [facts_in(facts) for facts in nodes if facts]
        if not jobs or any(job["state"] != b"active" for job in jobs):
            return False
        package = jobs[0]["body"].decode(errors="replace")
        failures = max(int(job["nacks"]) for job in jobs)
        failures += failures_in(receipt) + failed
        pause = min(delay, LONGEST_DELAY)
        added = self._addition(self.list_key, package, pause, failures)
        self.connection.execute_command(*added, again=False, is_new=True)
        return bool(Disque.acknowledge_many(self, [receipt]))

    def _work_on(self, receipts: Sequence[str]) -> set[str]:
        """Say that we go on with these; gives those that no node knows any more."""
        left = [("WORKING", job_of(receipt)) for receipt in receipts]

        def tell(node: Nodes) -> None:
            answers = node.execute_each(left, refusals=True)
            told = zip(left, answers, strict=True)
            left[:] = [each for each, said in told if str(said).startswith(GONE)]

        tell(self.connection)
        # With more than three nodes, not each of them has a copy.
        if left and self.connection.are_several:
            self.connection.ask_all(tell)
        unknown = {job for _verb, job in left}
        return {receipt for receipt in receipts if job_of(receipt) in unknown}

    def _jobs(self, *states: str) -> set[str]:
        """The ids of the jobs of this queue that are in one of these states somewhere."""
        words: list[Any] = ["QUEUE", self.list_key, "COUNT", MOST_AT_ONCE]
        for state in states:
            words += ["STATE", state]
        return {job.decode() for job in self._scan("JSCAN", *words)}

    def _scan(self, verb: str, *words: Any) -> set[bytes]:
        nodes = self.connection.ask_all(lambda node: set(scan(node, verb, *words)))
        return set().union(*nodes)

    def _in_loads(self, verb: str, jobs: Sequence[str]) -> None:
        """A verb that takes many ids, and may be said again."""
        for begin in range(0, len(jobs), MOST_AT_ONCE):
            load = jobs[begin : begin + MOST_AT_ONCE]
            self.connection.execute_command(verb, *load)


def scan(node: Nodes, verb: str, *words: Any) -> Iterator[bytes]:
    """What a node gives page by page; some may come twice."""
    cursor = b"0"
    while True:
        cursor, found = node.execute_command(verb, cursor, *words)
        yield from found
        if int(cursor) == 0:
            return
