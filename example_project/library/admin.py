"""Documents in the admin: change one, and it is indexed again."""

from __future__ import annotations

from django.contrib import admin

from library.models import Document


@admin.register(Document)
class DocumentAdmin(admin.ModelAdmin):
    list_display = ("title", "path", "length", "indexed")
    search_fields = ("title", "path")
