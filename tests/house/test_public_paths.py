"""Every public door opens, and its functions have the signatures that were promised."""

from __future__ import annotations

import importlib
import inspect

import pytest

DOORS: dict[str, str] = {
    "django_q": "VERSION __version__",
    "django_q.admin": "FailAdmin QueueAdmin ScheduleAdmin TaskAdmin resubmit_task "
    "retry_failed",
    "django_q.apps": "DjangoQConfig",
    "django_q.brokers": "Broker get_broker",
    "django_q.brokers.memory": "Memory",
    "django_q.brokers.orm": "ORM",
    "django_q.cluster": (
        "Cluster Conf Queue Sentinel Stat Status close_old_django_connections "
        "get_broker get_mp_context humanize localtime logger monitor pusher rss_check "
        "save_cached save_task scheduler set_cpu_affinity worker"
    ),
    "django_q.conf": (
        "Conf ErrorReporter croniter error_reporter get_ppid logger "
        "prometheus_multiprocess psutil resource setproctitle"
    ),
    "django_q.core_signing": "Signer TimestampSigner dumps loads",
    "django_q.exceptions": (
        "BrokerError BrokerUnavailable ConfigurationError DjangoQError PackageError "
        "PackageTooLarge ResultTimeout TaskError TaskNotFound TaskNotImportable "
        "TaskNotSerializable TimeoutException UnknownReceipt UnreadablePackage "
        "UnsendableResult"
    ),
    "django_q.humanhash": "DEFAULT_WORDLIST HumanHasher humanize uuid",
    "django_q.models": (
        "Failure OrmQ Schedule Success Task call_hook validate_cron validate_kwarg"
    ),
    "django_q.monitor": "monitor save_cached save_task",
    "django_q.pusher": "pusher",
    "django_q.queues": "Queue SharedCounter",
    "django_q.scheduler": "scheduler",
    "django_q.signals": (
        "post_execute post_execute_in_worker post_spawn pre_enqueue pre_execute"
    ),
    "django_q.signing": "BadSignature PickleSerializer SignedPackage",
    "django_q.status": "Stat Status",
    "django_q.timeout": "TimeoutHandler",
    "django_q.tasks": (
        "AsyncTask Chain Iter Schedule Task aasync_task aresult async_chain async_iter "
        "async_task count_group "
        "count_group_cached delete_cached delete_group delete_group_cached fetch "
        "fetch_cached fetch_group fetch_group_cached queue_size result result_cached "
        "result_group result_group_cached schedule"
    ),
    "django_q.utils": (
        "add_months add_years close_old_django_connections get_func_repr localtime"
    ),
    "django_q.worker": "rss_check worker",
}

# Rooms whose every public name is meant, and those that Django opens itself.
NO_LIST = {
    "django_q",
    "django_q.admin",
    "django_q.apps",
    "django_q.brokers.memory",
    "django_q.brokers.orm",
    "django_q.exceptions",
}

