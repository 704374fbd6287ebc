"""What the test command makes of pytest's report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import suite

REPORT = """<testsuites>
<testsuite tests="4" failures="1" errors="1" skipped="1">
  <testcase classname="tests.acceptance.test_a" name="test_x[1]"><failure/></testcase>
  <testcase classname="tests.acceptance.test_a" name="test_y"><error/></testcase>
  <testcase classname="tests.acceptance.test_a" name="test_z"><skipped/></testcase>
  <testcase classname="tests.unit.test_b" name="test_w"/>
</testsuite></testsuites>"""


def test_report_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "report.xml"
    file.write_text(REPORT)
    counts = suite.counted(file, 1)
    assert str(counts) == "1 passed, 2 failed, 1 skipped"
    assert counts.failures == [
        "tests.acceptance.test_a::test_x[1]",
        "tests.acceptance.test_a::test_y",
    ]
    assert counts.code == 1


@pytest.mark.parametrize(
    ("failures", "code", "expected"),
    [
        (["tests.acceptance.test_a::test_x"], 1, True),
        (["tests.acceptance.test_a::test_x"], 2, False),
        (["tests.acceptance.test_a::test_x"] * 10, 1, True),
        (["tests.acceptance.test_a::test_x"] * 11, 1, False),
        (["tests.acceptance.test_a::test_x", "tests.unit.test_b::test_w"], 1, False),
        ([], 1, False),
        ([], 0, False),
    ],
)
def test_only_a_few_tests_of_whole_clusters_get_a_second_try(
    failures: list[str], code: int, expected: bool
) -> None:
    counts = suite.Counts(failed=len(failures), failures=failures, code=code)
    assert counts.may_be_the_clock() is expected
