"""No room is too large: modules, functions, classes."""

from __future__ import annotations

import ast
from pathlib import Path
from statistics import quantiles

from tests.house import rooms

MODULE_LINES = 400
FUNCTION_LINES = 40
MOST_FUNCTIONS_LINES = 20
PUBLIC_METHODS = 15

EVERYTHING = [*rooms.sources(), *rooms.benchmarks()]

# Their shape is promised to applications: one property for each option, one verb for
# each thing that a queue can do, one attribute for each setting.
WIDE_BY_PROMISE = {
    "AsyncTask",
    "Broker",
    "Disque",
    "IronMQBroker",
    "Memory",
    "Mongo",
    "ORM",
    "Redis",
    "Schedule",
    "Sqs",
    "Table",
    "Task",
}


def test_no_module_is_longer_than_the_wall() -> None:
    lengths = {
        rooms.dotted(file): len(file.read_text(encoding="utf-8").splitlines())
        for file in EVERYTHING
    }
    assert {name: n for name, n in lengths.items() if n > MODULE_LINES} == {}


def test_no_function_is_longer_than_the_wall() -> None:
    long = {
        f"{rooms.dotted(file)}:{function.name}": rooms.size(function)
        for file in EVERYTHING
        for function in rooms.functions(file)
        if rooms.size(function) > FUNCTION_LINES
    }
    assert long == {}


def test_nine_of_ten_functions_are_paragraphs() -> None:
    sizes = [
        rooms.size(function)
        for file in rooms.sources()
        for function in rooms.functions(file)
    ]
    assert quantiles(sizes, n=10)[-1] <= MOST_FUNCTIONS_LINES


def test_no_class_has_too_many_public_methods() -> None:
    wide = {
        f"{rooms.dotted(file)}:{holder.name}": len(public_methods(holder))
        for file in rooms.sources()
        for holder in rooms.classes(file)
        if holder.name not in WIDE_BY_PROMISE
        and len(public_methods(holder)) > PUBLIC_METHODS
    }
    assert wide == {}


def public_methods(holder: ast.ClassDef) -> list[str]:
    return [
        node.name
        for node in holder.body
        if isinstance(node, rooms.Function)
        and not node.name.startswith("_")
        and not is_property(node)
    ]


def is_property(function: rooms.Function) -> bool:
    """Properties are attributes to their readers."""
    names = [ast.unparse(decorator) for decorator in function.decorator_list]
    return any(name == "property" or name.endswith(".setter") for name in names)


def test_every_module_says_in_one_line_what_it_is() -> None:
    silent = [
        rooms.dotted(file)
        for file in EVERYTHING
        if file.read_text(encoding="utf-8").strip() and not first_line(file)
    ]
    assert silent == []


def first_line(file: Path) -> str:
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]
