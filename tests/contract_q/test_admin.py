"""The admin as projects know it: columns, filters, search, subclasses, another database."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.core import checks
from django.db import connections
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.urls import clear_url_caches, resolve, reverse

from django_q.admin import (
    FailAdmin,
    QueueAdmin,
    ScheduleAdmin,
    TaskAdmin,
    resubmit_task,
)
from django_q.clock import now
from django_q.models import Failure, OrmQ, Schedule, Success, Task
from django_q.signing import SignedPackage
from tests import urls
from tests.aliases import added_sqlite

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 5, 12, 12, tzinfo=UTC)
LAST_OF_SCHEDULE = "next_run get_last_run get_success get_error"


def save_task(name: str, **columns: Any) -> Task:
    known = {"func": "math.pow", "args": (2, 3), "started": NOON, "stopped": NOON}
    task_id = f"{Task.objects.count():032x}"
    return Task.objects.create(id=task_id, name=name, **known | columns)


def queue(name: str, key: str = "tests", *, using: str = "default") -> OrmQ:
    task = {"id": "a" * 32, "name": name, "func": "math.pow", "args": (2, 3)}
    package = SignedPackage.dumps(task | {"kwargs": {}, "started": NOON})
    return OrmQ.objects.using(using).create(key=key, payload=package, lock=NOON)


def names_in(client: Client, model: str, **query: str) -> set[str]:
    """The rows that a list shows."""
    response = client.get(reverse(f"admin:django_q_{model}_changelist"), query)
    assert response.status_code == 200
    rows = response.context["cl"].result_list
    return {row.task["name"] if model == "ormq" else row.name for row in rows}


def act(client: Client, model: str, *rows: Any, action: str = "resubmit_task") -> Any:
    chosen = {"action": action, "_selected_action": [row.pk for row in rows]}
    address = reverse(f"admin:django_q_{model}_changelist")
    return client.post(address, {**chosen, "post": "yes"}, follow=True)


@contextmanager
def registered(model: Any, admin_class: Any) -> Iterator[None]:
    """What an admin.py of a project does, and back."""
    ours = type(admin.site.get_model_admin(model))
    register(model, admin_class)
    try:
        yield
    finally:
        register(model, ours)


def register(model: Any, admin_class: Any) -> None:
    admin.site.unregister(model)
    admin.site.register(model, admin_class)
    # A project has done so before it makes the list of its addresses.
    importlib.reload(urls)
    clear_url_caches()


# -- what the classes say


@pytest.mark.parametrize(
    ("admin_class", "columns"),
    [
        (TaskAdmin, "name group func cluster started stopped time_taken"),
        (FailAdmin, "name group func cluster started stopped short_result"),
        (
            ScheduleAdmin,
            f"id name func schedule_type repeats cluster {LAST_OF_SCHEDULE}",
        ),
        (QueueAdmin, "id key name group func lock task_id"),
    ],
)
def test_columns_of_the_lists(admin_class: Any, columns: str) -> None:
    assert list(admin_class.list_display) == columns.split()


@pytest.mark.parametrize(
    ("admin_class", "filters", "searched"),
    [
        (TaskAdmin, ["group", "cluster"], ["name", "func", "group"]),
        (FailAdmin, ["group", "cluster"], ["name", "func", "group"]),
        (ScheduleAdmin, ["next_run", "schedule_type", "cluster"], ["name", "func"]),
        (QueueAdmin, ["key"], []),
    ],
)
def test_filters_and_searched_columns(
    admin_class: Any, filters: list[str], searched: list[str]
) -> None:
    assert list(admin_class.list_filter) == filters
    assert list(admin_class.search_fields) == searched


def test_schedules_link_by_id_and_name() -> None:
    assert list(ScheduleAdmin.list_display_links or ()) == ["id", "name"]


def test_actions_of_schedules_can_be_gone_through() -> None:
    ours = ScheduleAdmin(Schedule, admin.site)

    assert list(ours.actions or ()) == []


def test_cron_can_be_written_in_the_form(admin_client: Client) -> None:
    page = admin_client.get(reverse("admin:django_q_schedule_add"))

    assert 'name="cron"' in page.content.decode()


def test_queryset_of_schedules_knows_the_last_task(rf: RequestFactory) -> None:
    task = save_task("last", success=False)
    Schedule.objects.create(func="math.pow", task=task.pk)
    Schedule.objects.create(func="math.pow", task="f" * 32)
    rows = ScheduleAdmin(Schedule, admin.site).get_queryset(rf.get("/"))

    wanted = ("task_id", "task_name", "task_success")
    found = [
        tuple(getattr(row, name) for name in wanted) for row in rows.order_by("pk")
    ]

    assert found == [(task.pk, "last", False), (None, None, None)]


@pytest.mark.parametrize("model", ["success", "failure"])
def test_addresses_of_single_tasks(model: str) -> None:
    address = reverse(f"admin:django_q_{model}_change", args=["a" * 32])

    assert resolve(address).kwargs == {"object_id": "a" * 32}


# -- what filters and search find


@pytest.mark.parametrize("model", ["success", "failure"])
def test_tasks_are_filtered_by_group_and_cluster(
    admin_client: Client, model: str
) -> None:
    success = model == "success"
    save_task("one", group="sums", cluster="long", success=success)
    save_task("two", group="sums", cluster="short", success=success)
    save_task("three", success=success)
    save_task("other", group="sums", cluster="long", success=not success)

    assert names_in(admin_client, model, group="sums") == {"one", "two"}
    assert names_in(admin_client, model, cluster="long") == {"one"}
    assert names_in(admin_client, model, group="sums", cluster="short") == {"two"}


@pytest.mark.parametrize("model", ["success", "failure"])
def test_tasks_are_found_by_name_function_and_group(
    admin_client: Client, model: str
) -> None:
    success = model == "success"
    save_task("pizza-berlin", group="sums", success=success)
    save_task("earth-romeo", func="shop.tasks.send", cluster="pizza", success=success)

    assert names_in(admin_client, model, q="pizza") == {"pizza-berlin"}
    assert names_in(admin_client, model, q="SHOP.tasks") == {"earth-romeo"}
    assert names_in(admin_client, model, q="sums") == {"pizza-berlin"}
    assert names_in(admin_client, model, q="nobody") == set()


def test_schedules_are_filtered(admin_client: Client) -> None:
    soon = now() + timedelta(seconds=1)
    Schedule.objects.create(name="a", func="f", schedule_type="D", next_run=NOON)
    Schedule.objects.create(name="b", func="f", schedule_type="W", next_run=soon)
    Schedule.objects.create(name="c", func="f", cluster="long", next_run=NOON)

    def shown(**query: str) -> set[str]:
        return names_in(admin_client, "schedule", **query)

    assert shown(schedule_type__exact="W") == {"b"}
    assert shown(cluster="long") == {"c"}
    assert shown(next_run__gte=str(NOON + timedelta(days=1))) == {"b"}


def test_schedules_are_found_by_name_and_function(admin_client: Client) -> None:
    Schedule.objects.create(name="nightly", func="shop.tasks.count")
    Schedule.objects.create(name="hourly", func="shop.tasks.mail", hook="nightly")

    assert names_in(admin_client, "schedule", q="nightly") == {"nightly"}
    assert names_in(admin_client, "schedule", q="tasks.mail") == {"hourly"}


def test_queued_tasks_are_filtered_by_queue(admin_client: Client) -> None:
    queue("one")
    queue("two", "mail")

    assert names_in(admin_client, "ormq", key="mail") == {"two"}


# -- classes of projects


def test_subclass_with_columns_filters_and_actions_of_its_own(
    admin_client: Client,
) -> None:
    seen: list[str] = []

    def note(_admin: Any, _request: HttpRequest, rows: Any) -> None:
        seen.extend(row.name for row in rows)

    class ShopFailAdmin(FailAdmin):
        list_display = ("func", "name", "short_result")
        list_filter = ("func", "group")
        search_fields = ("func",)
        actions = (*FailAdmin.actions, note)
        list_per_page = 5

    first = save_task("one", success=False)
    second = save_task("two", success=False, func="math.sqrt", args=(4,))
    with registered(Failure, ShopFailAdmin):
        assert ShopFailAdmin(Failure, admin.site).check() == []
        assert names_in(admin_client, "failure", func="math.sqrt") == {"two"}
        act(admin_client, "failure", first, action="note")
        act(admin_client, "failure", second)

    assert seen == ["one"]
    assert [row.task["func"] for row in OrmQ.objects.all()] == ["math.sqrt"]
    assert [task.name for task in Failure.objects.all()] == ["one"]


def test_subclasses_of_each_class_are_registered(admin_client: Client) -> None:
    class ShopTaskAdmin(TaskAdmin):
        def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
            return False

    class ShopScheduleAdmin(ScheduleAdmin):
        list_display = (*ScheduleAdmin.list_display, "hook")
        readonly_fields = ("func",)

    class ShopQueueAdmin(QueueAdmin):
        list_display = ("name", "q_options")

    task = save_task("one")
    schedule = Schedule.objects.create(name="s", func="math.pow")
    queue("two")
    with (
        registered(Success, ShopTaskAdmin),
        registered(Schedule, ShopScheduleAdmin),
        registered(OrmQ, ShopQueueAdmin),
    ):
        assert names_in(admin_client, "success") == {"one"}
        assert names_in(admin_client, "schedule") == {"s"}
        assert names_in(admin_client, "ormq") == {"two"}
        address = reverse("admin:django_q_schedule_change", args=[schedule.pk])
        assert 'name="func"' not in admin_client.get(address).content.decode()
        address = reverse("admin:django_q_success_delete", args=[task.pk])
        assert admin_client.post(address, {"post": "yes"}).status_code == 403


class OwnAdmin(admin.ModelAdmin):
    """A project's own, that only borrows the action."""

    actions = (resubmit_task,)


