"""The front page, its live parts, and the buttons."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from django_q.status import Stat
from django_q.tasks import queue_size
from tour.catalogue import EXAMPLES, find_example, look, start
from tour.example import Example, Look
from tour.highlight import Source, source_of
from tour.models import Run


@dataclass(frozen=True)
class Card:
    """An example together with how its last run stands."""

    example: Example
    look: Look | None

    @property
    def sources(self) -> list[Source]:
        """The lines beside the button."""
        return [source_of(function) for function in self.example.shown]


@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """The whole page; complete without JavaScript."""
    return render(request, "tour/home.html", _context())


@require_GET
def live(request: HttpRequest) -> HttpResponse:
    """Only the parts of the page that change, for site.js."""
    return render(request, "tour/live.html", _context())


@require_POST
def press(request: HttpRequest, slug: str) -> HttpResponse:
    """A button was pressed: start its example, then show the page at its place."""
    example = find_example(slug)
    if example is None:
        raise Http404
    start(example)
    return redirect(f"/#{slug}")


def _context() -> dict[str, object]:
    runs = Run.objects.in_bulk()
    cards = [Card(each, look(each, runs.get(each.slug))) for each in EXAMPLES]
    is_busy = any(card.look and not card.look.state.is_final for card in cards)
    return {
        "cards": cards,
        "clusters": Stat.get_all(),
        "waiting": queue_size(),
        "is_busy": is_busy,
    }
