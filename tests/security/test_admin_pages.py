"""Rows 12 to 18: names in queries, and what the admin shows, does and refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from django_q.models import Failure, OrmQ, Schedule, Success, Task
from django_q.signing import SignedPackage
from django_q.tasks import async_task, count_group, delete_group, fetch, fetch_group
from tests.security.harm import Bomb

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 5, 12, 12, tzinfo=UTC)
SCRIPT = "</script><script>alert(1)</script><img src=x onerror=alert(1)>'\""
INJECTION = "x' OR '1'='1'; DROP TABLE django_q_task; --"


def save_task(number: int = 1, **columns: Any) -> Task:
    moments = {"started": NOON, "stopped": NOON + timedelta(seconds=2)}
    facts = {"name": f"task-{number}", "func": "math.sqrt", "args": (9,)}
    known: dict[str, Any] = facts | {"kwargs": {}, "result": 3.0} | moments
    return Task.objects.create(id=f"{number:032x}", **known | columns)


def queue(**changes: Any) -> OrmQ:
    task = {"id": "a" * 32, "name": "n", "func": "math.sqrt", "args": (9,)}
    package = SignedPackage.dumps({**task, "kwargs": {}, "started": NOON} | changes)
    return OrmQ.objects.create(key="tests", payload=package, lock=NOON)


def list_of(model: str) -> str:
    return reverse(f"admin:django_q_{model}_changelist")


def page_of(row: Any, model: str, what: str = "change") -> str:
    return reverse(f"admin:django_q_{model}_{what}", args=[row.pk])


def staff(client: Client, *permissions: str) -> Client:
    user = User.objects.create_user("someone", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return client


def resubmit(*rows: Task) -> dict[str, Any]:
    return {"action": "resubmit_task", "_selected_action": [row.pk for row in rows]}


def form(**changes: str) -> dict[str, str]:
    moment = {"next_run_0": "2026-05-12", "next_run_1": "12:00:00"}
    facts = {"func": "math.sqrt", "schedule_type": "D", "repeats": "-1"}
    return {**facts, **moment, **changes}


# ------------------------------------------------------------------------ queries


def test_s12_text_in_a_query_is_a_value_and_nothing_else(admin_client: Client) -> None:
    save_task(1)
    save_task(2, name=INJECTION, func=INJECTION, group=INJECTION)
    assert count_group(INJECTION) == 1
    assert count_group("x' OR '1'='1") == 0
    found = fetch(INJECTION)
    assert found is not None
    assert found.pk == f"{2:032x}"
    assert [task.name for task in fetch_group(INJECTION) or ()] == [INJECTION]
    for query in (INJECTION, "%", "' OR 1=1 --"):
        page = admin_client.get(list_of("success"), {"q": query}).content.decode()
        assert page.count("task-1") == 0
    async_task("math.sqrt", 9, cluster=INJECTION, task_name=INJECTION)
    assert OrmQ.objects.get().key == INJECTION
    delete_group(INJECTION)
    assert Task.objects.count() == 2


# ------------------------------------------------------------------------ pickles


def test_s13_neither_pages_nor_counts_nor_deletions_load_a_pickle(
    admin_client: Client, bomb: Bomb, capsys: pytest.CaptureFixture[str]
) -> None:
    blobs = dict.fromkeys(("args", "kwargs", "result"), bomb.as_column())
    success = save_task(1, group="g", **blobs)
    failure = save_task(2, group="g", success=False, **blobs)
    row = queue(args=(bomb,))
    plan = Schedule.objects.create(func="math.sqrt", task=success.pk)
    for model in ("success", "failure", "ormq", "schedule"):
        assert admin_client.get(list_of(model)).status_code == 200
    assert admin_client.get(page_of(success, "success")).status_code == 200
    assert admin_client.get(page_of(failure, "failure")).status_code == 200
    assert admin_client.get(page_of(row, "ormq")).status_code == 200
    call_command("qinfo")
    assert (Success.objects.count(), Failure.objects.count()) == (1, 1)
    assert (count_group("g"), count_group("g", failures=True)) == (2, 1)
    assert plan.success()
    assert plan.last_run()
    assert delete_group("g", tasks=True)
    assert not Task.objects.exists()
    assert not bomb.has_exploded


def test_s13_selected_tasks_are_deleted_without_loading_a_pickle(
    admin_client: Client, bomb: Bomb
) -> None:
    save_task(1, result=bomb.as_column())
    chosen = {"action": "delete_selected", "_selected_action": [f"{1:032x}"]}
    admin_client.post(list_of("success"), {**chosen, "post": "yes"})
    assert not Task.objects.exists()
    assert not bomb.has_exploded


# -------------------------------------------------------------------- permissions


@pytest.mark.parametrize("model", ["success", "failure"])
def test_s14_resubmitting_needs_the_permission_to_add(
    client: Client, model: str
) -> None:
    row = save_task(success=model == "success")
    may_look = [f"{verb}_{model}" for verb in ("view", "change", "delete")]
    answer = staff(client, *may_look).post(list_of(model), resubmit(row))
    assert answer.status_code == 403
    assert not OrmQ.objects.exists()
    assert Task.objects.count() == 1


def test_s15_form_of_a_schedule_says_what_it_is_worth(
    admin_client: Client, q_settings: Any
) -> None:
    address = reverse("admin:django_q_schedule_add")
    page = admin_client.get(address).content.decode()
    assert "can run any function of the project" in page
    q_settings(allowed_functions=["math.*"])
    page = admin_client.get(address).content.decode()
    assert "Only functions that the settings allow are run." in page


@pytest.mark.parametrize("column", ["func", "hook"])
def test_s15_form_of_a_schedule_obeys_allowed_functions(
    admin_client: Client, q_settings: Any, column: str
) -> None:
    q_settings(allowed_functions=["math.*"])
    address = reverse("admin:django_q_schedule_add")
    answer = admin_client.post(address, form(**{column: "os.system"}))
    assert column in answer.context["adminform"].form.errors
    assert not Schedule.objects.exists()
    assert admin_client.post(address, form()).status_code == 302


def test_s15_nobody_writes_a_schedule_without_the_permission(client: Client) -> None:
    row = Schedule.objects.create(func="math.sqrt")
    someone = staff(client, "view_schedule")
    for address in (
        reverse("admin:django_q_schedule_add"),
        page_of(row, "schedule"),
    ):
        assert someone.post(address, form(func="os.system")).status_code == 403
    assert Schedule.objects.get().func == "math.sqrt"


def edit(client: Client, row: OrmQ, **changes: str) -> Any:
    moment = {"lock_0": "2026-05-13", "lock_1": "12:00:00"}
    posted = {"key": "tests", **moment, "payload": "forged", "holder": "f" * 32}
    return client.post(page_of(row, "ormq"), posted | changes)


def test_s16_payload_of_a_queued_task_can_not_be_written(admin_client: Client) -> None:
    row = queue()
    assert edit(admin_client, row).status_code == 302
    now = OrmQ.objects.get()
    assert (now.payload, now.holder) == (row.payload, None)


def test_s16_task_that_a_cluster_holds_keeps_its_lock(admin_client: Client) -> None:
    row = queue()
    OrmQ.objects.update(holder="c" * 32)
    assert 'name="lock_0"' not in str(admin_client.get(page_of(row, "ormq")).content)
    assert edit(admin_client, row).status_code == 302
    now = OrmQ.objects.get()
    assert (now.lock, now.holder) == (NOON, "c" * 32)


def test_s16_task_goes_to_no_queue_that_nobody_knows(admin_client: Client) -> None:
    row = queue()
    assert edit(admin_client, row, key="mine").status_code == 200
    assert OrmQ.objects.get().key == "tests"


def test_s16_changing_and_deleting_need_their_permissions(client: Client) -> None:
    row = queue()
    someone = staff(client, "view_ormq")
    assert edit(someone, row).status_code == 403
    address = page_of(row, "ormq", "delete")
    assert someone.post(address, {"post": "yes"}).status_code == 403
    assert OrmQ.objects.get().lock == NOON


# ------------------------------------------------------------------- other people


def test_s17_nothing_that_is_stored_is_markup(
    admin_client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    words = dict.fromkeys(("name", "func", "group", "hook", "cluster"), SCRIPT)
    values = {"args": (SCRIPT,), "kwargs": {SCRIPT: SCRIPT}, "result": SCRIPT}
    success = save_task(1, **words, **values)
    failure = save_task(2, success=False, **words, **values)
    texts = dict.fromkeys(("name", "func", "hook", "args", "kwargs", "cluster"), SCRIPT)
    plan = Schedule.objects.create(task=success.pk, **texts)
    row = queue(name=SCRIPT, func=SCRIPT, group=SCRIPT, args=(SCRIPT,))
    pages = [list_of(m) for m in ("success", "failure", "schedule", "ormq")]
    pages += [page_of(success, "success"), page_of(failure, "failure")]
    pages += [page_of(plan, "schedule"), page_of(row, "ormq")]
    for page in pages:
        text = admin_client.get(page).content.decode()
        assert "<script>alert" not in text
        assert "<img src=x" not in text
        assert escape(SCRIPT)[:40] in text


def test_s17_half_characters_are_shown_so_that_a_page_can_hold_them(
    admin_client: Client,
) -> None:
    half = "\ud800"
    row = queue(name=half, func=half, args=(half,), group=half, note=half)
    for page in (list_of("ormq"), page_of(row, "ormq")):
        assert "\\ud800" in admin_client.get(page).content.decode()


def test_s18_post_without_the_token_does_nothing() -> None:
    row = save_task()
    client = Client(enforce_csrf_checks=True)
    user = User.objects.create_superuser("root", password="x")
    client.force_login(user)
    assert client.post(list_of("success"), resubmit(row)).status_code == 403
    assert not OrmQ.objects.exists()


def test_s18_reading_changes_nothing(admin_client: Client) -> None:
    row = save_task()
    queued = queue()
    admin_client.get(list_of("success"), resubmit(row))
    for page in (page_of(row, "success", "delete"), page_of(queued, "ormq", "delete")):
        assert admin_client.get(page).status_code == 200
    assert (Task.objects.count(), OrmQ.objects.count()) == (1, 1)


def test_s18_login_leads_to_no_other_site(client: Client) -> None:
    User.objects.create_superuser("root", password="x")
    address = f"{reverse('admin:login')}?next=https://evil.example/"
    answer = client.post(address, {"username": "root", "password": "x"})
    assert answer.status_code == 302
    assert "evil.example" not in answer["Location"]
