"""The outbox knows what is a slot of a schedule."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("django_q", "0024_outbox")]

    operations = [
        migrations.AddField(
            model_name="outboxentry",
            name="once",
            field=models.BooleanField(editable=False, null=True),
        ),
    ]
