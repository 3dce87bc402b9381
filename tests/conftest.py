"""HYPOTHESIS_PROFILE=thorough tries far more examples, and other ones each time; =exhaustive tries 10,000."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from stages import scoring

settings.register_profile("quick", max_examples=60, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=2000, deadline=None)
settings.register_profile("exhaustive", max_examples=10_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

pytest_plugins = ["tests.endpoint"]


@pytest.fixture(scope="module")
def nothing_is_few() -> Iterator[None]:
    """What is small enough to be scored whole is joined by compiled loops here too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "_FEW", 0)
        yield
