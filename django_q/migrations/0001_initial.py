"""The first tables: tasks with their two faces, and schedules."""

from __future__ import annotations

from django.db import migrations, models
from django.utils import timezone
from picklefield.fields import PickledObjectField


class Migration(migrations.Migration):
    initial = True
    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Schedule",
            fields=[
                (
                    "id",
                    models.AutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("func", models.CharField(max_length=256)),
                ("hook", models.CharField(max_length=256, null=True, blank=True)),
                ("args", models.CharField(max_length=256, null=True, blank=True)),
                ("kwargs", models.CharField(max_length=256, null=True, blank=True)),
                (
                    "schedule_type",
                    models.CharField(
                        max_length=1,
                        default="O",
                        choices=[
                            ("O", "Once"),
                            ("H", "Hourly"),
                            ("D", "Daily"),
                            ("W", "Weekly"),
                            ("M", "Monthly"),
                            ("Q", "Quarterly"),
                            ("Y", "Yearly"),
                        ],
                    ),
                ),
                ("repeats", models.SmallIntegerField(default=-1)),
                (
                    "next_run",
                    models.DateTimeField(default=timezone.now, null=True),
                ),
                (
                    "task",
                    models.CharField(max_length=100, null=True, editable=False),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Task",
            fields=[
                (
                    "id",
                    models.AutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("name", models.CharField(max_length=100, editable=False)),
                ("func", models.CharField(max_length=256)),
                ("hook", models.CharField(max_length=256, null=True)),
                ("args", PickledObjectField(null=True, editable=False)),
                ("kwargs", PickledObjectField(null=True, editable=False)),
                ("result", PickledObjectField(null=True, editable=False)),
                ("started", models.DateTimeField(editable=False)),
                ("stopped", models.DateTimeField(editable=False)),
                ("success", models.BooleanField(default=True, editable=False)),
            ],
        ),
        migrations.CreateModel(
            name="Failure",
            fields=[],
            options={"proxy": True},
            bases=("django_q.task",),
        ),
        migrations.CreateModel(
            name="Success",
            fields=[],
            options={"proxy": True},
            bases=("django_q.task",),
        ),
    ]
