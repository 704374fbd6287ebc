"""Projects that plan and enqueue while our migrations have not all run.

A project names one of them as the one it needs, and uses django_q as its code is now. An
app whose name comes before ours gets its turn first on an empty database. And on a
database of a release before ours, the apps of a project get ready before they migrate.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.databases import fresh_database

pytestmark = pytest.mark.database

ROOT = Path(__file__).resolve().parent.parent.parent

SETTINGS = """
from tests.settings import *

INSTALLED_APPS = [*{apps}, *INSTALLED_APPS]
"""

MIGRATION = """
from django.db import migrations

from django_q.models import Schedule
from django_q.tasks import async_task, schedule


def plan(apps, editor):
    schedule("math.sqrt", 4, name="{app}", schedule_type="D", repeats=3)
    schedule("math.sqrt", 4)
    async_task("math.sqrt", 16, group="{app}")
    {more}


class Migration(migrations.Migration):
    dependencies = [("django_q", "{needed}")]
    operations = [migrations.RunPython(plan)]
"""

WITH_THE_MODEL = """
    Schedule.objects.get_or_create(name="{app} model", defaults=dict(func="math.sqrt"))
    Schedule.objects.update_or_create(name="{app} model", defaults=dict(args="9"))
    Schedule.objects.create(name="gone", func="math.sqrt")
    Schedule.objects.get(name="gone").delete()
    Schedule(func="math.sqrt", schedule_type="C", cron="0 4 * * *").save()
    historical = apps.get_model("django_q", "Schedule").objects
    historical.create(name="{app} historical", func="math.sqrt")
"""

NEEDED = {
    "aa": ("0008_auto_20160224_1026", ""),
    "ab": ("0018_task_success_index", WITH_THE_MODEL),
    "ac": (
        "0019_alter_task_options_alter_ormq_key_alter_ormq_lock_and_more",
        WITH_THE_MODEL,
    ),
}
"""Apps of the project: which migration of ours each needs, and what more it does."""

REPORT = """
import django, json
django.setup()
from django_q.brokers import get_broker
from django_q.models import Schedule
from django_q.signing import SignedPackage
taken = get_broker().dequeue(9)
print(json.dumps({
    "schedules": sorted(Schedule.objects.values_list("name", "repeats"), key=str),
    "errors": [row.error for row in Schedule.objects.all()],
    "groups": [SignedPackage.loads(package)["group"] for _, package, *_ in taken],
}))
"""


def write_project(folder: Path) -> None:
    (folder / "site_settings.py").write_text(SETTINGS.format(apps=list(NEEDED)))
    for app, (needed, more) in NEEDED.items():
        migrations = folder / app / "migrations"
        migrations.mkdir(parents=True)
        for package in (folder / app, migrations):
            (package / "__init__.py").touch()
        text = MIGRATION.format(app=app, needed=needed, more=more.format(app=app))
        (migrations / "0001_plan.py").write_text(text)


def run(folder: Path, database: str, *command: str) -> str:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "site_settings",
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "QTEST_DATABASE_NAME": database,
    }
    done = subprocess.run(
        [sys.executable, *command],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_migration_may_plan_and_enqueue_after_any_of_ours(
    django_db_blocker: Any, tmp_path: Path
):
    write_project(tmp_path)
    with django_db_blocker.unblock(), fresh_database(tmp_path) as settings:
        name = str(settings["NAME"])
        steps = run(tmp_path, name, "-m", "django", "migrate", "--no-color")
        found = json.loads(run(tmp_path, name, "-c", REPORT).splitlines()[-1])
    numbers = re.findall(r"Applying (a[abc]|django_q\.\d{4})", steps)
    turns = [numbers[numbers.index(app) - 1][-4:] for app in NEEDED]
    assert turns == [needed[:4] for needed, _ in NEEDED.values()]
    assert numbers.index("ac") < numbers.index("django_q.0020")
    named = [[app, 3] for app in NEEDED]
    made = [
        [f"{app} {how}", -1] for app in ("ab", "ac") for how in ("model", "historical")
    ]
    nameless = [[None, -1]] * 5
    assert found["schedules"] == sorted([*named, *made, *nameless], key=str)
    assert set(found["errors"]) == {None}
    assert found["groups"] == list(NEEDED)


# ------------------------------------------------------- a project that is upgraded

LAST_OF_OLD = NEEDED["ac"][0]

OWNER_APP = """
from django.apps import AppConfig
from django.conf import settings


class Owner(AppConfig):
    name = "owner"

    def ready(self):
        from django_q.models import Schedule
        from django_q.tasks import schedule

        if settings.PLANS:
            Schedule.objects.get_or_create(name="first", defaults={"func": "math.pi"})
            if not Schedule.objects.filter(name="second").exists():
                schedule("math.sqrt", 4, name="second")
"""

OWNER_MODELS = """
from django.db import models


class Reminder(models.Model):
    schedule = models.OneToOneField("django_q.Schedule", on_delete=models.CASCADE)
"""

FIRE = """
import django
django.setup()
from django_q.brokers import get_broker
from django_q.cluster.scheduling import Scheduler
from django_q.conf import get_options
from django_q.models import Schedule
from owner.models import Reminder
for row in Schedule.objects.all():
    Reminder.objects.create(schedule=row)
fired = Scheduler(get_options(), get_broker(), "Process-1").enqueue_due()
print(fired, Schedule.objects.count(), Reminder.objects.count())
"""


def test_apps_of_a_project_may_plan_before_it_migrates(
    django_db_blocker: Any, tmp_path: Path
):
    (tmp_path / "site_settings.py").write_text(
        SETTINGS.format(apps=["owner.apps.Owner"]) + "PLANS = False"
    )
    (tmp_path / "planning.py").write_text("from site_settings import *\nPLANS = True")
    migrations = tmp_path / "owner" / "migrations"
    migrations.mkdir(parents=True)
    (migrations / "__init__.py").touch()
    (tmp_path / "owner" / "apps.py").write_text(OWNER_APP)
    (tmp_path / "owner" / "models.py").write_text(OWNER_MODELS)
    with django_db_blocker.unblock(), fresh_database(tmp_path) as settings:
        name = str(settings["NAME"])
        manage = ("-W", "ignore::RuntimeWarning", "-m", "django")
        run(tmp_path, name, *manage, "migrate", "django_q", LAST_OF_OLD)
        planning = "--settings=planning"
        run(tmp_path, name, *manage, "makemigrations", "owner", planning)
        run(tmp_path, name, *manage, "migrate", planning)
        assert run(tmp_path, name, "-c", FIRE).split() == ["2", "0", "0"]
