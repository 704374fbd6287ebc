"""The admin, for our release only: older ones never serve a page here."""

from django.contrib import admin

try:
    from django.urls import path
except ImportError:  # Django 1
    urlpatterns = []
else:
    urlpatterns = [path("admin/", admin.site.urls)]
