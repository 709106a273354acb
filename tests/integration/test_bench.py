"""Each bench from end to end at a tiny size: what it prints is complete, and both sides made the same calls."""

import json
import os
import re
import sys
from contextlib import closing
from pathlib import Path

import pytest

from bench import as_lambda, cold_start, fan_out, figures, memory_size, package, packages, refresh_work
from bench.as_lambda import Start
from bench.memory_aws import TABLE, MemoryAws
from ops.build import _package as build


def test_a_request_to_lml_costs_both_sides_the_same_calls():
    ours, processor, plainly = refresh_work.measure(quick=True)

    assert ours.limit == 1.15
    assert ours.ratio == pytest.approx(ours.ours / ours.baseline, abs=0.01)
    assert {processor.against, plainly.against} == {ours.against, f"{ours.against} with httpx.Client"}
    assert "on both sides" in ours.note
    assert "requests to LML" in ours.note


@pytest.mark.long
def test_fan_out_and_its_bare_loop_send_the_same_batches():
    ours, _, memory, growth = fan_out.measure(quick=True)

    assert "8 SendMessageBatch" in ours.note, "4,000 ids, 50 to a message, ten messages to a batch"
    assert "8 TransactWriteItems" in ours.note
    assert 0 < memory.ours < 150
    assert growth.baseline == pytest.approx(memory.ours, rel=0.1)


ONE_OF_EACH_PACKAGE = ("fan_out", "authorize")


@pytest.mark.parametrize(
    "handlers",
    [
        pytest.param(ONE_OF_EACH_PACKAGE, id="few", marks=pytest.mark.long),
        pytest.param(cold_start.HANDLERS, marks=pytest.mark.long, id="all"),
    ],
)
def test_cold_starts_compare_each_function_with_three_baselines(handlers):
    found = cold_start.measure(quick=True, handlers=handlers)

    starts = [figure for figure in found if figure.what.startswith("cold start, ")]
    assert {figure.what for figure in starts} == {f"cold start, {name}, {cold_start.AT} MB" for name in handlers}
    assert len(starts) == len(handlers) * 3
    assert all(figure.ours > 0 and figure.baseline > 0 for figure in starts)
    assert all(0 < figure.ours < 150 for figure in found if figure.what.startswith("most memory"))
    months = [figure.ours for figure in found if figure.what == f"a month of the refresh, {cold_start.AT} MB"]
    assert all(month > 0 for month in months)
    assert bool(months) == (handlers == cold_start.HANDLERS)


def test_a_share_that_no_control_group_gives_is_scaled_and_shown(monkeypatch, tmp_path):
    for name in ("_V1", "_V2"):
        monkeypatch.setattr(as_lambda, name, tmp_path / "absent")
    paths = (str(packages.lay_out(tmp_path / "packages")), str(Path(as_lambda.__file__).parent))
    bare = as_lambda.Function(sys.executable, "plain.bare.handler", {"PYTHONPATH": os.pathsep.join(paths)})

    with as_lambda.groups((256,)) as groups:
        start = as_lambda.start(bare, "{}", tmp_path / "log", groups[256])

    assert start.scaled
    assert start.invocation > start.invocation_cpu * as_lambda.WHOLE / 256
    assert "no control group" in cold_start._phases([{"bare": start}])


@pytest.mark.parametrize(
    ("peak", "invocation", "chosen"), [(60, 20, 256), (100, 20, 512), (60, 300, None)], ids=["small", "large", "slow"]
)
def test_the_best_memory_size_is_the_cheapest_that_leaves_room_and_makes_nobody_wait(peak, invocation, chosen):
    turns = [{"ours": Start(init=300, invocation=invocation, invocation_cpu=5, peak=peak)}]

    taken = {(function, size): turns for function in cold_start.HANDLERS for size in (256, 512, 1024)}

    assert memory_size.best(taken) == chosen


def test_every_part_of_the_package_has_a_reason():
    pins = re.findall(r"^([\w.-]+)==", (build.ROOT / "requirements/runtime.txt").read_text(), re.MULTILINE)
    parts = {name.replace("-", "_").removeprefix("python_") for name in pins}

    assert package.WHY.keys() - {"core", "handlers", "certs"} == parts


def test_a_bench_prints_json(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench", "--json"])
    size = figures.Figure(what="package", unit="MB", ours=9.8, limit=25)

    with pytest.raises(SystemExit) as ended:
        figures.run("bench", "", lambda _: [size])

    assert not ended.value.code
    (printed,) = json.loads(capsys.readouterr().out)["figures"]
    assert (printed["what"], printed["ours"], printed["limit"], printed["ok"]) == ("package", 9.8, 25, True)


def test_check_says_by_its_status_whether_limits_hold(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench", "--check"])
    over = figures.compared("slow", [(3.0, 1.0), (2.0, 1.0)], unit="s", against="fast", limit=1.1)

    with pytest.raises(SystemExit) as ended:
        figures.run("bench", "", lambda _: [over])

    assert ended.value.code
    assert "over" in capsys.readouterr().out
    assert (over.ratio, over.low, over.high) == (2.5, 2.0, 3.0)


@pytest.fixture
def dynamodb(tmp_path):
    with closing(MemoryAws(tmp_path / "table")) as aws:
        yield aws.dynamodb


def test_the_table_in_the_process_answers_as_dynamodb_does(dynamodb):
    key = {"pk": {"S": "p"}, "sk": {"S": "s"}}
    dynamodb.put_item(TableName=TABLE, Item={**key, "n": {"N": "1"}, "gone": {"S": "x"}})

    dynamodb.update_item(
        TableName=TABLE,
        Key=key,
        UpdateExpression="SET #name = :name ADD n :more REMOVE gone",
        ExpressionAttributeNames={"#name": "name"},
        ExpressionAttributeValues={":name": {"S": "given"}, ":more": {"N": "2"}},
    )

    assert dynamodb.get_item(TableName=TABLE, Key=key)["Item"] == {**key, "n": {"N": "3"}, "name": {"S": "given"}}
    with pytest.raises(dynamodb.exceptions.ConditionalCheckFailedException):
        dynamodb.update_item(
            TableName=TABLE,
            Key={**key, "sk": {"S": "other"}},
            UpdateExpression="SET a = :a",
            ExpressionAttributeValues={":a": {"S": "a"}},
        )
