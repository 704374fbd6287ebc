"""The test command of the README: does all its own set-up, then runs the tests.

python3 tests/run.py
python3 tests/run.py --django 6.1 --python 3.13 --databases sqlite,postgres
python3 tests/run.py -- -k timeout -x
"""

import platform
import sys
from pathlib import Path

if sys.version_info < (3, 11):
    sys.exit(
        "django-q needs Python 3.11 or newer; this is "
        + platform.python_version()
        + ". Try: python3.12 tests/run.py"
    )

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from tests import suite  # noqa: E402 - its folder was not on the path before

if __name__ == "__main__":
    sys.exit(suite.main(sys.argv[1:]))
