"""MySQL and MariaDB tell names of queues apart to the letter, as all others do."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import migrations

EXACT = ("utf8mb4_nopad_bin", "utf8mb4_0900_bin", "utf8mb4_bin")
"""MariaDB's, MySQL's, and that of old servers, where spaces at the end count for nothing."""


def tell_apart(model: str, apps: Any, schema_editor: Any) -> None:
    """By default "shop" is "Shop" there: two clusters would share their tasks."""
    connection = schema_editor.connection
    if connection.vendor != "mysql":
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT collation_name FROM information_schema.collations")
        there = {name for (name,) in cursor.fetchall()}
    collation = next(name for name in EXACT if name in there)
    table = apps.get_model("django_q", model)._meta.db_table  # noqa: SLF001 - public by its docs
    schema_editor.execute(
        f"ALTER TABLE {schema_editor.quote_name(table)} MODIFY `key` varchar(100)"
        f" CHARACTER SET utf8mb4 COLLATE {collation} NOT NULL"
    )


class Migration(migrations.Migration):
    dependencies = [("django_q", "0022_priorities_and_paused_queues")]

    operations = [
        # Each asks the database router about its own table: they may be elsewhere.
        migrations.RunPython(
            partial(tell_apart, model),
            migrations.RunPython.noop,
            atomic=False,
            hints={"model_name": model},
        )
        for model in ("ormq", "pausedqueue")
    ]
