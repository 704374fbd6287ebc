"""Packaging of django-q3. The settings of the tools are in pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent


def read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def version() -> str:
    """The version as `django_q/__init__.py` says it; read as text, nothing runs."""
    text = read("django_q/__init__.py")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise SystemExit("django_q/__init__.py does not say __version__.")
    return found[1]


CLIENTS = {
    "redis": ["redis>=5.0"],
    "sqs": ["boto3>=1.34"],
    "postgres": ["psycopg>=3.2"],
    "mysql": ["mysqlclient>=2.2.1"],
    "mongo": ["pymongo>=4.9"],
    "rollbar": ["django-q-rollbar>=0.1"],
    "sentry": ["django-q-sentry>=0.1"],
    "croniter": ["croniter>=2.0"],
    "setproctitle": ["setproctitle>=1.3"],
}

TOOLS = {
    "bench": ["matplotlib>=3.9", "psycopg[binary]>=3.2", "redis>=5.0"],
    "test": [
        "boto3>=1.34",
        "coverage[toml]>=7.10",
        "django-redis>=5.4",
        "hypothesis>=6.100",
        "moto[server]>=5.1",
        "pillow>=11.0",
        "prometheus-client>=0.20",
        "psycopg[binary]>=3.2",
        "pymongo>=4.9",
        "pyte>=0.8.2",
        "pytest>=8.4",
        "pytest-django>=4.11",
        "pytest-randomly>=3.16",
        "redis>=5.0",
        "setproctitle>=1.3",
        "time-machine>=2.16",
    ],
    "docs": ["furo>=2025.7.19", "sphinx>=8.2"],
    "lint": [
        "django-stubs[compatible-mypy]>=6.0",
        "import-linter>=2.5",
        "mypy>=1.18",
        "ruff>=0.14",
        "types-psutil",
    ],
}

setup(
    name="django-q3",
    version=version(),
    description="A task queue for Django: functions in the background, or on a schedule",
    long_description=read("README.rst") if (HERE / "README.rst").exists() else "",
    long_description_content_type="text/x-rst",
    author="The django-q3 contributors",
    license="MIT",
    license_files=["LICENSE"],
    keywords="django task queue worker cluster schedule cron",
    packages=find_packages(include=["django_q", "django_q.*"]),
    package_data={
        "django_q": [
            "py.typed",
            "locale/*/LC_MESSAGES/*.mo",
            "locale/*/LC_MESSAGES/*.po",
            "static/django_q/**/*",
            "templates/**/*",
        ],
    },
    zip_safe=False,
    python_requires=">=3.11",
    install_requires=[
        "Django>=5.2",
        "django-picklefield>=3.3",
        "arrow>=1.3",
        "blessed>=1.20",
        "cronsim>=2.6",
        "psutil>=5.9",
    ],
    extras_require={
        **CLIENTS,
        **TOOLS,
        "uvloop": ["uvloop>=0.21"],
        "all": sorted({name for client in CLIENTS.values() for name in client}),
    },
    entry_points={
        # The two plug-ins register nothing themselves and expect it here.
        "djangoq.errorreporters": [
            "rollbar = django_q_rollbar:Rollbar",
            "sentry = django_q_sentry:Sentry",
        ],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Web Environment",
        "Framework :: Django",
        "Framework :: Django :: 5.2",
        "Framework :: Django :: 6.0",
        "Framework :: Django :: 6.1",
        "Intended Audience :: Developers",
        "Operating System :: POSIX",
        "Operating System :: MacOS",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: System :: Distributed Computing",
        "Typing :: Typed",
    ],
)
