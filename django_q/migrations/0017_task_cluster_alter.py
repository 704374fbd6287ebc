"""A task knows the cluster that ran it."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("django_q", "0016_schedule_intended_date_kwarg")]

    operations = [
        migrations.AddField(
            model_name="task",
            name="cluster",
            field=models.CharField(max_length=100, null=True, blank=True, default=None),
        ),
        migrations.AlterField(
            model_name="schedule",
            name="cluster",
            field=models.CharField(
                max_length=100,
                null=True,
                blank=True,
                default=None,
                help_text="Name of the cluster that runs it; empty: the default one",
            ),
        ),
    ]
