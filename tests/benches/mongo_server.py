"""MongoDB for the tests: its protocol on a real socket, written from its documentation.

It is no MongoDB, and a real server was not run. It keeps documents in memory, knows the
commands, the operators of queries and updates and the expressions that the broker uses,
and answers everything else with an error rather than with a guess. It can be a server that
stands alone, or the only member of a replica set, with retryable writes and change
streams. Where a real server is installed, the same tests run on that as well.
"""

from __future__ import annotations

import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

import bson
from bson import Int64, ObjectId

from tests.benches.listening import LineServer

EPOCH = datetime(1970, 1, 1)
OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
MORE_TO_COME = 2
LARGEST: Final = 16 * 1024 * 1024
PAGE: Final = 101
"""Documents in the first answer, as the server has it."""

RANKS: Final = (
    (type(None), 1),
    (bool, 8),
    (int | float, 2),
    (str, 3),
    (Mapping, 4),
    (list, 5),
    (bytes, 6),
    (ObjectId, 7),
    (datetime, 9),
)
"""How values of different types are ordered."""

SORTED: Final = {str, int, Int64, float, bytes, ObjectId, datetime}
"""Types whose values Python compares as the server does."""

Document = dict[str, Any]


class Missing:
    """The value of a field that is not there."""


MISSING: Final = Missing()


class Refusal(Exception):
    def __init__(self, code: int, name: str, message: str) -> None:
        super().__init__(message)
        self.code, self.name = code, name

    def answer(self) -> Document:
        return {
            "ok": 0.0,
            "errmsg": str(self),
            "code": self.code,
            "codeName": self.name,
        }


# -- values


def rank(value: Any) -> int:
    kind: Any = type(value)
    return 0 if value is MISSING else rank_of(kind)


@cache
def rank_of(kind: type) -> int:
    for general, number in RANKS:
        if issubclass(kind, general):
            return number
    raise Refusal(2, "BadValue", f"no order for {kind.__name__}")


def compare(one: Any, other: Any) -> int:
    ranks = rank(one), rank(other)
    if ranks[0] != ranks[1]:
        return -1 if ranks[0] < ranks[1] else 1
    if one is MISSING or one is None or one == other:
        return 0
    return -1 if one < other else 1


def look_up(document: Any, path: str) -> Any:
    if "." not in path:
        return document.get(path, MISSING)
    for name in path.split("."):
        if not isinstance(document, dict) or name not in document:
            return MISSING
        document = document[name]
    return document


# -- expressions


def evaluate(expression: Any, document: Document, now: datetime) -> Any:
    if isinstance(expression, str) and expression.startswith("$$"):
        return {"$$NOW": now, "$$REMOVE": MISSING}[expression]
    if isinstance(expression, str) and expression.startswith("$"):
        return look_up(document, expression[1:])
    if not isinstance(expression, dict):
        return expression
    [(operator, operand)] = expression.items()
    if operator == "$literal":
        return operand
    operands = operand if isinstance(operand, list) else [operand]
    verb = OPERATORS.get(operator)
    if verb is None:
        raise Refusal(168, "InvalidPipelineOperator", f"Unrecognized {operator!r}")
    return verb(*[evaluate(each, document, now) for each in operands])


def add(*values: Any) -> Any:
    if any(value is MISSING or value is None for value in values):
        return None
    dates = [value for value in values if isinstance(value, datetime)]
    total = sum(value for value in values if not isinstance(value, datetime))
    if len(dates) > 1:
        raise Refusal(16612, "Location16612", "only one date allowed in $add")
    return dates[0] + timedelta(milliseconds=total) if dates else total


def subtract(one: Any, other: Any) -> Any:
    if MISSING in (one, other) or None in (one, other):
        return None
    if not isinstance(one, datetime):
        return one - other
    if isinstance(other, datetime):
        return Int64(round((one - other) / timedelta(milliseconds=1)))
    return one - timedelta(milliseconds=other)


def if_null(*values: Any) -> Any:
    there = [value for value in values if value is not MISSING and value is not None]
    return there[0] if there else values[-1]


