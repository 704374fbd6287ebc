"""Readable names: identifiers as four words, easy to tell apart and to say aloud."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Sequence
from typing import Any

__all__ = ["DEFAULT_WORDLIST", "HumanHasher", "humanize", "uuid"]

# The word list of "humanhash", which its author gave to the public domain. Its order
# is part of the names: the same id has the same name in every release.
DEFAULT_WORDLIST: tuple[str, ...] = (
    "ack",
    "alabama",
    "alanine",
    "alaska",
    "alpha",
    "angel",
    "apart",
    "april",
    "arizona",
    "arkansas",
    "artist",
    "asparagus",
    "aspen",
    "august",
    "autumn",
    "avocado",
    "bacon",
    "bakerloo",
    "batman",
    "beer",
    "berlin",
    "beryllium",
    "black",
    "blossom",
    "blue",
    "bluebird",
    "bravo",
    "bulldog",
    "burger",
    "butter",
    "california",
    "carbon",
    "cardinal",
    "carolina",
    "carpet",
    "cat",
    "ceiling",
    "charlie",
    "chicken",
    "coffee",
    "cola",
    "cold",
    "colorado",
    "comet",
    "connecticut",
    "crazy",
    "cup",
    "dakota",
    "december",
    "delaware",
    "delta",
    "diet",
    "don",
    "double",
    "early",
    "earth",
    "east",
    "echo",
    "edward",
    "eight",
    "eighteen",
    "eleven",
    "emma",
    "enemy",
    "equal",
    "failed",
    "fanta",
    "fifteen",
    "fillet",
    "finch",
    "fish",
    "five",
    "fix",
    "floor",
    "florida",
    "football",
    "four",
    "fourteen",
    "foxtrot",
    "freddie",
    "friend",
    "fruit",
    "gee",
    "georgia",
    "glucose",
    "golf",
    "green",
    "grey",
    "hamper",
    "happy",
    "harry",
    "hawaii",
    "helium",
    "high",
    "hot",
    "hotel",
    "hydrogen",
    "idaho",
    "illinois",
    "india",
    "indigo",
    "ink",
    "iowa",
    "island",
    "item",
    "jersey",
    "jig",
    "johnny",
    "juliet",
    "july",
    "jupiter",
    "kansas",
    "kentucky",
    "kilo",
    "king",
    "kitten",
    "lactose",
    "lake",
    "lamp",
    "lemon",
    "leopard",
    "lima",
    "lion",
    "lithium",
    "london",
    "louisiana",
    "low",
    "magazine",
    "magnesium",
    "maine",
    "mango",
    "march",
    "mars",
    "maryland",
    "massachusetts",
    "may",
    "mexico",
    "michigan",
    "mike",
    "minnesota",
    "mirror",
    "mississippi",
    "missouri",
    "mobile",
    "mockingbird",
    "monkey",
    "montana",
    "moon",
    "mountain",
    "muppet",
    "music",
    "nebraska",
    "neptune",
    "network",
    "nevada",
    "nine",
    "nineteen",
    "nitrogen",
    "north",
    "november",
    "nuts",
    "october",
    "ohio",
    "oklahoma",
    "one",
    "orange",
    "oranges",
    "oregon",
    "oscar",
    "oven",
    "oxygen",
    "papa",
    "paris",
    "pasta",
    "pennsylvania",
    "pip",
    "pizza",
    "pluto",
    "potato",
    "princess",
    "purple",
    "quebec",
    "queen",
    "quiet",
    "red",
    "river",
    "robert",
    "robin",
    "romeo",
    "rugby",
    "sad",
    "salami",
    "saturn",
    "september",
    "seven",
    "seventeen",
    "shade",
    "sierra",
    "single",
    "sink",
    "six",
    "sixteen",
    "skylark",
    "snake",
    "social",
    "sodium",
    "solar",
    "south",
    "spaghetti",
    "speaker",
    "spring",
    "stairway",
    "steak",
    "stream",
    "summer",
    "sweet",
    "table",
    "tango",
    "ten",
    "tennessee",
    "tennis",
    "texas",
    "thirteen",
    "three",
    "timing",
    "triple",
    "twelve",
    "twenty",
    "two",
    "uncle",
    "undress",
    "uniform",
    "uranus",
    "utah",
    "vegan",
    "venus",
    "vermont",
    "victor",
    "video",
    "violet",
    "virginia",
    "washington",
    "west",
    "whiskey",
    "white",
    "william",
    "winner",
    "winter",
    "wisconsin",
    "wolfram",
    "wyoming",
    "xray",
    "yankee",
    "yellow",
    "zebra",
    "zulu",
)


class HumanHasher:
    """Turns hexadecimal text into words of a list of 256.

    Names are not unique and can't be turned back: show them, keep the identifier.
    """

    def __init__(self, wordlist: Sequence[str] = DEFAULT_WORDLIST) -> None:
        if len(wordlist) != 256:
            message = (
                f"A word list has 256 words, one for each byte; not {len(wordlist)}."
            )
            raise ValueError(message)
        self.wordlist = wordlist

    def humanize(self, hexdigest: str, words: int = 4, separator: str = "-") -> str:
        """Words for hexadecimal text of at least so many bytes.

        Raises ValueError for anything else.
        """
        picks = self.compress(bytes.fromhex(hexdigest), words)
        return separator.join([self.wordlist[pick] for pick in picks])

    @staticmethod
    def compress(source: Sequence[int], target: int) -> list[int]:
        """So many bytes out of more: equal runs, the rest in the last, XOR of each."""
        size = len(source) // target if target > 0 else 0
        if size == 0:
            message = f"{len(source)} bytes don't make {target} words."
            raise ValueError(message)
        # All runs at once, as one number: the last byte of each run is folded.
        regular = size * target
        whole = int.from_bytes(source[:regular])
        folded = whole
        for _ in range(size - 1):
            whole >>= 8
            folded ^= whole
        picks = list(folded.to_bytes(regular)[size - 1 :: size])
        for byte in source[regular:]:
            picks[-1] ^= byte
        return picks

    def uuid(self, **how: Any) -> tuple[str, str]:
        """A fresh (name, 32 hexadecimal digits); keywords as for `humanize`."""
        digits = uuids.uuid4().hex
        return self.humanize(digits, **how), digits


DEFAULT_HASHER = HumanHasher()
humanize = DEFAULT_HASHER.humanize
uuid = DEFAULT_HASHER.uuid
