"""What must not cross a fork."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache

from django_q.cluster.launching import close_connections
from django_q.options import Options


class Connected(LocMemCache):
    """Has a connection, as the client of a server has."""

    is_open = True

    def close(self, **_kwargs: Any) -> None:
        self.is_open = False


@pytest.mark.django_db
def test_caches_are_closed_as_databases_are(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": f"{__name__}.Connected"}}
    cache: Any = caches["default"]
    assert cache.is_open
    close_connections(Options(), "a cluster")
    assert not cache.is_open
