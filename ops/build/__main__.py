"""`python -m ops.build`, which is `make build`: the packages, their checks, and the template that deploys them."""

import hashlib
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

from ops.build import _calls as calls
from ops.build import _checks as checks
from ops.build._package import (
    MACHINES,
    RECIPES,
    ROOT,
    Architecture,
    BuildError,
    Recipe,
    Sizes,
    archive_of,
    compile_sources,
    copy_into,
    make,
    pack,
    package_sizes,
    write_template,
)


def build(output: Path, architecture: Architecture) -> Iterator[str]:
    """Make and check the packages; yields a line for each thing done. Raises BuildError, then without a template."""
    template = output / "template.yaml"
    template.unlink(missing_ok=True)
    archives = {}
    for recipe in RECIPES.values():
        archives[recipe.name] = archive_of(output / recipe.name)
        for line in _made(output, architecture, recipe):
            yield f"{recipe.name}: {line}"
    write_template(template, archives, architecture)
    yield f"template: {template}, which `make deploy` and `sam deploy` take"


def _made(output: Path, architecture: Architecture, recipe: Recipe) -> Iterator[str]:
    directory = output / recipe.name
    make(directory, architecture, recipe)
    compiled = compile_sources(directory)
    archive = pack(directory)
    package, sizes = checks.package_of(directory, architecture), package_sizes(directory)
    _must(checks.platform_problems(package, architecture))
    _must(checks.certificate_problems(directory))
    _must(checks.size_problems(sizes, recipe))
    yield f"size: {_in_words(sizes)}"
    if not compiled:
        yield "bytecode: none, as no python3.13 is on the path; cold starts are slower by what compiling takes"
    _must(checks.import_problems(package))
    yield f"imports: all those of {len(package.own_modules())} modules are in the package or in Python's own library"
    yield _executed(output, directory, architecture, recipe)
    yield f"{archive}, {architecture}, sha256 {hashlib.sha256(archive.read_bytes()).hexdigest()}"


def _executed(output: Path, directory: Path, architecture: Architecture, recipe: Recipe) -> str:
    here, which = directory, "the package alone"
    if not checks.runs_here(architecture):
        here, which = output / "host", "the same sources with this host's wheels"
        make(here, None, recipe)
        _must(checks.difference_problems(directory, here))
    _must(checks.execution_problems(here))
    _must(calls.problems(here))
    what = "every import" + (f", and every call of AWS in {', '.join(calls.REGIONS)}" if calls.made_by(here) else "")
    return f"executed: {what}, from {which}"


def _must(problems: list[str]) -> None:
    if problems:
        raise BuildError("\n".join(problems))


def _in_words(sizes: Sizes) -> str:
    return f"{sizes.zipped / 1e6:.1f} MB zipped, {sizes.unzipped / 1e6:.1f} MB unzipped"


def main() -> None:
    parser = ArgumentParser(prog="python -m ops.build", description="Makes and checks the functions' packages.")
    parser.add_argument("--architecture", choices=MACHINES, default="arm64", help="as the stack's [%(default)s]")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / ".build", help="[.build]")
    parser.add_argument("--into", type=Path, help="only put the package there, as `sam build` asks for each function")
    parser.add_argument("--package", choices=RECIPES, default="package", help="which one, with --into [%(default)s]")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    try:
        if given.into is not None:
            copy_into(given.into, given.architecture, given.output, RECIPES[given.package])
            return
        for line in build(given.output, given.architecture):
            print(line)  # noqa: T201 - its answer
    except BuildError as error:
        sys.exit(f"build: {error}")


if __name__ == "__main__":
    main()