SIGNATURES: dict[str, str] = {
    "brokers.get_broker": "(list_key=None)",
    "brokers.Broker": "(list_key=None)",
    "brokers.Broker.acknowledge": "(self, receipt)",
    "brokers.Broker.delete": "(self, receipt)",
    "brokers.Broker.delete_queue": "(self)",
    "brokers.Broker.fail": "(self, receipt)",
    "brokers.Broker.get_stat": "(self, key)",
    "brokers.Broker.get_stats": "(self, pattern)",
    "brokers.Broker.info": "(self)",
    "brokers.Broker.lock_size": "(self)",
    "brokers.Broker.ping": "(self)",
    "brokers.Broker.purge_queue": "(self)",
    "brokers.Broker.queue_size": "(self)",
    "brokers.Broker.set_stat": "(self, key, value, timeout=3)",
    "cluster.Cluster": "(broker=None)",
    "cluster.Cluster.start": "(self)",
    "cluster.Cluster.stop": "(self)",
    "humanhash.humanize": "(hexdigest, words=4, separator='-')",
    "humanhash.uuid": "(**how)",
    "signing.SignedPackage.dumps": "(obj, compressed=None)",
    "signing.SignedPackage.loads": "(package)",
    "status.Stat.get": "(pid, cluster_id, broker=None)",
    "status.Stat.get_all": "(broker=None)",
    "status.Status": "(pid, cluster_id)",
    "tasks.AsyncTask": "(func, *args, **kwargs)",
    "tasks.AsyncTask.fetch": "(self, wait=0)",
    "tasks.AsyncTask.fetch_group": "(self, failures=True, wait=0, count=None)",
    "tasks.AsyncTask.result": "(self, wait=0)",
    "tasks.AsyncTask.result_group": "(self, failures=False, wait=0, count=None)",
    "tasks.AsyncTask.run": "(self)",
    "tasks.Chain": (
        "(chain=None, group=None, cached=None, sync=None, broker=None, *, "
        "stop_on_failure=None, atomic=None)"
    ),
    "tasks.Iter": (
        "(func=None, args=None, kwargs=None, cached=None, sync=None, broker=None)"
    ),
    "tasks.aasync_bulk": "(func, args_iter, **kwargs)",
    "tasks.aasync_task": "(func, *args, **kwargs)",
    "tasks.async_bulk": "(func, args_iter, **kwargs)",
    "tasks.async_chain": (
        "(chain, group=None, cached=None, sync=None, broker=None, *, "
        "stop_on_failure=None, atomic=None)"
    ),
    "tasks.async_iter": "(func, args_iter, **kwargs)",
    "tasks.async_task": "(func, *args, **kwargs)",
    "tasks.count_group": "(group_id, failures=False, cached=None)",
    "tasks.count_group_cached": "(group_id, failures=False, broker=None)",
    "tasks.delete_cached": "(task_id, broker=None)",
    "tasks.delete_group": "(group_id, tasks=False, cached=None)",
    "tasks.delete_group_cached": "(group_id, broker=None)",
    "tasks.fetch": "(task_id, wait=0, cached=None)",
    "tasks.fetch_cached": "(task_id, wait=0, broker=None)",
    "tasks.fetch_group": ("(group_id, failures=True, wait=0, count=None, cached=None)"),
    "tasks.fetch_group_cached": (
        "(group_id, failures=True, wait=0, count=None, broker=None)"
    ),
    "tasks.queue_size": "(broker=None)",
    "tasks.result": "(task_id, wait=0, cached=None)",
    "tasks.result_cached": "(task_id, wait=0, broker=None)",
    "tasks.result_group": (
        "(group_id, failures=False, wait=0, count=None, cached=None)"
    ),
    "tasks.result_group_cached": (
        "(group_id, failures=False, wait=0, count=None, broker=None)"
    ),
    "tasks.schedule": "(func, *args, **kwargs)",
}


@pytest.mark.parametrize("door", DOORS)
def test_door_opens(door: str) -> None:
    module = importlib.import_module(door)
    missing = [name for name in DOORS[door].split() if not hasattr(module, name)]
    assert missing == []


@pytest.mark.parametrize("door", [door for door in DOORS if door not in NO_LIST])
def test_door_lists_what_it_offers(door: str) -> None:
    module = importlib.import_module(door)
    listed = getattr(module, "__all__", ())
    assert set(listed) >= set(DOORS[door].split())
    assert sorted(name for name in listed if not hasattr(module, name)) == []


@pytest.mark.parametrize("path", SIGNATURES)
def test_signature_is_as_promised(path: str) -> None:
    room, *names = path.split(".")
    found: object = importlib.import_module(f"django_q.{room}")
    for name in names:
        found = getattr(found, name)
    assert callable(found)
    assert plain(inspect.signature(found)) == SIGNATURES[path]


def plain(signature: inspect.Signature) -> str:
    """Names, kinds and defaults, without types."""
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
    ]
    return str(
        signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)
    )


def test_version_is_the_same_in_both_forms() -> None:
    django_q = importlib.import_module("django_q")
    joined = ".".join(str(part) for part in django_q.VERSION)
    assert django_q.__version__ in {joined, joined.replace(".dev.", ".dev")}
