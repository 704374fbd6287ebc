"""Q_CLUSTER and the environment become Options; Conf is their live public view."""

from __future__ import annotations

import importlib
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields
from os import environ, getppid
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.translation import gettext_lazy as _

from django_q.logs import logger
from django_q.optional import find_optional
from django_q.options import NEGATIVE_IS_MEANT, Options
from django_q.ready import wrap_clients

__all__ = [
    "Conf",
    "ErrorReporter",
    "croniter",
    "error_reporter",
    "get_options",
    "get_ppid",
    "load_options",
    "logger",
    "options_for",
    "prometheus_multiprocess",
    "psutil",
    "resource",
    "seen_as",
    "setproctitle",
]

FIELDS: Final = frozenset(option.name for option in fields(Options))

FALSY_MEANS_DEFAULT: Final = frozenset(
    {"workers", "timeout", "max_rss", "bulk", "max_attempts", "retry"}
    | {"max_deliveries", "cpu_affinity", "error_reporter", "name", "concurrency"}
)
"""Settings whose 0, None or "" meant the default in the earlier releases."""

SAVE_LIMIT_PER: Final = ("group", "name", "func")

CONF_NAMES: Final = {
    "PREFIX": "name",
    "COMPRESSED": "compress",
}
"""Names in Conf that are not simply the setting in capitals."""

OPTIONAL: Final = {
    "croniter": ("croniter", "croniter"),
    "prometheus_multiprocess": ("prometheus_client.multiprocess",),
    "psutil": ("psutil",),
    "resource": ("resource",),
    "setproctitle": ("setproctitle",),
}
"""What others import from here: None where the package is missing."""

REPORTERS: Final = "django_q.execution.reporters"

get_ppid = getppid
croniter: Any
prometheus_multiprocess: Any
psutil: Any
resource: Any
setproctitle: Any
ErrorReporter: Any
error_reporter: Any


def __getattr__(name: str) -> Any:
    """Names that cost an import, or settings: looked up when somebody asks."""
    if name in OPTIONAL:
        return find_optional(*OPTIONAL[name])
    if name == "ErrorReporter":
        return importlib.import_module(REPORTERS).ErrorReporter
    if name == "error_reporter":
        return Conf.load_reporter()
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def load_options(
    raw: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    time_zone: str | None = None,
) -> Options:
    """Settings and environment as Options; pure. Unknown keys are left out.

    `Q_CLUSTER_NAME` in the environment chooses an alternative cluster.
    """
    return _make_options(_in_force(raw, environment), time_zone)


