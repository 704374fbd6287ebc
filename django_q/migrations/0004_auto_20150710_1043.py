"""Tasks are listed with the newest first."""

from __future__ import annotations

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("django_q", "0003_auto_20150708_1326")]

    operations = [
        migrations.AlterModelOptions(
            name="failure",
            options={
                "ordering": ("-stopped",),
                "verbose_name": "Failed task",
                "verbose_name_plural": "Failed tasks",
            },
        ),
        migrations.AlterModelOptions(
            name="success",
            options={
                "ordering": ("-stopped",),
                "verbose_name": "Successful task",
                "verbose_name_plural": "Successful tasks",
            },
        ),
        migrations.AlterModelOptions(name="task", options={"ordering": ("-stopped",)}),
    ]
