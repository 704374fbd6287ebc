"""The five languages: nothing is missing, nothing is stale, and it fits the screens."""

from __future__ import annotations

import ast
import gettext
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.translation import ngettext, override

from django_q.conf import Conf
from django_q.dashboard import frame, summary
from django_q.dashboard.memory import FOOTPRINTS, Footprint, MemorySnapshot
from django_q.dashboard.memory import lay_out as lay_out_memory
from django_q.dashboard.sheet import Sheet, Size, Table, text_of
from django_q.dashboard.wording import columns
from django_q.models import Schedule
from tests.house.rooms import ROOT, sources
from tests.unit.dashboard.figures import NOON, snapshot, stat

LANGUAGES = ["de", "fr", "ru", "tr", "zh_Hans"]
LOCALE = ROOT / "django_q" / "locale"
CODES = {"zh_Hans": "zh-hans"}

MARKS = {"gettext", "gettext_lazy", "gettext_noop", "ngettext", "ngettext_lazy"}
PLACE = re.compile(r"%\(\w+\)[\d.]*[a-z]|%[a-z]")
QUOTED = re.compile(r'^(?:(msgid|msgid_plural|msgstr(?:\[\d\])?) )?(".*")$')

every_language = pytest.mark.parametrize("language", LANGUAGES)


class Entry(NamedTuple):
    """A text, its plural if it has one, and what they are in a language."""

    text: str
    plural: str | None
    forms: tuple[str, ...]


def read_po(language: str) -> list[Entry]:
    """The entries of the file that people write, without its header."""
    text = (LOCALE / language / "LC_MESSAGES" / "django.po").read_text(encoding="utf-8")
    entries = [read_entry(part) for part in text.strip().split("\n\n")]
    return [entry for entry in entries if entry.text]


def read_entry(part: str) -> Entry:
    fields: dict[str, str] = {}
    name = ""
    for line in part.splitlines():
        if line.startswith("#"):
            assert "fuzzy" not in line, f"not looked through: {part}"
            continue
        found = QUOTED.match(line)
        assert found, f"not understood: {line}"
        name = found[1] or name
        fields[name] = fields.get(name, "") + ast.literal_eval(found[2])
    forms = [text for key, text in fields.items() if key.startswith("msgstr")]
    return Entry(fields["msgid"], fields.get("msgid_plural"), tuple(forms))


