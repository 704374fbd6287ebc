"""qcluster: starts a cluster on this host and waits until it has stopped."""

from __future__ import annotations

import os
import pkgutil
import sys
from argparse import ArgumentParser
from contextlib import closing
from importlib import import_module
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
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
    is_whole_program = False

    def run_from_argv(self, argv: list[str]) -> None:
        """As a program, rather than by `call_command` in a program that does more."""
        self.is_whole_program = True
        super().run_from_argv(argv)

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
        cluster.is_whole_program = self.is_whole_program
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
        # Forks of this process would have its connections.
        with closing(get_broker()) as broker:
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
    if are_all_applied(alias):
        return []
    executor = MigrationExecutor(connections[alias])
    targets = [n for n in executor.loader.graph.leaf_nodes() if n[0] == "django_q"]
    plan = executor.migration_plan(targets)
    return [m.name for m, _backwards in plan if m.app_label == "django_q"]


def are_all_applied(alias: str) -> bool:
    """Whether the database knows each of our migrations, going by their names alone: to
    read those of the whole project takes as long as the rest of the start. False: perhaps
    it does.
    """
    module, _is_explicit = MigrationLoader.migrations_module("django_q")
    if module is None:
        return False
    files = pkgutil.iter_modules(import_module(module).__path__)
    applied = MigrationRecorder(connections[alias]).applied_migrations()
    return all(("django_q", file.name) in applied for file in files)
