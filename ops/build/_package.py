"""The package's content: pinned wheels of one platform, our code, certificates; and its zip, the same for the same."""

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from ops.build import _sdk_data, _unused
from ops.build._imports import Package

Architecture: TypeAlias = Literal["arm64", "x86_64"]

ROOT: Final = Path(__file__).parents[2]
PYTHON: Final = (3, 13)
"""Version of the runtime, as in the template."""
MACHINES: Final[dict[Architecture, str]] = {"arm64": "aarch64", "x86_64": "x86_64"}
"""Linux's name of each processor that Lambda has."""

_GLIBC: Final = range(17, 35)
"""Minor versions of glibc 2 that a wheel may ask for; Amazon Linux 2023, under python3.13, has 2.34."""
# The first is for hosts, the others are pip's notes of how it installed: paths and hashes of the first.
_NOT_FOR_LAMBDA: Final = ("bin", "*.dist-info/RECORD", "*.dist-info/INSTALLER", "*.dist-info/REQUESTED")
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Recipe:
    """One of the packages: its name, the pins in it, and whose modules it holds with all that they import."""

    name: str
    lock: str
    handlers: tuple[str, ...]
    most: int
    """Bytes of it, unzipped, bytecode and all; a limit of ours, Lambda's own is 250 MB."""


_ALONE: Final = "handlers.authorize"
"""Reading tokens takes a compiled library of 10 MB, which no other function should have to start with."""
_FUNCTIONS: Final = tuple(
    name for name in Package(ROOT / "src", ()).own_modules() if name.startswith("handlers.") and name != _ALONE
)
RECIPES: Final = {
    recipe.name: recipe
    for recipe in (
        Recipe("package", "runtime", _FUNCTIONS, 20_000_000),
        Recipe("authorize", "authorize", (_ALONE,), 22_000_000),
    )
}


class BuildError(Exception):
    """The package cannot be made, or must not be deployed; each line is one problem."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes: of the zip, of its content, of each top-level entry of it (metadata counted with its package)."""

    zipped: int
    parts: dict[str, int]

    @property
    def unzipped(self) -> int:
        return sum(self.parts.values())


def package_sizes(directory: Path) -> Sizes:
    """Measure a package and the zip beside it."""
    parts: dict[str, int] = {}
    for path in _files(directory):
        first, *rest = path.relative_to(directory).parts
        if first.endswith(".dist-info"):
            name = first.partition("-")[0].removeprefix("python_")
        elif first == "__pycache__":
            name = rest[0].partition(".")[0]
        else:
            name = first.removesuffix(".py")
        parts[name] = parts.get(name, 0) + path.stat().st_size
    return Sizes(archive_of(directory).stat().st_size, parts)


