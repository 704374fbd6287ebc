"""A schedule may tell its task the time that was meant."""

from __future__ import annotations

from django.db import migrations, models

from django_q.models import validate_kwarg


class Migration(migrations.Migration):
    dependencies = [("django_q", "0015_alter_schedule_schedule_type")]

    operations = [
        migrations.AddField(
            model_name="schedule",
            name="intended_date_kwarg",
            field=models.CharField(
                max_length=100,
                null=True,
                blank=True,
                help_text="Name of the keyword that passes the planned time",
                validators=[validate_kwarg],
            ),
        ),
    ]
