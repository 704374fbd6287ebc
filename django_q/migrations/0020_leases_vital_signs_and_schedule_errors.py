"""Leases of queued tasks, vital signs of clusters, errors of schedules."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_q", "0019_alter_task_options_alter_ormq_key_alter_ormq_lock_and_more")
    ]

    operations = [
        migrations.AddField(
            model_name="ormq",
            name="holder",
            field=models.CharField(
                editable=False, max_length=32, null=True, verbose_name="held by"
            ),
        ),
        migrations.AddField(
            model_name="ormq",
            name="deliveries",
            field=models.IntegerField(
                db_default=0, default=0, editable=False, verbose_name="deliveries"
            ),
        ),
        migrations.AddField(
            model_name="ormq",
            name="starts",
            field=models.IntegerField(
                db_default=0, default=0, editable=False, verbose_name="starts"
            ),
        ),
        migrations.AddField(
            model_name="ormq",
            name="rescues",
            field=models.IntegerField(
                db_default=0, default=0, editable=False, verbose_name="rescues"
            ),
        ),
        migrations.AddField(
            model_name="ormq",
            name="attempts",
            field=models.IntegerField(
                db_default=0, default=0, editable=False, verbose_name="failed runs"
            ),
        ),
        migrations.AddField(
            model_name="ormq",
            name="task_key",
            field=models.CharField(
                db_column="task_id",
                editable=False,
                max_length=32,
                null=True,
                verbose_name="task id",
            ),
        ),
        migrations.AddIndex(
            model_name="ormq",
            index=models.Index(
                fields=["key", "lock", "id"], name="django_q_ormq_claim"
            ),
        ),
        migrations.AddConstraint(
            model_name="ormq",
            constraint=models.UniqueConstraint(
                fields=("task_key",), name="django_q_ormq_once"
            ),
        ),
        migrations.CreateModel(
            name="VitalSign",
            fields=[
                (
                    "key",
                    models.CharField(
                        max_length=150,
                        primary_key=True,
                        serialize=False,
                        verbose_name="key",
                    ),
                ),
                ("payload", models.TextField(verbose_name="payload")),
                ("expires", models.DateTimeField(verbose_name="expires")),
            ],
            options={
                "verbose_name": "Vital sign",
                "verbose_name_plural": "Vital signs",
            },
        ),
        migrations.CreateModel(
            name="ScheduleNote",
            fields=[
                (
                    "schedule",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="note",
                        serialize=False,
                        to="django_q.schedule",
                        verbose_name="schedule",
                    ),
                ),
                (
                    "error",
                    models.TextField(
                        blank=True, editable=False, null=True, verbose_name="error"
                    ),
                ),
                (
                    "anchor",
                    models.CharField(
                        editable=False,
                        max_length=32,
                        null=True,
                        verbose_name="intended time",
                    ),
                ),
            ],
            options={
                "verbose_name": "Note on a schedule",
                "verbose_name_plural": "Notes on schedules",
            },
        ),
    ]