def marked_in(file: Path) -> Iterator[tuple[str, ...]]:
    """The texts that a module marks; two where there is a plural."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == TRANSLATION:
            names |= {alias.asname or alias.name: alias.name for alias in node.names}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        mark = names.get(node.func.id, "")
        if mark in MARKS:
            count = 2 if mark.startswith("ngettext") else 1
            yield tuple(ast.literal_eval(argument) for argument in node.args[:count])


TRANSLATION = "django.utils.translation"


def marked() -> set[tuple[str, ...]]:
    return {texts for file in sources() for texts in marked_in(file)}


def speak(language: str) -> Any:
    return override(CODES.get(language, language))


# -- the files


def test_languages_are_those_that_there_always_were() -> None:
    assert sorted(folder.name for folder in LOCALE.iterdir()) == LANGUAGES


@every_language
def test_every_marked_text_has_an_entry_and_every_entry_a_marked_text(
    language: str,
) -> None:
    entries = {
        (entry.text,) if entry.plural is None else (entry.text, entry.plural)
        for entry in read_po(language)
    }

    texts = marked()
    assert texts - entries == set()
    assert entries - texts == set()


@every_language
def test_every_entry_is_translated(language: str) -> None:
    entries = read_po(language)

    assert [entry.text for entry in entries if not all(entry.forms)] == []
    assert len(entries) > 150


@every_language
def test_translations_take_the_same_values(language: str) -> None:
    wrong = [
        form
        for entry in read_po(language)
        for form in entry.forms
        if sorted(PLACE.findall(form)) != sorted(PLACE.findall(entry.text))
    ]

    assert wrong == []


@every_language
def test_compiled_file_says_what_the_written_one_says(language: str) -> None:
    file = LOCALE / language / "LC_MESSAGES" / "django.mo"
    with file.open("rb") as opened:
        compiled = gettext.GNUTranslations(opened)
    written: dict[Any, str] = {}
    for entry in read_po(language):
        if entry.plural is None:
            written[entry.text] = entry.forms[0]
        else:
            written |= {(entry.text, n): form for n, form in enumerate(entry.forms)}

    known: dict[Any, str] = vars(compiled)["_catalog"]
    assert {key: text for key, text in known.items() if key != ""} == written


def test_both_files_of_each_language_are_packed() -> None:
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    call = next(
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.keyword) and n.arg == "package_data"
    )
    patterns = ast.literal_eval(call.value)["django_q"]
    files = [str(f.relative_to(ROOT / "django_q")) for f in LOCALE.rglob("*.*o")]

    assert len(files) == 2 * len(LANGUAGES)
    assert [f for f in files if not any(fnmatch(f, p) for p in patterns)] == []
    manifest = (ROOT / "MANIFEST.in").read_text(encoding="utf-8")
    assert {"*.po", "*.mo"} <= set(manifest.split())


# -- the screens: a caption that is cut off says nothing


@every_language
@pytest.mark.parametrize(
    "table", [frame.CLUSTERS, FOOTPRINTS], ids=["qmonitor", "qmemory"]
)
def test_captions_fit_their_columns(language: str, table: Table[Any]) -> None:
    with speak(language):
        wide = [
            str(column.caption)
            for column in table.columns
            if columns(str(column.caption)) > column.width
        ]

    assert wide == []


@every_language
def test_states_fit_their_column_and_differ(language: str) -> None:
    states = (Conf.STARTING, Conf.WORKING, Conf.IDLE, Conf.STOPPING, Conf.STOPPED)
    with speak(language):
        words = [str(state) for state in states]

    assert [word for word in words if columns(word) > 9] == []
    assert len(set(words)) == 5
    assert set(words).isdisjoint({"Starting", "Working", "Idle", "Stopping", "Stopped"})


def sheets() -> Iterator[Sheet]:
    size = Size(80, 24)
    cluster = stat(status="Stopping", task_q_size=12345, reincarnations=3)
    yield frame.lay_out(snapshot(cluster), size)
    yield frame.lay_out(snapshot(queues=()), size)
    known = {"available": 9753.4, "total": 15936.0, "sentinel": 41.2, "monitor": 44.0}
    row = Footprint(stat=cluster, workers=(38.2, None), **known)
    for rows in ((row,), ()):
        facts: dict[str, Any] = {"at": NOON, "name": "shop", "broker": "ORM default"}
        shown = MemorySnapshot(footprints=rows, **facts)
        yield lay_out_memory(shown, size, workers=True)


@every_language
def test_no_line_of_a_screen_is_cut_off(language: str) -> None:
    with speak(language):
        lines = [
            text_of(line)
            for sheet in sheets()
            for line in (*sheet.top, *sheet.rows, *sheet.bottom)
        ]

    assert [line for line in lines if columns(line) > 80 or "…" in line] == []


@every_language
def test_summary_keeps_its_columns(language: str) -> None:
    with speak(language):
        lines = list(summary.describe(snapshot(stat())))

    figures = lines[2:7]
    assert [line for line in figures if "…" in line] == []
    assert [line for line in figures if columns(line) > 80] == []
    assert len({columns(line) for line in lines[8:10]}) == 1


# -- what people see


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("language", "title", "kind"),
    [
        ("de", "Geplante Aufgaben", "Vierteljährlich"),
        ("fr", "Tâches planifiées", "Tous les trimestres"),
        ("ru", "Запланированные задачи", "Ежеквартально"),
        ("tr", "Zamanlanmış görevler", "Üç ayda bir"),  # noqa: RUF001 - Turkish
        ("zh-hans", "计划任务", "每季度"),
    ],
)
def test_admin_speaks_the_language_of_its_reader(
    admin_client: Client, language: str, title: str, kind: str
) -> None:
    Schedule.objects.create(func="math.sqrt", schedule_type=Schedule.QUARTERLY)
    address = reverse("admin:django_q_schedule_changelist")

    # A request leaves its language to its thread.
    with override("en"):
        page = admin_client.get(address, headers={"accept-language": language})

    assert title in page.content.decode()
    assert kind in page.content.decode()


def test_russian_has_three_ways_to_count() -> None:
    one, many = "%d task was queued again.", "%d tasks were queued again."
    with speak("ru"):
        said = [ngettext(one, many, n) % n for n in (1, 2, 5, 21)]

    assert said == [
        "1 задача снова поставлена в очередь.",
        "2 задачи снова поставлены в очередь.",
        "5 задач снова поставлено в очередь.",
        "21 задача снова поставлена в очередь.",
    ]


def test_state_for_programs_stays_english() -> None:
    with speak("de"):
        assert str(stat(status="Idle").status) == "Bereit"
        assert stat(status="Idle").state == "idle"
        assert stat(status="Idle").status == Conf.IDLE


def test_log_stays_english() -> None:
    """It is read by programs, and by people who search for its sentences."""
    cluster = [file for file in sources() if "cluster" in file.parts]
    log = [*cluster, ROOT / "django_q" / "logs.py"]

    assert len(log) > 20
    assert [text for file in log for text in marked_in(file)] == []
