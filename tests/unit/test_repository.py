"""Rules about the repository's own files that no linter knows."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
MODULES = sorted(path for room in ("src", "local", "ops", "bench") for path in (ROOT / room).rglob("*.py"))
MAY_IMPORT = {
    "core": {"core"},
    "handlers": {"core", "handlers"},
    "local": {"core", "local"},
    "ops": {"core", "local", "ops"},
    "bench": {"bench", "core", "local", "ops"},
}
"""DESIGN §3; of the project's own packages."""


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


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_fits_on_a_few_screens(path):
    lines = len(path.read_text().splitlines())
    assert lines <= (60 if room(path) == "handlers" else 300)


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_room_imports_only_what_it_may(path):
    assert imported(path) & MAY_IMPORT.keys() <= MAY_IMPORT[room(path)]
