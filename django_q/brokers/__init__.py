"""Brokers: they carry sealed packages. This is the door to them."""

from __future__ import annotations

from django_q.brokers.base import Broker, Consignment, Delivery
from django_q.brokers.registry import get_broker

__all__ = ["Broker", "Consignment", "Delivery", "get_broker"]
