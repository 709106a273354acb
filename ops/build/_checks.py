"""What must hold of a package before it may be deployed; each check returns its problems, none if it holds."""

import filecmp
import platform
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Final

from ops.build._imports import OWN, Package
from ops.build._package import MACHINES, PYTHON, Architecture, Recipe, Sizes

_ELF: Final = b"\x7fELF"
_ELF_MACHINES: Final[dict[Architecture, int]] = {"arm64": 183, "x86_64": 62}
_RUN: Final = """\
import sys
sys.path.insert(0, {package!r})
{imports}
ours = [module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] in {names!r}]
assert all(path.startswith({package!r}) for path in ours), ours
"""


def package_of(directory: Path, architecture: Architecture) -> Package:
    """Return the directory as the runtime's interpreter on that processor sees it."""
    version = "".join(map(str, PYTHON))
    return Package(directory, (f".cpython-{version}-{MACHINES[architecture]}-linux-gnu.so", ".abi3.so"))


def runs_here(architecture: Architecture) -> bool:
    """Whether this interpreter can run a package that was made for Lambda."""
    same_machine = platform.machine() == MACHINES[architecture]
    return sys.platform == "linux" and same_machine and sys.version_info[:2] == PYTHON


def platform_problems(package: Package, architecture: Architecture) -> list[str]:
    """Find compiled files for another processor, and extension modules for another Python."""
    problems = []
    for path in sorted(path for path in package.directory.rglob("*") if path.is_file()):
        name = path.relative_to(package.directory)
        with path.open("rb") as file:
            head = file.read(20)
        if head.startswith(_ELF) and int.from_bytes(head[18:20], "little") != _ELF_MACHINES[architecture]:
            problems.append(f"{name} is not for {architecture}")
        if path.suffix in {".so", ".pyd", ".dylib"} and not path.name.endswith(package.suffixes):
            problems.append(f"{name} is not for Python {'.'.join(map(str, PYTHON))} on {architecture}")
    return problems


def import_problems(package: Package) -> list[str]:
    """Find imports that the package and the standard library cannot satisfy, without running anything."""
    return package.missing()


def execution_problems(directory: Path) -> list[str]:
    """Run every import of our code with nothing but that package to import from."""
    package = Package(directory, ())
    statements = {f"import {module}" for module in package.own_modules()} | package.own_imports()
    script = _RUN.format(
        package=str(directory.resolve()),
        imports="\n".join(sorted(statements, key=lambda line: (not line.startswith("from __future__"), line))),
        names=OWN,
    )
    command = [sys.executable, "-B", "-I", "-S", "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env={})  # noqa: S603 - our own code
    return [result.stderr.strip()] if result.returncode else []


def difference_problems(package: Path, other: Path) -> list[str]:
    """Find Python sources that differ between two packages: what one of them proves by running holds for both."""
    sources = {path.relative_to(root) for root in (package, other) for path in root.rglob("*.py")}
    _, mismatch, missing = filecmp.cmpfiles(package, other, [str(path) for path in sources], shallow=False)
    return [f"{path} is not the same for this host and for Lambda" for path in sorted(mismatch + missing)]


def size_problems(sizes: Sizes, recipe: Recipe) -> list[str]:
    too_large = sizes.unzipped > recipe.most
    return [f"{sizes.unzipped:,} bytes unzipped, more than {recipe.most:,}"] if too_large else []


def certificate_problems(directory: Path) -> list[str]:
    """Find certificate bundles that the functions could not load."""
    problems = []
    for path in sorted((directory / "certs").glob("*")):
        try:
            ssl.create_default_context(cafile=path)
        except (ssl.SSLError, OSError) as error:
            problems.append(f"certs/{path.name} is no PEM bundle: {error}")
    return problems
