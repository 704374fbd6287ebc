"""The wire: what packages of all releases look like, written out byte by byte.

Nothing here is made by our own code but where that is what is asked. The rules are those
of django.core.signing: `[.]base64(pickle):timestamp:signature`, salted with the site's
name; a leading dot means that the pickle is compressed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import pickle
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core import signing
from django.core.cache import caches

from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.envelope import Envelope
from django_q.exceptions import UnreadablePackage
from django_q.models import Task
from django_q.signals import post_execute, pre_enqueue
from django_q.signing import BadSignature, PickleSerializer, SignedPackage
from django_q.tasks import async_task, fetch, result, result_cached
from tests.functions import add

KEY = "only for tests"
SITE = "tests"

SIX_KEYS = (
    "gAWV7gAAAAAAAAB9lCiMAmlklIwgMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWaUjARuYW"
    "1llIwLZ29sZGVuLXRhc2uUjARmdW5jlIwUdGVzdHMuZnVuY3Rpb25zLmVjaG-UjARhcmdzlEsBjAN0"
    "d2-UhpSMBmt3YXJnc5R9lIwFdGhyZWWUR0AIAAAAAAAAc4wHc3RhcnRlZJSMCGRhdGV0aW1llIwIZG"
    "F0ZXRpbWWUk5RDCgfqAQIDBAUKW_WUaA6MCHRpbWV6b25llJOUaA6MCXRpbWVkZWx0YZSTlEsASwBL"
    "AIeUUpSFlFKUhpRSlHUu:1vbVOS:k5PU-08w0MuugcIlPrIBlUuHeHxEHjj41gd42cyNZO8"
)
"""Signed on 2 January 2026: a task with the fixed keys only, pickled at protocol 5."""

EVERY_KEY = (
    ".eJxdkL9LAzEUx3ttz6stuCgIDuLoYvH3D3AQHBxucxUpMZfeHT0TSV4sCgWXtgpv8_m_-Te4u_vSD"
    "sIlPJLv-_lJ3uKv76ixWBPaxWaZEe7sHxweHZ-cnp1fiAeZqWFdE7a1eFSEvdxUmdJ7INyInUOvJeE"
    "GKAeuHwSURru-koXhqLC5ozTCFowNzQhXRuOFa0IYQ2GVopurzhLFYeJAWFBM08kEKCjDuP_rJ113k"
    "5-o2WrH3btfKtawE_yvRocYy9UgM1WBYJ02wp7TLU3ZZmzYLoxh5K06a2XygVXOV8BUuTX-iTDKOd-"
    "JZ0XvfL7wGz9wRQpZMF56iT0hR4OhKCtvQ0YiK-9AWa6pjObSJKAYD5RuYywLUWq6569er48WGbeLp"
    "vwfc8LNelQbKEpup7BbcveBNF5zyyb2lnKJw2CgtNCBXhsLBfn-HwSNt0U:1vbVOS:6s62O5OftDip"
    "5Mc_TW4QJiPGcJ3vtI9yvLe7ckbQanw"
)
"""The same day, compressed: a task with every key that the earlier releases knew, and
one, `tenant`, that a receiver of pre_enqueue had added."""

GOLDEN_ID = "0123456789abcdef0123456789abcdef"
GOLDEN_MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("memory")


class Plain:
    """The serializer of the earlier releases."""

    def dumps(self, obj: Any) -> bytes:
        return pickle.dumps(obj, protocol=pickle.HIGHEST_PROTOCOL)

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data)


def sealed(task: Any, key: str = KEY, salt: str = SITE, **how: Any) -> str:
    """A package as any other program would make it, with Django alone."""
    return signing.dumps(task, key=key, salt=salt, serializer=Plain, **how)


def unsealed(package: str, salt: str = SITE) -> Any:
    return signing.loads(package, key=KEY, salt=salt, serializer=Plain)


def six_keys(**more: Any) -> dict[str, Any]:
    return {
        "id": GOLDEN_ID,
        "name": "by hand",
        "func": "tests.functions.echo",
        "args": (1,),
        "kwargs": {"x": 2},
        "started": GOLDEN_MOMENT,
        **more,
    }


def waiting() -> list[str]:
    return [delivery.package for delivery in get_broker().dequeue(100) or []]


# ------------------------------------------------------------------------- reading


@pytest.mark.parametrize("kind", [str, str.encode])
def test_a_package_of_six_keys_is_read(kind: Callable[[str], Any]) -> None:
    assert SignedPackage.loads(kind(SIX_KEYS)) == {
        "id": GOLDEN_ID,
        "name": "golden-task",
        "func": "tests.functions.echo",
        "args": (1, "two"),
        "kwargs": {"three": 3.0},
        "started": GOLDEN_MOMENT,
    }


@pytest.mark.django_db
def test_and_run(drain: Callable[..., int]) -> None:
    get_broker().enqueue(SIX_KEYS)
    assert drain() == 1
    task = Task.objects.get()
    assert (task.id, task.name, task.success) == (GOLDEN_ID, "golden-task", True)
    assert task.result == {"args": (1, "two"), "kwargs": {"three": 3.0}}
    assert task.started == GOLDEN_MOMENT


def test_a_package_with_every_key_of_the_earlier_releases_is_read() -> None:
    envelope = Envelope.open(EVERY_KEY)
    assert (envelope.hook, envelope.group) == ("tests.functions.log_result", "g")
    assert (envelope.save, envelope.sync, envelope.cached) == (True, False, 60)
    assert (envelope.ack_failure, envelope.cluster) == (True, "long")
    assert (envelope.timeout, envelope.iter_count, envelope.iter_cached) == (
        *(30, 2, False),
    )
    assert envelope.chain == [
        ("tests.functions.add", (1,), {}),
        "tests.functions.nothing",
    ]
    assert envelope.extra == {"tenant": "north"}
    assert envelope.as_dict() == SignedPackage.loads(EVERY_KEY)


def test_a_package_signed_byte_by_byte_is_read() -> None:
    body = base64.urlsafe_b64encode(pickle.dumps(six_keys(), 5)).rstrip(b"=")
    stamped = body + b":1vbVOS"
    derived = hashlib.sha256(SITE.encode() + b"signer" + KEY.encode()).digest()
    digest = hmac.digest(derived, stamped, "sha256")
    signature = base64.urlsafe_b64encode(digest).rstrip(b"=")
    assert SignedPackage.loads(stamped + b":" + signature) == six_keys()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_of_any_protocol_is_read(protocol: int) -> None:
    class Old(Plain):
        def dumps(self, obj: Any) -> bytes:
            return pickle.dumps(obj, protocol)

    package = signing.dumps(six_keys(), key=KEY, salt=SITE, serializer=Old)
    assert SignedPackage.loads(package) == six_keys()


@pytest.mark.parametrize("kind", [str.encode, lambda text: memoryview(text.encode())])
@pytest.mark.parametrize("compress", [False, True])
def test_bytes_of_any_kind_are_read(kind: Callable[[str], Any], compress: bool) -> None:
    package = sealed(six_keys(long="x" * 500), compress=compress)
    assert package.startswith(".") == compress
    assert SignedPackage.loads(kind(package)) == six_keys(long="x" * 500)


@pytest.mark.parametrize(
    "package",
    [
        sealed({}, salt="another site"),
        sealed({}, key="another key"),
        SIX_KEYS[:-1] + "x",
        SIX_KEYS.replace(":1vbVOS:", ":1vbVOT:"),
        "not a package",
        b"\xff",
    ],
)
def test_what_is_not_signed_for_this_site_is_refused(package: str | bytes) -> None:
    with pytest.raises(BadSignature) as caught:
        SignedPackage.loads(package)
    assert isinstance(caught.value, signing.BadSignature)
    assert isinstance(caught.value, UnreadablePackage)


# ------------------------------------------------------------------------- writing


def test_what_we_send_is_read_by_django_alone() -> None:
    task_id = async_task("tests.functions.echo", 1, x=2)
    [package] = waiting()
    task = unsealed(package)
    assert list(task) == ["id", "name", "func", "args", "kwargs", "started"]
    assert (task["id"], task["func"]) == (task_id, "tests.functions.echo")
    assert (task["args"], task["kwargs"]) == ((1,), {"x": 2})
    assert task["started"].utcoffset() is not None


def test_the_pickle_is_of_the_highest_protocol() -> None:
    async_task("tests.functions.echo")
    [package] = waiting()
    body = package.partition(":")[0]
    data = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    assert data[:2] == bytes([0x80, pickle.HIGHEST_PROTOCOL])
    assert PickleSerializer().dumps(1) == pickle.dumps(1, pickle.HIGHEST_PROTOCOL)
    assert PickleSerializer().loads(pickle.dumps(1, 0)) == 1


def test_compressed_means_a_leading_dot_and_zlib(q_settings: Any) -> None:
    q_settings(compress=True)
    async_task("tests.functions.echo", "x" * 500)
    [package] = waiting()
    assert package.startswith(".")
    body = package[1:].partition(":")[0]
    data = zlib.decompress(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    assert pickle.loads(data)["args"] == ("x" * 500,)
    assert unsealed(package)["args"] == ("x" * 500,)


def test_the_salt_is_the_name_of_the_site_and_not_of_the_cluster(
    q_settings: Any,
) -> None:
    q_settings(name="shop", cluster_name="long")
    package = SignedPackage.dumps(1)
    assert Conf.PREFIX == "shop"
    assert unsealed(package, salt="shop") == 1
    with pytest.raises(signing.BadSignature):
        unsealed(package, salt="long")


def test_a_function_travels_by_reference() -> None:
    async_task(add, 1)
    [package] = waiting()
    assert b"tests.functions" in SignedPackage.verify(package)
    assert unsealed(package)["func"] is add


def test_without_time_zones_the_moment_is_naive(settings: Any) -> None:
    settings.USE_TZ = False
    async_task("tests.functions.echo")
    [package] = waiting()
    assert unsealed(package)["started"].tzinfo is None


def test_what_older_consumers_do_not_know_is_only_sent_where_it_is_asked_for() -> None:
    async_task("tests.functions.echo", group="g", timeout=3, save=False)
    [package] = waiting()
    assert unsealed(package).keys() - {"group", "timeout", "save"} == {
        *("id", "name", "func", "args", "kwargs", "started")
    }


# ----------------------------------------------------------------- a task's way


@pytest.mark.django_db
def test_a_key_of_pre_enqueue_comes_out_at_post_execute(
    drain: Callable[..., int],
) -> None:
    seen: list[Any] = []

    def add_tenant(task: dict[str, Any], **_: Any) -> None:
        task["tenant"] = {"name": "north"}

    def look(task: dict[str, Any], **_: Any) -> None:
        seen.append(task)

    pre_enqueue.connect(add_tenant)
    post_execute.connect(look)
    try:
        async_task("tests.functions.echo")
        drain()
        async_task("tests.functions.echo", sync=True)
    finally:
        pre_enqueue.disconnect(add_tenant)
        post_execute.disconnect(look)
    assert [task["tenant"] for task in seen] == [{"name": "north"}] * 2


@pytest.mark.django_db
@pytest.mark.parametrize(
    "task",
    [
        six_keys(),
        six_keys(args=[1], kwargs={"x": 2}),
        six_keys(group=None, hook=None, cached=None, chain=None),
        six_keys(chain=[], cached=False, sync=False, iter_count=0),
        six_keys(ack_id=7, colour="red", ack_failure=True),
        six_keys(func=add, kwargs={}),
    ],
)
def test_a_package_made_by_hand_runs(
    task: dict[str, Any], drain: Callable[..., int]
) -> None:
    get_broker().enqueue(sealed(task))
    assert drain() == 1
    row = fetch(GOLDEN_ID)
    assert row is not None
    assert row.success
    assert row.result in ({"args": (1,), "kwargs": {"x": 2}}, 1)


@pytest.mark.django_db
def test_a_package_made_with_our_own_class_runs(drain: Callable[..., int]) -> None:
    get_broker().enqueue(SignedPackage.dumps(six_keys(name="resent")))
    drain()
    assert result("resent") == {"args": (1,), "kwargs": {"x": 2}}


@pytest.mark.django_db
def test_arguments_that_are_none_are_none_at_all(drain: Callable[..., int]) -> None:
    get_broker().enqueue(sealed(six_keys(args=None, kwargs=None)))
    drain()
    assert result(GOLDEN_ID) == {"args": (), "kwargs": {}}


# ------------------------------------------------------------------- cached results


@pytest.mark.django_db
def test_a_cached_result_is_signed_under_its_key(
    drain: Callable[..., int], memory: str
) -> None:
    task_id = async_task("tests.functions.add", 1, 2, cached=True)
    drain()
    task = unsealed(caches["default"].get(f"{memory}:{task_id}"))
    assert (task["id"], task["result"], task["success"]) == (task_id, 3, True)
    assert {"name", "func", "args", "kwargs", "started", "stopped"} < task.keys()


def test_one_that_an_earlier_release_cached_is_read(memory: str) -> None:
    ended = six_keys(result=5, success=True, stopped=GOLDEN_MOMENT, cached=True)
    caches["default"].set(f"{memory}:{GOLDEN_ID}", sealed(ended), None)
    assert result_cached(GOLDEN_ID) == 5


def test_keys_pass_through_djangos_cache(settings: Any, memory: str) -> None:
    """So that KEY_PREFIX and VERSION keep sites apart that share a server."""
    backend = "django.core.cache.backends.locmem.LocMemCache"
    plain = {"BACKEND": backend, "LOCATION": memory}
    settings.CACHES = {
        "default": plain | {"KEY_PREFIX": "north", "VERSION": 3},
        "bare": plain | {"KEY_FUNCTION": f"{__name__}.as_it_is"},
    }
    ended = six_keys(result=5, success=True, stopped=GOLDEN_MOMENT)
    caches["bare"].set(f"north:3:{memory}:{GOLDEN_ID}", sealed(ended), None)
    assert result_cached(GOLDEN_ID) == 5


def as_it_is(key: str, _prefix: str, _version: int) -> str:
    return key
