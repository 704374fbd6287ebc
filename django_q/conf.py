"""Q_CLUSTER and the environment become Options; Conf is their live public view."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import fields, replace
from os import environ, getppid
from typing import Any, Final

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.translation import gettext_lazy as _

from django_q.logs import logger
from django_q.options import NEGATIVE_IS_MEANT, Options

__all__ = [
    "Conf",
    "get_options",
    "get_ppid",
    "load_options",
    "logger",
    "psutil",
    "setproctitle",
]

FIELDS: Final = frozenset(option.name for option in fields(Options))

FALSY_MEANS_DEFAULT: Final = frozenset(
    {"workers", "timeout", "max_rss", "queue_limit", "bulk", "max_attempts", "retry"}
    | {"max_deliveries", "cpu_affinity", "error_reporter", "name"}
)
"""Settings whose 0, None or "" meant the default in the earlier releases."""

SAVE_LIMIT_PER: Final = ("group", "name", "func")

CONF_NAMES: Final = {
    "PREFIX": "name",
    "COMPRESSED": "compress",
}
"""Names in Conf that are not simply the setting in capitals."""


def _optional(module: str) -> Any:
    """An optional package, or None where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


psutil = _optional("psutil")
setproctitle = _optional("setproctitle")
get_ppid = getppid


def load_options(
    raw: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    time_zone: str | None = None,
) -> Options:
    """Settings and environment as Options; pure. Unknown keys are left out.

    `Q_CLUSTER_NAME` in the environment chooses an alternative cluster.
    """
    given = dict(raw)
    wanted = environment.get("Q_CLUSTER_NAME")
    name = given.get("name") or "default"
    if wanted and wanted not in (name, given.get("cluster_name")):
        given["cluster_name"] = wanted
        given |= _overrides(raw, wanted)
    chosen = {k: _normal(v) for k, v in given.items() if _counts(k, v)}
    chosen.setdefault("time_zone", time_zone)
    if chosen.get("save_limit_per") not in SAVE_LIMIT_PER:
        chosen.pop("save_limit_per", None)
    return Options(**chosen)


def _overrides(raw: Mapping[str, Any], cluster: str) -> dict[str, Any]:
    """What ALT_CLUSTERS says about one cluster, without the names."""
    alternatives = raw.get("ALT_CLUSTERS") or {}
    found = alternatives.get(cluster) or {}
    return {k: v for k, v in found.items() if k not in ("name", "cluster_name")}


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
        object.__setattr__(self, "_overridden", {})
        object.__setattr__(self, "_adopted", None)
        self.reload()

    def __getattr__(self, name: str) -> Any:
        if name in self._overridden:
            return self._overridden[name]
        derived = DERIVED.get(name)
        if derived is not None:
            return derived(self)
        key = option_of(name)
        if key is None:
            message = f"Conf has no {name!r}"
            raise AttributeError(message)
        return getattr(self.options, key)

    def __setattr__(self, name: str, value: Any) -> None:
        self._overridden[name] = value
        self.reload()

    def __delattr__(self, name: str) -> None:
        self._overridden.pop(name, None)
        self.reload()

    @property
    def options(self) -> Options:
        """The present Options, with everything that was assigned here."""
        options: Options | None = self._options
        if options is None:
            options = self._load()
            object.__setattr__(self, "_options", options)
        return options

    def reload(self) -> None:
        """Read settings and environment anew at the next use."""
        object.__setattr__(self, "_options", None)

    def adopt(self, options: Options) -> None:
        """Take over the options of the process that started this one, for good."""
        object.__setattr__(self, "_adopted", options)
        self.reload()

    def _load(self) -> Options:
        adopted: Options | None = self._adopted
        if adopted is not None:
            return adopted
        raw = _raw_settings()
        zone = settings.TIME_ZONE if settings.USE_TZ else None
        options = load_options(raw, environ, time_zone=zone)
        assigned = {option_of(k): v for k, v in self._overridden.items()}
        known = {key: value for key, value in assigned.items() if key}
        return replace(options, **known)


def option_of(name: str) -> str | None:
    """The option behind a name in Conf, if there is one."""
    key = CONF_NAMES.get(name, name.lower())
    return key if key in FIELDS and name.isupper() else None


DERIVED: Final[Mapping[str, Any]] = {
    "WORKERS": lambda conf: conf.options.worker_count,
    "CLUSTER_NAME": lambda conf: conf.options.queue,
    "Q_STAT": lambda conf: conf.options.stat_prefix,
    "SECRET_KEY": lambda _conf: settings.SECRET_KEY,
    "MAX_ATTEMPTS": lambda conf: conf.options.max_attempts or 0,
    "ACK_FAILURES": lambda conf: bool(conf.options.ack_failures),
    "REDIS": lambda conf: conf.options.redis or {},
    "QSIZE": lambda _conf: True,
    "conf": lambda _conf: dict(_raw_settings()),
}
"""Names in Conf whose value is worked out from the options or the settings."""

Conf: Final = LiveConf()


def get_options() -> Options:
    """The settings in force. Cheap: kept until a setting changes."""
    return Conf.options


def _settings_changed(*, setting: str, **_kwargs: Any) -> None:
    if setting in {"Q_CLUSTER", "TIME_ZONE", "USE_TZ"}:
        Conf.reload()


setting_changed.connect(_settings_changed, dispatch_uid="django_q.conf")
