"""The peers: other task queues, each in the ways that its documents recommend."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from benchmarks.configs import Command, Config, Database, django
from benchmarks.counts import Count, finished_by_saq, in_file, in_redis, rows, runs

# --------------------------------------------------------------------------- celery

CELERY: Final = (
    "{bin}/celery",
    "-A",
    "benchmarks.site.with_celery",
    "worker",
    "-c",
    "2",
)
CELERY_TUNED: Final = (
    *CELERY,
    *("--prefetch-multiplier", "64", "-Ofair"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
)
EARLY: Final = "acknowledges a task before it runs, its default"
TUNED_NOTE: Final = f"prefetch 64, -Ofair, no gossip, mingle, heartbeat; {EARLY}"


def with_celery(
    name: str,
    stored: Count,
    tasks: int,
    command: Command = CELERY,
    *,
    note: str = EARLY,
    **more: Any,
) -> Config:
    return Config(
        name=f"celery-{name}",
        environment="celery",
        producer="with_celery",
        commands=(command,),
        stored=stored,
        tasks=tasks,
        uses_redis=True,
        note=note,
        **more,
    )


def celery() -> list[Config]:
    one = with_celery
    in_rows = rows("django_celery_results_taskresult where status = 'SUCCESS'")
    keyed = in_redis(1, "DBSIZE")
    plain: dict[str, Any] = {"options": {"results": "none"}}
    django_db: dict[str, Any] = {"options": {"results": "django"}}
    reused = {"results": "django", "celery": {"db_reuse_max": 1000}}
    late = {"celery": {"task_acks_late": True}}
    return [
        one("redis", keyed, 2500),
        one("redis-tuned", keyed, 2500, CELERY_TUNED, note=TUNED_NOTE),
        one("redis-acklate", keyed, 2500, options=late, note="acks_late"),
        one("noresult", runs, 2500, **plain, note=f"ignore_result; {EARLY}"),
        one("noresult-tuned", runs, 2500, CELERY_TUNED, **plain, note=TUNED_NOTE),
        one("django-pg", in_rows, 600, database="pg", **django_db),
        one(
            "django-pg-tuned",
            in_rows,
            2000,
            CELERY_TUNED,
            database="pg",
            options=reused,
            note=f"CELERY_DB_REUSE_MAX 1000, {TUNED_NOTE}",
        ),
        one("django-sqlite", in_rows, 1000, database="sqlite", **django_db),
    ]


# -------------------------------------------------------------- others that use Redis


def rq() -> list[Config]:
    pool = django("rqworker-pool", "default", "--num-workers", "2")
    common: dict[str, Any] = {
        "environment": "rq",
        "producer": "with_rq",
        "stored": in_redis(0, "ZCARD", "rq:finished:default"),
        "uses_redis": True,
    }
    simple = (*pool, "--worker-class", "rq.SimpleWorker")
    note = "SimpleWorker: no fork for each job"
    return [
        Config(name="rq", commands=(pool,), tasks=450, **common),
        Config(name="rq-simple", commands=(simple,), tasks=1500, note=note, **common),
    ]


def huey() -> list[Config]:
    taken = "takes a task from the queue before it runs, acknowledges none"
    common: dict[str, Any] = {
        "environment": "huey",
        "producer": "with_huey.tasks",
        "commands": (django("run_huey"),),
    }
    return [
        Config(
            name="huey",
            stored=in_redis(0, "HLEN", "huey.results.bench"),
            tasks=13_000,
            uses_redis=True,
            note=taken,
            **common,
        ),
        Config(
            name="huey-noresult",
            stored=runs,
            tasks=17_000,
            uses_redis=True,
            options={"results": "none"},
            note=f"results off; {taken}",
            **common,
        ),
        Config(
            name="huey-sqlite",
            stored=in_file("kv"),
            tasks=9000,
            options={"storage": "sqlite"},
            note=f"SqliteHuey, its own settings of SQLite; {taken}",
            **common,
        ),
    ]


def dramatiq(threads: int, tasks: int) -> list[Config]:
    program = ("{bin}/dramatiq", "-p", "2", "-t", str(threads))
    common: dict[str, Any] = {
        "environment": "dramatiq",
        "producer": "with_dramatiq",
        "commands": ((*program, "benchmarks.site.with_dramatiq"),),
        "uses_redis": True,
        "uses_django": False,
    }
    name = f"dramatiq-t{threads}"
    note = f"threads {threads}, without Django"
    plain = {"results": "none"}
    return [
        Config(
            name=name, stored=in_redis(1, "DBSIZE"), tasks=tasks, note=note, **common
        ),
        Config(
            name=f"{name}-noresult",
            stored=runs,
            tasks=2 * tasks,
            options=plain,
            note=note,
            **common,
        ),
    ]


def with_event_loops() -> list[Config]:
    common: dict[str, Any] = {"tasks": 6000, "uses_redis": True, "uses_django": False}
    saq = ("{bin}/saq", "benchmarks.site.with_saq.settings", "--workers", "2")
    taskiq = ("{bin}/taskiq", "worker", "benchmarks.site.with_taskiq:broker")
    return [
        Config(
            name="saq",
            environment="saq",
            producer="with_saq",
            commands=(saq,),
            stored=finished_by_saq,
            note="async task, concurrency 10, without Django",
            **common,
        ),
        Config(
            name="taskiq",
            environment="taskiq",
            producer="with_taskiq",
            commands=((*taskiq, "--workers", "2"),),
            stored=in_redis(1, "DBSIZE"),
            note="async task, RedisStreamBroker, without Django",
            **common,
        ),
    ]


# ------------------------------------------------------------ others that use a database


def procrastinate() -> list[Config]:
    worker = django("procrastinate", "worker")
    common: dict[str, Any] = {
        "environment": "procrastinate",
        "producer": "with_procrastinate",
        "stored": rows("procrastinate_jobs where status = 'succeeded'"),
        "database": "pg",
    }
    ten = (*worker, "--concurrency", "10")
    note = "concurrency 10"
    return [
        Config(name="procrastinate", commands=(worker,) * 2, tasks=1500, **common),
        Config(
            name="procrastinate-c10",
            commands=(ten,) * 2,
            tasks=2000,
            note=note,
            **common,
        ),
    ]


def of_django_tasks(database: Database) -> list[Config]:
    common: dict[str, Any] = {"producer": "with_django_tasks", "database": database}
    return [
        Config(
            name=f"djangotasksdb-{database}",
            environment="djangotasksdb",
            commands=(django("db_worker"),) * 2,
            stored=rows("django_tasks_database_dbtaskresult where status='SUCCESSFUL'"),
            tasks=1500,
            **common,
        ),
        Config(
            name=f"djqueue-{database}",
            environment="djqueue",
            commands=(django("dj_queue"),),
            stored=rows("dj_queue_jobs where finished_at is not null"),
            tasks=1500,
            note="2 processes of 3 threads, its default",
            **common,
        ),
    ]


def with_postgresql() -> list[Config]:
    alone = {"worker": {"threads": 1, "prefetch_multiplier": 16}}
    name, note = "djqueue-pg-t1", "1 thread, prefetch_multiplier 16"
    of_pg = of_django_tasks("pg")
    return [
        *procrastinate(),
        *of_pg,
        replace(of_pg[1], name=name, tasks=3000, options=alone, note=note),
        Config(
            name="pq",
            environment="pq",
            producer="with_pq",
            commands=(("{python}", "-m", "benchmarks.site.pq_program", "work"),) * 2,
            stored=rows("queue where dequeued_at is not null"),
            tasks=6500,
            database="pg",
            uses_django=False,
            note="stores no result, marks a task before it runs, without Django",
        ),
    ]
