"""Our stages from vectors to triplets, and sentence-transformers' `mine_hard_negatives`, on the same written-out scores."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages import deepen, index, judge, mine, sample, teach
from stages.text import text_hash
from tests.judging_world import judgement, members
from tests.models import vectors
from tests.support import Table, run, source, table

Positives = Mapping[int, Sequence[int]]


class Case:
    """Documents by queries of scores, float (D, Q), and each query's positives. The vectors' inner products are the scores."""

    def __init__(
        self, scores: Any, positives: Positives, documents: Sequence[str] = (), queries: Sequence[str] = ()
    ) -> None:
        self.scores = np.asarray(scores, dtype=np.float32)
        self.positives = positives
        count, asked = self.scores.shape
        self.documents = list(documents) or [f"document number {i}" for i in range(count)]
        self.queries = list(queries) or [f"query number {i}" for i in range(asked)]

    def inputs(self) -> dict[str, Table]:
        documents = [{"row": i, "doc_id": f"d{i}", "text": text, "text_hash": text_hash(text)} for i, text in enumerate(self.documents)]  # fmt: skip
        queries = [
            {"row": i, "query_id": f"q{i}", "text": text, "text_hash": text_hash(text), "split": "train", "source": "given"}
            for i, text in enumerate(self.queries)
        ]  # fmt: skip
        qrels = [judgement(q, d, 1) for q, many in sorted(self.positives.items()) for d in sorted(many)]
        return {
            "corpus": source(table("corpus", documents)),
            "queries": source(table("queries", queries)),
            "qrels": source(table("qrels", qrels)),
            "corpus_vectors": vectors(self.scores),
            "query_vectors": vectors(np.eye(self.scores.shape[1], dtype=np.float32)),
        }

    def ours(
        self,
        folder: Path,
        *,
        filters: Sequence[dict[str, Any]] = (
            {"name": "known_positive"},
            {"name": "same_text"},
            {"name": "relative_margin"},
        ),
        comparison: str = "least_positive",
        mining: Mapping[str, Any] | None = None,
        **sampling: Any,
    ) -> dict[str, Any]:
        """The inputs and results of all stages up to sample, by table; and its counters as `counters`."""
        made: dict[str, Any] = dict(self.inputs())
        made |= run(index, index.IndexConfig(), made, folder).inputs()
        made |= run(mine, mine.MineConfig(**(mining or {})), made, folder).inputs()
        made |= run(teach, teach.TeachConfig(), made, folder).inputs()
        made |= run(judge, judge.JudgeConfig(comparison=comparison, filters=members(filters)), made, folder).inputs()
        config = sample.SampleConfig(min_yield=0, **sampling)
        made |= run(deepen, deepen.DeepenConfig(wanted=config.negatives), made, folder).inputs()
        result = run(sample, config, made, folder)
        return {**made, **result.inputs(), "counters": result.counters}

    def triplets(self, folder: Path, **config: Any) -> list[tuple[int, int, int]]:
        """(query, positive, negative) in order."""
        rows = self.ours(folder, **config)["triplets"].read().to_pylist()
        return [(r["query_row"], r["positive_row"], r["negative_row"]) for r in rows]

    def theirs(self, **options: Any) -> list[tuple[int, int, int]]:
        """What `mine_hard_negatives` makes of it: (query, positive, negative), by text, in its order."""
        from datasets import Dataset
        from sentence_transformers.util import mine_hard_negatives

        pairs = [(self.queries[q], self.documents[d]) for q, many in self.positives.items() for d in many]
        found = mine_hard_negatives(
            Dataset.from_dict({"anchor": [q for q, _ in pairs], "positive": [d for _, d in pairs]}),
            _Model(self),
            corpus=self.documents,
            verbose=False,
            **options,
        )
        asked, told = ({text: i for i, text in enumerate(texts)} for texts in (self.queries, self.documents))
        return [(asked[r["anchor"]], told[r["positive"]], told[r["negative"]]) for r in found]


class _Model:
    """In the place of a SentenceTransformer: it knows the scores."""

    def __init__(self, case: Case) -> None:
        import torch

        self.device = torch.device("cpu")
        self._vectors = dict(zip(case.documents, torch.tensor(case.scores), strict=True))
        self._asked = dict(zip(case.queries, torch.eye(case.scores.shape[1]), strict=True))

    def encode_document(self, texts: list[str], **_: Any) -> Any:
        return np.stack([self._vectors[text].numpy() for text in texts])

    def encode_query(self, texts: list[str], **_: Any) -> Any:
        return np.stack([self._asked[text].numpy() for text in texts])

    def similarity(self, left: Any, right: Any) -> Any:
        return _tensor(left) @ _tensor(right).T

    def similarity_pairwise(self, left: Any, right: Any) -> Any:
        return (_tensor(left) * _tensor(right)).sum(dim=1)


def _tensor(values: Any) -> Any:
    import torch

    return torch.as_tensor(values)


def seeded(seed: int) -> None:
    """Sets the generators that a library may draw from without being asked."""
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