def type_of(value: Any) -> str:
    names = {0: "missing", 1: "null", 3: "string", 7: "objectId", 8: "bool", 9: "date"}
    return names[rank(value)]


OPERATORS: Final[dict[str, Callable[..., Any]]] = {
    "$add": add,
    "$subtract": subtract,
    "$ifNull": if_null,
    "$type": type_of,
    "$cond": lambda condition, one, other: one if is_true(condition) else other,
    "$and": lambda *values: all(map(is_true, values)),
    "$or": lambda *values: any(map(is_true, values)),
    "$not": lambda value: not is_true(value),
    "$eq": lambda one, other: compare(one, other) == 0,
    "$ne": lambda one, other: compare(one, other) != 0,
    "$lt": lambda one, other: compare(one, other) < 0,
    "$lte": lambda one, other: compare(one, other) <= 0,
    "$gt": lambda one, other: compare(one, other) > 0,
    "$gte": lambda one, other: compare(one, other) >= 0,
}


def is_true(value: Any) -> bool:
    return value is not MISSING and value is not None and value not in (0, False)


# -- queries

COMPARISONS: Final[dict[str, Callable[[int], bool]]] = {
    "$lt": lambda order: order < 0,
    "$lte": lambda order: order <= 0,
    "$gt": lambda order: order > 0,
    "$gte": lambda order: order >= 0,
}


def matches(document: Document, query: Mapping[str, Any], now: datetime) -> bool:
    for key, wanted in query.items():
        if key == "$or":
            found = any(matches(document, each, now) for each in wanted)
        elif key == "$and":
            found = all(matches(document, each, now) for each in wanted)
        elif key == "$expr":
            found = is_true(evaluate(wanted, document, now))
        elif key.startswith("$"):
            raise Refusal(2, "BadValue", f"unknown top level operator: {key}")
        else:
            found = suits(look_up(document, key), wanted)
        if not found:
            return False
    return True


def suits(value: Any, wanted: Any) -> bool:
    """Whether one field is as a query wants it."""
    if not (isinstance(wanted, Mapping) and any(k.startswith("$") for k in wanted)):
        return equals(value, wanted)
    return all(suits_one(value, operator, each) for operator, each in wanted.items())


def suits_one(value: Any, operator: str, wanted: Any) -> bool:
    if operator == "$eq":
        return equals(value, wanted)
    if operator == "$ne":
        return not equals(value, wanted)
    if operator == "$in":
        return any(equals(value, each) for each in wanted)
    if operator == "$exists":
        return (value is not MISSING) is bool(wanted)
    if operator in COMPARISONS:
        # Values of another type are neither larger nor smaller.
        alike = value is not MISSING and rank(value) == rank(wanted)
        return alike and COMPARISONS[operator](compare(value, wanted))
    raise Refusal(2, "BadValue", f"unknown operator: {operator}")


def equals(value: Any, wanted: Any) -> bool:
    if wanted is None:
        return value is MISSING or value is None
    if isinstance(value, list) and not isinstance(wanted, list):
        return any(equals(each, wanted) for each in value)
    return value is not MISSING and compare(value, wanted) == 0


def ordered(documents: Iterable[Document], sort: Mapping[str, int]) -> list[Document]:
    found = list(documents)
    for key, direction in reversed(list(sort.items())):
        values = [look_up(document, key) for document in found]
        kinds = set(map(type, values))
        if kinds == {Missing}:
            continue
        # Values of one type need not be ranked, and thousands mostly are of one.
        is_plain = len(kinds) == 1 and kinds <= SORTED
        places = values if is_plain else list(map(place, values))
        order = sorted(range(len(found)), key=places.__getitem__, reverse=direction < 0)
        found = [found[n] for n in order]
    return found


def place(value: Any) -> tuple[int, Any]:
    is_nothing = value is MISSING or value is None
    return (rank(None), None) if is_nothing else (rank(value), value)


def projected(document: Document, fields: Mapping[str, Any] | None) -> Document:
    if not fields:
        return document
    if all(value in (0, False) for value in fields.values()):
        return {k: v for k, v in document.items() if k not in fields}
    return {k: v for k, v in document.items() if fields.get(k, k == "_id")}


