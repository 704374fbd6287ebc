"""The latest run of each example."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Run",
            fields=[
                ("slug", models.SlugField(primary_key=True, serialize=False)),
                ("reference", models.CharField(max_length=100)),
                ("started", models.DateTimeField(auto_now=True)),
            ],
        ),
    ]
