"""Known clashes, by what is installed: each is named with its mend, and a sound installation has none."""

from __future__ import annotations

import json

import pytest

from pipeline.clashes import clashes
from tests.pipeline.test_cli import hardrock

SOUND = {"torch": "2.13.0+cpu", "accelerate": "1.10", "faiss-cpu": "1.15", "sentence-transformers": "6.2"}


def found(installed, device="cpu", cores=2, **environment):
    return [(clash.says.split(" ")[0], clash.warning) for clash in clashes(cores, environment, device, installed.get)]


def test_a_sound_installation_has_none():
    assert found(SOUND) == []
    assert found(SOUND | {"torchvision": "0.24+cpu"}, OMP_NUM_THREADS="2") == []
    assert found(SOUND | {"torch": "2.13.0+cu128", "torchvision": "0.24+cu128"}, device="cuda") == []
    assert found({k: v for k, v in SOUND.items() if k != "faiss-cpu"} | {"faiss-gpu-cu12": "1.12"}) == []


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"torchvision": "0.24"}, [("torchvision", False)]),
        ({"torchaudio": "2.13+cu128"}, [("torchaudio", False)]),
        ({"accelerate": None}, [("accelerate", False)]),
        ({"faiss-cpu": None}, [("faiss-cpu", False)]),
        ({"faiss-gpu-cu12": "1.12"}, [("faiss-cpu", False)]),
        ({"keras": "3.9", "tensorflow": "2.19"}, [("transformers", False)]),
        ({"keras": "3.9", "tensorflow": "2.19", "tf-keras": "2.19"}, []),
        ({"torch": "2.13.0+cu128"}, [("torch", True)]),
        ({"torch": None}, [("torch", False)]),
    ],
)
def test_each_clash_is_found(change, names):
    assert found(SOUND | change) == names


def test_more_threads_than_cores_are_a_warning():
    assert found(SOUND, OMP_NUM_THREADS="64") == [("OMP_NUM_THREADS", True)]
    assert found(SOUND, OMP_NUM_THREADS="many") == []


def test_doctor_answers_in_json():
    told = json.loads(hardrock("doctor", "--json").stdout)
    assert told["device"] in ("cpu", "cuda")
    assert told["threads"]["cores"] >= 1
    assert {"python", "torch", "duckdb"} <= set(told["versions"])
    assert isinstance(told["hardware"]["instructions"], list)