# -- updates


def updated(old: Document, update: Any, now: datetime, *, is_new: bool) -> Document:
    document = deepcopy(old)
    if isinstance(update, list):
        for stage in update:
            change_by_stage(document, stage, now)
    else:
        for verb, fields in update.items():
            change_by_modifier(document, verb, fields, is_new=is_new)
    return document


def change_by_stage(document: Document, stage: Document, now: datetime) -> None:
    [(verb, fields)] = stage.items()
    if verb not in ("$set", "$addFields"):
        raise Refusal(40324, "Location40324", f"Unrecognized stage {verb!r}")
    values = {k: evaluate(v, document, now) for k, v in fields.items()}
    for name, value in values.items():
        if value is MISSING:
            document.pop(name, None)
        else:
            document[name] = value


def change_by_modifier(
    document: Document, verb: str, fields: Document, *, is_new: bool
) -> None:
    if verb == "$inc":
        fields = {name: document.get(name, 0) + n for name, n in fields.items()}
    elif verb not in ("$set", "$setOnInsert"):
        raise Refusal(9, "FailedToParse", f"Unknown modifier: {verb}")
    if is_new or verb != "$setOnInsert":
        document |= fields


def beginning(query: Mapping[str, Any]) -> Document:
    """What an upsert starts from: the fields that the query wants to be equal."""
    return {
        key: value
        for key, value in query.items()
        if not key.startswith("$") and not isinstance(value, Mapping)
    }


class Collection:
    def __init__(self, name: str, tell: Callable[[Document], None]) -> None:
        self.name = name
        self.documents: dict[Any, Document] = {}
        self.indexes: dict[str, Document] = {
            "_id_": {"name": "_id_", "key": {"_id": 1}}
        }
        self._tell = tell

    def find(
        self,
        query: Mapping[str, Any],
        now: datetime,
        sort: Mapping[str, int] | None = None,
        limit: int = 0,
    ) -> list[Document]:
        there = self._named(query)
        there = ordered(there, sort) if sort else there
        found = (document for document in there if matches(document, query, now))
        return list(itertools.islice(found, limit or None))

    def _named(self, query: Mapping[str, Any]) -> Iterable[Document]:
        """As an index finds them: those that have the ids or texts that the query wants."""
        wanted = [each.get("_id", {}) for each in query.get("$or", [query])]
        if not any(isinstance(name, dict) for name in wanted):
            names = dict.fromkeys(wanted)
            return [self.documents[name] for name in names if name in self.documents]
        there: Iterable[Document] = self.documents.values()
        for key, text in query.items():
            if isinstance(text, str) and "." not in key:
                there = [d for d in there if d.get(key) == text]
        return there

    def insert(self, document: Document) -> Document:
        # As the server does, `_id` goes first, made here where it is missing.
        document = {"_id": document.get("_id", ObjectId()), **document}
        if document["_id"] in self.documents:
            raise self._is_there("_id_")
        self._check(document)
        self.documents[document["_id"]] = document
        self._event("insert", document, fullDocument=document)
        return document

    def replace(self, old: Document, new: Document) -> None:
        if old["_id"] != new["_id"]:
            raise Refusal(66, "ImmutableField", "the field '_id' can't be changed")
        if old == new:
            return
        self._check(new)
        self.documents[new["_id"]] = new
        change = {
            "updatedFields": {k: v for k, v in new.items() if old.get(k) != v},
            "removedFields": [k for k in old if k not in new],
        }
        self._event("update", new, updateDescription=change)

    def remove(self, document: Document) -> None:
        del self.documents[document["_id"]]
        self._event("delete", document)

    def upsert(self, query: Mapping[str, Any], update: Any, now: datetime) -> Document:
        return self.insert(updated(beginning(query), update, now, is_new=True))

    def _check(self, document: Document) -> None:
        """The size, and unique indexes; a sparse one does not know documents without the
        field.
        """
        if len(bson.encode(document)) > LARGEST:
            text = f"Resulting document after update is larger than {LARGEST}"
            raise Refusal(17419, "Location17419", text)
        for name, index in self.indexes.items():
            [key, *_more] = index["key"]
            value = document.get(key, MISSING)
            if not index.get("unique") or (index.get("sparse") and value is MISSING):
                continue
            for other in self.documents.values():
                if other.get(key, MISSING) == value and other["_id"] != document["_id"]:
                    raise self._is_there(name)

    def _is_there(self, index: str) -> Refusal:
        text = f"E11000 duplicate key error collection: {self.name} index: {index}"
        return Refusal(11000, "DuplicateKey", text)

    def _event(self, kind: str, document: Document, **facts: Any) -> None:
        key = {"_id": document["_id"]}
        self._tell(
            {"operationType": kind, "ns": self.name, "documentKey": key, **facts}
        )


