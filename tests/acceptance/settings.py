"""The settings of the clusters that these tests start; see harness.py."""

from __future__ import annotations

import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES as COMMON_DATABASES
from tests.settings import INSTALLED_APPS as COMMON_APPS
from tests.settings import Q_CLUSTER as COMMON

DATABASES = COMMON_DATABASES | json.loads(os.environ.get("QTEST_DATABASES", "{}"))
INSTALLED_APPS = [*COMMON_APPS, "tests.acceptance"]

# Every row counts here, so none may be pruned.
Q_CLUSTER = COMMON | {"save_limit": 0} | json.loads(os.environ["QTEST_CLUSTER"])

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": os.environ["QTEST_CACHE"],
    }
}
