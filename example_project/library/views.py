"""The search page."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from library.search import search as find


@require_GET
def search(request: HttpRequest) -> HttpResponse:
    """What the index knows about the words of `?q=`."""
    query = request.GET.get("q", "")[:200]
    return render(request, "library/search.html", {"query": query, "hits": find(query)})
