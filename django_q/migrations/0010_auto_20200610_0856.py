"""Pickles are of the newest protocol."""

from __future__ import annotations

from django.db import migrations
from picklefield.fields import PickledObjectField


class Migration(migrations.Migration):
    dependencies = [("django_q", "0009_auto_20171009_0915")]

    operations = [
        migrations.AlterField(
            model_name="task",
            name="args",
            field=PickledObjectField(null=True, editable=False, protocol=-1),
        ),
        migrations.AlterField(
            model_name="task",
            name="kwargs",
            field=PickledObjectField(null=True, editable=False, protocol=-1),
        ),
        migrations.AlterField(
            model_name="task",
            name="result",
            field=PickledObjectField(null=True, editable=False, protocol=-1),
        ),
    ]
