"""A delivery is a pair that knows more."""

from __future__ import annotations

import pickle

from django_q.brokers import Delivery


def test_delivery_unpacks_into_receipt_and_package():
    receipt, package = Delivery("r", "p", 3, 2, 1)
    assert (receipt, package) == ("r", "p")


def test_counts_are_attributes():
    delivery = Delivery("r", "p", 3, 2, 1, 4)
    assert (delivery.deliveries, delivery.starts, delivery.attempts) == (3, 2, 1)
    assert delivery.rescues == 4


def test_plain_pair_is_a_first_delivery():
    delivery = Delivery.of((None, "p"))
    assert (delivery.receipt, delivery.package) == (None, "p")
    assert (delivery.deliveries, delivery.starts, delivery.attempts) == (1, 0, 0)
    assert delivery.rescues == 0


def test_delivery_stays_itself():
    delivery = Delivery("r", "p", 3)
    assert Delivery.of(delivery) is delivery


def test_replacing_a_part_keeps_the_others():
    changed = Delivery("r", "p", 3, 2, 1, 4)._replace(receipt="s", starts=5)
    counts = {"deliveries": 3, "starts": 5, "attempts": 1, "rescues": 4}
    assert vars(changed) == counts
    assert changed == ("s", "p")


def test_counts_survive_pickling():
    delivery = Delivery("r", "p", 3, 2, 1, 4)
    copy = pickle.loads(pickle.dumps(delivery))
    assert copy == ("r", "p")
    assert vars(copy) == vars(delivery)
