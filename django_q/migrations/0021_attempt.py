"""Rows for the runs of tasks that did not simply succeed."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("django_q", "0020_leases_vital_signs_and_schedule_errors")]

    operations = [
        migrations.CreateModel(
            name="Attempt",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "task",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=models.deletion.DO_NOTHING,
                        related_name="attempts",
                        to="django_q.task",
                        verbose_name="Task",
                    ),
                ),
                ("number", models.IntegerField(verbose_name="attempt")),
                ("worker", models.CharField(max_length=100, verbose_name="worker")),
                ("started", models.DateTimeField(null=True, verbose_name="started")),
                ("stopped", models.DateTimeField(verbose_name="stopped")),
                ("success", models.BooleanField(verbose_name="success")),
                ("error", models.TextField(blank=True, verbose_name="error")),
            ],
            options={
                "verbose_name": "Attempt",
                "verbose_name_plural": "Attempts",
                "ordering": ("number",),
            },
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.UniqueConstraint(
                fields=("task", "number"), name="django_q_attempt_once"
            ),
        ),
    ]
