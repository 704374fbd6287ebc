"""The admin: what each page shows, who may do what, and that looking runs nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import escape
from picklefield.fields import PickledObject, dbsafe_encode

from django_q import tasks
from django_q.models import Failure, OrmQ, Schedule, ScheduleNote, Success, Task
from django_q.signing import SignedPackage
from django_q.status import Stat

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 5, 12, 12, tzinfo=UTC)
SCRIPT = "<script>alert(1)</script>"
LISTS = ["success", "failure", "schedule", "ormq"]


class Bomb:
    """Loading its pickle writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.fixture
def bomb(tmp_path: Path) -> Bomb:
    return Bomb(tmp_path / "exploded")


def pickled(value: Any) -> PickledObject:
    """As it is in the column; saving would copy the value, which loads it."""
    return dbsafe_encode(value, pickle_protocol=-1, copy=False)


def save_task(number: int = 1, **columns: Any) -> Task:
    moments = {"started": NOON, "stopped": NOON + timedelta(seconds=2)}
    facts = {"name": f"task-{number}", "func": "math.pow", "args": (2, 3)}
    known = {"kwargs": {}, "result": 8.0, "cluster": "tests"}
    return Task.objects.create(id=f"{number:032x}", **facts | known | moments | columns)


def save_failure(number: int = 1, **columns: Any) -> Task:
    facts = {"success": False, "result": "boom : Traceback (most …"}
    return save_task(number, **facts | columns)


def queue(**changes: Any) -> OrmQ:
    task = {"id": "a" * 32, "name": "four-words", "func": "math.pow", "args": (2, 3)}
    facts = {"kwargs": {"x": "y"}, "started": NOON, "group": "g", "timeout": 7}
    package = SignedPackage.dumps(task | facts | changes)
    return OrmQ.objects.create(key="tests", payload=package, lock=NOON)


def list_of(model: str) -> str:
    return reverse(f"admin:django_q_{model}_changelist")


def page_of(row: Any) -> str:
    model = row._meta.model_name  # noqa: SLF001 - public by Django's docs
    if isinstance(row, Task):
        model = "success" if row.success else "failure"
    return reverse(f"admin:django_q_{model}_change", args=[row.pk])


def text_of(response: Any) -> str:
    assert response.status_code == 200
    return str(response.content.decode())


