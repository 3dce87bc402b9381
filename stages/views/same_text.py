"""Each document as its own query: the two passes through dropout make the two views.

Gao, Yao and Chen, "SimCSE: Simple Contrastive Learning of Sentence Embeddings", EMNLP 2021, section 3. Query and positive
go through the model apart, so their dropout masks differ. A model without dropout, such as static embeddings, sees
the same vector twice and learns only to spread the others. As a test these queries say nothing: each finds itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from stages.viewing import Passage
from stages.views._each import Each


class SameText(Each):
    """The text of each document as the corpus holds it."""

    def queries(self, passage: Passage) -> Sequence[str]:
        return (passage.encoded,)
