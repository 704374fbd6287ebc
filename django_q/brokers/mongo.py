"""MongoDB: a collection is the queue."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from time import monotonic, sleep
from typing import Any, Final

from pymongo import DeleteOne, ReturnDocument, UpdateOne

from django_q import humanhash
from django_q.brokers import mongo_documents as documents
from django_q.brokers.base import Consignment, Delivery
from django_q.brokers.contact import Contact
from django_q.brokers.mongo_base import MongoBase
from django_q.brokers.mongo_client import Document
from django_q.brokers.mongo_session import Queue, await_threads
from django_q.brokers.mongo_watch import Watch
from django_q.brokers.news import News
from django_q.conf import get_options
from django_q.exceptions import BrokerUnavailable

MOST_AT_ONCE: Final = 500
"""Documents that one question names."""


class Mongo(MongoBase):
    """Carries packages as documents of the collection that is called like the queue.

    What is taken is leased for `retry` seconds by the server's clock. The receipt names
    the document and its delivery, and with the cluster's id it is the token that every
    later verb must show. Order: by priority, then by the moment a package is due.
    """

    supports_receipts = True
    supports_leases = True
    supports_delay = True
    supports_ids = True
    supports_bulk = True
    supports_priority = True
    supports_cancel = True
    supports_peek = True
    supports_pause = True
    supports_news = True

    def _prepare(self) -> None:
        self._holder: str | None = None
        self._news: News | None = None
        self._is_cut_short = False
        super()._prepare()

    # -- producing and consuming

    def enqueue(
        self,
        package: str,
        *,
        task_id: str | None = None,
        delay: float = 0,
        priority: int = 0,
    ) -> str:
        """Gives the document's id. Said twice, after a lost answer, it is queued once."""
        name = documents.name_of(task_id)
        contents = documents.new(package, self.lease_length, delay, priority)

        def insert(queue: Queue) -> str:
            inserted: Any = queue.find_one_and_update(
                name,
                contents,
                projection=["_id"],
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
            return str(inserted["_id"])

        return self._use(insert, twice=True)

    def enqueue_many(self, consignments: Sequence[Consignment]) -> None:
        by_queue = defaultdict(list)
        for package, queue, task_id, delay, priority in consignments:
            contents = documents.new(package, self.lease_length, delay, priority)
            name = documents.name_of(task_id)
            by_queue[queue].append(UpdateOne(name, contents, upsert=True))
        for queue, insertions in by_queue.items():
            self._write(insertions, queue, twice=True)

    def dequeue(self, count: int | None = None) -> list[Delivery]:
        taken: list[Delivery] = []
        wanted = count or get_options().bulk or 1
        until, self._is_cut_short = monotonic() + self.lease_length / 10, False
        while len(taken) < wanted and not self._is_cut_short:
            try:
                document = self._claim()
            except BrokerUnavailable:
                if not taken:
                    raise
                break
            if document is None:
                break
            taken.append(documents.deliver(document))
            # They come one by one, and the lease of the first is running.
            self._is_cut_short = monotonic() > until
        if not taken and self._holder is None:
            # Whoever asks for one cluster's turn after another's is not called.
            sleep(get_options().poll)
        return taken

    def acknowledge(self, receipt: str) -> bool:
        if ":" not in str(receipt):
            # The id that enqueue gave, as the earlier releases took it.
            name = {"_id": documents.id_in(str(receipt))}
            return bool(self._use(lambda queue: queue.delete_one(name)).deleted_count)
        return bool(Mongo.acknowledge_many(self, [receipt]))

    def acknowledge_many(self, receipts: Sequence[str]) -> set[str]:
        ours = self._ours(receipts)
        removals = [DeleteOne(self._lease_of(receipt)) for receipt in ours]
        if self._write(removals) < len(removals):
            # Some went to others between the two questions, or were purged.
            ours -= self._still_there(ours)
        return ours

    fail = delete = acknowledge

    def cancel(self, task_id: str) -> bool:
        is_idle = documents.is_idle(self.lease_length)
        terms = {"task_id": str(task_id), "$expr": is_idle}
        return bool(self._use(lambda queue: queue.delete_one(terms)).deleted_count)

    def peek(self, count: int = 10) -> list[str]:
        is_takeable = documents.is_takeable(self.lease_length, self._holder)
        terms = {**documents.PACKAGES, "$expr": is_takeable}

        def look(queue: Queue) -> list[Document]:
            found = queue.find(terms, ["payload"], sort=documents.ORDER, limit=count)
            return list(found)

        # To MongoDB a limit of 0 is none.
        return [documents.payload_of(e) for e in self._use(look)] if count > 0 else []

    # -- the queue as a whole

    def queue_size(self) -> int:
        return self._count(documents.is_free(self.lease_length))

    def lock_size(self) -> int:
        """With those that wait for their time."""
        return self._count(documents.is_not_free(self.lease_length))

    def purge_queue(self) -> None:
        """A queue that is paused stays so."""
        self._use(lambda queue: queue.delete_many(documents.PACKAGES), twice=True)

    def delete_queue(self) -> None:
        self._use(lambda queue: queue.drop(), twice=True)
        self._session.indexed.clear()

    def pause(self) -> None:
        """A claim finds the pause before any package: it needs no question of its own."""
        name, pause = {"_id": documents.PAUSED}, {"$set": documents.PAUSE}

        def write(queue: Queue) -> None:
            queue.update_one(name, pause, upsert=True)

        self._use(write, twice=True)

    def resume(self) -> None:
        name = {"_id": documents.PAUSED}
        self._use(lambda queue: queue.delete_one(name), twice=True)

    def is_paused(self) -> bool:
        return bool(self._find({"_id": documents.PAUSED}))

    # -- leases

    def enlist(self, cluster: str, lease: float) -> None:
        self._holder = cluster
        self._contact = Contact(lease)

    def renew(self, receipts: Sequence[str]) -> set[str]:
        self._change(receipts, documents.taken(self._holder))
        return self._ours(receipts)

    def held(self) -> list[Delivery]:
        if self._holder is None:
            return []
        terms = {"holder": self._holder, "$expr": documents.HELD}
        return [documents.deliver(document) for document in self._find(terms)]

    def redeliver(self, receipt: str) -> Delivery | None:
        lease = self._lease_of(receipt)
        again = documents.taken(self._holder, "deliveries", "starts")
        document = self._find_and_change(lease, again)
        return None if document is None else documents.deliver(document)

    def mark_started(self, receipts: Sequence[str]) -> None:
        self._change(receipts, [{"$set": documents.counted("starts")}])

    def release(
        self, receipts: Sequence[str], *, delay: float = 0, failed: bool = False
    ) -> set[str]:
        # What goes back as it came goes to the head of the queue.
        waits = bool(delay or failed)
        lock = documents.lock_of(self.lease_length, delay) if waits else documents.HEAD
        change = documents.freed(lock, *["attempts"] * failed, waits=waits)

        def give_back(receipt: str) -> bool:
            lease = self._lease_of(receipt)
            found = self._use(lambda queue: queue.update_one(lease, change))
            return bool(found.matched_count)

        return {receipt for receipt in receipts if give_back(receipt)}

    def rescue(self) -> list[str]:
        # Whoever empties the queue takes the indexes with it.
        self._session.indexed.clear()
        is_lapsed = {"$and": [documents.is_free(self.lease_length), documents.HELD]}
        others = {**documents.OF_SOME_CLUSTER, "$ne": self._holder}
        terms = {"holder": others, "$expr": is_lapsed}
        lapsed = self._find(terms, {"payload": 0})
        if not lapsed or not self._contact.is_steady:
            return []
        return self._free(lapsed, is_lapsed)

    def rescue_from(self, cluster: str) -> list[str]:
        terms = {"holder": cluster, "$expr": documents.HELD}
        return self._free(self._find(terms, {"payload": 0}), documents.HELD)

    # -- waking up

    def news_fd(self) -> int | None:
        return self._open_news().fd()

    def has_news(self) -> bool:
        return self._is_cut_short or self._open_news().has_any()

    def pulse(self) -> float:
        return 0.001 if self._is_cut_short else self._open_news().pulse()

    def next_due(self) -> float | None:
        lease = self.lease_length
        waits = {"$and": [documents.is_not_free(lease), documents.NOT_HELD]}
        rest = {"$subtract": ["$lock", documents.lock_of(lease)]}
        question: list[Document] = [
            {"$match": {"$expr": waits}},
            {"$sort": {"lock": 1}},
            {"$limit": 1},
            {"$project": {"rest": rest}},
        ]
        found = self._use(lambda queue: list(queue.aggregate(question)))
        return found[0]["rest"] / 1000 if found else None

    def close(self) -> None:
        if self._news is not None:
            self._news.close()
            self._news = None
        super().close()

    def before_fork(self) -> None:
        self.close()
        await_threads()

    def _open_news(self) -> News:
        if self._news is None:
            poll = get_options().poll
            if self._holder is None:
                # It may never be closed.
                return News(poll)
            session, queue = self._open_session(), self.list_key

            def watch(*pipeline: Any, **words: Any) -> Any:
                return session.open(queue).watch(*pipeline, **words)

            self._news = Watch(watch, poll)
        return self._news

    def _claim(self) -> Document | None:
        """The next package, leased to us."""
        is_takeable = documents.is_takeable(self.lease_length, self._holder)
        change = documents.claimed(self._holder)
        document = self._find_and_change({"$expr": is_takeable}, change)
        is_pause = document is not None and document["_id"] == documents.PAUSED
        return None if is_pause else document

    def _find_and_change(
        self, terms: Document, change: list[Document]
    ) -> Document | None:
        """The first document that these terms find, as it is after the change."""

        def find_and_change(queue: Queue) -> Document | None:
            return queue.find_one_and_update(
                terms,
                change,
                sort=documents.ORDER,
                return_document=ReturnDocument.AFTER,
            )

        return self._use(find_and_change)

    def _free(self, held: list[Document], terms: Document) -> list[str]:
        """Free those of these that their clusters still hold on these terms."""
        change = documents.freed(documents.HEAD, "rescues")
        texts = []
        for each in held[: self.rescued_at_once]:
            lease = {"_id": each["_id"], "holder": each["holder"], "$expr": terms}
            if self._find_and_change(lease, change):
                task = each.get("task_id") or f"of document {each['_id']}"
                texts.append(f"task {task} from {humanhash.humanize(each['holder'])}")
        return texts

    def _lease_of(self, receipt: str) -> Document:
        return documents.lease_of(receipt, self._holder)

    def _ours(self, receipts: Sequence[str]) -> set[str]:
        """Those of these receipts whose lease is still ours."""
        ours: set[str] = set()
        for begin in range(0, len(receipts), MOST_AT_ONCE):
            some = receipts[begin : begin + MOST_AT_ONCE]
            terms = {"$or": [self._lease_of(receipt) for receipt in some]}
            found = self._find(terms, ["deliveries"])
            ours.update(documents.receipt_of(document) for document in found)
        return ours

    def _still_there(self, receipts: set[str]) -> set[str]:
        """Those of these receipts whose document exists, in whose hands it may be."""
        ids = {documents.id_in(each.partition(":")[0]): each for each in receipts}
        terms = {"_id": {"$in": list(ids)}}
        found = self._find(terms, ["_id"])
        return {ids[document["_id"]] for document in found}

    def _change(self, receipts: Sequence[str], change: list[Document]) -> None:
        """Change what is still ours."""
        self._write(
            [UpdateOne(self._lease_of(receipt), change) for receipt in receipts]
        )

    def _count(self, terms: Document) -> int:
        question = {**documents.PACKAGES, "$expr": terms}
        return self._use(lambda queue: queue.count_documents(question))