class Data:
    """What the server keeps. Its clock can be moved on."""

    def __init__(self) -> None:
        self.collections: dict[str, Collection] = {}
        self.lock = threading.Condition(threading.RLock())
        self.skipped = 0.0
        self.events: list[Document] = []
        self.replies: dict[tuple[Any, int], Document] = {}
        self.cursors: dict[int, Any] = {}
        self.numbers = itertools.count(1)

    def now(self) -> datetime:
        """Whole milliseconds, as BSON has them."""
        seconds = time.time() + self.skipped  # noqa: TID251 - as its clients read it
        return EPOCH + timedelta(milliseconds=int(seconds * 1000))

    def skip(self, seconds: float) -> None:
        with self.lock:
            self.skipped += seconds

    def open(self, name: str) -> Collection:
        if name not in self.collections:
            self.collections[name] = Collection(name, self.tell)
        return self.collections[name]

    def tell(self, event: Document) -> None:
        event = {"_id": {"_data": f"{len(self.events):08x}"}, **deepcopy(event)}
        self.events.append(event)
        with self.lock:
            self.lock.notify_all()

    def expire(self) -> None:
        """What the server does once a minute for indexes with a time of life."""
        now = self.now()
        for collection in self.collections.values():
            for index in collection.indexes.values():
                if "expireAfterSeconds" not in index:
                    continue
                [field] = index["key"]
                limit = now - timedelta(seconds=index["expireAfterSeconds"])
                for document in list(collection.documents.values()):
                    value = document.get(field)
                    if isinstance(value, datetime) and value <= limit:
                        collection.remove(document)


class Cursor:
    """What is left of an answer."""

    is_live = is_over = False

    def __init__(self, name: str, rest: list[Document]) -> None:
        self.name, self.rest = name, rest

    def take(self, count: int) -> list[Document]:
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken


class Changes:
    """A change stream: events of one collection from the moment it was opened."""

    is_live = True
    is_over = False

    def __init__(self, data: Data, name: str, stages: Sequence[Document]) -> None:
        self.name, self._data, self._stages = name, data, stages
        after = stages[0]["$changeStream"].get("resumeAfter")
        after = after or stages[0]["$changeStream"].get("startAfter")
        self.at = int(after["_data"], 16) if after else len(data.events)

    @property
    def token(self) -> Document:
        return {"_data": f"{self.at:08x}"}

    def take(self, _count: int) -> list[Document]:
        new, self.at = self._data.events[self.at :], len(self._data.events)
        mine = [event for event in new if event["ns"] == self.name]
        now = self._data.now()
        found: list[Document] = []
        for event in mine:
            # What follows the end of a collection is another stream's.
            self.is_over = self.is_over or event["operationType"] == "drop"
            events = [{**event, "ns": names_in(event["ns"])}]
            for stage in self._stages[1:]:
                events = staged(events, stage, now)
            found += events
        return found


def names_in(name: str) -> Document:
    database, _, collection = name.partition(".")
    return {"db": database, "coll": collection}


