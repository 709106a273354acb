"""The package for Lambda: what is in it, what is refused, and that the same content is the same zip.

`test_build_for_real.py` makes one with pip; here packages are a few files.
"""

import os
import re
import zipfile
from pathlib import Path

import pytest
from samtranslator.yaml_helper import yaml_parse

from local import deploy
from ops.build import BuildError, _checks, _package, _unused, package_sizes
from ops.build._imports import STANDARD, Package

AARCH64, X86_64 = 183, 62


def written(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def elf(machine: int) -> bytes:
    return b"\x7fELF\x02\x01\x01" + bytes(11) + machine.to_bytes(2, "little")


def missing(root: Path, files: dict[str, str]) -> list[str]:
    return Package(written(root, {f"{name}.py": source for name, source in files.items()}), ()).missing()


OUR_IMPORTS = {
    "at the top": "import absent",
    "in a function": "def f():\n    import absent",
    "as a last resort": "try:\n    import json\nexcept ImportError:\n    import absent",
    "of a name": "from absent import name",
    "of a part of what is there": "import core.absent",
    "of a module that 3.13 has no more": "import cgi",
}


@pytest.mark.parametrize("source", OUR_IMPORTS.values(), ids=OUR_IMPORTS)
def test_an_import_of_ours_must_be_in_the_package(tmp_path, source):
    assert len(missing(tmp_path, {"core/__init__": "", "core/ours": source})) == 1


FINE = {
    "Python's own": "import sys, json.decoder\nfrom collections.abc import Iterator",
    "ours": "from core import other\nimport core.other",
    "only for type checkers": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import absent",
    "relative": "from . import other\nfrom .other import name",
}


@pytest.mark.parametrize("source", FINE.values(), ids=FINE)
def test_an_import_that_can_be_satisfied_is_none_of_the_problems(tmp_path, source):
    assert missing(tmp_path, {"core/__init__": "", "core/other": "name = 1", "core/ours": source}) == []


DEPENDENCY = {
    "always": ("import absent", 1),
    "tried": ("try:\n    import absent\nexcept ImportError:\n    absent = None", 0),
    "under a condition": ("import sys\nif sys.version_info < (3, 11):\n    import absent", 0),
    "in a function": ("def f():\n    import absent", 0),
}


@pytest.mark.parametrize(("source", "problems"), DEPENDENCY.values(), ids=DEPENDENCY)
def test_of_a_dependency_only_what_it_always_imports_must_be_there(tmp_path, source, problems):
    found = missing(
        tmp_path, {"core/__init__": "from library import part", "library/__init__": "", "library/part": source}
    )
    assert len(found) == problems


def test_a_problem_names_who_imports_what_and_where(tmp_path):
    problems = missing(tmp_path, {"handlers/__init__": "", "handlers/start": "\nimport absent.part"})
    assert problems[0] == "handlers.start, line 2: no module absent"


def test_the_standard_library_is_that_of_the_runtime_whatever_builds():
    assert {"tomllib", "json", "asyncio", "_ssl"} <= STANDARD
    assert not STANDARD & {"cgi", "distutils", "annotationlib"}


@pytest.mark.parametrize("recipe", _package.RECIPES.values(), ids=lambda recipe: recipe.name)
def test_our_own_sources_need_nothing_that_is_not_pinned_for_lambda(tmp_path, recipe):
    """Dependencies stand as empty modules here: each import of ours must lead to a pin, Python, or ourselves."""
    text = (deploy.ROOT / f"requirements/{recipe.lock}.txt").read_text()
    pins = re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE)
    modules = {"python-dateutil": "dateutil", "pyjwt": "jwt"}
    names = {modules.get(pin, pin.replace("-", "_")) for pin in pins}
    package = Package(written(tmp_path, {f"{name}/__init__.py": "" for name in names}), ())
    _package.copy_sources(deploy.ROOT / "src", tmp_path / "own", recipe)
    own = Package(tmp_path / "own", ())

    wanted = {line.split()[1].partition(".")[0].rstrip(",") for line in own.own_imports()}

    assert not {name for name in wanted - STANDARD - {"core", "handlers"} if package.source(name) is None}


