"""Priorities of queued tasks, and the queues that are paused."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("django_q", "0021_attempt")]

    operations = [
        migrations.AddField(
            model_name="ormq",
            name="priority",
            field=models.IntegerField(
                db_default=0, default=0, editable=False, verbose_name="priority"
            ),
        ),
        migrations.AddIndex(
            model_name="ormq",
            index=models.Index(
                fields=["key", "priority", "lock", "id"], name="django_q_ormq_order"
            ),
        ),
        migrations.RemoveIndex(model_name="ormq", name="django_q_ormq_claim"),
        migrations.CreateModel(
            name="PausedQueue",
            fields=[
                (
                    "key",
                    models.CharField(
                        max_length=100,
                        primary_key=True,
                        serialize=False,
                        verbose_name="queue",
                    ),
                ),
            ],
            options={
                "verbose_name": "Paused queue",
                "verbose_name_plural": "Paused queues",
            },
        ),
    ]
