"""The list of tests/faults/mutants.py keeps up with the source, and one is tried."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.mutants import HOUSE, Laboratory, Stale, mutate
from tests.faults.mutations import MUTANTS, Mutant, Row, Sight

OF = {mutant.name: mutant for mutant in MUTANTS}
TRIED = "lost-replies"
"""Seen by a test that is over in a moment."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=OF)
def test_mutant_fits_the_source(mutant: Mutant) -> None:
    text = (HOUSE / mutant.file).read_text(encoding="utf-8")
    assert mutate(text, mutant) != text


@pytest.mark.parametrize("mutant", MUTANTS, ids=OF)
def test_who_sees_it_is_there(mutant: Mutant) -> None:
    sight = mutant.seen_by
    if isinstance(sight, Row):
        wanted = f"@row({sight.number}, "
    else:
        wanted = f"def {sight.node.rpartition('::')[2]}("
    assert any(wanted in text for text in texts_of(sight))


@pytest.mark.parametrize("mutant", MUTANTS, ids=OF)
def test_sign_is_a_line_that_fails(mutant: Mutant) -> None:
    """The name of a test would do for a failure of any kind."""
    mark, _, line = mutant.sign.partition(" ")
    assert mark in {">", "E"}
    texts = (" ".join(text.split()) for text in texts_of(mutant.seen_by))
    assert mark == "E" or any(line in text for text in texts)


def texts_of(sight: Sight) -> Iterator[str]:
    """Where it may stand; tests of a class perhaps in the one that it inherits from."""
    if isinstance(sight, Row):
        files = (HOUSE / "tests/faults").glob("test_*.py")
    else:
        files = (HOUSE / sight.node.partition("::")[0]).parent.glob("*.py")
    return (file.read_text(encoding="utf-8") for file in files)


def test_names_are_unique() -> None:
    assert len(OF) == len(MUTANTS)


@pytest.mark.parametrize("text", ["a = 1\n", "b = 1\nb = 1\n"])
def test_mutant_that_does_not_fit_is_told(text: str) -> None:
    mutant = Mutant("m", "", "x.py", "b = 1\n", "b = 2\n", Row("redis", 1), "")
    with pytest.raises(Stale):
        mutate(text, mutant)


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    return Laboratory(tmp_path_factory.mktemp("laboratory"))


def test_mutant_is_caught(laboratory: Laboratory) -> None:
    assert laboratory.try_out(OF[TRIED]).flaw == ""


def test_change_that_harms_nothing_is_not_caught(laboratory: Laboratory) -> None:
    caught = OF[TRIED]
    old, new = "ASK_AGAIN: Final = 0.3\n", "ASK_AGAIN: Final = 0.30\n"
    harmless = caught._replace(old=old, new=new)
    assert "it does not fail" in laboratory.try_out(harmless).flaw
    left = (laboratory.folder / caught.file).read_text(encoding="utf-8")
    assert left == (HOUSE / caught.file).read_text(encoding="utf-8")
