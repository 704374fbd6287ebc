"""Documents of a queue in MongoDB: what is asked about them, and how they change.

`payload` and `lock`, the moment at which it was taken, are what the earlier releases
know. A package is free when that was more than a lease ago; a new one gets a moment that
is. Beside them stand our own: `holder`, the cluster, and `leased`, which equals `lock` for
as long as nobody who doesn't know `holder` has taken the package over. So does `due`, where
a package waits for its time. `above` and `below` say how far its priority is from 0, and are
not there when it is 0: thus one index has all in order, also those of the earlier releases.

A queue that is paused has one document more, which is no package. It goes before all of
them, and whoever is handed it knows. It has no `lock`: the earlier releases never find it.

All moments are those of the server.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, Final

from bson import ObjectId
from bson.errors import InvalidId

from django_q.brokers.base import Delivery
from django_q.brokers.priorities import bounded
from django_q.exceptions import UnknownReceipt

Terms = dict[str, Any]

NOW: Final = "$$NOW"
REMOVE: Final = "$$REMOVE"

HEAD: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""The lock of what goes before all others of its priority."""

ORDER: Final = [("above", -1), ("below", 1), ("lock", 1), ("_id", 1)]
"""A field that is missing is less than every number."""

HELD: Final[Terms] = {"$eq": ["$lock", "$leased"]}
NOT_HELD: Final[Terms] = {"$ne": ["$lock", "$leased"]}
WAITS: Final[Terms] = {"$eq": ["$lock", "$due"]}

PAUSED: Final = "paused"
PAUSE: Final[Terms] = {"above": math.inf, "leased": True}
"""Of the document that is no package: first in order, free to be taken, and not held."""

PACKAGES: Final[Terms] = {"_id": {"$ne": PAUSED}}
IS_PACKAGE: Final[Terms] = {"$ne": ["$_id", PAUSED]}
IS_NEW: Final[Terms] = {"$eq": [{"$type": "$payload"}, "missing"]}

OF_SOME_CLUSTER: Final[Terms] = {"$gt": ""}
"""A holder; the index of holders serves this one."""


def milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def lock_of(lease: float, delay: float = 0) -> Terms:
    """The lock of what is free after this delay."""
    return {"$add": [NOW, milliseconds(delay) - milliseconds(lease)]}


def is_free(lease: float) -> Terms:
    """Nobody has it, or its lease ran out."""
    return {"$lte": ["$lock", lock_of(lease)]}


def is_not_free(lease: float) -> Terms:
    return {"$gt": ["$lock", lock_of(lease)]}


def added(field: str) -> Terms:
    """One more."""
    return {"$add": [{"$ifNull": [f"${field}", 0]}, 1]}


def is_takeable(lease: float, holder: str | None) -> Terms:
    """A cluster leaves to `rescue` what others hold."""
    free = is_free(lease)
    return free if holder is None else {"$and": [free, NOT_HELD]}


def is_idle(lease: float) -> Terms:
    """Nobody has it, nor had it when its lease ran out."""
    return {"$and": [NOT_HELD, {"$or": [is_free(lease), WAITS]}]}


def only(condition: Terms, fields: Terms) -> Terms:
    """These values where the condition holds; elsewhere the fields are left alone."""
    return {
        name: {"$cond": [condition, value, f"${name}"]}
        for name, value in fields.items()
    }


def new(package: str, lease: float, delay: float = 0, priority: int = 0) -> list[Terms]:
    """Makes the document; leaves one that is there as it is."""
    lock = lock_of(lease, delay)
    fields = {"payload": {"$literal": package}, "lock": lock, **ranked(priority)}
    return [{"$set": only(IS_NEW, {**fields, "due": lock} if delay > 0 else fields)}]


def ranked(priority: int) -> Terms:
    if not priority:
        return {}
    rank = bounded(priority)
    return {"above": rank} if rank > 0 else {"below": -rank}


def name_of(task_id: str | None) -> Terms:
    """By what a document is found that is to be inserted once, however often we say so."""
    return {"_id": ObjectId()} if task_id is None else {"task_id": str(task_id)}


def claimed(holder: str | None) -> list[Terms]:
    """Hands out a package; a pause is shown as it is."""
    return [{"$set": only(IS_PACKAGE, lease_by(holder, "deliveries"))}]


def taken(holder: str | None, *counts: str) -> list[Terms]:
    """Begins a lease, and counts."""
    return [{"$set": lease_by(holder, *counts)}]


def lease_by(holder: str | None, *counts: str) -> Terms:
    by_whom = {"holder": holder or REMOVE, "leased": NOW if holder else REMOVE}
    return {"lock": NOW, "due": REMOVE, **by_whom, **counted(*counts)}


def freed(lock: Any, *counts: str, waits: bool = False) -> list[Terms]:
    """Ends a lease, and counts."""
    nobody = {"holder": REMOVE, "leased": REMOVE, "due": lock if waits else REMOVE}
    return [{"$set": {"lock": lock, **nobody, **counted(*counts)}}]


def counted(*counts: str) -> Terms:
    return {field: added(field) for field in counts}


def lease_of(receipt: str, holder: str | None) -> Terms:
    """Finds the document of a receipt while the lease is still ours."""
    row, _, delivery = receipt.partition(":")
    if not delivery.isdigit():
        raise _unknown(receipt)
    terms = {"_id": id_in(row), "deliveries": int(delivery), "holder": holder}
    return terms if holder is None else {**terms, "$expr": HELD}


def id_in(text: str) -> ObjectId:
    """The id of a document."""
    try:
        return ObjectId(text)
    except InvalidId:
        raise _unknown(text) from None


def _unknown(receipt: str) -> UnknownReceipt:
    return UnknownReceipt(f"{receipt!r} is no receipt of the MongoDB broker.")


def receipt_of(document: Terms) -> str:
    return f"{document['_id']}:{document.get('deliveries', 0)}"


def payload_of(document: Terms) -> str:
    payload = document.get("payload", "")
    return payload.decode() if isinstance(payload, bytes) else str(payload)


def deliver(document: Terms) -> Delivery:
    """A document as it is handed out."""
    counts = ("deliveries", "starts", "attempts", "rescues")
    numbers = [int(document.get(count, 0)) for count in counts]
    return Delivery(receipt_of(document), payload_of(document), *numbers)
