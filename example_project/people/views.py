"""The page that shows the mail."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from people.mailbox import latest_letters


@require_GET
def mail(request: HttpRequest) -> HttpResponse:
    """The letters that were sent last."""
    return render(request, "people/mail.html", {"letters": latest_letters(50)})
