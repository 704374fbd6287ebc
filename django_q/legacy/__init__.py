"""Older doors: what earlier releases offered and a cluster does otherwise today."""

from __future__ import annotations
