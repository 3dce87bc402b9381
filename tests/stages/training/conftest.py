from __future__ import annotations

import pytest

from tests.stages.test_train import Encoder, folder_of


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """BERT-tiny."""
    return Encoder(str(folder_of("cognition", "model")))
