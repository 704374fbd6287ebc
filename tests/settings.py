"""One settings module for all tests; the database is chosen by environment.

QTEST_DATABASE           sqlite (default), postgres or mysql
QTEST_DATABASE_HOST      address or socket folder of the server
QTEST_DATABASE_PORT      its port
QTEST_DATABASE_USER      who connects
QTEST_DATABASE_PASSWORD  usually none: the servers of tests/servers.py trust us
QTEST_DATABASE_NAME      an existing database, for the processes that a test starts
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

ENGINE = os.environ.get("QTEST_DATABASE", "sqlite")
NAME = os.environ.get("QTEST_DATABASE_NAME")


def sqlite() -> dict[str, Any]:
    # A file, not memory: real clusters share it. WAL lets them read while one
    # writes; IMMEDIATE takes the write lock first, so that nobody has to upgrade
    # a read lock, which SQLite refuses at once instead of waiting.
    file = Path(tempfile.gettempdir()) / f"django-q-tests-{os.getpid()}.sqlite3"
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": NAME or file,
        "TEST": {"NAME": file},
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }


def server(engine: str, **options: Any) -> dict[str, Any]:
    return {
        "ENGINE": f"django.db.backends.{engine}",
        "NAME": NAME or "django_q",
        "HOST": os.environ.get("QTEST_DATABASE_HOST", "127.0.0.1"),
        "PORT": os.environ.get("QTEST_DATABASE_PORT", ""),
        "USER": os.environ.get("QTEST_DATABASE_USER", "django_q"),
        "PASSWORD": os.environ.get("QTEST_DATABASE_PASSWORD", ""),
        # The process id keeps two test runs on one server apart.
        "TEST": {"NAME": f"test_django_q_{os.getpid()}"},
        "OPTIONS": options,
    }


def database() -> dict[str, Any]:
    if ENGINE == "postgres":
        return server("postgresql")
    if ENGINE == "mysql":
        return server("mysql", charset="utf8mb4")
    return sqlite()


DATABASES = {"default": database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

SECRET_KEY = "only for tests"
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.urls"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
STATIC_URL = "static/"
LOCALE_PATHS: list[str] = []

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_q",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

Q_CLUSTER: dict[str, Any] = {
    "name": "tests",
    "orm": "default",
    "workers": 2,
    "timeout": 60,
    "poll": 0.05,
}
