"""Which imports a package cannot satisfy, read from its sources: also those of functions, and for any processor.

Of our own code every import counts. Of a dependency those count that run whenever it is imported; what it tries, or
imports in a function or under a condition, it can do without.
"""

import ast
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

OWN: Final = ("core", "handlers")
# The interpreter that builds may be another version than the one in Lambda: these came or went around 3.13.
_GONE: Final = frozenset(
    {"aifc", "asynchat", "asyncore", "audioop", "cgi", "cgitb", "chunk", "crypt", "distutils", "imghdr", "imp"}
    | {"lib2to3", "mailcap", "msilib", "nis", "nntplib", "ossaudiodev", "pipes", "smtpd", "sndhdr", "spwd"}
    | {"sunau", "telnetlib", "uu", "xdrlib"}
)
_LATER: Final = frozenset({"annotationlib", "compression"})
STANDARD: Final = sys.stdlib_module_names - _GONE - _LATER
"""Top-level modules of Python 3.13's standard library."""
_NOT_FILES: Final = frozenset({"six.moves"})
"""Modules that another one makes when it is imported."""

Import: TypeAlias = ast.Import | ast.ImportFrom


@dataclass(frozen=True, slots=True)
class Package:
    """A directory of modules. `suffixes` are those of extension modules that its processor and version can load."""

    directory: Path
    suffixes: tuple[str, ...]

    def source(self, module: str) -> Path | None:
        """Return the file of a module, None where the package has none."""
        path = self.directory.joinpath(*module.split("."))
        names = [path / "__init__.py", *(path.with_name(path.name + suffix) for suffix in (".py", *self.suffixes))]
        return next((name for name in names if name.is_file()), None)

    def own_modules(self) -> list[str]:
        files = (path for room in OWN for path in (self.directory / room).rglob("*.py"))
        names = (path.relative_to(self.directory).with_suffix("").parts for path in files)
        return sorted(".".join(parts).removesuffix(".__init__") for parts in names)

    def own_imports(self) -> set[str]:
        """Return every import statement of our own code that can run, as source."""
        found = set()
        for module in self.own_modules():
            if path := self.source(module):
                found |= {ast.unparse(node) for node in _imports(path, only_certain=False)}
        return found

    def reached(self, modules: Iterable[str], *, of: Collection[str] = OWN, never: Collection[str] = ()) -> set[str]:
        """Return these modules and all that they import of the named packages, with the packages that those are in.

        An import in a function counts as well. `never` are packages whose import cannot succeed.
        """
        seen, waiting = set[str](), [part for module in modules for part in _with_parents(module)]
        while waiting:
            module = waiting.pop()
            path = self.source(module)
            if module in seen or path is None or module.partition(".")[0] not in of:
                continue
            if any(f"{module}.".startswith(f"{name}.") for name in never):
                continue
            seen.add(module)
            for node in _imports(path, only_certain=False):
                names = _wanted(node, module, is_package=path.name == "__init__.py")
                waiting += names + _perhaps(node, module, is_package=path.name == "__init__.py")
        return seen

    def missing(self) -> list[str]:
        """Return what cannot be imported, and by whom."""
        problems: list[str] = []
        seen, waiting = set[str](), self.own_modules()
        while waiting:
            module = waiting.pop()
            path = self.source(module)
            if module in seen or path is None:
                continue
            seen.add(module)
            for node in _imports(path, only_certain=module.partition(".")[0] not in OWN):
                for wanted in _wanted(node, module, is_package=path.name == "__init__.py"):
                    if self.source(wanted):
                        waiting.append(wanted)
                    elif wanted not in _NOT_FILES and wanted.partition(".")[0] not in STANDARD:
                        problems.append(f"{module}, line {node.lineno}: no module {wanted}")
                # `from package import name` may mean a module; where it does not, it is an attribute.
                waiting += _perhaps(node, module, is_package=path.name == "__init__.py")
        return sorted(problems)


def _imports(path: Path, *, only_certain: bool) -> Iterator[Import]:
    """Yield the imports of a source, but for type checkers' own; an extension module shows none."""
    if path.suffix == ".py":
        yield from _within(ast.parse(path.read_text("utf-8")).body, only_certain=only_certain)


def _within(nodes: Iterable[ast.AST], *, only_certain: bool) -> Iterator[Import]:
    for node in nodes:
        match node:
            case ast.Import() | ast.ImportFrom():
                yield node
            case ast.If(test=ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
                yield from _within(() if only_certain else node.orelse, only_certain=only_certain)
            case ast.ClassDef() | ast.With():
                yield from _within(node.body, only_certain=only_certain)
            case _ if not only_certain:
                yield from _within(ast.iter_child_nodes(node), only_certain=only_certain)
            case _:
                pass


def _wanted(node: Import, module: str, *, is_package: bool) -> list[str]:
    if isinstance(node, ast.Import):
        return [name for alias in node.names for name in _with_parents(alias.name)]
    return _with_parents(_origin(node, module, is_package=is_package))


def _perhaps(node: Import, module: str, *, is_package: bool) -> list[str]:
    if isinstance(node, ast.Import):
        return []
    return [f"{_origin(node, module, is_package=is_package)}.{alias.name}" for alias in node.names]


def _origin(node: ast.ImportFrom, module: str, *, is_package: bool) -> str:
    """Return the absolute name of what `from ... import` reads from."""
    if not node.level:
        return node.module or ""
    above = module.split(".")
    base = above[: len(above) - node.level + is_package]
    return ".".join([*base, *([node.module] if node.module else [])])


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]
