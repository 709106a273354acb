"""The README cannot drift: what it names is there, and its tables are the code's own."""

import re
from pathlib import Path

import pytest

from local import deploy
from ops.cli import demo

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_event_file_is_listed_and_there():
    listed = set(re.findall(r"`(events/[a-z-]+\.json)`", README))
    assert listed == {str(path.relative_to(ROOT)) for path in (ROOT / "events").glob("*.json")}


def test_each_of_the_ten_words_is_defined_before_it_is_used():
    before, table = re.match(r"(.*?)(\| word \| means \|.*?)\n\n", README, re.DOTALL).groups()
    words = re.findall(r"^\| ([a-z ]+) \| ", table, re.MULTILINE)[1:]

    assert len(words) == 10
    assert [word for word in words if re.search(rf"\b{word}s?\b", before)] == []


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_link_leads_somewhere(target):
    assert (ROOT / target).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:\$ |`)make ([a-z]+)", README))))
def test_every_make_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(
    "option", sorted(set(re.findall(r'(?:ARGS="|demo |`--set NAME=VALUE` |^)(--[a-z-]+)', README)))
)
def test_every_option_of_the_demo_exists(option):
    assert option in {name for parameter in demo.params for name in parameter.opts} | {"--help"}


def test_every_parameter_and_resource_that_is_named_exists():
    template = deploy.read()
    named = set(re.findall(r"`((?:Schedule|Library|Database|Subnet|Security|Refresh|Daily)[A-Za-z]+)`", README))
    assert len(named) > 5
    assert named <= template["Parameters"].keys() | template["Resources"].keys()
