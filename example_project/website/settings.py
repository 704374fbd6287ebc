"""Settings of the example site: one SQLite file is its database and its queue."""

from __future__ import annotations

import os
from pathlib import Path

import django

from website.secret import secret_key

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent

# All that the site writes goes here: the database, pictures, mail and the key.
FILES = Path(os.environ.get("EXAMPLE_FILES", HERE)).resolve()

DEBUG = True
SECRET_KEY = secret_key(FILES / ".secret")
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_q",
    "tour",
    "people",
    "reports",
    "pictures",
    "library",
    "density",
    "lab",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "website.policy.content_security_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "website.urls"
WSGI_APPLICATION = "website.wsgi.application"

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

# Several processes write at once: WAL lets readers go on meanwhile, and IMMEDIATE
# makes writers wait for one another at the start of a transaction, where waiting
# is possible, and not in its middle, where SQLite gives up at once.
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FILES / "db.sqlite3",
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;",
        },
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

Q_CLUSTER = {
    "name": "demo",
    "orm": "default",
    "workers": int(os.environ.get("EXAMPLE_WORKERS", "4")),
    "timeout": 120,
    "retry": 150,
    "save_limit": 5000,
}

# No letter leaves this machine: each becomes a file.
MAIL_FOLDER = FILES / "mail"
FILE_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
if django.VERSION >= (6, 1):
    MAILERS = {
        "default": {"BACKEND": FILE_BACKEND, "OPTIONS": {"file_path": MAIL_FOLDER}}
    }
else:
    EMAIL_BACKEND, EMAIL_FILE_PATH = FILE_BACKEND, MAIL_FOLDER
DEFAULT_FROM_EMAIL = "Django Q demo <demo@example.com>"

STATIC_URL = "/static/"
MEDIA_URL = "/media/"
MEDIA_ROOT = FILES / "media"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