def archive_of(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.zip")


def make(directory: Path, architecture: Architecture | None, recipe: Recipe = RECIPES["package"]) -> None:
    """Put a package into a directory of its own; None is for this interpreter. Raises BuildError."""
    shutil.rmtree(directory, ignore_errors=True)
    _add_wheels(directory, architecture, recipe)
    _add_sources(directory, recipe)
    _unused.leave_out(directory)


def copy_into(directory: Path, architecture: Architecture, kept: Path, recipe: Recipe) -> None:
    """Put a package into sam's directory of one function; wheels are installed once, in `kept`. Raises BuildError."""
    pins = (ROOT / "requirements" / f"{recipe.lock}.txt").read_text("utf-8")
    key = hashlib.sha256(f"{pins}{sorted(services(ROOT / 'src'))}".encode()).hexdigest()[:16]
    wheels = kept / f"wheels-{architecture}-{key}"
    if not wheels.exists():
        draft = wheels.with_name(f"{wheels.name}.draft-{os.getpid()}")
        _add_wheels(draft, architecture, recipe)
        try:
            draft.rename(wheels)
        except OSError:  # another build was faster
            shutil.rmtree(draft)
    shutil.copytree(wheels, directory, dirs_exist_ok=True)
    _add_sources(directory, recipe)
    _unused.leave_out(directory)


def _add_wheels(directory: Path, architecture: Architecture | None, recipe: Recipe) -> None:
    _install(directory, architecture, recipe.lock)
    for pattern in _NOT_FOR_LAMBDA:
        for path in directory.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if (directory / "botocore").is_dir():
        used = services(ROOT / "src")
        if missing := _sdk_data.missing(directory / "botocore", used):
            raise BuildError(f"botocore has no service {', '.join(missing)}")
        _sdk_data.cut(directory / "botocore", used)


def _add_sources(directory: Path, recipe: Recipe) -> None:
    copy_sources(ROOT / "src", directory, recipe)
    for bundle in sorted((ROOT / "certs").glob("*.pem")):
        (directory / "certs").mkdir(exist_ok=True)
        shutil.copy(bundle, directory / "certs")


def copy_sources(source: Path, directory: Path, recipe: Recipe) -> None:
    """Copy the modules of a recipe, and the files beside them that are none."""
    own = Package(source, ())
    reached = {path for module in own.reached(recipe.handlers) if (path := own.source(module))}
    rooms = {path.parent for path in reached if path.parent.parent != source or path.name != "__init__.py"}
    beside = {
        path for room in rooms for path in room.iterdir() if path.is_file() and path.suffix not in {".py", ".pyc"}
    }
    for path in sorted(reached | beside):
        target = directory / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def compile_sources(directory: Path) -> bool:
    """Add the bytecode that Lambda, where a package cannot be written to, would make anew at every cold start.

    False where there is no Python of Lambda's version to make it. Raises BuildError.
    """
    here = sys.executable if sys.version_info[:2] == PYTHON else python_of_lambda()
    if here is None:
        return False
    # Neither times nor paths of this host, and nothing at random: the same sources are the same bytecode.
    command = [here, "-S", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    command += ["-s", str(directory), "-p", "/var/task", str(directory)]
    result = subprocess.run(  # noqa: S603 - our own command
        command, capture_output=True, text=True, check=False, env={"PYTHONHASHSEED": "0"}
    )
    if result.returncode:
        raise BuildError(f"no bytecode: {result.stdout.strip()}")
    return True


def python_of_lambda() -> str | None:
    """Return the command of a Python of Lambda's version, None where there is none."""
    found = shutil.which(f"python{PYTHON[0]}.{PYTHON[1]}")
    # A version manager puts one on the path that only says what could be installed.
    works = found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0  # noqa: S603
    return found if works else None


def _install(directory: Path, architecture: Architecture | None, lock: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-compile"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:"]
    if architecture:
        machine = MACHINES[architecture]
        tags = [f"manylinux2014_{machine}", *(f"manylinux_2_{minor}_{machine}" for minor in _GLIBC)]
        command += ["--implementation", "cp", "--python-version", ".".join(map(str, PYTHON))]
        command += [f"--platform={tag}" for tag in tags]
    command += ["--target", str(directory), "-r", str(ROOT / "requirements" / f"{lock}.txt")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if result.returncode:
        raise BuildError(f"pip could not install requirements/{lock}.txt:\n{result.stderr.strip()}")


def services(source: Path) -> set[str]:
    """Return the AWS services that the code makes clients of; raises BuildError where it does not name one."""
    found = set()
    for path in sorted(source.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(attr="client" | "create_client"), args=[ast.Constant(str(name)), *_]):
                    found.add(name)
                case ast.Call(func=ast.Attribute(value=ast.Name("boto3"), attr="client" | "resource")):
                    raise BuildError(f"{path}:{node.lineno}: name the service here, or its model is not in the package")
    return found


def pack(directory: Path) -> Path:
    """Write the zip beside the package: the same bytes for the same content, so that a deploy changes nothing then."""
    archive = archive_of(directory)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as bundle:
        for path in sorted(_files(directory), key=lambda path: path.relative_to(directory).as_posix()):
            entry = zipfile.ZipInfo(path.relative_to(directory).as_posix(), _EPOCH)
            entry.create_system = 3  # Unix, also on a host that is not
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            bundle.writestr(entry, path.read_bytes())
    return archive


def write_template(target: Path, archives: dict[str, Path], architecture: Architecture) -> None:
    """Write the template that is deployed: it points to the packages, and its architecture can only be theirs."""
    text = (ROOT / "template.yaml").read_text("utf-8")
    for pattern, replacement in (
        (r"(?<=\n    CodeUri: )src/\n", f"{archives['package'].name}\n"),
        (r"(?<=\n      CodeUri: )src/(?= # a package of its own)", archives["authorize"].name),
        (r"(?<=\n    Default: )arm64\n    AllowedValues: \[arm64, x86_64\]\n", _only(architecture)),
    ):
        text, count = re.subn(pattern, replacement, text)
        if count != 1:
            raise BuildError(f"template.yaml has {count} places that look like {pattern!r}, not one")
    target.write_text(text, "utf-8")


def _only(architecture: Architecture) -> str:
    return f"{architecture}\n    AllowedValues: [{architecture}] # what the package was built for\n"


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*") if path.is_file())
