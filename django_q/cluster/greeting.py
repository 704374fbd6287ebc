"""Greeting: the lines with which a cluster says what it is about to do."""

from __future__ import annotations

import sys
from datetime import datetime

import django
from django.conf import settings
from django.db import connections

import django_q
from django_q import clock
from django_q.brokers import Broker
from django_q.logs import clean
from django_q.models import Schedule
from django_q.models.schedule import is_fired_by
from django_q.options import Options


def greeting(options: Options, broker: Broker) -> list[str]:
    """Broker and queue, workers and limits, schedules: a line each."""
    lines = [broker_line(options, broker), workers_line(options, broker)]
    if options.scheduler:
        lines.append(schedules_line(options))
    return lines


def versions() -> str:
    """What runs here, for the first line."""
    ours, python = django_q.__version__, sys.version.split()[0]
    return f"django-q {ours}, Django {django.get_version()}, Python {python}"


def broker_line(options: Options, broker: Broker) -> str:
    name = broker.info()
    if broker.database is not None:
        vendor = connections[broker.database].settings_dict["ENGINE"].rsplit(".")[-1]
        name = f'database "{broker.database}" ({vendor})'
    return f"  broker    {clean(name):<37} queue   {clean(options.queue)}"


def workers_line(options: Options, broker: Broker) -> str:
    limit = options.recycle
    recycled = f"recycled after {limit} tasks" if limit > 0 else "kept"
    several = options.concurrency
    each = f" with {several} tasks" if several > 1 else ""
    workers = f"{options.worker_count}{each}, {recycled}"
    timeout = "none" if options.timeout is None else f"{options.timeout:g} s"
    kept = ", renewed while running" if broker.can_renew else ", then a task runs again"
    retry = f"{options.retry:g} s{kept if broker.supports_receipts else ''}"
    return f"  workers   {workers:<37} timeout {timeout}   retry {retry}"


def schedules_line(options: Options) -> str:
    """How many schedules this cluster has, and which is next."""
    own = Schedule.objects.filter(is_fired_by(options))
    soonest = own.order_by("next_run").first()
    count = f"  schedules {own.count()}"
    if soonest is None or soonest.next_run is None:
        return count
    name = clean(soonest.name or soonest.func, 60)
    moment, rest = soonest.next_run, soonest.next_run - clock.now()
    away = max(0, int(rest.total_seconds()))
    return f'{count}, next "{name}" at {shown(moment)} (in {duration(away)})'


def shown(moment: datetime) -> str:
    local = clock.localtime(moment) if settings.USE_TZ else moment
    today = clock.localtime() if settings.USE_TZ else clock.now()
    same_day = local.date() == today.date()
    return f"{local:%H:%M:%S}" if same_day else f"{local:%Y-%m-%d %H:%M}"


def duration(seconds: int) -> str:
    """Seconds as people say them: 41 s, 2 min 20 s, 3 h 05 min, 4 d 02 h."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
