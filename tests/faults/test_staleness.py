"""Every key of every stage, driven by the models themselves: a change makes its own stage stale, and no other one."""

from __future__ import annotations

import importlib
import types
from dataclasses import replace
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import ValidationError

from pipeline import plan
from pipeline.runner import Runner
from pipeline.store import Workspace
from stages.errors import HardrockError
from stages.registry import ManyOf, Member, OneOf, names
from stages.settings import Settings, parse
from tests.faults import world

ELSEWHERE = {
    ("ingest", "dataset"), ("embed", "encoder"), ("train", "encoder"), ("guard", "encoder"), ("teach", "teachers"),
    ("guard", "collections"), ("train", "guide"), ("train", "lora"), ("train", "early_stopping"), ("train", "augmentations"),
    ("train", "projection"), ("report", "configuration"),
}  # fmt: skip
"""Fields with tests of their own: the raw data, the encoder that two stages share, models that are not here, and what the other stages are configured with."""


@pytest.fixture
def light(monkeypatch):
    world.lighten(monkeypatch.setattr)


def others(annotation: Any, value: Any):
    """Candidates for another legal value, the most natural first."""
    if get_origin(annotation) is Literal:
        yield from (choice for choice in get_args(annotation) if choice != value)
    if get_origin(annotation) in (Union, types.UnionType):
        for inner in get_args(annotation):
            yield from others(inner, value)
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value - 1)
    elif isinstance(value, float):
        yield from (value / 2, value + 0.25, 1.0 - value, 0.5)
    elif isinstance(value, str):
        yield value + "x"
    elif isinstance(value, tuple) and value:
        yield from (value[:-1], value[::-1], ("train",), ("dev",), *_choices(annotation), *_less(value))
    elif value is None:
        yield from (7, 0.5, "x", "of {document}", False, ("test",), (7,), (1, 2, 3))
    elif value == ():
        yield from (("test",), (7,), ("a {}",), *_choices(annotation))
    elif value == {}:
        yield {"dense": 2.0}
    elif isinstance(value, dict):
        yield {key: f"{each}x" for key, each in value.items()}


def _less(value: tuple[Any, ...]):
    """Numbers that are one less."""
    if all(isinstance(each, int) for each in value):
        yield tuple(each - 1 for each in value)


def _choices(annotation: Any):
    """A tuple of one, for each value that a tuple of literals may hold."""
    for inner in get_args(annotation):
        if get_origin(inner) is Literal:
            yield from ((choice,) for choice in get_args(inner))


def members(value: Any) -> list[Settings]:
    return [v for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, Settings)]


def changed(config: Settings, field: str):
    """The configuration with another legal value of a field, or of each field of the members it holds."""
    value = getattr(config, field)
    own = {name: getattr(config, name) for name in type(config).model_fields}
    held = members(value)
    if not held:
        for new in others(type(config).model_fields[field].annotation, value):
            try:
                made = type(config).model_validate({**own, field: new})
            except (ValidationError, HardrockError):
                continue
            if getattr(made, field) != value:
                yield field, made, type(config).model_fields[field]
                return
        return
    for i, member in enumerate(held):
        for inner in type(member).model_fields:
            for path, new, info in changed(member, inner):
                many = tuple(new if j == i else one for j, one in enumerate(held))
                update = {field: many if isinstance(value, tuple) else new}
                yield f"{field}.{getattr(member, 'name', i)}.{path}", config.model_copy(update=update), info


def stale(runner: Runner) -> set[str]:
    """The stages that would run by themselves, not only because of one before them."""
    return {state.node.stage for state in runner.status() if not state.fresh and not state.waits}


def waiting(runner: Runner) -> set[str]:
    return {state.node.name for state in runner.status() if not state.fresh}


def with_stage(runner: Runner, stage: str, made: Settings) -> Runner:
    configuration = replace(runner.configuration, stages={**runner.configuration.stages, stage: made})
    return Runner(configuration, runner.workspace, "cpu")


def below(stage: str) -> set[str]:
    """The nodes that read, directly or not, what a stage makes; and its own. In plain words of the plan."""
    hit = {node for node in plan.nodes(1) if node.stage == stage}
    for node in plan.nodes(1):
        if any(source in hit for source, _ in plan.reads(node, 1).values()):
            hit.add(node)
    return {node.name for node in hit}


def speed_only(info: Any) -> bool:
    return bool(isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("speed_only"))


@pytest.mark.parametrize("stage", plan.STAGES)
def test_every_key_makes_its_own_stage_stale_and_no_other(bench, light, stage):
    runner = world.runner(bench.data, bench.good)
    assert stale(runner) == set()
    config = runner.configuration.stages[stage]
    tried, without = 0, []
    for field in type(config).model_fields:
        if (stage, field) in ELSEWHERE:
            continue
        found = list(changed(config, field))
        if not found and not members(getattr(config, field)):
            without.append(field)
        for path, made, info in found:
            tried += 1
            other = with_stage(runner, stage, made)
            if speed_only(info):
                assert stale(other) == set(), path
            else:
                assert waiting(other) == below(stage), path
    assert without == []
    print(f"\n{stage}: {tried} keys")


REQUIRED = {
    "encoder": {"name": "static", "model": "m", "tokenizer": "t"}, "views": {"title": {}}, "writer": {"name": "local", "model": "m"},
    "factory": "Flat", "url": "http://localhost/v1", "dataset": {"name": "beir", "path": "x"},
}  # fmt: skip
"""A value for each key without a default, where it is no text."""
BEGUN: dict[tuple[str, str], tuple[dict[str, Any], ...]] = {
    ("datasets", "corpus"): ({"path": "x"}, {"base": {"name": "beir", "path": "x"}}, {"path": "x", "queries": "x", "qrels": {"dev": "x"}}),
    ("datasets", "ir_datasets"): ({"id": "x"}, {"train": "x", "dev": "x", "test": "x"}),
    ("filters", "score_window"): ({"cap": 0.5},),
}  # fmt: skip
"""Where one of several keys is needed: the ways a member may be given, so that each key can change in one of them."""


