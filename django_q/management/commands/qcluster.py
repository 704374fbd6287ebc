"""qcluster: starts a cluster on this host and waits until it has stopped."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor
from django.utils.translation import gettext as _

from django_q.brokers import Broker, get_broker
from django_q.cluster.cluster import Cluster
from django_q.cluster.cluster import Cluster as OurCluster
from django_q.conf import Conf
from django_q.exceptions import ConfigurationError, DjangoQError
from django_q.logs import attach_console, clean
from django_q.results import write_alias
from django_q.signing import require_key


class Command(BaseCommand):
    """The command. Projects subclass it, and replace `Cluster` in this module."""

    help = "Starts a Django Q cluster."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--run-once",
            action="store_true",
            dest="run_once",
            default=False,
            help="Stop when the queue is empty and nothing runs.",
        )
        parser.add_argument(
            "-n",
            "--name",
            dest="cluster_name",
            default=None,
            help="Serve the queue of this name, with its settings in ALT_CLUSTERS.",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        name = options.get("cluster_name")
        if name:
            os.environ["Q_CLUSTER_NAME"] = name
            Conf.reload()
        attach_console(Conf.LOG_LEVEL)
        refuse_to_start_unready()
        cluster = Cluster()
        try:
            cluster.start()
        except (RuntimeError, DjangoQError) as error:
            raise CommandError(clean(error, 400)) from None
        # What a project has put in place of `Cluster` may know only start and stop.
        is_ours = issubclass(type(cluster), OurCluster)
        if options.get("run_once"):
            (cluster.drain if is_ours else cluster.stop)()
        code = getattr(cluster, "guard", int)()
        if isinstance(code, int) and code:
            sys.exit(code)


def refuse_to_start_unready() -> None:
    """Raise CommandError, saying what to do, when no task could run anyway."""
    try:
        require_key()
    except ConfigurationError as error:
        raise CommandError(str(error)) from None
    try:
        broker = get_broker()
        check_tables(broker)
        broker.ping()
    except (DjangoQError, DatabaseError, ConnectionError) as error:
        text = _("Can't use the broker: %(error)s")
        raise CommandError(text % {"error": clean(error, 400)}) from error


def check_tables(broker: Broker) -> None:
    """Every database that we need must have all our tables."""
    for alias in sorted({write_alias(), broker.database or write_alias()}):
        missing = missing_migrations(alias)
        if missing:
            text = _(
                "The database '%(alias)s' lacks %(count)d migrations of django_q "
                "(%(names)s). Run: python manage.py migrate django_q"
            )
            shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
            facts = {"alias": alias, "count": len(missing), "names": shown}
            raise CommandError(text % facts)


def missing_migrations(alias: str) -> list[str]:
    executor = MigrationExecutor(connections[alias])
    targets = [n for n in executor.loader.graph.leaf_nodes() if n[0] == "django_q"]
    plan = executor.migration_plan(targets)
    return [m.name for m, _backwards in plan if m.app_label == "django_q"]
