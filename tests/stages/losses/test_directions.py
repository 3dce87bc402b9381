"""InfoNCE in all its forms, against the definition and against sentence-transformers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.errors import ConfigError
from stages.losses.guided import Guided
from stages.losses.infonce import Infonce
from stages.objectives import Batch
from stages.registry import build
from tests.stages.losses import naive

DIRECTIONS = ("query_to_document", "document_to_query", "query_to_query", "document_to_document")
THEIRS = {name: name.replace("document", "doc") for name in DIRECTIONS}

some_directions = st.lists(st.sampled_from(DIRECTIONS), min_size=1, max_size=4, unique=True).map(tuple)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000), rows=st.integers(1, 5), extra=st.integers(0, 6), share=st.floats(0, 1),
    directions=some_directions, joint=st.booleans(), shared=st.booleans(), hardness=st.sampled_from([0.0, 2.5]),
    hardness_of=st.sampled_from(["all", "in_batch", "hard"]), temperature=st.sampled_from([0.05, 0.7]),
)  # fmt: skip
def test_value_gradients_and_share_are_those_of_the_definition(
    seed: int, rows: int, extra: int, share: float, directions: tuple[str, ...], **how: Any
):
    batch = naive.case(seed, rows, extra, share)
    if "query_to_document" not in directions:
        how["hardness_of"] = "all"
    loss = Infonce(
        directions=directions,
        temperature=how["temperature"],
        reduction="joint" if how["joint"] else "per_direction",
        hard_negatives="shared" if how["shared"] else "own",
        hardness=how["hardness"],
        hardness_of=how["hardness_of"],
    )
    outcome = naive.agrees(loss.module(), lambda b: naive.infonce(b, directions, **how)[0], batch)
    assert float(outcome.masked) == pytest.approx(naive.infonce(batch, directions, **how)[1], abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000), rows=st.integers(1, 5), extra=st.integers(0, 6), directions=some_directions,
    margin=st.sampled_from([0.0, 0.1, 0.5]), relative=st.booleans(),
)  # fmt: skip
def test_a_guide_masks_as_the_definition_says(
    seed: int, rows: int, extra: int, *, directions: tuple[str, ...], margin: float, relative: bool
):
    batch = naive.case(seed, rows, extra)
    loss = Guided(directions=directions, margin=margin, margin_type="relative" if relative else "absolute")
    how = {"margin": margin, "relative": relative}
    outcome = naive.agrees(loss.module(), lambda b: naive.infonce(b, directions, **how)[0], batch)
    assert float(outcome.masked) == pytest.approx(naive.infonce(batch, directions, **how)[1], abs=1e-12)


def test_the_default_is_one_cross_entropy_over_one_masked_matrix_to_the_bit():
    batch = naive.case(3, 16, 16)
    batch = replace(batch, queries=batch.queries.float(), documents=batch.documents.float())
    found, wanted = [], []
    for store in (found, wanted):
        queries, documents = (t.clone().requires_grad_() for t in (batch.queries, batch.documents))
        if store is found:
            loss = Infonce().module()(replace(batch, queries=queries, documents=documents)).loss
        else:
            a, c = (torch.nn.functional.normalize(t, dim=-1) for t in (queries, documents))
            masked = batch.known.scatter(1, batch.positives.unsqueeze(1), False)
            loss = torch.nn.functional.cross_entropy((a @ c.T / 0.05).masked_fill(masked, -torch.inf), batch.positives)
        loss.backward()
        store += [loss.detach(), queries.grad, documents.grad]
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


def test_which_pairs_are_masked_in_each_direction():
    """Three rows with one negative each; query 0 knows the positive of row 1, query 2 knows the negative of row 0."""
    batch = naive.case(0, 3, 0)
    known = torch.zeros(3, 6, dtype=torch.bool)
    known[0, 1] = known[2, 3] = True
    batch = Batch(
        batch.queries, torch.randn(6, 5, dtype=torch.float64), torch.arange(3), known, torch.tensor([0, 1, 2] * 2)
    )
    from stages.losses._directions import pairs

    def masked(direction: str) -> list[list[int]]:
        found = pairs(direction, batch, shared=True)
        return (found.negatives & found.relevant).nonzero().tolist()

    assert masked("query_to_document") == [[0, 1], [2, 3]]
    assert masked("document_to_query") == [[1, 0]]
    assert masked("query_to_query") == [[0, 1], [1, 0]]
    assert masked("document_to_document") == [[0, 1], [1, 0], [2, 3]]
    columns = pairs("document_to_document", batch, shared=True).negatives[0].nonzero().flatten().tolist()
    assert columns == [1, 2, 4, 5]
    assert pairs("query_to_document", batch, shared=False).negatives[0].nonzero().flatten().tolist() == [1, 2, 3]
    assert pairs("document_to_document", batch, shared=False).negatives[0].nonzero().flatten().tolist() == [1, 2]


def table(seed: int, rows: int, negatives: int) -> tuple[list[torch.Tensor], Batch]:
    """Columns as sentence-transformers takes them, and the batch that they are here."""
    rng = torch.Generator().manual_seed(seed)
    columns = [torch.randn(rows, 8, generator=rng, dtype=torch.float64) for _ in range(2 + negatives)]
    count = rows * (1 + negatives)
    own = torch.arange(rows).repeat(1 + negatives)
    documents = torch.cat(columns[1:])
    return columns, Batch(columns[0], documents, torch.arange(rows), torch.zeros(rows, count, dtype=torch.bool), own)


def mnrl(columns: list[torch.Tensor], **how: Any) -> float:
    losses = pytest.importorskip("sentence_transformers.sentence_transformer.losses")
    loss = losses.MultipleNegativesRankingLoss(torch.nn.Identity(), **how)
    return float(loss.compute_loss_from_embeddings(columns, None))


@pytest.mark.parametrize("negatives", [0, 1, 3])
@pytest.mark.parametrize(
    ("directions", "reduction"),
    [
        (("query_to_document",), "joint"),
        (("query_to_document", "document_to_query"), "joint"),
        (("query_to_document", "document_to_query"), "per_direction"),
        (("query_to_document", "query_to_query"), "joint"),
        (("query_to_document", "document_to_document"), "joint"),
        (DIRECTIONS, "joint"),
    ],
)
def test_directions_are_those_of_sentence_transformers(negatives: int, directions: Any, reduction: Any):
    columns, batch = table(1, 6, negatives)
    theirs = mnrl(columns, directions=tuple(THEIRS[d] for d in directions), partition_mode=reduction)
    ours = Infonce(directions=directions, reduction=reduction).module()(batch).loss
    assert float(ours) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize(
    ("theirs", "ours"), [("in_batch_negatives", "in_batch"), ("hard_negatives", "hard"), ("all_negatives", "all")]
)
def test_hardness_is_that_of_sentence_transformers(theirs: str, ours: Any):
    columns, batch = table(2, 5, 2)
    expected = mnrl(columns, hardness_mode=theirs, hardness_strength=5.0)
    assert float(Infonce(hardness=5.0, hardness_of=ours).module()(batch).loss) == pytest.approx(expected, rel=1e-9)
    assert expected != pytest.approx(float(Infonce().module()(batch).loss), rel=1e-3)


def guided(columns: list[torch.Tensor], guides: list[torch.Tensor], cached: bool, **how: Any) -> float:
    losses = pytest.importorskip("sentence_transformers.sentence_transformer.losses")
    theirs = (losses.CachedGISTEmbedLoss if cached else losses.GISTEmbedLoss).__new__(
        losses.CachedGISTEmbedLoss if cached else losses.GISTEmbedLoss
    )
    torch.nn.Module.__init__(theirs)
    theirs.temperature, theirs.similarity_fct = 0.05, torch.nn.CosineSimilarity(dim=-1)
    theirs.margin_strategy, theirs.margin = how["margin_type"], how["margin"]
    theirs.contrast_anchors = theirs.contrast_positives = how["contrast"]
    theirs.gather_across_devices, theirs.cross_entropy_loss = False, torch.nn.CrossEntropyLoss()
    if cached:
        theirs.mini_batch_size, theirs.mini_batch_num_tokens, theirs.show_progress_bar = 4, None, False
        return float(theirs.calculate_loss([[c] for c in columns], [[g] for g in guides]).detach())
    theirs.must_retokenize = False
    theirs.model = theirs.guide = Given()
    rows = [{"sentence_embedding": c, "guide": g} for c, g in zip(columns, guides, strict=True)]
    theirs.guide = Given("guide")
    return float(theirs.forward(rows, None))


class Given(torch.nn.Module):
    """A model whose embeddings are given with the texts."""

    def __init__(self, key: str = "sentence_embedding") -> None:
        super().__init__()
        self.key = key

    def get_embedding_dimension(self) -> int:
        return 8

    def forward(self, features: dict[str, torch.Tensor], **_: Any) -> dict[str, torch.Tensor]:
        return {"sentence_embedding": features[self.key]}


@pytest.mark.parametrize("cached", [False, True], ids=["GISTEmbed", "CachedGISTEmbed"])
@pytest.mark.parametrize(("margin", "margin_type"), [(0.0, "absolute"), (0.1, "absolute"), (0.3, "relative")])
@pytest.mark.parametrize(("negatives", "contrast"), [(0, True), (0, False), (1, False)])
def test_a_guide_masks_as_in_sentence_transformers(
    cached: bool, margin: float, margin_type: Any, negatives: int, contrast: bool
):
    columns, batch = table(3, 6, negatives)
    guides, guide = table(4, 6, negatives)
    batch = replace(batch, guide_queries=guide.queries, guide_documents=guide.documents)
    directions = DIRECTIONS[:1] + (DIRECTIONS[2:] if contrast else ())
    loss = Guided(directions=directions, margin=margin, margin_type=margin_type)
    theirs = guided(columns, guides, cached, margin=margin, margin_type=margin_type, contrast=contrast)
    outcome = loss.module()(batch)
    assert float(outcome.loss) == pytest.approx(theirs, rel=1e-9)
    assert 0 < float(outcome.masked) < 1


def test_the_temperature_is_learned_and_never_below_a_hundredth():
    module = Infonce(learned_temperature=True, temperature_rate=10).module()
    fixed = Infonce().module()
    batch = naive.case(5, 6, 6, 0.0)
    assert float(module(batch).loss.detach()) == pytest.approx(float(fixed(batch).loss), rel=1e-6)
    batch = replace(batch, documents=batch.documents.clone())
    batch.documents[batch.positives] = batch.queries  # as right as can be: a lower temperature is better
    optimizer = torch.optim.SGD(module.parameters(), lr=1e5)
    for _ in range(5):
        optimizer.zero_grad()
        module(batch).loss.backward()
        optimizer.step()
    at_limit = Infonce(temperature=0.01).module()
    assert float(module(batch).loss.detach()) == pytest.approx(float(at_limit(batch).loss), rel=1e-5)
    assert "temperature=0.01, learned" in str(module)
    flipped = replace(batch, queries=-batch.queries)  # as wrong as can be: the way back is open
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)
    module(flipped).loss.backward()
    optimizer.step()
    assert float(module.temperature.offset.detach()) < (math.log(100) - math.log(20)) / 10


def test_the_gradient_of_a_learned_temperature_is_that_of_the_definition():
    batch = naive.case(6, 5, 4)
    module = Infonce(learned_temperature=True, temperature_rate=3).module()
    module(batch).loss.backward()
    scale = torch.tensor(math.log(20.0), dtype=torch.float64, requires_grad=True)
    naive.infonce(batch, ("query_to_document",), temperature=torch.exp(-scale))[0].backward()  # type: ignore[arg-type]
    assert float(module.temperature.offset.grad) == pytest.approx(3 * float(scale.grad), rel=1e-5)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"directions": []}, "at least one"),
        ({"directions": ["query_to_query", "query_to_query"]}, "each of them once"),
        ({"directions": ["query_to_doc"]}, "directions"),
        ({"directions": ["query_to_query"], "hardness": 1.0, "hardness_of": "hard"}, "no direction but"),
        ({"learned_temperature": True, "temperature": 0.005}, "never below 0.01"),
        ({"hardness": float("inf")}, "hardness"),
    ],
)
def test_what_cannot_be_computed_is_refused(fields: dict[str, Any], says: str):
    with pytest.raises(ConfigError, match=says):
        build("losses", "infonce", fields)


def test_a_guided_loss_without_a_guide_says_so():
    batch = replace(naive.case(1, 3, 3), guide_queries=None)
    with pytest.raises(ConfigError, match="no guide"):
        Guided().module()(batch)
