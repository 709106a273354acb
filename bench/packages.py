"""What a cold start imports from: our package as `make build` makes it, that of another commit, and untouched wheels.

Everything lies in `.build/bench`. The pins' wheels are installed once; our package is made anew each time.
"""

import os
import re
import shutil
import subprocess
import sys
from hashlib import sha256
from importlib.metadata import distribution
from pathlib import Path
from platform import machine
from typing import Final

from ops.build import _package as package

ROOT: Final = Path(__file__).parents[1]
HERE: Final = ROOT / ".build" / "bench"
RUNTIME_CLIENT: Final = ("awslambdaric", "simplejson", "snapshot-restore-py")
"""What Lambda has beside a package: its own client, with what that needs."""
_PIN: Final = re.compile(r"^([\w.-]+)==", re.MULTILINE)


def python() -> str:
    """Return a Python of Lambda's version; where there is none, this one stands in for it."""
    return package.python_of_lambda() or sys.executable


def ours() -> dict[str, Path]:
    """Make the packages of this tree, as `make build` does for this host's processor; returns them by name."""
    made = {}
    for name, recipe in package.RECIPES.items():
        made[name] = HERE / "ours" / name
        package.make(made[name], _architecture(), recipe)
        package.compile_sources(made[name])
    return made


def knows(commit: str) -> bool:
    """Say whether the repository has a commit; a shallow clone or a copy may not."""
    command = ["git", "cat-file", "-e", f"{commit}^{{commit}}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0  # noqa: S603 - our own command


def of_commit(commit: str) -> Path:
    """Make the package of another commit, by that commit's own build."""
    found = HERE / commit
    if not (found / "package").is_dir():
        tree = HERE / f"{commit}-tree"
        shutil.rmtree(tree, ignore_errors=True)
        tree.mkdir(parents=True)
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True)  # noqa: S603, S607
        subprocess.run(["tar", "-x"], cwd=tree, input=archive.stdout, check=True)  # noqa: S607
        command = [sys.executable, "-m", "ops.build", "--architecture", _architecture(), "-o", str(found)]
        subprocess.run(command, cwd=tree, check=True, env={**os.environ, "PYTHONPATH": ""}, stdout=subprocess.DEVNULL)  # noqa: S603
    return found / "package"


def untouched() -> dict[str, Path]:
    """Install the wheels of each package's pins as anybody does: nothing is left out of them."""
    locks = {name: (ROOT / "requirements" / f"{it.lock}.txt").read_text() for name, it in package.RECIPES.items()}
    return {name: _installed(f"untouched-{name}", lock) for name, lock in locks.items()}


def runtime_client() -> Path:
    pins = (ROOT / "requirements" / "dev.txt").read_text().split("\n")
    text, keep = [], False
    for line in pins:
        if line and not line.startswith(" "):
            keep = line.partition("==")[0] in RUNTIME_CLIENT
        if keep:
            text.append(line)
    return _installed("runtime-client", "\n".join(text) + "\n")


def lay_out(directory: Path) -> Path:
    """Make a directory of links to what this environment has of the package's pins and of the runtime client.

    The environment itself has more, and libraries look around: httpx imports rich and click where they are.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    locks = [(ROOT / "requirements" / f"{recipe.lock}.txt").read_text() for recipe in package.RECIPES.values()]
    for name in {*(pin for lock in locks for pin in _PIN.findall(lock)), *RUNTIME_CLIENT}:
        installed = distribution(name)
        for top in {file.parts[0] for file in installed.files or () if file.parts[0] not in {"..", "__pycache__"}}:
            path = Path(str(installed.locate_file(top)))
            if (directory / top).is_symlink():  # one directory of two distributions
                continue
            if top == "certifi":
                shutil.copytree(path, directory / top)  # it is written to, see `trust`
            else:
                (directory / top).symlink_to(path)
    return directory


def trust(directory: Path, authority: bytes) -> None:
    """Have everything in a directory of packages that asks certifi trust one more authority."""
    bundle, original = directory / "certifi" / "cacert.pem", directory / "certifi" / "cacert.pem.original"
    if not original.exists():
        shutil.copy(bundle, original)
    bundle.unlink()
    bundle.write_bytes(original.read_bytes() + authority)


def _architecture() -> package.Architecture:
    return next(name for name, kind in package.MACHINES.items() if kind == machine())


def _installed(name: str, requirements: str) -> Path:
    directory = HERE / f"{name}-{sha256(requirements.encode()).hexdigest()[:12]}"
    if not directory.is_dir():
        draft, lock = directory.with_suffix(".draft"), HERE / f"{name}.txt"
        shutil.rmtree(draft, ignore_errors=True)
        HERE.mkdir(parents=True, exist_ok=True)
        lock.write_text(requirements)
        command = [python(), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps"]
        command += ["--require-hashes", "--only-binary=:all:", "--target", str(draft), "-r", str(lock)]
        subprocess.run(command, check=True)  # noqa: S603 - our own command
        draft.rename(directory)
    return directory
