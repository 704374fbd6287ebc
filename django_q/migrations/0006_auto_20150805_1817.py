"""Schedules may run every so many minutes."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("django_q", "0005_auto_20150718_1506")]

    operations = [
        migrations.AddField(
            model_name="schedule",
            name="minutes",
            field=models.PositiveSmallIntegerField(
                null=True,
                blank=True,
                help_text="Number of minutes for the Minutes type",
            ),
        ),
        migrations.AlterField(
            model_name="schedule",
            name="schedule_type",
            field=models.CharField(
                max_length=1,
                default="O",
                choices=[
                    ("O", "Once"),
                    ("I", "Minutes"),
                    ("H", "Hourly"),
                    ("D", "Daily"),
                    ("W", "Weekly"),
                    ("M", "Monthly"),
                    ("Q", "Quarterly"),
                    ("Y", "Yearly"),
                ],
            ),
        ),
    ]
