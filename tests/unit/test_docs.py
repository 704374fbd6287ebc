"""The documents: every Python example runs, and what it asserts holds."""

from __future__ import annotations

import ast
import doctest
import importlib
import json
import os
import re
import sys
import textwrap
import types
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.conf import settings as project
from django.contrib import admin
from django.core.cache import caches

from django_q import checks, models, signals
from django_q.brokers import get_broker
from django_q.options import Options

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted(DOCS.rglob("*.rst"))

QUEUED = {"brokers.rst", "cluster.rst", "own_broker.rst"}
"""Pages about the queue itself: there, nothing runs at once."""

NOT_PYTHON = {"console", "text", "ini", "json", "sql"}
BLOCK = re.compile(
    r"^(?P<margin> *)\.\. code-block:: (?P<language>\w+)\n"
    r"(?P<options>(?:(?P=margin)   :.*\n)*)"
    r"(?P<body>(?:\n|(?P=margin)   .*\n)+)",
    re.MULTILINE,
)
CAPTION = re.compile(r":caption: (\S+)")
DIRECTIVE = re.compile(r"^ *\.\. code(?:-block)?::", re.MULTILINE)
PARSED = re.compile(r"^ *\.\. (?:parsed-literal|sourcecode|highlight)::", re.MULTILINE)
DEFAULT = re.compile(r"^``(\w+)``\n~+\n\n\*Default:\* ``(.*)``$", re.MULTILINE)
CHECK = re.compile(r"^\.\. _q-([ew]\d+):\n\ndjango_q\.(\w+)\n~+$", re.MULTILINE)

DOCTEST_FLAGS = doctest.ELLIPSIS


class Block(NamedTuple):
    """A code block of a page."""

    line: int
    language: str
    caption: str | None
    code: str


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        caption = CAPTION.search(found["options"])
        line = text.count("\n", 0, found.start("body")) + 1
        code = textwrap.dedent(found["body"])
        yield Block(line, found["language"], caption and caption[1], code)


def name(page: Path) -> str:
    return str(page.relative_to(DOCS))


def run_page(page: Path, folder: Path) -> None:
    """Run the blocks of a page, one after the other."""
    module = types.ModuleType(f"docs_{page.stem}")
    for block in blocks(page):
        if block.caption == "settings.py":
            judge_settings(block)
        elif block.caption:
            add_to_module(block, folder)
        elif block.language == "python":
            # Lines as in the page, so that a traceback leads there.
            code = "\n" * (block.line - 1) + block.code
            exec(compile(code, page, "exec"), module.__dict__)  # noqa: S102
        elif block.language == "pycon":
            run_session(block, page, module)


def judge_settings(block: Block) -> None:
    """Settings that a page shows must make the checks say nothing."""
    shown: dict[str, Any] = {}
    exec(block.code, shown)  # noqa: S102
    site = checks.Site(
        raw=shown.get("Q_CLUSTER", {}),
        databases=shown.get("DATABASES", project.DATABASES),
        caches=project.CACHES,
        logging={},
        secret_key="",
    )
    assert checks.find_problems(site) == []
    assert set(shown) - {"__builtins__"} <= {"Q_CLUSTER", "DATABASES", "INSTALLED_APPS"}


def add_to_module(block: Block, folder: Path) -> None:
    """Make, or go on with, the file that the caption names, and import it."""
    path = folder / str(block.caption)
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(block.code)
    importlib.invalidate_caches()
    dotted = ".".join(path.relative_to(folder).with_suffix("").parts)
    importlib.import_module(dotted)


def run_session(block: Block, page: Path, module: types.ModuleType) -> None:
    parser = doctest.DocTestParser()
    test = parser.get_doctest(
        block.code, module.__dict__, name(page), str(page), block.line - 1
    )
    runner = doctest.DocTestRunner(optionflags=DOCTEST_FLAGS, verbose=False)
    said: list[str] = []
    runner.run(test, out=said.append, clear_globs=False)
    module.__dict__.update(test.globs)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for the modules of a page, from which they can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for module in [m for m in sys.modules if m.split(".")[0] == "shop"]:
        del sys.modules[module]


@pytest.fixture
def as_before() -> Iterator[None]:
    """Take back what examples change in this process."""
    known = [models.Success, models.Failure, models.Schedule, models.OrmQ]
    classes = {m: type(admin.site.get_model_admin(m)) for m in known}
    told = [getattr(signals, signal) for signal in signals.__all__]
    receivers = [(signal, list(signal.receivers)) for signal in told]
    caches["default"].clear()
    yield
    caches["default"].clear()
    get_broker("checkout").delete_queue()
    for model, admin_class in classes.items():
        admin.site.unregister(model)
        admin.site.register(model, admin_class)
    for signal, before in receivers:
        signal.receivers = before


@pytest.mark.django_db
@pytest.mark.parametrize(
    "page",
    [p for p in PAGES if any(b.language not in NOT_PYTHON for b in blocks(p))],
    ids=name,
)
@pytest.mark.usefixtures("as_before")
def test_examples_run(page: Path, shop: Path, q_settings: Any) -> None:
    q_settings(sync=name(page) not in QUEUED)
    run_page(page, shop)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_is_run_or_is_no_python(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = list(blocks(page))
    assert len(found) == len(DIRECTIVE.findall(text)), "a block that we can't read"
    assert {b.language for b in found} <= NOT_PYTHON | {"python", "pycon"}
    assert not PARSED.search(text), "a block of a kind that is not run"
    assert not re.search(r"[^.]::\n\n", text), "a block without a language"
    assert ">>>" not in "".join(b.code for b in found if b.language != "pycon")
    for block in found:
        assert block.caption is None or block.language == "python"
        if block.language == "json":
            json.loads(block.code)


def test_defaults_are_those_of_the_options() -> None:
    text = (DOCS / "configure.rst").read_text(encoding="utf-8")
    said = {key: ast.literal_eval(value) for key, value in DEFAULT.findall(text)}
    real = {
        option.name: option.default_factory()
        if option.default_factory is not MISSING
        else option.default
        for option in fields(Options)
    }
    assert said == real


def test_every_check_has_a_section() -> None:
    text = (DOCS / "errors.rst").read_text(encoding="utf-8")
    sections = CHECK.findall(text)
    assert all(label.upper() == number for label, number in sections)
    package = Path(str(checks.__file__)).parent
    source = "".join(file.read_text(encoding="utf-8") for file in package.glob("*.py"))
    used = set(re.findall(r'"([EWI]\d{3})"', source))
    assert {number for _label, number in sections} == used


def test_every_decision_that_the_code_names_is_there() -> None:
    package = DOCS.parent / "django_q"
    sources = [file.read_text(encoding="utf-8") for file in package.rglob("*.py")]
    named = {n for text in sources for n in re.findall(r"\(decision (\d{4})\)", text)}
    written = {file.name[:4] for file in (DOCS / "decisions").glob("0*.rst")}
    assert named <= written


def test_documents_name_no_figure_of_speed() -> None:
    """They would be true on one machine, on one day."""
    texts = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert not re.search(
        r"\d[ ,.\d]*(tasks|messages) (a|per) second|\d x faster", texts
    )


def test_pages_are_where_the_builder_looks() -> None:
    assert (DOCS / "conf.py").is_file()
    assert os.fspath(DOCS / "index.rst") in map(os.fspath, PAGES)
