"""Which columns there are while a project migrates: other apps' migrations may run
before all of ours, and plan or enqueue something.
"""

from __future__ import annotations

from django.apps import apps
from django.db import connections, models


def columns_meanwhile(model: type[models.Model], using: str) -> frozenset[str] | None:
    """The columns that the table has, while `migrate` works on the database.

    None at all other times: then they are those of the model, and nothing is asked.
    """
    app = apps.get_app_config("django_q")
    if using not in getattr(app, "migrating", ()):
        return None
    connection = connections[using]
    table = connection.ops.quote_name(model._meta.db_table)  # noqa: SLF001 - public by its docs
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table} WHERE 1 = 0")  # noqa: S608 - a name only
        return frozenset(column[0] for column in cursor.description)