def _in_force(raw: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Q_CLUSTER as the cluster that the environment names reads it."""
    return _as_read_by(environment.get("Q_CLUSTER_NAME"), raw)


def _as_read_by(wanted: str | None, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Q_CLUSTER, and over it what ALT_CLUSTERS says about a cluster."""
    given = dict(raw)
    if "redis" in given:
        given["redis"] = wrap_clients(given["redis"], "redis")
    name = given.get("name") or "default"
    if wanted and wanted not in (name, given.get("cluster_name")):
        overrides = _overrides(raw, wanted)
        if "redis" in overrides:
            place = ("ALT_CLUSTERS", wanted, "redis")
            overrides["redis"] = wrap_clients(overrides["redis"], *place)
        given |= overrides
        given["cluster_name"] = wanted
    return given


def _overrides(raw: Mapping[str, Any], cluster: str) -> dict[str, Any]:
    """What ALT_CLUSTERS says about one cluster, without the names.

    What is no mapping counts as empty here as well, and the checks say so.
    """
    found = _alternatives(raw).get(cluster)
    if not isinstance(found, Mapping):
        return {}
    return {k: v for k, v in found.items() if k not in ("name", "cluster_name")}


def _alternatives(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    found = raw.get("ALT_CLUSTERS")
    return found if isinstance(found, Mapping) else {}


def _make_options(given: Mapping[str, Any], time_zone: str | None) -> Options:
    chosen = {k: _normal(v) for k, v in given.items() if _counts(k, v)}
    chosen.setdefault("time_zone", time_zone)
    if chosen.get("save_limit_per") not in SAVE_LIMIT_PER:
        chosen.pop("save_limit_per", None)
    return Options(**chosen)


def _counts(key: str, value: Any) -> bool:
    """Whether a setting says something: nothing, and less, means the default."""
    if key not in FIELDS or value is None:
        return False
    if isinstance(value, int | float) and value < 0:
        return key in NEGATIVE_IS_MEANT
    return bool(value) or key not in FALSY_MEANS_DEFAULT


def _normal(value: Any) -> Any:
    """4.0 was as good as 4 in the earlier releases."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _raw_settings() -> Mapping[str, Any]:
    """Q_CLUSTER; what is no mapping counts as empty here, and the checks say so."""
    raw = getattr(settings, "Q_CLUSTER", None)
    return raw if isinstance(raw, Mapping) else {}


class LiveConf:
    """The settings in force, in capitals: `Conf.WORKERS`, `Conf.ORM`, …

    Reading gives the present value; assigning overrides it for this process until
    the attribute is deleted. Also knows the derived names of the earlier releases.
    """

    STARTING = _("Starting")
    WORKING = _("Working")
    IDLE = _("Idle")
    STOPPED = _("Stopped")
    STOPPING = _("Stopping")

    def __init__(self) -> None:
        vars(self).update(_adopted=None, _adopted_others=None)
        self.reload()

    def __getattr__(self, name: str) -> Any:
        """Whatever was not assigned: that would be found before this is asked."""
        derived = DERIVED.get(name)
        if derived is not None:
            return derived(self)
        key = option_of(name)
        if key is None:
            message = f"Conf has no {name!r}"
            raise AttributeError(message)
        return getattr(self.options, key)

    def __setattr__(self, name: str, value: Any) -> None:
        """To assign what is in force without it takes an assignment back, so that
        whoever puts a former value back leaves the settings in force.
        """
        delattr(self, name)
        usual = getattr(self, name, self)
        if type(value) is not type(usual) or value != usual:
            vars(self)[name] = value
            self.reload()

    def __delattr__(self, name: str) -> None:
        vars(self).pop(name, None)
        self.reload()

    @property
    def options(self) -> Options:
        """The present Options, with everything that was assigned here."""
        return _seen.get() or self.own

    @property
    def own(self) -> Options:
        """Those of this process, also where `seen_as` shows others."""
        options: Options | None = self._options
        if options is None:
            options = vars(self)["_options"] = self._load()
        return options

    def of_cluster(self, name: str) -> Options:
        """The Options of the cluster with this name, with what was assigned here.

        One that ALT_CLUSTERS does not name has the settings of the base.
        """
        if name == self.own.queue:
            return self.own
        key = name if name in self._alternatives else None
        others: dict[str | None, Options] = self._others
        if key not in others:
            others[key] = self._load_other(key)
        return others[key]

    @property
    def clusters(self) -> list[str]:
        """The clusters that the settings name: this one, the base, the alternatives."""
        names = [self.own.queue, self.of_cluster("").queue, *self._alternatives]
        return list(dict.fromkeys(names))

    @property
    def others(self) -> dict[str | None, Options]:
        """The Options of the alternatives, by their names, and under None of the base."""
        names: list[str | None] = [None, *self._alternatives]
        return {name: self.of_cluster(name or "") for name in names}

    def reload(self) -> None:
        """Read settings and environment anew at the next use."""
        vars(self).update(_options=None, _reporter=None, _others={})

    @property
    def assigned(self) -> dict[str, Any]:
        """What was assigned here and not taken back."""
        return {k: v for k, v in vars(self).items() if not k.startswith("_")}

    def adopt(
        self,
        options: Options,
        assigned: Mapping[str, Any],
        others: Mapping[str | None, Options] | None = None,
    ) -> None:
        """Take over what counts in the process that started this one, for good."""
        vars(self)["_adopted"] = _as_given(options)
        known = {name: _as_given(other) for name, other in (others or {}).items()}
        vars(self)["_adopted_others"] = known or None
        vars(self).update(assigned)
        self.reload()

    def load_reporter(self) -> Any:
        """The error reporters that the settings name, or None. Kept like the options."""
        if self._reporter is None:
            load = importlib.import_module(REPORTERS).load_reporters
            vars(self)["_reporter"] = load(self.options.error_reporter)
        return self._reporter

    def _load(self) -> Options:
        adopted: dict[str, Any] | None = self._adopted
        given = _in_force(_raw_settings(), environ) if adopted is None else adopted
        return self._amended(given)

    def _load_other(self, name: str | None) -> Options:
        adopted: dict[str | None, dict[str, Any]] | None = self._adopted_others
        if adopted is None:
            return self._amended(_as_read_by(name, _raw_settings()))
        return self._amended(adopted[name])

    @property
    def _alternatives(self) -> list[str]:
        """The names in ALT_CLUSTERS."""
        adopted: dict[str | None, Any] | None = self._adopted_others
        known = _alternatives(_raw_settings()) if adopted is None else adopted
        return [name for name in known if name is not None]

    def _amended(self, given: Mapping[str, Any]) -> Options:
        """These settings, and over them what was assigned."""
        for name, value in self.assigned.items():
            key = option_of(name)
            if key is not None:
                given = {**given, key: value}
        zone = settings.TIME_ZONE if settings.USE_TZ else None
        return _make_options(given, zone)


def _as_given(options: Options) -> dict[str, Any]:
    return {key: getattr(options, key) for key in FIELDS}


def option_of(name: str) -> str | None:
    """The option behind a name in Conf, if there is one."""
    key = CONF_NAMES.get(name, name.lower())
    return key if key in FIELDS and name.isupper() else None


def secret_key() -> str | None:
    """`Conf.SECRET_KEY`. None where the project has none; who needs one says so."""
    # Each task that is queued asks: an assigned one is found without the ways of a missing attribute.
    assigned: dict[str, str | None] = vars(Conf)
    if "SECRET_KEY" in assigned:
        return assigned["SECRET_KEY"]
    try:
        key: str = settings.SECRET_KEY
    except ImproperlyConfigured:
        return None
    return key


def _queue_limit(options: Options) -> int:
    limit = options.queue_limit
    return options.worker_count**2 if limit is None else limit


def _mongo_db(options: Options) -> str | None:
    return options.mongo_database if options.mongo else options.mongo_db


DERIVED: Final[Mapping[str, Any]] = {
    "WORKERS": lambda conf: conf.options.worker_count,
    "CLUSTER_NAME": lambda conf: conf.options.queue,
    "MONGO_DB": lambda conf: _mongo_db(conf.options),
    "Q_STAT": lambda conf: conf.options.stat_prefix,
    "SECRET_KEY": lambda _conf: secret_key(),
    "MAX_ATTEMPTS": lambda conf: conf.options.max_attempts or 0,
    # Automatic, unless they are set: these are for code that counts on a number.
    "BULK": lambda conf: conf.options.bulk or 1,
    "QUEUE_LIMIT": lambda conf: _queue_limit(conf.options),
    "ACK_FAILURES": lambda conf: bool(conf.options.ack_failures),
    "REDIS": lambda conf: conf.options.redis or {},
    "QSIZE": lambda _conf: True,
    "SIGNAL_NAMES": lambda _conf: {int(s): s.name for s in signal.Signals},
    "conf": lambda _conf: _in_force(_raw_settings(), environ),
}
"""Names in Conf whose value is worked out from the options or the settings."""

_seen: Final[ContextVar[Options | None]] = ContextVar("seen", default=None)

Conf: Final = LiveConf()


def get_options() -> Options:
    """The settings in force. Cheap: kept until a setting changes."""
    # Each task asks several times: what `Conf.options` gives, without a property and a descriptor.
    return _seen.get() or vars(Conf)["_options"] or Conf.own


def options_for(queue: str) -> Options:
    """The settings that the cluster of this queue reads. As cheap."""
    return Conf.of_cluster(queue)


@contextmanager
def seen_as(options: Options) -> Iterator[None]:
    """Show other settings to all who ask in this thread, or coroutine, meanwhile."""
    token = _seen.set(options)
    try:
        yield
    finally:
        _seen.reset(token)


def _settings_changed(*, setting: str, **_kwargs: Any) -> None:
    if setting in {"Q_CLUSTER", "TIME_ZONE", "USE_TZ"}:
        Conf.reload()


setting_changed.connect(_settings_changed, dispatch_uid="django_q.conf")