def staff(client: Client, *permissions: str) -> Client:
    """A client of somebody who may do just this: view_success, add_failure, …"""
    user = User.objects.create_user("someone", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return client


def act(client: Client, model: str, *rows: Any, action: str = "resubmit_task") -> Any:
    chosen = {"action": action, "_selected_action": [row.pk for row in rows]}
    return client.post(list_of(model), chosen, follow=True)


def messages_of(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


# -------------------------------------------------------------------------- lists


def test_menu_names_the_four_lists(admin_client: Client):
    page = text_of(admin_client.get(reverse("admin:index")))
    for title in ("Successful tasks", "Failed tasks", "Scheduled tasks"):
        assert title in page
    assert "Queued tasks" in page
    assert "Django Q" in page


@pytest.mark.parametrize("model", LISTS)
def test_empty_list_opens(admin_client: Client, model: str):
    text_of(admin_client.get(list_of(model)))


def test_list_of_successes(admin_client: Client):
    task = save_task(group="sums")
    save_failure(2)
    page = text_of(admin_client.get(list_of("success")))
    for shown in ("task-1", "sums", "math.pow", "tests", "2.0", page_of(task)):
        assert shown in page
    assert "task-2" not in page


def test_list_of_failures_shows_the_error(admin_client: Client):
    save_task()
    save_failure(2, result="x" * 99 + "yz")
    page = text_of(admin_client.get(list_of("failure")))
    assert "task-1" not in page
    assert "x" * 99 + "y<" in page


@pytest.mark.parametrize("result", [None, 5, ["boom"], ValueError("boom")])
def test_error_that_is_no_text_is_not_shown_in_the_list(
    admin_client: Client, result: Any
):
    save_failure(result=result)
    page = text_of(admin_client.get(list_of("failure")))
    assert '<td class="field-short_result">…</td>' in page


def test_list_of_schedules_links_to_the_last_task(admin_client: Client):
    task = save_failure()
    row = Schedule.objects.create(func="math.sqrt", name="roots", task=task.pk)
    page = text_of(admin_client.get(list_of("schedule")))
    assert f'<a href="{page_of(task)}">[task-1]</a>' in page
    assert page.count(f'<a href="{page_of(row)}">') == 2
    assert 'alt="False"' in page


def test_list_of_schedules_shows_why_one_does_not_run(admin_client: Client):
    row = Schedule.objects.create(func="math.sqrt")
    ScheduleNote.write(row, error="ValueError: it can't", anchor=None)
    page = text_of(admin_client.get(list_of("schedule")))
    assert escape("ValueError: it can't") in page


def test_list_of_queued_tasks(admin_client: Client):
    row = queue()
    page = text_of(admin_client.get(list_of("ormq")))
    for shown in ("four-words", "math.pow", ">g<", "a" * 32, page_of(row)):
        assert shown in page


def test_queued_packages_that_are_not_ours_are_listed(admin_client: Client):
    for payload in ("junk", ""):
        OrmQ.objects.create(key="tests", payload=payload, lock=NOON)
    page = text_of(admin_client.get(list_of("ormq")))
    assert page.count("*BadSignature") == 1
    assert page.count("too large to be shown") == 1


def test_large_queued_package_stays_in_the_database(admin_client: Client):
    row = queue(args=("x" * 300_000,))
    row.task_key = "b" * 32
    row.save()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        page = text_of(admin_client.get(list_of("ormq")))
    assert "b" * 32 in page
    assert all(len(query["sql"]) < 10_000 for query in queries)


@pytest.mark.parametrize("model", LISTS)
def test_list_needs_no_more_queries_for_more_rows(admin_client: Client, model: str):
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            text_of(admin_client.get(list_of(model)))
        return len(captured)

    def add(number: int) -> None:
        save_task(2 * number, group="g")
        save_failure(2 * number + 1, group="g")
        Schedule.objects.create(func="math.sqrt", task=f"{number:032x}", next_run=NOON)
        queue(name=f"task {number}")

    add(0)
    few = queries()
    for number in range(1, 10):
        add(number)
    assert queries() == few


@pytest.mark.parametrize("query", ["task-1", "math", "sums", "' OR 1=1 --", "%", "\0"])
def test_lists_can_be_searched(admin_client: Client, query: str):
    save_task(group="sums")
    for model in LISTS:
        response = admin_client.get(list_of(model), {"q": query})
        assert response.status_code in (200, 302)


# ------------------------------------------------------------------ looking is safe


def test_no_page_loads_a_pickle(admin_client: Client, bomb: Bomb):
    blobs = {name: pickled([bomb]) for name in ("args", "kwargs", "result")}
    rows: dict[str, Any] = {
        "success": save_task(1, **blobs),
        "failure": save_failure(2, **blobs),
        "ormq": queue(args=(bomb,)),
    }
    for model in LISTS:
        text_of(admin_client.get(list_of(model)))
    for model, row in rows.items():
        assert "exploded" in text_of(admin_client.get(page_of(row)))
        act(admin_client, model, row, action="delete_selected")
    assert not bomb.path.exists()
    assert rows["ormq"].args()
    assert bomb.path.exists()


def test_nothing_in_a_page_is_markup(admin_client: Client):
    words = {"name": SCRIPT, "func": SCRIPT, "group": SCRIPT, "cluster": SCRIPT}
    values = {"args": (SCRIPT,), "kwargs": {SCRIPT: SCRIPT}, "hook": SCRIPT}
    task = save_task(1, result=SCRIPT, **words, **values)
    failure = save_failure(2, **words, **values, result=SCRIPT)
    schedule = Schedule.objects.create(
        name=SCRIPT,
        func=SCRIPT,
        hook=SCRIPT,
        args=SCRIPT,
        kwargs=SCRIPT,
        cluster=SCRIPT,
        task=task.pk,
    )
    ScheduleNote.write(schedule, error=SCRIPT, anchor=None)
    queued = queue(name=SCRIPT, func=SCRIPT, group=SCRIPT, args=(SCRIPT,), id=SCRIPT)
    OrmQ.objects.update(key=SCRIPT)
    pages = [list_of(model) for model in LISTS]
    pages += [page_of(row) for row in (task, failure, schedule, queued)]
    for page in pages:
        text = text_of(admin_client.get(page))
        assert "<script>alert" not in text
        assert escape(SCRIPT) in text


# -------------------------------------------------------------------------- pages


def test_page_of_a_task_shows_all_of_it(admin_client: Client):
    task = save_task(args=(2, [3]), kwargs={"x": User(id=7)}, result={"a": 8}, hook="h")
    page = text_of(admin_client.get(page_of(task)))
    for shown in ("(2, [3])", "{'x': auth.User(id=7, ...)}", "{'a': 8}", task.id):
        assert escape(shown) in page
    assert 'name="_save"' not in page


def test_page_of_a_failure_keeps_the_lines_of_the_traceback(admin_client: Client):
    task = save_failure(result='boom : Traceback:\n  File "x"\n    raise')
    page = text_of(admin_client.get(page_of(task)))
    assert "<pre>boom : Traceback:\n  File &quot;x&quot;\n    raise</pre>" in page


@pytest.mark.parametrize("column", ["args", "kwargs", "result"])
def test_page_of_a_task_that_can_not_be_read_opens(admin_client: Client, column: str):
    task = save_task(**{column: PickledObject("no pickle")})
    page = text_of(admin_client.get(page_of(task)))
    assert escape("can't be read") in page


def test_page_of_a_task_with_a_large_result_opens(admin_client: Client):
    task = save_task(result="x" * 2_000_000)
    page = text_of(admin_client.get(page_of(task)))
    assert "too large to be shown" in page
    assert len(page) < 100_000


def test_page_of_a_task_without_values_opens(admin_client: Client):
    text_of(admin_client.get(page_of(save_task(args=None, kwargs=None, result=None))))


def test_page_of_nobody_leads_back(admin_client: Client):
    address = reverse("admin:django_q_success_change", args=["0" * 32])
    assert admin_client.get(address).status_code == 302


def test_tasks_can_be_neither_added_nor_changed(admin_client: Client):
    task = save_task()
    for model in ("success", "failure", "ormq"):
        address = reverse(f"admin:django_q_{model}_add")
        assert admin_client.get(address).status_code == 403
    assert admin_client.post(page_of(task), {"name": "new"}).status_code == 403
    assert Task.objects.get().name == "task-1"


def test_tasks_can_be_deleted(admin_client: Client):
    tasks_ = [save_task(), save_failure(2)]
    for task, model in zip(tasks_, ("success", "failure"), strict=True):
        address = reverse(f"admin:django_q_{model}_delete", args=[task.pk])
        admin_client.post(address, {"post": "yes"})
    assert not Task.objects.exists()


# ----------------------------------------------------------------------- resubmit


def test_success_is_queued_again_and_kept(admin_client: Client):
    task = save_task(group="g", hook="shop.hook", kwargs={"x": 1})
    response = act(admin_client, "success", task)
    assert messages_of(response) == ["1 task was queued again."]
    queued = OrmQ.objects.get().task
    assert (queued["func"], queued["args"]) == ("math.pow", (2, 3))
    assert queued["kwargs"] == {"x": 1}
    assert (queued["hook"], queued["group"]) == ("shop.hook", "g")
    assert queued["id"] != task.pk
    assert queued["name"] != task.name
    assert OrmQ.objects.get().key == "tests"
    assert Success.objects.count() == 1


def test_failures_are_queued_again_and_deleted(admin_client: Client):
    rows = [save_failure(n, cluster="long") for n in (1, 2)]
    response = act(admin_client, "failure", *rows)
    assert messages_of(response) == ["2 tasks were queued again."]
    assert [row.key for row in OrmQ.objects.all()] == ["long", "long"]
    assert not Failure.objects.exists()


def test_keyword_that_is_called_like_an_option_stays_the_functions(
    admin_client: Client,
):
    kwargs = {"group": "mine", "timeout": "soon", "hook": 1}
    act(admin_client, "success", save_task(kwargs=kwargs, group="real"))
    queued = OrmQ.objects.get().task
    assert queued["kwargs"] == kwargs
    assert queued["group"] == "real"
    assert queued.get("timeout") is None


def test_task_that_can_not_be_read_is_not_queued(admin_client: Client):
    bad = save_failure(1, args=PickledObject("no pickle"))
    good = save_failure(2)
    response = act(admin_client, "failure", bad, good)
    assert messages_of(response) == [
        "1 task was queued again.",
        "task-1 was not queued: its arguments can't be read",
    ]
    assert [task.pk for task in Failure.objects.all()] == [bad.pk]


def test_many_tasks_that_can_not_be_queued_do_not_fill_the_page(admin_client: Client):
    rows = [save_failure(n, kwargs=PickledObject("no pickle")) for n in range(8)]
    said = messages_of(act(admin_client, "failure", *rows))
    assert len(said) == 6
    assert said[-1] == "3 more were not queued."


def test_failure_stays_for_those_who_may_not_delete_it(client: Client):
    task = save_failure()
    act(staff(client, "view_failure", "add_failure"), "failure", task)
    assert OrmQ.objects.count() == 1
    assert Failure.objects.count() == 1


@pytest.mark.parametrize("model", ["success", "failure"])
def test_those_who_may_only_look_are_not_offered_resubmit(client: Client, model: str):
    save_task(1)
    save_failure(2)
    staff(client, f"view_{model}", f"change_{model}", f"delete_{model}")
    page = text_of(client.get(list_of(model)))
    assert "resubmit_task" not in page
    assert "delete_selected" in page


@pytest.mark.parametrize("model", ["success", "failure"])
def test_those_who_may_only_look_can_not_resubmit(client: Client, model: str):
    task = save_task(success=model == "success")
    staff(client, f"view_{model}", f"change_{model}", f"delete_{model}")
    assert act(client, model, task).status_code == 403
    assert Task.objects.count() == 1
    assert not OrmQ.objects.exists()


def test_permission_for_one_face_is_none_for_the_other(client: Client):
    task = save_failure()
    staff(client, "view_failure", "add_success", "add_task", "delete_failure")
    assert act(client, "failure", task).status_code == 403
    assert not OrmQ.objects.exists()


def test_looking_with_get_resubmits_nothing(admin_client: Client):
    task = save_task()
    query = {"action": "resubmit_task", "_selected_action": task.pk}
    admin_client.get(list_of("success"), query)
    assert not OrmQ.objects.exists()


@pytest.mark.parametrize("model", LISTS)
def test_strangers_see_nothing(client: Client, model: str):
    assert client.get(list_of(model)).status_code == 302
    assert staff(client).get(list_of(model)).status_code == 403


# ---------------------------------------------------------------------- schedules


def form_of_schedule(**changes: str) -> dict[str, str]:
    facts = {"func": "math.sqrt", "schedule_type": "D", "repeats": "-1"}
    moment = {"next_run_0": "2026-05-12", "next_run_1": "12:00:00"}
    return {**facts, **moment, **changes}


def add_schedule(client: Client, **changes: str) -> Any:
    address = reverse("admin:django_q_schedule_add")
    return client.post(address, form_of_schedule(**changes))


def test_schedule_is_added(admin_client: Client):
    assert add_schedule(admin_client, args="4", name="roots").status_code == 302
    row = Schedule.objects.get()
    assert (row.name, row.parse_args(), row.next_run) == ("roots", (4,), NOON)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"args": "open('x')"}, "only plain values are allowed"),
        ({"kwargs": "x=date.today()"}, "only plain values are allowed"),
        ({"args": "(" * 5000}, "arguments do not parse"),
        ({"schedule_type": "C"}, "The Cron type needs a cron expression."),
        ({"schedule_type": "C", "cron": "61 * * * *"}, "minute 61 is not between"),
        ({"intended_date_kwarg": "a b"}, "can't be the name of a keyword"),
    ],
)
def test_bad_schedule_is_refused_in_the_form(
    admin_client: Client, changes: dict[str, str], text: str
):
    page = text_of(add_schedule(admin_client, **changes))
    assert escape(text) in page
    assert not Schedule.objects.exists()


