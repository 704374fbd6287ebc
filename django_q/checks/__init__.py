"""System checks: say in plain words what is wrong with Q_CLUSTER.

No check opens a connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, register
from django.db import router

from django_q.checks import alternatives, clients, meaning, values
from django_q.checks.messages import Site, error, warning
from django_q.conf import Conf

__all__ = [
    "Site",
    "check_deployment",
    "check_settings",
    "find_problems",
    "find_risks",
    "register_checks",
]

TAG: Final = "django_q"


def register_checks() -> None:
    """Make `manage.py check` run ours."""
    register(check_settings, TAG)
    register(check_deployment, TAG, deploy=True)


def check_settings(**_kwargs: Any) -> list[CheckMessage]:
    """What is wrong with the settings of this project, on every machine."""
    return find_problems(_site())


def check_deployment(**_kwargs: Any) -> list[CheckMessage]:
    """What is wrong with them on a machine that serves the public."""
    return find_risks(_site())


def find_problems(site: Site) -> list[CheckMessage]:
    """Everything that is wrong with the settings; empty for the default ones."""
    raw = site.raw
    if not isinstance(raw, Mapping):
        hint = 'Write Q_CLUSTER = {"name": "shop", "orm": "default"}.'
        return [error("E001", "Q_CLUSTER must be a dictionary.", hint)]
    return [
        *values.judge_keys(raw, "Q_CLUSTER"),
        *values.judge_alternatives(raw.get("ALT_CLUSTERS")),
        *alternatives.judge_brokers(raw, site.databases),
        *alternatives.judge_atomic(raw, site.results),
        *meaning.judge_brokers(raw),
        *clients.judge_client(raw),
        *clients.judge_redis(raw),
        *meaning.judge_database(raw, site.databases),
        *meaning.judge_isolation(raw, site.databases),
        *meaning.judge_zone(raw.get("time_zone")),
        *meaning.judge_cache(raw, site.caches),
        *meaning.judge_logging(site.logging),
        *meaning.judge_save_limit(raw),
        *meaning.judge_repeating(raw),
        *meaning.judge_atomic(raw, site.results),
    ]


def find_risks(site: Site) -> list[CheckMessage]:
    """What should not stay so in production."""
    raw = site.raw if isinstance(site.raw, Mapping) else {}
    risks = list(meaning.judge_locking(raw, site.databases))
    risks += clients.judge_exposure(raw, site.caches)
    risks += alternatives.judge_exposure(raw, site.caches)
    if meaning.is_weak(site.secret_key):
        message = "SECRET_KEY is weak and also protects task packages."
        hint = "Anyone who guesses it can run code on your workers. "
        risks.append(warning("W005", message, hint + "Set a long random key."))
    if raw.get("sync"):
        message = "Q_CLUSTER['sync'] is True: tasks run inside requests."
        hint = "Remove 'sync' from production settings."
        risks.append(warning("W007", message, hint))
    if not raw.get("timeout"):
        message = "Q_CLUSTER['timeout'] is not set, so a stuck task blocks a worker"
        hint = "Set 'timeout', for example 300."
        risks.append(warning("W008", message + " forever.", hint))
    return risks


def _site() -> Site:
    return Site(
        raw=getattr(settings, "Q_CLUSTER", {}),
        databases=settings.DATABASES,
        caches=settings.CACHES,
        logging=settings.LOGGING or {},
        secret_key=str(Conf.SECRET_KEY or ""),
        results=router.db_for_write(apps.get_model("django_q", "Success")),
    )
