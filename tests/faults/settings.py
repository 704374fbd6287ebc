"""The site of these tests: as that of the acceptance tests, with a network to harm.

QTEST_FAULTS   JSON: what DATABASES["default"] has otherwise, such as the proxy's port
"""

from __future__ import annotations

import json
import os

from tests.acceptance.settings import *  # noqa: F403
from tests.acceptance.settings import DATABASES as DIRECT
from tests.acceptance.settings import INSTALLED_APPS as OTHERS
from tests.faults import FORMER_KEY

INSTALLED_APPS = [*OTHERS, "tests.faults"]
DATABASES = {
    "default": DIRECT["default"] | json.loads(os.environ.get("QTEST_FAULTS", "{}"))
}
SECRET_KEY_FALLBACKS = [FORMER_KEY]