class MongoServer(LineServer):
    """A server, in threads of this process."""

    def __init__(
        self, data: Data | None = None, *, replica_set: str = "", port: int = 0
    ) -> None:
        self.data = data or Data()
        self.replica_set = replica_set
        self.said: list[Document] = []
        self.deaf_to: set[str] = set()
        """Commands that are obeyed; then the line is cut instead of an answer, once."""
        self.refuses: dict[str, Refusal] = {}
        """Commands that are answered with this."""
        self._numbers = itertools.count(1)
        super().__init__(port)

    @property
    def settings(self) -> Document:
        """Q_CLUSTER['mongo'] for it."""
        more = {"replicaSet": self.replica_set} if self.replica_set else {}
        return {"host": f"mongodb://{self.address}/", **more}

    # -- lines

    def converse(self, line: socket.socket, stream: Any) -> None:
        while head := stream.read(16):
            size, request, _to, code = struct.unpack("<4i", head)
            body = stream.read(size - 16)
            question, wants_answer = read_message(code, body)
            answer = self.answer(question)
            verb = next(iter(question))
            if verb in self.deaf_to:
                self.deaf_to.discard(verb)
                return
            if wants_answer:
                line.sendall(written(code, request, next(self._numbers), answer))

    def answer(self, question: Document) -> Document:
        verb = next(iter(question))
        self.said.append(question)
        with self.data.lock:
            number = question.get("txnNumber")
            key = (str(question.get("lsid")), number or 0)
            if number is not None and key in self.data.replies:
                # A retryable write that was done: only its answer is missing.
                return self.data.replies[key]
            try:
                answer = self.obey(verb, question)
            except Refusal as refusal:
                return refusal.answer()
            answer = {**answer, "ok": 1.0}
            if number is not None:
                self.data.replies[key] = answer
            return answer

    def obey(self, verb: str, question: Document) -> Document:
        if verb in self.refuses:
            raise self.refuses[verb]
        commands: dict[str, Callable[[Document], Document]] = {
            "hello": self.hello,
            "ismaster": self.hello,
            "isMaster": self.hello,
            "ping": lambda _question: {},
            "endSessions": lambda _question: {},
            "buildInfo": lambda _question: {"version": "7.0.0", "versionArray": [7, 0]},
            "insert": self.insert,
            "findAndModify": self.find_and_modify,
            "find": self.find,
            "aggregate": self.aggregate,
            "getMore": self.get_more,
            "killCursors": self.kill_cursors,
            "update": self.update,
            "delete": self.delete,
            "createIndexes": self.create_indexes,
            "listIndexes": self.list_indexes,
            "listCollections": self.list_collections,
            "drop": self.drop,
        }
        if verb not in commands:
            raise Refusal(59, "CommandNotFound", f"no such command: '{verb}'")
        return commands[verb](question)

    # -- commands

    def hello(self, _question: Document) -> Document:
        about: Document = {
            "helloOk": True,
            "isWritablePrimary": True,
            "ismaster": True,
            "maxBsonObjectSize": LARGEST,
            "maxMessageSizeBytes": 48_000_000,
            "maxWriteBatchSize": 100_000,
            "localTime": self.data.now(),
            "logicalSessionTimeoutMinutes": 30,
            "minWireVersion": 0,
            "maxWireVersion": 21,
            "readOnly": False,
        }
        if self.replica_set:
            about |= {"setName": self.replica_set, "setVersion": 1, "secondary": False}
            about |= {"hosts": [self.address], "primary": self.address}
            about["me"] = self.address
        return about

    def insert(self, question: Document) -> Document:
        collection = self._named(question)

        def insert(document: Document) -> Document:
            collection.insert(document)
            return {"n": 1}

        return each_of(question["documents"], insert)

    def find_and_modify(self, question: Document) -> Document:
        collection, now = self._named(question), self.data.now()
        query, update = question["query"], question.get("update")
        found = collection.find(query, now, question.get("sort"), 1)
        old: Document | None = found[0] if found else None
        new: Document | None = None
        if question.get("remove"):
            if old is not None:
                collection.remove(old)
        elif old is not None:
            new = updated(old, update, now, is_new=False)
            collection.replace(old, new)
        elif question.get("upsert"):
            new = collection.upsert(query, update, now)
        shown = new if question.get("new") else old
        shown = projected(shown, question.get("fields")) if shown else None
        return {"value": shown, "lastErrorObject": {"n": int(bool(old or new))}}

    def find(self, question: Document) -> Document:
        limit, sort = question.get("limit", 0), question.get("sort")
        collection, query = self._named(question), question.get("filter", {})
        found = collection.find(query, self.data.now(), sort, abs(limit))
        found = [projected(each, question.get("projection")) for each in found]
        count = question.get("batchSize", PAGE)
        return self._opened(Cursor(collection.name, found), count)

    def aggregate(self, question: Document) -> Document:
        collection, now = self._named(question), self.data.now()
        stages = question["pipeline"]
        count = question["cursor"].get("batchSize", PAGE)
        if stages and "$changeStream" in stages[0]:
            if not self.replica_set:
                only = "The $changeStream stage is only supported on replica sets"
                raise Refusal(40573, "Location40573", only)
            return self._opened(Changes(self.data, collection.name, stages), count)
        found = list(collection.documents.values())
        for stage in stages:
            found = staged(found, stage, now)
        return self._opened(Cursor(collection.name, found), count)

    def _opened(self, cursor: Any, count: int) -> Document:
        batch = cursor.take(count)
        number = 0
        if cursor.is_live or cursor.rest:
            number = next(self.data.numbers)
            self.data.cursors[number] = cursor
        return {"cursor": self._batch(cursor, number, "firstBatch", batch)}

    def _batch(self, cursor: Any, number: int, name: str, batch: Any) -> Document:
        facts = {"id": Int64(number), "ns": cursor.name, name: batch}
        if cursor.is_live:
            facts["postBatchResumeToken"] = cursor.token
        return facts

    def get_more(self, question: Document) -> Document:
        number = question["getMore"]
        until = time.monotonic() + question.get("maxTimeMS", 1000) / 1000
        while True:
            cursor = self.data.cursors.get(number)
            if cursor is None:
                raise Refusal(43, "CursorNotFound", f"cursor id {number} not found")
            batch = cursor.take(question.get("batchSize", PAGE))
            rest = until - time.monotonic()
            if batch or cursor.is_over or not cursor.is_live or rest <= 0:
                break
            self.data.lock.wait(rest)
        if cursor.is_over if cursor.is_live else not cursor.rest:
            del self.data.cursors[number]
            number = 0
        return {"cursor": self._batch(cursor, number, "nextBatch", batch)}

    def kill_cursors(self, question: Document) -> Document:
        killed = [n for n in question["cursors"] if self.data.cursors.pop(n, None)]
        self.data.lock.notify_all()
        return {"cursorsKilled": killed}

    def update(self, question: Document) -> Document:
        collection, now = self._named(question), self.data.now()
        upserted: list[Document] = []

        def change(statement: Document) -> Document:
            query, update = statement["q"], statement["u"]
            found = collection.find(query, now)
            found = found if statement.get("multi") else found[:1]
            for old in found:
                collection.replace(old, updated(old, update, now, is_new=False))
            if not found and statement.get("upsert"):
                document = collection.upsert(query, update, now)
                at = question["updates"].index(statement)
                upserted.append({"index": at, "_id": document["_id"]})
                return {"n": 1, "nModified": 0}
            return {"n": len(found), "nModified": len(found)}

        answer = each_of(question["updates"], change)
        return {**answer, "upserted": upserted} if upserted else answer

    def delete(self, question: Document) -> Document:
        collection, now = self._named(question), self.data.now()

        def remove(statement: Document) -> Document:
            found = collection.find(statement["q"], now, None, statement["limit"])
            for document in found:
                collection.remove(document)
            return {"n": len(found)}

        return each_of(question["deletes"], remove)

    def create_indexes(self, question: Document) -> Document:
        collection = self._named(question)
        before = len(collection.indexes)
        for index in question["indexes"]:
            known = collection.indexes.setdefault(index["name"], index)
            if known != index:
                text = f"An existing index has the same name: {index['name']}"
                raise Refusal(86, "IndexKeySpecsConflict", text)
        after = len(collection.indexes)
        return {"numIndexesBefore": before, "numIndexesAfter": after}

    def list_indexes(self, question: Document) -> Document:
        collection = self._named(question)
        found = [{"v": 2, **index} for index in collection.indexes.values()]
        return self._opened(Cursor(collection.name, found), PAGE)

    def list_collections(self, question: Document) -> Document:
        start = f"{question['$db']}."
        names = [
            n.removeprefix(start) for n in self.data.collections if n.startswith(start)
        ]
        found = [{"name": name, "type": "collection"} for name in sorted(names)]
        return self._opened(Cursor(f"{start}$cmd.listCollections", found), PAGE)

    def drop(self, question: Document) -> Document:
        name = f"{question['$db']}.{question['drop']}"
        self.data.collections.pop(name, None)
        self.data.tell({"operationType": "drop", "ns": name})
        return {}

    def _named(self, question: Document) -> Collection:
        verb = next(iter(question))
        return self.data.open(f"{question['$db']}.{question[verb]}")


