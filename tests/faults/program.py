"""A program that has connections open and a thread running when it starts a cluster."""

from __future__ import annotations

import threading

import django

django.setup()

from django_q.brokers import get_broker  # noqa: E402 - the apps come first
from django_q.cluster.cluster import Cluster  # noqa: E402
from django_q.logs import attach_console  # noqa: E402
from django_q.models import Task  # noqa: E402


def main() -> None:
    attach_console("INFO")
    Task.objects.exists()
    get_broker().queue_size()
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    Cluster().start()


if __name__ == "__main__":
    main()