@pytest.mark.parametrize(
    ("name", "machine", "problems"),
    [
        ("library/_fast.cpython-313-aarch64-linux-gnu.so", AARCH64, 0),
        ("library/_fast.abi3.so", AARCH64, 0),
        ("library/_fast.cpython-313-aarch64-linux-gnu.so", X86_64, 1),
        ("library/_fast.cpython-311-aarch64-linux-gnu.so", AARCH64, 1),
        ("library/_fast.cpython-313-x86_64-linux-gnu.so", X86_64, 2),
        ("library.libs/libz.bin", X86_64, 1),
    ],
)
def test_compiled_files_must_be_for_the_processor_and_the_python(tmp_path, name, machine, problems):
    package = _checks.package_of(written(tmp_path, {name: elf(machine)}), "arm64")
    assert len(_checks.platform_problems(package, "arm64")) == problems


def test_an_extension_module_counts_as_a_module(tmp_path):
    files = {
        "core/__init__.py": "import library._fast",
        "library/__init__.py": "",
        "library/_fast.cpython-313-aarch64-linux-gnu.so": elf(AARCH64),
    }
    written(tmp_path, files)

    assert _checks.package_of(tmp_path, "arm64").missing() == []
    assert len(_checks.package_of(tmp_path, "x86_64").missing()) == 1


@pytest.mark.parametrize(
    ("source", "failure"),
    [
        ("def f():\n    from library import part", None),
        ("def f():\n    from library import absent", "cannot import name 'absent'"),
        ("import pytest", "No module named 'pytest'"),
    ],
    ids=["good", "a name that is not there", "only in this environment"],
)
def test_every_import_is_executed_with_the_package_alone(tmp_path, source, failure):
    files = {"core/__init__.py": source, "handlers/__init__.py": "", "library/__init__.py": "part = 1"}

    problems = _checks.execution_problems(written(tmp_path, files))

    assert (failure in problems[0]) if failure else problems == []


def test_the_same_content_is_the_same_zip(tmp_path):
    """Whenever it was made, in whatever order, by whomever: a deploy then finds nothing to change."""
    files = {"b.py": "b", "a/__init__.py": "a", "a/data.json": "{}"}
    one = written(tmp_path / "one", files)
    other = written(tmp_path / "other", dict(reversed(files.items())))
    os.utime(other / "b.py", (0, 0))
    (other / "b.py").chmod(0o600)

    first, second = _package.pack(one), _package.pack(other)

    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as bundle:
        assert bundle.namelist() == ["a/__init__.py", "a/data.json", "b.py"]
        assert {entry.external_attr >> 16 for entry in bundle.infolist()} == {0o100644}


def test_sizes_are_those_of_each_part_metadata_and_bytecode_counted_with_it(tmp_path):
    directory = written(
        tmp_path / "package",
        {
            "botocore/data/sqs/service.json": bytes(100),
            "python_dateutil-2.9.dist-info/METADATA": bytes(10),
            "six.py": bytes(1),
            "__pycache__/six.cpython-313.pyc": bytes(3),
            "httpx/__init__.py": bytes(20),
            "httpx-0.28.dist-info/METADATA": bytes(2),
        },
    )
    archive = _package.pack(directory)

    sizes = package_sizes(directory)

    assert (sizes.zipped, sizes.unzipped) == (archive.stat().st_size, 136)
    assert sizes.parts == {"botocore": 100, "dateutil": 10, "six": 4, "httpx": 22}


def test_a_package_that_grows_too_large_is_refused():
    sizes = _package.Sizes(1, {"core": 12_000_000, "botocore": 8_000_000})
    assert _checks.size_problems(sizes, _package.RECIPES["package"]) == []
    problems = _checks.size_problems(_package.Sizes(1, {"botocore": 20_000_001}), _package.RECIPES["package"])
    assert problems == ["20,000,001 bytes unzipped, more than 20,000,000"]


def test_the_aws_services_are_those_that_the_code_names(tmp_path):
    assert _package.services(deploy.ROOT / "src") == {"dynamodb", "lambda", "secretsmanager", "sqs"}

    with pytest.raises(BuildError, match=r"core\.py:2: name the service"):
        _package.services(written(tmp_path, {"core.py": "name = 'sqs'\nboto3.client(name)"}))


