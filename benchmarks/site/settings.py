"""Settings of one Django project for all peers."""

from __future__ import annotations

from typing import Any

from benchmarks.site.told import HOST, OPTIONS, TOLD, redis_url

SECRET_KEY = "no secret, but as long as one that a project would have: " + "x" * 30
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]


def database(told: dict[str, Any]) -> dict[str, Any]:
    age = OPTIONS.get("conn_max_age", 600)
    if told["kind"] == "pg":
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": told["name"],
            "USER": told["user"],
            "HOST": HOST,
            "PORT": told["port"],
            "CONN_MAX_AGE": age,
        }
    careful = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
    options = {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": careful}
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": told["name"],
        "CONN_MAX_AGE": age,
        "OPTIONS": options,
    }


def cluster() -> dict[str, Any]:
    """The same for ours and for django-q2."""
    broker: dict[str, Any] = {"redis": {"host": HOST, "port": TOLD.get("redis_port")}}
    if OPTIONS.get("broker") == "orm":
        broker = {"orm": "default"}
    return {
        "name": "bench",
        "workers": 2,
        "timeout": 60,
        "retry": 120,
        "save_limit": 0,
        **broker,
        **OPTIONS.get("q", {}),
    }


def huey() -> dict[str, Any]:
    said: dict[str, Any] = {
        "name": "bench",
        "immediate": False,
        "consumer": {"workers": 2, "worker_type": "process"},
        "results": OPTIONS.get("results") != "none",
    }
    if OPTIONS.get("storage") == "sqlite":
        file = {"filename": TOLD["file"]}
        return said | {"huey_class": "huey.SqliteHuey", "connection": file}
    return said | {"connection": {"host": HOST, "port": TOLD["redis_port"]}}


DATABASES = {"default": database(TOLD["database"])} if TOLD.get("database") else {}

TASKS: dict[str, Any] = {}

match TOLD.get("environment"):
    case "ours" | "djangoq2":
        INSTALLED_APPS += ["django_q"]
        Q_CLUSTER = cluster()
    case "celery":
        results = OPTIONS.get("results", "redis")
        kept = {"redis": redis_url(1), "django": "django-db", "none": None}
        CELERY_BROKER_URL = redis_url()
        CELERY_RESULT_BACKEND = kept[results]
        CELERY_TASK_IGNORE_RESULT = results == "none"
        INSTALLED_APPS += ["django_celery_results"] if results == "django" else []
        for name, value in OPTIONS.get("celery", {}).items():
            globals()[f"CELERY_{name.upper()}"] = value
    case "rq":
        INSTALLED_APPS += ["django_rq"]
        RQ_QUEUES = {
            "default": {"HOST": HOST, "PORT": TOLD["redis_port"], "DB": 0},
        }
    case "huey":
        INSTALLED_APPS += ["huey.contrib.djhuey", "benchmarks.site.with_huey"]
        HUEY = huey()
    case "procrastinate":
        INSTALLED_APPS += ["procrastinate.contrib.django"]
        PROCRASTINATE_IMPORT_PATHS = ["benchmarks.site.with_procrastinate"]
    case "djangotasksdb":
        INSTALLED_APPS += ["django_tasks_db"]
        TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
    case "djqueue":
        INSTALLED_APPS += ["dj_queue"]
        workers = [{"queues": "*", "processes": 2, **OPTIONS.get("worker", {})}]
        TASKS = {
            "default": {
                "BACKEND": "dj_queue.backend.DjQueueBackend",
                "QUEUES": [],
                "OPTIONS": {"workers": workers},
            },
        }
