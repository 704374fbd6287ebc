"""The outbox: tasks on their way to a broker outside the database."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("django_q", "0023_names_of_queues")]

    operations = [
        migrations.CreateModel(
            name="OutboxEntry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("task_id", models.CharField(max_length=32, verbose_name="task id")),
                ("queue", models.CharField(max_length=255, verbose_name="queue")),
                ("package", models.TextField(verbose_name="payload")),
                ("created", models.DateTimeField(verbose_name="created")),
                ("due", models.DateTimeField(verbose_name="next try")),
                (
                    "tries",
                    models.IntegerField(default=0, verbose_name="failed tries"),
                ),
                (
                    "error",
                    models.TextField(blank=True, default="", verbose_name="error"),
                ),
            ],
            options={
                "verbose_name": "Task in the outbox",
                "verbose_name_plural": "Tasks in the outbox",
                "db_table": "django_q_outbox",
                "indexes": [
                    models.Index(fields=["due", "id"], name="django_q_outbox_due")
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=["task_id"], name="django_q_outbox_once"
                    )
                ],
            },
        ),
    ]
