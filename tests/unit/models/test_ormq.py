"""OrmQ: a queued package, opened by those who may, looked into by all others."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core import signing
from django.db import IntegrityError, transaction

from django_q.conf import get_options
from django_q.models import OrmQ, VitalSign
from django_q.models.ormq import peek
from django_q.signing import PickleSerializer, SignedPackage

NOON = datetime(2026, 5, 12, 12, tzinfo=UTC)
TASK: dict[str, Any] = {
    "id": "a" * 32,
    "name": "four-words",
    "func": "math.sqrt",
    "args": (4,),
    "kwargs": {"x": 1},
    "started": NOON,
    "group": "g",
    "timeout": 5,
    "save": True,
}


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


class Moved:
    """Is not there when it is looked for."""


def row(task: Any = TASK, payload: str | None = None) -> OrmQ:
    package = SignedPackage.dumps(task) if payload is None else payload
    return OrmQ(key="default", payload=package, lock=NOON)


def test_row_opens_its_package():
    queued = row()
    assert queued.task == TASK
    assert queued.task_id() == "a" * 32
    assert queued.name() == "four-words"
    assert queued.group() == "g"
    assert queued.func() == "math.sqrt"
    assert queued.args() == (4,)
    assert queued.kwargs() == {"x": 1}
    assert queued.q_options() == {"started": NOON, "timeout": 5, "save": True}


@pytest.mark.parametrize(
    ("func", "text"),
    [
        ("shop.tasks.send", "shop.tasks.send"),
        (row, f"{__name__}.row"),
        (OrmQ.from_db, "django_q.models.ormq.OrmQ.from_db"),
        (math.sqrt, "<built-in function sqrt>"),
    ],
)
def test_function_has_one_text(func: Any, text: str):
    assert row(TASK | {"func": func}).func() == text


@pytest.mark.parametrize("payload", ["", "junk", "a:b:c", "é"])
def test_package_that_is_not_ours_is_not_opened(payload: str):
    queued = row(payload=payload)
    assert queued.task == {"id": "*BadSignature"}
    assert queued.task_id() == "*BadSignature"
    assert queued.name() is queued.group() is queued.func() is None
    assert queued.args() is queued.kwargs() is None
    assert queued.q_options() == {}
    assert peek(payload or ":") == {"id": "*BadSignature"}


def test_package_without_a_task_names_the_error():
    assert row([1, 2]).task == {"id": "*TypeError"}
    assert peek(row([1, 2]).payload) == {"id": "*TypeError"}


def test_package_of_a_class_that_is_gone_names_the_error(
    monkeypatch: pytest.MonkeyPatch,
):
    gone = row(TASK | {"args": (Moved(),)})
    monkeypatch.delattr(f"{__name__}.Moved")
    assert gone.task == {"id": "*AttributeError"}
    assert peek(gone.payload)["name"] == "four-words"


def test_peeking_loads_nothing(tmp_path: Path):
    queued = row(TASK | {"args": (Bomb(tmp_path / "touched"),)})
    seen = peek(queued.payload)
    assert (seen["id"], seen["func"]) == (TASK["id"], TASK["func"])
    assert not (tmp_path / "touched").exists()
    assert queued.name() == "four-words"
    assert (tmp_path / "touched").exists()


class NoPickle(PickleSerializer):
    @staticmethod
    def dumps(_obj: Any) -> bytes:
        return b"no pickle"


def test_peeking_into_what_is_no_pickle_names_the_error():
    signed = signing.dumps({}, salt=get_options().name, serializer=NoPickle)
    assert peek(signed) == {"id": "*ValueError"}


@pytest.mark.django_db
def test_same_task_is_queued_once():
    """The database refuses the second; rows without an id are as many as they like."""
    OrmQ.objects.create(key="a", payload="", task_key="1")
    OrmQ.objects.create(key="a", payload="")
    OrmQ.objects.create(key="a", payload="")
    with pytest.raises(IntegrityError), transaction.atomic():
        OrmQ.objects.create(key="b", payload="", task_key="1")
    assert OrmQ.objects.count() == 3


@pytest.mark.django_db
def test_new_row_was_never_claimed():
    queued = row()
    queued.save()
    queued.refresh_from_db()
    assert (queued.holder, queued.deliveries) == (None, 0)
    assert (queued.starts, queued.attempts) == (0, 0)
    assert str(queued) == f"default {queued.pk}"


def test_text_of_a_vital_sign_is_its_key():
    assert str(VitalSign(key="django_q:shop:cluster:1")) == "django_q:shop:cluster:1"
