"""Dotted names: found, or not found with the reason."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from django_q.callables import find_loaded, name_of, resolve, takes_keyword
from django_q.exceptions import TaskNotFound, TimeoutException
from django_q.logs import print_safely
from tests import functions


class Shop:
    @classmethod
    def open(cls) -> None: ...

    def close(self) -> None: ...

    def __repr__(self) -> str:
        return "<shop>"


def test_functions_classes_and_methods_are_found() -> None:
    assert resolve("tests.functions.add") is functions.add
    assert resolve("math.sqrt")(4) == 2
    assert resolve(f"{__name__}.Shop") is Shop
    assert resolve(f"{__name__}.Shop.open") == Shop.open


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("tests.functions.ad", "tests.functions has no 'ad'. Did you mean 'add'?"),
        ("tests.functons.add", "tests has no 'functons'. Did you mean 'functions'?"),
        ("nowhere.at.all", "No module named 'nowhere'"),
        ("tests.functions.add.x", "add has no 'x'"),
        ("tests.settings.DEBUG", "is not a function: it is a bool"),
    ],
)
def test_what_is_not_there_is_told_with_a_suggestion(path: str, reason: str) -> None:
    with pytest.raises(TaskNotFound) as caught:
        resolve(path)
    assert reason in str(caught.value)
    assert path in str(caught.value)


def test_a_module_of_a_package_is_suggested() -> None:
    with pytest.raises(TaskNotFound, match=r"Did you mean 'mail'\?"):
        resolve("django.core.mial.send.now")


@pytest.mark.parametrize(
    "path",
    [
        *("", "add", ".add", "a..b", "a.b()", "a.b;c", "a.1b", "os.system('x')"),
        *("a.b\n", "a." + "b" * 10_000, "a.b\0c", "a b.c", "a.\u200bb"),
    ],
)
def test_what_is_no_path_is_refused_before_any_import(path: str) -> None:
    before = set(sys.modules)
    with pytest.raises(TaskNotFound, match="is not the path of a function") as caught:
        resolve(path)
    assert len(str(caught.value)) < 300
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("this is no python", "SyntaxError"),
    ],
)
def test_a_module_that_fails_on_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, reason: str
) -> None:
    (tmp_path / "broken_module.py").write_text(line)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        TaskNotFound, match=r"broken_module\.send is not defined"
    ) as error:
        resolve("broken_module.send")
    assert reason in str(error.value)
    assert error.value.__cause__ is not None


def test_the_time_limit_of_a_task_is_not_taken_for_a_broken_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "from django_q.exceptions import TimeoutException\nraise TimeoutException"
    (tmp_path / "slow_module.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TimeoutException):
        resolve("slow_module.send")


class Mute:
    def __call__(self) -> None: ...

    def __str__(self) -> str:
        raise SystemExit

    __repr__ = __str__


@pytest.mark.parametrize(
    ("func", "name"),
    [
        ("any.text", "any.text"),
        (functions.add, "tests.functions.add"),
        (Shop.open, f"{__name__}.Shop.open"),
        (Shop, str(Shop)),
        (len, "<built-in function len>"),
        (5, "5"),
    ],
)
def test_the_text_of_a_function(func: Any, name: str) -> None:
    assert name_of(func) == name


def test_the_text_of_a_method_bound_to_an_instance_is_its_repr() -> None:
    assert name_of(Shop().close).startswith("<bound method Shop.close of <shop>")


def test_what_can_not_be_printed_is_named() -> None:
    assert name_of(Mute()) == f"<{__name__}.Mute without text>"
    assert print_safely(Mute(), repr) == f"<{__name__}.Mute without text>"
    assert print_safely("x", repr) == "'x'"


class TestLoaded:
    def test_what_was_imported_is_found(self) -> None:
        assert find_loaded("tests.functions.add") is functions.add
        assert find_loaded(f"{__name__}.Shop.open") == Shop.open

    @pytest.mark.parametrize(
        "path",
        [
            *("nowhere.at.all", "tests.functions.ad", "tests.functions.ad.__class__"),
            *("add", "", "os..x", "a b"),
        ],
    )
    def test_what_is_not_there_is_none(self, path: str) -> None:
        assert find_loaded(path) is None

    def test_a_module_that_refuses_is_none(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(name: str) -> None:
            raise ImportError(name)

        monkeypatch.setattr(functions, "__getattr__", refuse, raising=False)
        assert find_loaded("tests.functions.missing") is None

    def test_nothing_is_imported(self, tmp_path: Path, monkeypatch: Any) -> None:
        (tmp_path / "never_loaded.py").write_text("def run(): ...")
        monkeypatch.syspath_prepend(tmp_path)
        assert find_loaded("never_loaded.run") is None
        assert "never_loaded" not in sys.modules


@pytest.mark.parametrize(
    ("func", "expected"),
    [
        (lambda size: None, True),
        (lambda *, size: None, True),
        (lambda **others: None, True),
        (lambda size, /: None, False),
        (lambda *size: None, False),
        (lambda other: None, False),
        (dict, True),
        (Shop.open, False),
        (Shop, False),
    ],
)
def test_whether_a_function_takes_a_keyword(func: Any, expected: bool) -> None:
    assert takes_keyword(func, "size") is expected
