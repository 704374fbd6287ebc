"""The table of tests/faults/transfers.py, which runs for long before it is written."""

from __future__ import annotations

from tests.faults.transfers import table


def test_table_has_a_column_for_each_database_and_a_row_for_each_fault() -> None:
    runs = [
        {"broker": "one", "sum": 1000, "not once": {}, "faults": {"kill": 3}},
        {"broker": "two", "sum": 1000, "not once": {"a": 2}, "faults": {"pause": 1}},
    ]
    lines = [line.split() for line in table(20_000, runs).splitlines()]
    assert lines[1] == ["20,000", "transfers", "one", "two"]
    assert lines[3] == ["sum", "1,000", "1,000"]
    assert lines[4] == ["not", "once", "0", "{'a':", "2}"]
    assert lines[5:7] == [["fault:", "kill", "3", "--"], ["fault:", "pause", "--", "1"]]