def each_of(
    statements: Sequence[Document], verb: Callable[[Document], Document]
) -> Document:
    """Do them in order, until one fails."""
    # Of updates a client wants both numbers, also where the first one fails.
    totals: Document = {"n": 0, "nModified": 0}
    for index, statement in enumerate(statements):
        try:
            for key, number in verb(statement).items():
                totals[key] = totals.get(key, 0) + number
        except Refusal as refusal:
            error = {"index": index, "code": refusal.code, "errmsg": str(refusal)}
            return {**totals, "writeErrors": [error]}
    return totals


def staged(found: list[Document], stage: Document, now: datetime) -> list[Document]:
    [(name, facts)] = stage.items()
    if name == "$match":
        return [document for document in found if matches(document, facts, now)]
    if name == "$sort":
        return ordered(found, facts)
    if name == "$limit":
        return found[:facts]
    if name == "$project":
        return [with_fields(document, facts, now) for document in found]
    if name == "$group" and facts == {"_id": 1, "n": {"$sum": 1}}:
        return [{"_id": 1, "n": len(found)}] if found else []
    raise Refusal(40324, "Location40324", f"Unrecognized pipeline stage: {stage}")


def with_fields(document: Document, fields: Document, now: datetime) -> Document:
    if all(value == 1 for value in fields.values()):
        return projected(document, fields)
    values = {name: evaluate(value, document, now) for name, value in fields.items()}
    return {"_id": document["_id"], **values}


