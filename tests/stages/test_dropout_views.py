"""Documents as their own queries: dropout makes the views, and nothing throws the positive away."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch

from stages import deepen, embed, index, ingest, judge, mine, sample, teach, train
from stages.checkpoints import Journal
from stages.examples import Known, examples
from stages.losses.infonce import Infonce
from stages.settings import parse
from stages.training.collator import Collator, Texts
from stages.training.contrastive import Contrastive
from stages.training.model import load
from tests import models, support
from tests.stages.data import config, jsonl

DOCUMENTS = [
    *({"id": f"{bone}{side}", "text": f"fracture of the {side} {bone}"} for bone in ("femur", "tibia", "skull", "rib")
      for side in ("left", "right", "other")),
    {"id": "copy", "text": "Fracture of the LEFT femur"},
]  # fmt: skip
BERT = {"name": "sentence_transformers", "model": models.BERT_TINY}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Every table from the documents to the triplets, with a real BERT."""
    folder = tmp_path_factory.mktemp("dropout")
    (folder / "c.jsonl").write_bytes(jsonl(*DOCUMENTS))
    dataset = {"name": "corpus", "path": str(folder / "c.jsonl"), "views": {"same_text": {}}, "dev": 0, "test": 0}
    found = support.run(ingest, config(dataset), {}, folder).inputs()
    for module, name, fields in (
        (embed, "Embed", {"encoder": BERT}),
        (index, "Index", {}),
        (mine, "Mine", {"depth": 13}),
        (teach, "Teach", {}),
        (judge, "Judge", {}),
        (deepen, "Deepen", {}),
        (sample, "Sample", {"negatives": 2, "min_yield": 0}),
    ):
        settings = parse(getattr(module, f"{name}Config"), fields, name.lower())
        found |= support.run(module, settings, found, folder / name).inputs()
    return found


def rows(world, name, *columns):
    return list(zip(*(world[name].read()[column].to_pylist() for column in columns), strict=True))


def test_a_document_is_its_own_positive_and_never_its_own_negative(world):
    queries = [key for (key,) in rows(world, "queries", "query_id")]
    documents = [key for (key,) in rows(world, "corpus", "doc_id")]
    relevant = {(queries[q], documents[d]) for q, d in rows(world, "qrels", "query_row", "doc_row")}
    assert relevant == {(f"same_text/{key}/1", key) for key in documents if key != "copy"} | {
        ("same_text/femurleft/1", "copy")
    }
    verdicts = {
        (queries[q], documents[d]): verdict
        for q, d, verdict in rows(world, "judged", "query_row", "doc_row", "verdict")
    }
    assert {verdicts[pair] for pair in relevant} == {"known_positive"}
    triplets = {(queries[q], documents[n]) for q, n in rows(world, "triplets", "query_row", "negative_row")}
    assert triplets
    assert not triplets & relevant


def test_the_positive_stays_in_the_loss_and_dropout_gives_a_gradient(world):
    encoder = models.tiny()
    module = load(encoder, "cpu", 0)
    qrels = world["qrels"].read(["query_row", "doc_row", "relevance", "split"])
    chosen, _ = examples(qrels, world["triplets"].read(["query_row", "positive_row", "negative_row"]), 1, "all")
    hashes = [world[name].read(["text_hash"])["text_hash"].to_numpy() for name in ("queries", "corpus")]

    def texts(name):
        own = world[name].read(["text"])["text"].combine_chunks()
        return Texts(np.arange(len(own)), own, pa.array([""] * len(own)).dictionary_encode())

    plan = SimpleNamespace(batch=lambda number: (chosen, np.arange(len(chosen))))
    known = Known(qrels, *hashes)
    collator = Collator(plan, known, texts("queries"), texts("corpus"), module, max_tokens=None, pass_rows=32)  # type: ignore[arg-type]
    batch = collator([0])
    loss = Contrastive(module, Infonce(), Journal())

    def embedded(role):
        return torch.nn.functional.normalize(loss.embed(batch[role], role), dim=-1)

    assert batch["known"].diagonal().all()  # known to be relevant, and its own positive all the same
    same = np.array([a == b for a, b in zip(collator.queries.of(chosen.queries)[0], collator.documents.of(chosen.positives)[0], strict=True)])  # fmt: skip
    assert same.sum() == len(DOCUMENTS) - 1
    module.eval()
    with torch.no_grad():
        cosine = (embedded("query") * embedded("document")[: len(chosen)]).sum(dim=1)
    torch.testing.assert_close(cosine[same], torch.ones(int(same.sum())), atol=1e-5, rtol=0)
    module.train()
    torch.manual_seed(0)
    cosine = (embedded("query") * embedded("document")[: len(chosen)]).sum(dim=1)
    assert (cosine < 1 - 1e-4).all()  # two dropout masks, two views
    (1 - cosine).sum().backward()  # what the positive alone asks for
    assert sum(float(p.grad.norm()) for p in module.parameters() if p.grad is not None) > 1e-3
    module.zero_grad()
    value = loss(batch, None)
    value.backward()
    assert 0 < float(value.detach()) < np.inf
    assert sum(float(p.grad.norm()) for p in module.parameters() if p.grad is not None) > 1e-3


def test_training_on_them_moves_the_weights(world, tmp_path):
    settings = parse(train.TrainConfig, {"encoder": BERT, "batch_size": 4, "learning_rate": 1e-4}, "train")
    result = support.run(train, settings, world, tmp_path)
    losses = [row["loss"] for row in result.rows("training_log")]
    assert all(0 < loss < np.inf for loss in losses)
    before, after = load(models.tiny(), "cpu", 0), load(models.tiny().with_checkpoint(result.files["checkpoint"]), "cpu", 0)  # fmt: skip
    moved = [
        not torch.equal(old, new) for old, new in zip(before.parameters(), after.parameters(), strict=True) if old.ndim
    ]
    assert sum(moved) > len(moved) / 2
