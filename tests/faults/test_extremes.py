"""Every number of every stage's configuration, at the ends of what it allows: a result or a message, never a traceback."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import ValidationError

from pipeline import environment, plan
from pipeline.config import Configuration
from pipeline.runner import Runner
from pipeline.store import Workspace
from stages.errors import HardrockError
from stages.settings import LARGEST, Settings
from tests.faults import world
from tests.faults.test_staleness import members

EXTREMES = (LARGEST, 10**9, 1, 0, -1, 1e300, -1e300, 1e-300)
FOREVER = {("train", "epochs"), ("train", "max_steps")}
"""What is asked for is what is done, however long."""


def is_number(annotation: Any) -> bool:
    if get_origin(annotation) is Literal:
        return False
    return annotation in (int, float) or any(map(is_number, get_args(annotation)))


def extreme(config: Settings) -> Iterator[tuple[str, Any, Settings]]:
    """The configuration with one number at one extreme, alone or in a list, of its own or of what it holds."""
    own = {name: getattr(config, name) for name in type(config).model_fields}
    for field, info in type(config).model_fields.items():
        value = own[field]
        held = members(value)
        if is_number(info.annotation) and not held and not isinstance(value, bool):
            for number in EXTREMES:
                for new in (number, (number,)):
                    try:
                        made = type(config).model_validate({**own, field: new})
                    except (ValidationError, HardrockError):
                        continue
                    if getattr(made, field) != value:
                        yield field, number, made
        for i, member in enumerate(held):
            for path, number, new in extreme(member):
                many = tuple(new if j == i else one for j, one in enumerate(held))
                update = {field: many if isinstance(value, tuple) else new}
                yield f"{field}.{path}", number, config.model_copy(update=update)


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Iterator[tuple[Configuration, Path]]:
    """A configuration with a model that really trains, and its finished workspace."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(environment, "git_state", lambda: None)
        patch.setattr(environment, "versions", dict)
        folder = tmp_path_factory.mktemp("extremes")
        data = world.write_data(folder / "data")
        world.write_model(data)
        configuration = world.configuration(data)
        assert finish(configuration, folder / "good") == "done"
        yield configuration, folder / "good"


def finish(configuration: Configuration, workspace: Path) -> str:
    """How a run ends: done, or with which message."""
    runner = Runner(configuration, Workspace(workspace), "cpu")
    try:
        runner.run(plan.nodes(runner.rounds))
    except HardrockError as error:
        return str(error)
    return "done"


@pytest.mark.faults
@pytest.mark.parametrize("stage", plan.STAGES)
def test_every_number_at_its_extremes_ends_with_a_result_or_a_message(done, tmp_path, stage):
    configuration, good = done
    ended: Counter[str] = Counter()
    for path, number, made in extreme(configuration.stages[stage]):
        if (stage, path) in FOREVER and number > 1:
            continue
        workspace = shutil.copytree(good, tmp_path / "ws")
        try:
            says = finish(replace(configuration, stages={**configuration.stages, stage: made}), workspace)
        except Exception as error:
            raise AssertionError(f"{stage}.{path} = {number!r}: {type(error).__name__}: {error}") from error
        assert len(says) < 20_000
        ended["done" if says == "done" else "message"] += 1
        shutil.rmtree(workspace)
    print(f"\n{stage}: " + (", ".join(f"{count} {how}" for how, count in ended.items()) or "no number"))
