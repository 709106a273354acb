"""Rules about the repository's own files that no linter knows."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PAGES = sorted(
    path
    for folder in ("src", "local", "ops", "bench", "tests", "docs", "events", "requirements")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".md", ".sql", ".in"}
) + [ROOT / name for name in ("README.md", "template.yaml", "Makefile", "pyproject.toml")]
CITATION = re.compile(r"docs/design/([\w-]+\.md)(?:#([\w-]+))?")
MODULES = sorted(path for room in ("src", "local", "ops", "bench") for path in (ROOT / room).rglob("*.py"))
MAY_IMPORT = {
    "core": {"core"},
    "handlers": {"core", "handlers"},
    "server": {"core", "handlers", "server"},
    "local": {"core", "local"},
    "ops": {"core", "local", "ops"},
    "bench": {"bench", "core", "local", "ops"},
}
"""Which of the project's own packages a folder may import (docs/design/architecture.md#the-folders)."""


OF_CONTAINERS = {name for kind in (dict, frozenset, list, str) for name in dir(kind)}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room(path: Path) -> str:
    return next(part for part in path.relative_to(ROOT).parts if part in MAY_IMPORT)


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("path", LOCKS, ids=named)
def test_a_lock_file_pins_by_hash_and_names_no_host(path):
    text = path.read_text()
    pins = re.split(r"\n(?=\S)", text.strip())

    assert "://" not in text
    assert not [pin for pin in pins if not re.match(r"[a-z0-9.-]+==\S+", pin) or "--hash=sha256:" not in pin]


@pytest.mark.parametrize("path", [path for path in LOCKS if path.stem in {"local", "runtime"}], ids=named)
def test_what_the_demo_and_the_cloud_run_is_what_was_tested(path):
    def pins(lock: Path) -> set[str]:
        return set(re.findall(r"^[a-z0-9.-]+==\S+", lock.read_text(), re.MULTILINE))

    assert pins(path) <= pins(ROOT / "requirements/dev.txt")


@pytest.mark.parametrize("path", [path for path in MODULES if room(path) == "handlers"], ids=named)
def test_a_handler_only_translates_so_it_is_short(path):
    assert len(path.read_text().splitlines()) <= 60


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_room_imports_only_what_it_may(path):
    assert imported(path) & MAY_IMPORT.keys() <= MAY_IMPORT[room(path)]


def test_no_class_or_type_has_the_name_of_another():
    """One word has one meaning; ops/shapes.py names what its documents hold after what they are made from."""
    defined = defaultdict(list)
    for path in MODULES:
        if room(path) != "bench" and path.relative_to(ROOT) != Path("ops/shapes.py"):
            for name in types_of(path):
                defined[name].append(named(path))

    assert len(defined) > 200
    assert {name: places for name, places in defined.items() if len(places) > 1} == {}


def types_of(path: Path) -> Iterator[str]:
    """The public classes and type aliases that a module defines."""
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.ClassDef(name=name):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), annotation=ast.Name(id="TypeAlias")):
                pass
            case ast.Assign(targets=[ast.Name(id=name)]) if re.fullmatch("[A-Z]+[a-z]\\w*", name):
                pass
            case _:
                continue
        if not name.startswith("_"):
            yield name


def test_no_object_reaches_through_two_others():
    """What an object works with is its own: `self.a.b.c()` asks for more of the wiring than it should know."""
    found = [
        f"{named(path)}:{call.lineno} {ast.unparse(call.func)}"
        for path in MODULES
        if room(path) in {"core", "handlers", "server"}
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and re.fullmatch(r"self(\.\w+){3,}", ast.unparse(call.func))
        if isinstance(call.func, ast.Attribute) and call.func.attr not in OF_CONTAINERS
    ]

    assert found == []


def test_test_names_are_sentences():
    """A name says what holds and of what: four words at least, without the first."""
    short = [
        f"{named(path)}: {node.name}"
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and node.name.count("_") < 4
    ]

    assert short == []


def test_no_two_test_files_have_one_name():
    """Pytest imports a test file by its name alone, and refuses a second one."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_nothing_cites_what_only_a_tracker_holds():
    found = [named(path) for path in PAGES if re.search(r"\bissues? \d", path.read_text(), re.IGNORECASE)]

    assert found == []


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_a_citation_of_the_design_leads_to_a_heading_that_is_there(path):
    for page, heading in CITATION.findall(path.read_text()):
        there = ROOT / "docs/design" / page
        assert there.is_file(), page
        assert not heading or heading in anchors(there), f"{page}#{heading}"


@pytest.mark.parametrize("path", [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"], ids=named)
def test_a_link_between_pages_leads_to_a_file_and_a_heading_that_are_there(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        name, _, heading = target.partition("#")
        if "://" in target:
            continue
        there = (path.parent / name).resolve() if name else path
        assert there.exists(), target
        assert not heading or there.suffix != ".md" or heading in anchors(there), target
