"""The demo command of the README: does all its own set-up, then shows the product.

python3 example_project/demo.py
python3 example_project/demo.py --port 8080 --workers 2
python3 example_project/demo.py --headless
"""

# The first words must be understood by any Python, to say which one is needed.
# ruff: noqa: I002, UP036

import platform
import sys
from pathlib import Path

if sys.version_info < (3, 11):
    sys.exit(
        "django-q needs Python 3.11 or newer; this is "
        + platform.python_version()
        + ". Try: python3.12 example_project/demo.py"
    )

# The environment is made by the same code that the tests make theirs with.
sys.path.append(str(Path(__file__).resolve().parent.parent))

from launcher import story

if __name__ == "__main__":
    sys.exit(story.main(sys.argv[1:]))
