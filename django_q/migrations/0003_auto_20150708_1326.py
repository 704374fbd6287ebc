"""Names of the tables; a task is known by its own id."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("django_q", "0002_auto_20150630_1624")]

    operations = [
        migrations.AlterModelOptions(
            name="failure",
            options={
                "verbose_name": "Failed task",
                "verbose_name_plural": "Failed tasks",
            },
        ),
        migrations.AlterModelOptions(
            name="schedule",
            options={
                "ordering": ("next_run",),
                "verbose_name": "Scheduled task",
                "verbose_name_plural": "Scheduled tasks",
            },
        ),
        migrations.AlterModelOptions(
            name="success",
            options={
                "verbose_name": "Successful task",
                "verbose_name_plural": "Successful tasks",
            },
        ),
        # The number of a row gives way to the id that a task has from the start. Two
        # steps, because a column of numbers can't become this one in place.
        migrations.RemoveField(model_name="task", name="id"),
        migrations.AddField(
            model_name="task",
            name="id",
            field=models.CharField(
                max_length=32,
                primary_key=True,
                serialize=False,
                editable=False,
                default="",
            ),
            preserve_default=False,
        ),
    ]
