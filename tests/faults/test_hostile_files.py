"""Files that are meant to do harm when they are opened: pickles under every name, sizes that ask for all memory, bombs."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from pipeline.manifest import read as read_manifest
from stages.errors import HardrockError, InputError
from stages.retrievers.run import Run
from tests.faults.server import ROOT
from tests.retrieval_world import collection
from tests.stages.data import beir, read, read_pairs


class Owned:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def payload(mark: Path) -> bytes:
    return pickle.dumps(Owned(mark))


def object_array(mark: Path) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([Owned(mark)], dtype=object), allow_pickle=True)
    return file.getvalue()


def torch_file(mark: Path) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save({"weights": Owned(mark)}, file)
    return file.getvalue()


def exact(path: Path):
    from stages.indexes.exact import Exact

    return Exact().load(path, 1, 1)


def flat(path: Path):
    from stages.indexes.flat import Flat

    return Flat().load(path, 1, 1)


def static(path: Path):
    from stages.encoders.static import Static
    from tests.models import WORDLLAMA_TOKENIZER

    return Static(model=str(path), tokenizer=WORDLLAMA_TOKENIZER).load("cpu", "fp32")


def model(path: Path):
    from stages.encoders.sentence_transformers import SentenceTransformers

    (path.parent / "config.json").write_text('{"model_type": "bert"}')
    return SentenceTransformers(model=str(path.parent)).load("cpu", "fp32")


def teacher(path: Path):
    from stages.teachers.cross_encoder import _load
    from stages.weights import model_files

    (path.parent / "config.json").write_text('{"model_type": "bert", "num_labels": 1}')
    model_files(path.parent)
    return _load(path.parent, "cpu", 16)


def kept(path: Path):
    return collection(path.parent.parent).kept(path.stem, dict)


def given(path: Path):
    return Run(path=str(path)).open(collection(path.parent))


def corpus(path: Path):
    return read(beir(path.parent / "set", corpus=path.read_bytes()), path.parent)


def pairs(path: Path):
    return read_pairs(path, path.parent / "scratch")


def toml(path: Path):
    from pipeline.config import load

    return load(path)


PICKLES = [
    ("corpus.npy", exact), ("corpus.faiss", flat), ("table.safetensors", static), ("model.safetensors", model),
    ("pytorch_model.bin", model), ("pytorch_model.bin", teacher), ("model.safetensors", teacher), ("scratch/bm25.npz", kept),
    ("given.run", given), ("corpus.jsonl", corpus), ("p.csv", pairs), ("p.parquet", pairs), ("p.jsonl", pairs),
    ("my.toml", toml), ("manifest.json", read_manifest),
]  # fmt: skip


@pytest.mark.parametrize("make", [payload, object_array, torch_file])
@pytest.mark.parametrize(("name", "use"), PICKLES)
def test_no_pickle_is_ever_loaded(tmp_path, monkeypatch, name, use, make):
    """Neither is the object made, nor does any library begin to unpickle."""
    mark = tmp_path / "owned"
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(make(mark))
    import sentence_transformers  # noqa: F401  # its import wants the real Unpickler

    begun = []
    for function in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, function, lambda *_, name=function, **__: begun.append(name))
    with suppress(HardrockError):
        use(path)
    assert not mark.exists()
    assert begun == []


def test_the_payload_would_have_worked(tmp_path):
    pickle.loads(payload(tmp_path / "owned"))
    assert (tmp_path / "owned").is_dir()


def test_a_training_goes_on_with_weights_alone_and_runs_no_forged_state(tmp_path, monkeypatch):
    import torch

    from stages import train
    from stages.checkpoints import MARK, _hashes, digest
    from tests import support
    from tests.stages import test_train

    seen = []
    real = torch.load

    def load(*arguments, **named):
        seen.append(named.get("weights_only"))
        return real(*arguments, **named)

    monkeypatch.setattr(torch, "load", load)
    encoder = test_train.Encoder(str(test_train.folder_of("cognition", "model")))
    test_train.killed(4, test_train.small(encoder), tmp_path, monkeypatch)
    (state,) = (tmp_path / "scratch").glob("checkpoint-*")
    (state / "optimizer.pt").write_bytes(torch_file(tmp_path / "owned"))
    mark = json.loads((state / MARK).read_text())
    mark.pop("digest")
    mark["files"] = _hashes(state)
    (state / MARK).write_text(json.dumps({**mark, "digest": digest(mark)}))
    with suppress(Exception):
        support.run(train, test_train.small(encoder), test_train.real(20), tmp_path)
    assert seen
    assert all(seen)
    assert not (tmp_path / "owned").exists()


LIMITED = """
import resource, sys
import faiss, numpy
from pathlib import Path
from stages.errors import ArtefactError
from stages.indexes.factory import Factory
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + (1 << 30),) * 2)
kept = refused = 0
for line in sys.stdin:
    try:
        Factory(factory="Flat").load(Path(line.strip()), 300, 16)
        kept += 1
    except ArtefactError:
        refused += 1