# -- messages


def read_message(code: int, body: bytes) -> tuple[Document, bool]:
    """The command, and whether an answer is expected."""
    if code == OP_QUERY:
        end = body.index(b"\0", 4)
        return bson.decode(body[end + 9 :]), True
    if code != OP_MSG:
        raise OSError(f"unknown operation {code}")
    [flags] = struct.unpack_from("<I", body)
    question: Document = {}
    at, end = 4, len(body) - 4 * (flags & 1)
    while at < end:
        kind, at = body[at], at + 1
        [size] = struct.unpack_from("<i", body, at)
        section, at = body[at : at + size], at + size
        if kind == 0:
            question = {**bson.decode(section), **question}
        else:
            name, _, documents = section[4:].partition(b"\0")
            question[name.decode()] = bson.decode_all(documents)
    return in_order(question), not flags & MORE_TO_COME


def in_order(question: Document) -> Document:
    """The name of the command first, though its documents may have come before it."""
    late = [key for key in ("documents", "updates", "deletes") if key in question]
    return {
        **{k: v for k, v in question.items() if k not in late},
        **{k: question[k] for k in late},
    }


def written(code: int, request: int, number: int, answer: Document) -> bytes:
    document = bson.encode(answer)
    if code == OP_QUERY:
        body = struct.pack("<iqii", 8, 0, 0, 1) + document
    else:
        body = struct.pack("<Ib", 0, 0) + document
    kind = OP_REPLY if code == OP_QUERY else OP_MSG
    return struct.pack("<4i", len(body) + 16, number, request, kind) + body
