"""What every broker must do, and the brokers that are asked."""

from __future__ import annotations

import pytest

# It is no test module itself, but its assertions should say as much as theirs.
pytest.register_assert_rewrite("tests.contract.brokers")
