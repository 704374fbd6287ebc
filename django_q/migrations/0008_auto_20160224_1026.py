"""The name of a schedule may be left out."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("django_q", "0007_ormq")]

    operations = [
        migrations.AlterField(
            model_name="schedule",
            name="name",
            field=models.CharField(max_length=100, null=True, blank=True),
        ),
    ]
