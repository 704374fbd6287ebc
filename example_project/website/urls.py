"""Addresses of the example site."""

from __future__ import annotations

from django.conf import settings
from django.conf.urls.static import static
from django.contrib import admin
from django.urls import path

from library.views import search
from people.views import mail
from tour.views import home, live, press

urlpatterns = [
    path("", home, name="home"),
    path("live/", live, name="live"),
    path("press/<slug:slug>/", press, name="press"),
    path("search/", search, name="search"),
    path("mail/", mail, name="mail"),
    path("admin/", admin.site.urls),
    *static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT),
]