print(kept, refused)
"""


def limited(paths: list[Path]) -> tuple[int, int]:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], input="\n".join(map(str, paths)), cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    kept, refused = map(int, done.stdout.split())
    return kept, refused


@pytest.mark.parametrize("kind", ["Flat", "IVF4,Flat", "HNSW8", "PQ4x4", "IVF4,PQ4x4", "SQ8", "LSH"])
def test_a_hostile_index_takes_no_memory(tmp_path, kind):
    """Each 32-bit and 64-bit word of the beginning in turn says a size beyond all memory, under a limit of 1 GB."""
    import faiss

    vectors = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)
    index = faiss.index_factory(16, kind, faiss.METRIC_INNER_PRODUCT) if kind != "LSH" else faiss.IndexLSH(16, 8)
    index.train(vectors)
    index.add(vectors)
    whole = faiss.serialize_index(index).tobytes()
    paths = []
    for value in (struct.pack("<q", 1 << 40), struct.pack("<q", -1), struct.pack("<i", 2**31 - 1)):
        for at in range(4, min(132, len(whole) - 8), 4):
            path = tmp_path / f"{len(paths)}.faiss"
            path.write_bytes(whole[:at] + value + whole[at + len(value) :])
            paths.append(path)
    kept, refused = limited(paths)
    assert kept + refused == len(paths)
    assert refused > 0


def test_a_packed_line_without_end_takes_no_memory(tmp_path):
    """1 GB of one line in 1 MB: a corpus, pairs and a run."""
    packed = tmp_path / "bomb.gz"
    with gzip.open(packed, "wb", compresslevel=1) as file:
        file.write(b'{"_id": "')
        for _ in range(160):
            file.write(b"a" * (1 << 20))
    folder = beir(tmp_path / "set")
    (folder / "corpus.jsonl").unlink()
    packed.rename(folder / "corpus.jsonl.gz")
    with pytest.raises(InputError, match="a line longer than"):
        read(folder, tmp_path)
    bomb = folder / "corpus.jsonl.gz"
    for name, use in (("given.run.gz", given), ("p.csv.gz", pairs)):
        os.link(bomb, tmp_path / name)
        with pytest.raises(InputError, match="a line longer than"):
            use(tmp_path / name)


def test_a_header_of_all_memory_is_refused(tmp_path):
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    for content in (struct.pack("<Q", len(header)) + header, struct.pack("<Q", 1 << 63) + header, b"\xff" * 64):
        path = tmp_path / "x.safetensors"
        path.write_bytes(content)
        with pytest.raises(HardrockError, match="weights cannot be read"):
            static(path)
    path = tmp_path / "x.npy"
    for shape in ("(1099511627776, 1)", "(-1, 1)", "(1,)" * 9):
        body = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
        path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(body)) + body + b"\0" * 64)
        with pytest.raises(HardrockError):
            exact(path)
