"""The card of a trained model: what it was trained on and how, and how to load it. It holds no dates and no durations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sentence_transformers import SentenceTransformer

CARD = """\
---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags:
- sentence-transformers
- feature-extraction
- dense-retrieval
---

# A retriever trained with Hardrock

Maps texts to vectors of {dimensions} dimensions; the higher the inner product of a query's and a document's vector, the more
relevant is the document.

## How to load it

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
queries = model.encode_query(["…"])
documents = model.encode_document(["…", "…"])
scores = queries @ documents.T
```

{prompts}

## Data

{data}

## Metrics known when training ended

{metrics}

The run's report has what it is worth on held-out queries.

## Configuration

```json
{configuration}
```
"""


def card(
    configuration: Mapping[str, Any], facts: Mapping[str, Any], counters: Mapping[str, int], module: SentenceTransformer
) -> str:
    """The text of the README.md in the model's folder, a function of its arguments alone."""
    prompts = {role: prompt for role, prompt in sorted(module.prompts.items()) if prompt}
    data = [
        ("Pairs of a query and a relevant document in the split train", counters["pairs"]),
        ("Pairs trained on", facts["rows"]),
        ("Pairs without a mined negative", counters["pairs.without_negatives"]),
        ("Mined negatives", facts["negatives"]),
        ("Texts that went through the model", counters["texts"]),
    ]
    metrics = [
        ("Optimizer steps", facts["steps"]),
        ("Epochs", facts["epochs"]),
        ("Loss, mean over the last steps", facts["loss"]),
        ("Share of in-batch negatives masked as known positives", facts["masked"]),
    ]
    if "best_ndcg" in facts:
        metrics += [("nDCG@10 on dev", facts["best_ndcg"]), ("Step of these weights", facts["best_step"])]
    return CARD.format(
        dimensions=module.get_embedding_dimension(),
        prompts=f"Prompts: `{json.dumps(prompts, ensure_ascii=False)}`" if prompts else "It needs no prompts.",
        data=_table(data),
        metrics=_table(metrics),
        configuration=json.dumps(configuration, indent=2, sort_keys=True, ensure_ascii=False),
    )


def _table(rows: list[tuple[str, Any]]) -> str:
    """A Markdown table of two columns."""
    lines = [f"| {says} | {f'{value:.4g}' if isinstance(value, float) else f'{value:,}'} |" for says, value in rows]
    return "\n".join(["| | |", "|---|---:|", *lines])
