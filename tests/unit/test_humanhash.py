"""Readable names."""

from __future__ import annotations

import uuid

import pytest

from django_q import humanhash
from django_q.humanhash import DEFAULT_WORDLIST, HumanHasher, humanize


def test_the_word_list_is_the_one_everybody_uses():
    assert len(DEFAULT_WORDLIST) == 256
    assert len(set(DEFAULT_WORDLIST)) == 256
    assert DEFAULT_WORDLIST[:3] == ("ack", "alabama", "alanine")
    assert DEFAULT_WORDLIST[-1] == "zulu"
    assert sum(map(len, DEFAULT_WORDLIST)) == 1506


def test_a_known_identifier_has_its_known_name():
    assert humanize("60ad8d0d871b6095808297") == "sodium-magnesium-nineteen-hydrogen"


def test_upper_case_digits_give_the_same_name():
    assert humanize("60AD8D0D871B6095808297") == humanize("60ad8d0d871b6095808297")


def test_uuid_gives_a_name_and_its_identifier():
    name, digits = humanhash.uuid()
    assert uuid.UUID(digits).version == 4
    assert digits == digits.lower()
    assert len(digits) == 32
    assert name == humanize(digits)


def test_uuid_differs_each_time():
    assert len({humanhash.uuid()[1] for _ in range(100)}) == 100


def test_number_of_words_and_separator_can_be_chosen():
    assert humanize("00ff", words=2, separator=" ") == "ack zulu"
    assert len(humanhash.uuid(words=6)[0].split("-")) == 6


def test_the_rest_goes_into_the_last_run():
    assert HumanHasher.compress(bytes([1, 2, 4, 8, 16]), 2) == [1 ^ 2, 4 ^ 8 ^ 16]


def test_as_many_bytes_as_words_are_the_words():
    assert HumanHasher.compress(bytes([9, 8, 7]), 3) == [9, 8, 7]


@pytest.mark.parametrize("text", ["", "00", "000102", "not hexadecimal"])
def test_too_few_bytes_or_other_text_are_refused(text: str):
    with pytest.raises(ValueError):  # noqa: PT011 - two sources, two texts
        humanize(text)


def test_no_words_at_all_are_refused():
    with pytest.raises(ValueError, match="don't make 0 words"):
        humanize("0001", words=0)


def test_an_own_word_list_is_used():
    hasher = HumanHasher([f"w{number}" for number in range(256)])
    assert hasher.humanize("00010203") == "w0-w1-w2-w3"


def test_a_word_list_of_another_size_is_refused():
    with pytest.raises(ValueError, match="256 words"):
        HumanHasher(["one", "two"])
