"""Documents of a queue in MongoDB: what is asked about them, and how they change.

`payload` and `lock`, the moment at which it was taken, are what the earlier releases
know. A package is free when that was more than a lease ago; a new one gets a moment that
is. Beside them stand our own: `holder`, the cluster, and `leased`, which equals `lock` for
as long as nobody who doesn't know `holder` has taken the package over.

All moments are those of the server.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from bson import ObjectId
from bson.errors import InvalidId

from django_q.brokers.base import Delivery
from django_q.exceptions import UnknownReceipt

Terms = dict[str, Any]

NOW: Final = "$$NOW"
REMOVE: Final = "$$REMOVE"

HEAD: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""The lock of what goes before all others."""

ORDER: Final = [("lock", 1), ("_id", 1)]

HELD: Final[Terms] = {"$eq": ["$lock", "$leased"]}
NOT_HELD: Final[Terms] = {"$ne": ["$lock", "$leased"]}

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


def new(package: str, lease: float, delay: float = 0) -> list[Terms]:
    """Makes the document; leaves one that is there as it is."""
    fields = {
        "payload": {"$ifNull": ["$payload", {"$literal": package}]},
        "lock": {"$ifNull": ["$lock", lock_of(lease, delay)]},
    }
    return [{"$set": fields}]


def name_of(task_id: str | None) -> Terms:
    """By what a document is found that is to be inserted once, however often we say so."""
    return {"_id": ObjectId()} if task_id is None else {"task_id": str(task_id)}


def taken(holder: str | None, *counts: str) -> list[Terms]:
    """Begins a lease, and counts."""
    by_whom = {"holder": holder or REMOVE, "leased": NOW if holder else REMOVE}
    return [{"$set": {"lock": NOW, **by_whom, **counted(*counts)}}]


def renewed(holder: str | None) -> list[Terms]:
    return taken(holder)


def freed(lock: Any, *counts: str) -> list[Terms]:
    """Ends a lease, and counts."""
    nobody = {"holder": REMOVE, "leased": REMOVE}
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


def deliver(document: Terms) -> Delivery:
    """A document as it is handed out."""
    payload = document.get("payload", "")
    package = payload.decode() if isinstance(payload, bytes) else str(payload)
    counts = ("deliveries", "starts", "attempts", "rescues")
    numbers = [int(document.get(count, 0)) for count in counts]
    return Delivery(receipt_of(document), package, *numbers)