def test_page_of_a_schedule_shows_its_error_until_it_is_saved(admin_client: Client):
    row = Schedule.objects.create(func="math.sqrt")
    ScheduleNote.write(row, error="ValueError: no", anchor=None)
    address = page_of(row)
    assert "ValueError: no" in text_of(admin_client.get(address))
    assert admin_client.post(address, form_of_schedule()).status_code == 302
    row.refresh_from_db()
    assert row.error is None
    assert "field-error" not in text_of(admin_client.get(address))


# ---------------------------------------------------------------- the queue's rows


def edit(client: Client, row: OrmQ, **changes: str) -> Any:
    moment = {"lock_0": "2026-05-12", "lock_1": "12:00:00"}
    return client.post(page_of(row), {"key": "tests", **moment, **changes})


def test_page_of_a_queued_task_shows_the_task_not_the_payload(admin_client: Client):
    row = queue()
    page = text_of(admin_client.get(page_of(row)))
    for shown in ("four-words", "(2, 3)", "{'x': 'y'}", "'timeout': 7"):
        assert escape(shown) in page
    assert row.payload not in page


def test_page_of_a_foreign_package_says_so(admin_client: Client):
    row = OrmQ.objects.create(key="tests", payload="junk", lock=NOON)
    page = text_of(admin_client.get(page_of(row)))
    assert "*BadSignature" in page
    assert "junk" not in page


