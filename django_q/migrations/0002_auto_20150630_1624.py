"""Arguments of schedules may be longer."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("django_q", "0001_initial")]

    operations = [
        migrations.AlterField(
            model_name="schedule",
            name="args",
            field=models.TextField(null=True, blank=True),
        ),
        migrations.AlterField(
            model_name="schedule",
            name="kwargs",
            field=models.TextField(null=True, blank=True),
        ),
    ]
