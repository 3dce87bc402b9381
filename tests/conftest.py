"""HYPOTHESIS_PROFILE=thorough tries far more examples, and other ones each time; =exhaustive tries 10,000."""

import os

from hypothesis import settings

settings.register_profile("quick", max_examples=60, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=2000, deadline=None)
settings.register_profile("exhaustive", max_examples=10_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

pytest_plugins = ["tests.endpoint"]