def test_action_stands_in_a_model_admin_that_is_not_ours(admin_client: Client) -> None:
    task = save_task("one")
    with registered(Success, OwnAdmin):
        found = checks.run_checks(app_configs=[apps.get_app_config("django_q")])
        said = [problem for problem in found if problem.id == "admin.E129"]
        act(admin_client, "success", task)

    assert said == []
    assert OrmQ.objects.get().task["func"] == "math.pow"


def test_action_asks_for_the_permission_wherever_it_stands(client: Client) -> None:
    user = User.objects.create_user("someone", password="x", is_staff=True)
    mine = Permission.objects.filter(codename__in=["view_success", "change_success"])
    user.user_permissions.set(mine)
    client.force_login(user)
    task = save_task("one")
    with registered(Success, OwnAdmin):
        assert act(client, "success", task).status_code == 403

    assert not OrmQ.objects.exists()


# -- the queue in another database


@pytest.fixture
def elsewhere(tmp_path: Path, q_settings: Any) -> Iterator[str]:
    """The broker's database is not the default one."""
    with added_sqlite(tmp_path / "queue.sqlite3") as alias:
        with connections[alias].schema_editor() as editor:
            editor.create_model(OrmQ)
        q_settings(orm=alias)
        yield alias


def test_queue_of_another_database_is_listed(
    admin_client: Client, elsewhere: str
) -> None:
    queue("here")
    queue("there", using=elsewhere)
    queue("mailed", "mail", using=elsewhere)

    assert names_in(admin_client, "ormq") == {"there", "mailed"}
    assert names_in(admin_client, "ormq", key="mail") == {"mailed"}


def test_queued_task_of_another_database_is_changed(
    admin_client: Client, elsewhere: str
) -> None:
    queue("here")
    row = queue("there", using=elsewhere)
    address = reverse("admin:django_q_ormq_change", args=[row.pk])

    page = admin_client.get(address)
    lock = {"lock_0": "2026-05-13", "lock_1": "12:00:00"}
    changed = admin_client.post(address, {"key": "tests", **lock})

    assert "there" in page.content.decode()
    assert changed.status_code == 302
    assert OrmQ.objects.using(elsewhere).get().lock == NOON + timedelta(days=1)
    assert OrmQ.objects.get().lock == NOON


def test_queued_tasks_of_another_database_are_deleted(
    admin_client: Client, elsewhere: str
) -> None:
    kept = queue("here")
    rows = [queue(f"there {n}", using=elsewhere) for n in range(3)]
    address = reverse("admin:django_q_ormq_delete", args=[rows[0].pk])

    assert admin_client.post(address, {"post": "yes"}).status_code == 302
    act(admin_client, "ormq", rows[1], action="delete_selected")

    left = OrmQ.objects.using(elsewhere).values_list("pk", flat=True)
    assert list(left) == [rows[2].pk]
    assert OrmQ.objects.get().pk == kept.pk
