"""What the fields of a schedule refuse."""

from __future__ import annotations

from keyword import iskeyword

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from django_q.cron import check_cron


def validate_cron(value: str) -> None:
    """Raise ValidationError, with what is wrong, unless this is a cron expression."""
    try:
        check_cron(value)
    except ValueError as error:
        raise ValidationError(str(error), code="cron") from None


def validate_kwarg(value: str) -> None:
    """Raise ValidationError unless this can be the name of a keyword argument."""
    if value.isidentifier() and not iskeyword(value):
        return
    message = _("%(value)r can't be the name of a keyword argument.")
    raise ValidationError(message, code="kwarg", params={"value": value})
