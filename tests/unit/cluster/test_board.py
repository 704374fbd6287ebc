"""Board: words that all processes see, whole."""

from __future__ import annotations

import ctypes
import random
from typing import Any

import pytest

from django_q.cluster.board import (
    DEADLINE_MASK,
    HEADER_WORDS,
    NUMBER_MASK,
    ROW_WORDS,
    TEXT_BYTES,
    Cell,
    State,
    Turn,
    Word,
    mark_of,
    number_of,
)
from tests.unit.cluster.making import CONTEXT, make_board
from tests.unit.cluster.scribes import EVERY_BYTE, say_alignment, write_equal_bytes

ROUNDS = 30_000


def start(target: Any, *arguments: Any) -> Any:
    process = CONTEXT.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


# -- turns


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("number", [0, 1, NUMBER_MASK])
@pytest.mark.parametrize("deadline", [0, 1, DEADLINE_MASK])
def test_turn_comes_back_from_its_word(
    number: int, state: State, deadline: int
) -> None:
    turn = Turn(number, state, deadline)
    word = turn.pack()
    assert 0 <= word < 2**64
    assert Turn.unpack(word) == turn


def test_any_turn_comes_back() -> None:
    rng = random.Random(1)
    for _ in range(2000):
        state = rng.choice(list(State))
        number, deadline = rng.randrange(2**24), rng.randrange(2**38)
        turn = Turn(number, state, deadline)
        assert Turn.unpack(turn.pack()) == turn


def test_turn_shows_the_low_bits_of_a_number() -> None:
    number = number_of(5, 2**24 + 7)
    assert Turn.unpack(Turn(number, State.RUNNING, 9).pack()).number == 7


def test_deadline_beyond_all_bounds_is_the_latest() -> None:
    turn = Turn.unpack(Turn(3, State.RUNNING, 2**50).pack())
    assert turn == (3, State.RUNNING, DEADLINE_MASK)


def test_untouched_word_is_idle() -> None:
    assert Turn.unpack(0) == (0, State.IDLE, 0)


# -- numbers and marks


def test_numbers_ascend_over_epochs() -> None:
    numbers = [number_of(1, 1), number_of(1, 2**48 - 1), number_of(2, 0)]
    assert numbers == sorted(numbers)
    assert numbers[-1] >> 48 == 2


def test_marks_are_words_and_differ() -> None:
    marks = {mark_of(f"{n}:1") for n in range(1000)}
    assert len(marks) == 1000
    assert all(0 <= mark < 2**64 for mark in marks)
    assert mark_of("7:1") == mark_of("7:1")


# -- words


def test_new_board_is_blank_but_for_its_birth() -> None:
    board = make_board()
    assert [board[w] for w in Word if w is not Word.BIRTH] == [0] * (len(Word) - 1)
    assert all(row[cell] == 0 for row in board.rows for cell in Cell)
    assert 0 <= board.now() < 60_000


def test_every_word_has_a_place_of_its_own() -> None:
    board = make_board(3)
    expected = {}
    for n, word in enumerate(Word):
        board[word] = 100 + n
        expected[word] = 100 + n
    for r, row in enumerate(board.rows):
        for cell in Cell:
            row[cell] = 2**64 - 1 - r * 10 - cell
    assert {word: board[word] for word in Word} == expected
    for r, row in enumerate(board.rows):
        assert [row[c] for c in Cell] == [2**64 - 1 - r * 10 - c for c in Cell]


def test_enums_fit_into_their_space() -> None:
    assert max(Word) < HEADER_WORDS
    assert max(Cell) < ROW_WORDS


def test_row_is_cleared_alone() -> None:
    board = make_board(3)
    for row in board.rows:
        for cell in Cell:
            row[cell] = 5
    board.rows[1].clear()
    assert [sum(row[c] for c in Cell) for row in board.rows] == [
        5 * len(Cell),
        0,
        5 * len(Cell),
    ]


@pytest.mark.parametrize("generation", [1, 2**32 - 1])
@pytest.mark.parametrize("pid", [1, 2**22, 2**32 - 1])
def test_row_belongs_to_a_generation_and_a_process(generation: int, pid: int) -> None:
    row = make_board().rows[2]
    row.belongs_to(generation, pid)
    assert (row.generation, row.pid) == (generation, pid)


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 64])
def test_rows_lie_on_lines_of_the_cache(rows: int) -> None:
    board = make_board(rows)
    words = (ctypes.c_uint64 * 1).from_buffer(board._words)  # noqa: SLF001
    assert ctypes.addressof(words) % 64 == 0
    assert HEADER_WORDS * 8 % 64 == 0
    assert ROW_WORDS * 8 % 64 == 0
    assert len(board.rows) == rows
    if rows:
        board.rows[-1][Cell.WHO] = 7


# -- two processes


def test_child_sees_the_same_board_on_lines_of_its_cache() -> None:
    board = make_board()
    board[Word.UNSAVED] = 41
    child = start(say_alignment, board)
    child.join()
    assert child.exitcode == 0
    assert board[Word.WAITING] == 42


def test_no_word_is_ever_torn() -> None:
    board = make_board()
    child = start(write_equal_bytes, board, 1, ROUNDS)
    torn = []
    looks = 0
    while child.is_alive() or not looks:
        looks += 1
        for _ in range(500):
            words = [board.rows[1][cell] for cell in Cell]
            words.append(board[Word.LEASE_UNTIL])
            torn += [word for word in words if word % EVERY_BYTE]
    child.join()
    assert child.exitcode == 0
    assert torn == []
    last = ((ROUNDS - 1) & 0xFF) * EVERY_BYTE
    assert [board.rows[1][cell] for cell in Cell] == [last] * len(Cell)
    assert [board.rows[0][c] for c in Cell] == [0] * len(Cell)


def test_name_of_what_runs_is_for_people() -> None:
    row = make_board().rows[1]
    assert row.task == "a task"
    row.task = "shop.tasks.send [ä" + "x" * 300
    assert row.task == "a task", "nothing runs"
    row[Cell.TURN] = Turn(1, State.RUNNING, 0).pack()
    assert row.task.startswith("shop.tasks.send [äxxx")
    assert len(row.task.encode()) < TEXT_BYTES
    row.task = "short"
    assert row.task == "short"
    row.clear()
    assert row.task == "a task"