def test_lock_is_changed_and_nothing_else(admin_client: Client):
    row = queue()
    OrmQ.objects.update(deliveries=2, starts=1)
    assert edit(admin_client, row, lock_0="2026-05-13").status_code == 302
    changed = OrmQ.objects.get()
    assert changed.lock == NOON + timedelta(days=1)
    assert (changed.holder, changed.deliveries, changed.starts) == (None, 2, 1)
    assert changed.payload == row.payload


def test_row_that_is_gone_meanwhile_stays_gone(admin_client: Client):
    row = queue()
    address = page_of(row)
    row.delete()
    assert admin_client.post(address, {"key": "tests"}).status_code == 302
    assert not OrmQ.objects.exists()


def test_task_moves_only_to_a_queue_that_is_known(
    admin_client: Client, q_settings: Any
):
    elsewhere = {"broker_class": "django_q.brokers.memory.Memory"}
    q_settings(ALT_CLUSTERS={"long": {"retry": 900}, "reports": elsewhere})
    row = queue()
    assert edit(admin_client, row, key="long").status_code == 302
    assert OrmQ.objects.get().key == "long"
    for nowhere in ("lnog", "reports"):
        page = text_of(edit(admin_client, row, key=nowhere))
        assert "Select a valid choice" in page
    assert OrmQ.objects.get().key == "long"


