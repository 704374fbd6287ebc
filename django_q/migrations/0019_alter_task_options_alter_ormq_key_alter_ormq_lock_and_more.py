"""Names and help texts of all fields; no column changes."""

from __future__ import annotations

from django.db import migrations, models
from django.utils import timezone
from picklefield.fields import PickledObjectField

from django_q.models import validate_cron, validate_kwarg


class Migration(migrations.Migration):
    dependencies = [("django_q", "0018_task_success_index")]

    operations = [
        migrations.AlterModelOptions(
            name="task",
            options={
                "ordering": ("-stopped",),
                "verbose_name": "Task",
                "verbose_name_plural": "Tasks",
            },
        ),
        migrations.AlterField(
            model_name="ormq",
            name="key",
            field=models.CharField(max_length=100, verbose_name="queue"),
        ),
        migrations.AlterField(
            model_name="ormq",
            name="lock",
            field=models.DateTimeField(
                help_text="Clusters leave the task alone until then; never if empty",
                null=True,
                verbose_name="locked until",
            ),
        ),
        migrations.AlterField(
            model_name="ormq",
            name="payload",
            field=models.TextField(verbose_name="payload"),
        ),
        migrations.AlterField(
            model_name="schedule",
            name="args",
            field=models.TextField(
                blank=True,
                help_text="Plain Python values, for example 1, 2, 'John'",
                null=True,
                verbose_name="arguments",
            ),
        ),
        migrations.AlterField(
            model_name="schedule",
            name="cluster",
            field=models.CharField(
                blank=True,
                default=None,
                help_text="Name of the cluster that runs it; empty for the default cluster",
                max_length=100,
                null=True,
                verbose_name="cluster",
            ),
        ),
        migrations.AlterField(
            model_name="schedule",
            name="cron",
            field=models.CharField(
                blank=True,
                help_text="Cron expression for the Cron type, for example 0 22 * * 1-5",
                max_length=100,
                null=True,
                validators=[validate_cron],
                verbose_name="cron expression",
            ),
        ),
        migrations.AlterField(
            model_name="schedule",
            name="func",
            field=models.CharField(
                help_text="Dotted path of the function, for example shop.tasks.send",
                max_length=256,
                verbose_name="function",
            ),
        ),
        migrations.AlterField(
            model_name="schedule",
            name="hook",
            field=models.CharField(
                blank=True,
                help_text="Dotted path of a function that is called with the ended task",
                max_length=256,
                null=True,
                verbose_name="hook",
            ),
        ),
        migrations.AlterField(
            model_name="schedule",
            name="intended_date_kwarg",
            field=models.CharField(
                blank=True,
                help_text="Name of the keyword argument that gets the planned time",
                max_length=100,
                null=True,
                validators=[validate_kwarg],
                verbose_name="keyword of the intended date",
            ),
        ),
        migrations.AlterField(
            model_name="schedule",
            name="kwargs",
            field=models.TextField(
                blank=True,
                help_text="Plain Python values, for example x=1, y=2, name='John'",
                null=True,
                verbose_name="keyword arguments",
            ),
        ),
        migrations.AlterField(
            model_name="schedule",
            name="minutes",
            field=models.PositiveSmallIntegerField(
                blank=True,
                help_text="Number of minutes for the Minutes type",
                null=True,
                verbose_name="minutes",
            ),
        ),
        migrations.AlterField(
            model_name="schedule",
            name="name",
            field=models.CharField(
                blank=True, max_length=100, null=True, verbose_name="name"
            ),
        ),
        migrations.AlterField(
            model_name="schedule",
            name="next_run",
            field=models.DateTimeField(
                default=timezone.now, null=True, verbose_name="next run"
            ),
        ),
        migrations.AlterField(
            model_name="schedule",
            name="repeats",
            field=models.IntegerField(
                default=-1,
                help_text="n = n times, 0 = paused, -1 = forever",
                verbose_name="repeats",
            ),
        ),
        migrations.AlterField(
            model_name="schedule",
            name="schedule_type",
            field=models.CharField(
                choices=[
                    ("O", "Once"),
                    ("I", "Minutes"),
                    ("H", "Hourly"),
                    ("D", "Daily"),
                    ("W", "Weekly"),
                    ("BW", "Biweekly"),
                    ("M", "Monthly"),
                    ("BM", "Bimonthly"),
                    ("Q", "Quarterly"),
                    ("Y", "Yearly"),
                    ("C", "Cron"),
                ],
                default="O",
                max_length=2,
                verbose_name="schedule type",
            ),
        ),
        migrations.AlterField(
            model_name="schedule",
            name="task",
            field=models.CharField(
                editable=False, max_length=100, null=True, verbose_name="last task"
            ),
        ),
        migrations.AlterField(
            model_name="task",
            name="args",
            field=PickledObjectField(
                editable=False, null=True, protocol=-1, verbose_name="arguments"
            ),
        ),
        migrations.AlterField(
            model_name="task",
            name="attempt_count",
            field=models.IntegerField(default=0, verbose_name="attempts"),
        ),
        migrations.AlterField(
            model_name="task",
            name="cluster",
            field=models.CharField(
                blank=True,
                default=None,
                max_length=100,
                null=True,
                verbose_name="cluster",
            ),
        ),
        migrations.AlterField(
            model_name="task",
            name="func",
            field=models.CharField(max_length=256, verbose_name="function"),
        ),
        migrations.AlterField(
            model_name="task",
            name="group",
            field=models.CharField(
                editable=False, max_length=100, null=True, verbose_name="group"
            ),
        ),
        migrations.AlterField(
            model_name="task",
            name="hook",
            field=models.CharField(max_length=256, null=True, verbose_name="hook"),
        ),
        migrations.AlterField(
            model_name="task",
            name="id",
            field=models.CharField(
                editable=False,
                max_length=32,
                primary_key=True,
                serialize=False,
                verbose_name="ID",
            ),
        ),
        migrations.AlterField(
            model_name="task",
            name="kwargs",
            field=PickledObjectField(
                editable=False, null=True, protocol=-1, verbose_name="keyword arguments"
            ),
        ),
        migrations.AlterField(
            model_name="task",
            name="name",
            field=models.CharField(editable=False, max_length=100, verbose_name="name"),
        ),
        migrations.AlterField(
            model_name="task",
            name="result",
            field=PickledObjectField(
                editable=False, null=True, protocol=-1, verbose_name="result"
            ),
        ),
        migrations.AlterField(
            model_name="task",
            name="started",
            field=models.DateTimeField(editable=False, verbose_name="started"),
        ),
        migrations.AlterField(
            model_name="task",
            name="stopped",
            field=models.DateTimeField(editable=False, verbose_name="stopped"),
        ),
        migrations.AlterField(
            model_name="task",
            name="success",
            field=models.BooleanField(
                default=True, editable=False, verbose_name="success"
            ),
        ),
    ]