def test_sources_that_differ_between_two_packages_are_found(tmp_path):
    one = written(tmp_path / "one", {"same.py": "1", "other.py": "1", "fast.so": "x"})
    two = written(tmp_path / "two", {"same.py": "1", "other.py": "2", "more.py": "", "fast.so": "y"})

    assert [problem.partition(" ")[0] for problem in _checks.difference_problems(one, two)] == ["more.py", "other.py"]


def test_a_certificate_bundle_that_cannot_be_loaded_is_refused(tmp_path):
    directory = written(tmp_path, {"certs/rds.pem": "no certificate"})
    assert len(_checks.certificate_problems(directory)) == 1


def test_each_package_holds_what_its_handlers_import_and_nothing_of_the_other_s(tmp_path):
    held = {}
    for name, recipe in _package.RECIPES.items():
        _package.copy_sources(deploy.ROOT / "src", tmp_path / name, recipe)
        held[name] = {str(path.relative_to(tmp_path / name)) for path in (tmp_path / name).rglob("*.*")}

    handlers = {f"handlers/{path.name}" for path in (deploy.ROOT / "src/handlers").glob("*.py")}
    assert held["package"] & handlers == handlers - {"handlers/authorize.py"}
    assert held["authorize"] & handlers == {f"handlers/{name}.py" for name in ("__init__", "authorize", "init")}
    assert {"core/rotation/rotation.sql", "core/picker/picker.sql"} <= held["package"]
    assert not [name for name in held["package"] if "authorization" in name or name.startswith("server")]
    assert not [name for name in held["authorize"] if name.endswith(".sql") or "telemetry" in name]


@pytest.mark.parametrize("architecture", _package.MACHINES)
def test_the_built_template_is_the_template_with_the_package_in_it(tmp_path, architecture):
    archives = {name: tmp_path / f"{name}.zip" for name in _package.RECIPES}
    _package.write_template(tmp_path / "template.yaml", archives, architecture)
    built, source = yaml_parse((tmp_path / "template.yaml").read_text()), deploy.read()

    assert [it.pop("CodeUri") for it in deploy.functions_with_code(built)] == ["package.zip", "authorize.zip"]
    assert [it.pop("CodeUri") for it in deploy.functions_with_code(source)] == ["src/", "src/"]
    only = built["Parameters"].pop("Architecture")
    assert (only["Default"], only["AllowedValues"]) == (architecture, [architecture])
    source["Parameters"].pop("Architecture")
    assert built == source


def test_a_module_of_a_large_library_stays_where_an_import_leads_to_it_even_in_a_function(tmp_path):
    files = {
        "core/__init__.py": "import sentry_sdk",
        "sentry_sdk/__init__.py": "def capture():\n    from sentry_sdk import used",
        "sentry_sdk/used.py": "from library import other",
        "sentry_sdk/integrations/unused.py": "",
        "sentry_sdk/py.typed": "",
        "library/__init__.py": "",
        "library/other.py": "import sentry_sdk.asked_for_by_a_library",
        "library/by_name.py": "",
        "sentry_sdk/asked_for_by_a_library.py": "",
    }

    _unused.leave_out(written(tmp_path, files))

    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left - {"core", "library", "sentry_sdk"} == files.keys() - {
        "sentry_sdk/integrations/unused.py",
        "sentry_sdk/py.typed",
    }


def test_what_only_a_model_of_pydantic_would_load_is_left_out_since_pydantic_is_not_there(tmp_path):
    files = {
        "core/__init__.py": "import aws_lambda_powertools",
        "aws_lambda_powertools/__init__.py": "def f():\n    from aws_lambda_powertools.event_handler import model",
        "aws_lambda_powertools/event_handler/__init__.py": "",
        "aws_lambda_powertools/event_handler/model.py": "import pydantic",
    }

    _unused.leave_out(written(tmp_path, files))

    assert not (tmp_path / "aws_lambda_powertools" / "event_handler").exists()
    assert not re.search("^pydantic==", (deploy.ROOT / "requirements/runtime.txt").read_text(), re.MULTILINE)