def families() -> list[str]:
    """The families that the stages may hold members of, and those that these may hold."""
    found: set[str] = set()
    models: list[type[Settings]] = [plan.spec(stage).config for stage in plan.STAGES]
    while models:
        marks = [mark for info in models.pop().model_fields.values() for mark in info.metadata]
        for family in {mark.family for mark in marks if isinstance(mark, OneOf | ManyOf)} - found:
            found.add(family)
            models += [member_of(family, name) for name in names(family)]
    return sorted(found)


def member_of(family: str, name: str) -> type[Settings]:
    module = importlib.import_module(f"stages.{family}.{name}")
    return getattr(module, "".join(word.capitalize() for word in name.split("_")))


def tables(annotation: Any):
    """The tables in an annotation that are no members of a family."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for inner in get_args(annotation):
        yield from tables(inner)


def check_keys(model: type[Settings], ways: tuple[dict[str, Any], ...]) -> int:
    """Each key of a table changes what identifies it, unless it changes speed alone. Returns how many were tried."""
    tried = 0
    needed = {key: REQUIRED.get(key, "x") for key, info in model.model_fields.items() if info.is_required()}
    made = [parse(model, needed | more, model.__name__) for more in ways]
    for field in model.model_fields:
        found = [(one, *each) for one in made for each in changed(one, field)]
        assert found or any(members(getattr(one, field)) for one in made), f"{model.__name__}.{field}"
        for one, path, other, info in found:
            tried += 1
            assert (other.semantic() == one.semantic()) == speed_only(info), f"{model.__name__}.{path}"
    return tried


@pytest.mark.parametrize("family", families())
def test_every_key_of_every_member_of_a_family_counts_unless_it_changes_speed_alone(family):
    """That what counts of a member makes the stage stale that holds it, the test before shows with the members of the light pipeline."""
    tried = sum(check_keys(member_of(family, name), BEGUN.get((family, name), ({},))) for name in names(family))
    print(f"\n{family}: {tried} keys")


def test_every_key_of_every_table_in_a_stage_counts():
    fields = [info.annotation for stage in plan.STAGES for info in plan.spec(stage).config.model_fields.values()]
    found = {table for annotation in fields for table in tables(annotation) if not issubclass(table, Member)}
    assert {table.__name__ for table in found} >= {"Lora", "EarlyStopping", "Guarded"}
    assert sum(check_keys(table, ({},)) for table in found) > 10


@pytest.mark.parametrize("optional", ["lora", "early_stopping", "guide", "projection", "augmentations"])
def test_what_training_may_have_besides_makes_training_stale(bench, light, optional):
    runner = world.runner(bench.data, bench.good)
    config = runner.configuration.stages["train"]
    own = {name: getattr(config, name) for name in type(config).model_fields}
    with_it = {
        "guide": {"guide": config.encoder, "loss": {"name": "guided"}},
        "augmentations": {"augmentations": {"words": {}}},
    }
    added = with_it.get(optional, {optional: {}})
    made = type(config).model_validate({**own, **added})
    assert waiting(with_stage(runner, "train", made)) == below("train")


def test_another_seed_or_prompt_of_the_encoder_reaches_embed_and_train(bench, light):
    runner = world.runner(bench.data, bench.good)
    for update in ({"seed": 1}, {"query_prompt": "query: "}):
        stages = dict(runner.configuration.stages)
        for stage in ("embed", "train"):
            stages[stage] = stages[stage].model_copy(update={"encoder": world.Hashed(**update)})
        other = Runner(replace(runner.configuration, stages=stages), Workspace(bench.good), "cpu")
        assert waiting(other) == below("embed")


def test_another_version_of_a_stage_reaches_what_follows(bench, light, monkeypatch):
    for stage in plan.STAGES:
        with monkeypatch.context() as patch:
            module = plan.module(stage)
            patch.setattr(module, "SPEC", replace(module.SPEC, version=module.SPEC.version + 1))
            assert waiting(world.runner(bench.data, bench.good)) == below(stage)


def test_one_byte_of_an_input_row_makes_ingest_stale(bench, light, tmp_path):
    data = world.write_data(tmp_path / "data")
    changes = {"ingest": {"dataset": {"name": "beir", "path": str(data)}}}
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv"):
        path = data / name
        whole = path.read_bytes()
        before = world.runner(data, bench.good, **changes)
        same = before.identity(plan.Node("ingest"), {}).key
        path.write_bytes(whole.replace(b"0", b"1", 1))
        after = world.runner(data, bench.good, **changes)
        assert after.identity(plan.Node("ingest"), {}).key != same
        path.write_bytes(whole)


def test_one_byte_of_the_weights_changes_the_fingerprint(tmp_path):
    from tests.models import BERT_TINY, folder
    from tests.models import tiny as encoder

    place = tmp_path / "model"
    place.mkdir()
    package, _, inside = BERT_TINY.removeprefix("package:").partition("/")
    for path in (folder(package) / inside).rglob("*"):
        if path.is_file():
            (place / path.name).write_bytes(path.read_bytes())
    made = encoder().model_copy(update={"model": str(place)})
    before = made.fingerprint()
    weights = place / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert made.fingerprint() != before
