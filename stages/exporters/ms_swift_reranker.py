"""ms-swift rerankers: `data/train.jsonl` of `messages`, `positive_messages` and `negative_messages`.

Documents have the role `assistant`, and a query may have several positives; a query's own prompt can be a system message.
`MAX_NEGATIVE_SAMPLES`, 7 where it is not set, is how many negatives it takes.
"""

from __future__ import annotations

from typing import ClassVar

from stages.exporters._swift import CHECKED, Swift

__all__ = ["CHECKED", "LOADER", "MsSwiftReranker"]
LOADER = "datasets"


class MsSwiftReranker(Swift):
    """One row for each query, with all its positives and negatives."""

    role: ClassVar[str] = "assistant"
    per_pair: ClassVar[bool] = False
