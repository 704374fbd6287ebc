"""A schedule may belong to one cluster."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("django_q", "0013_task_attempt_count")]

    operations = [
        migrations.AddField(
            model_name="schedule",
            name="cluster",
            field=models.CharField(max_length=100, null=True, blank=True, default=None),
        ),
    ]