def test_queue_of_a_running_cluster_is_known(admin_client: Client):
    row = queue()
    Stat.of(cluster_id="d" * 32, pid=1, queue="mail").save()
    assert edit(admin_client, row, key="mail").status_code == 302
    assert OrmQ.objects.get().key == "mail"


def test_queued_task_is_deleted_by_those_who_may(client: Client):
    row = queue()
    address = reverse("admin:django_q_ormq_delete", args=[row.pk])
    staff(client, "view_ormq", "change_ormq")
    assert client.post(address, {"post": "yes"}).status_code == 403
    assert OrmQ.objects.exists()
    user = User.objects.get()
    user.user_permissions.set(Permission.objects.filter(codename__endswith="_ormq"))
    assert client.post(address, {"post": "yes"}).status_code == 302
    assert not OrmQ.objects.exists()


def test_those_who_may_only_look_at_the_queue_see_no_form(client: Client):
    page = text_of(staff(client, "view_ormq").get(page_of(queue())))
    assert "four-words" in page
    assert 'name="key"' not in page


@pytest.mark.parametrize(
    ("q_cluster", "shown"),
    [({"orm": "default"}, True), ({"testing": True}, True), ({"name": "shop"}, False)],
)
def test_queue_is_in_the_admin_where_the_database_is_the_broker(
    q_cluster: dict[str, Any], *, shown: bool
):
    code = (
        "from tests import settings; "
        f"settings.Q_CLUSTER = {q_cluster!r}; "
        "import django; django.setup(); "
        "from django.contrib import admin; from django_q.models import OrmQ; "
        "print(admin.site.is_registered(OrmQ))"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    command = [sys.executable, "-c", code]
    root = Path(__file__).parents[2]
    said = subprocess.check_output(command, env=environment, cwd=root, text=True)
    assert said.strip() == str(shown)


def test_tasks_are_queued_through_the_public_door(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
):
    """Applications patch it there."""
    calls: list[Any] = []
    monkeypatch.setattr(tasks, "async_task", lambda *args, **_: calls.append(args))
    act(admin_client, "success", save_task())
    assert calls == [("math.pow", 2, 3)]
