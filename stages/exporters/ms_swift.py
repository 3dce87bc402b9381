"""ms-swift embedding models: `data/train.jsonl` of `messages`, `positive_messages` and `negative_messages`.

InfoNCE takes exactly one positive, so a row is a query and one positive; a query's own prompt can be a system message.
Rows with the same number of negatives train faster: `INFONCE_HARD_NEGATIVES` sets how many it takes.
"""

from __future__ import annotations

from typing import ClassVar

from stages.exporters._swift import CHECKED, Swift

__all__ = ["CHECKED", "LOADER", "MsSwift"]
LOADER = "datasets"


class MsSwift(Swift):
    """One row for each query and positive, with all its negatives."""

    role: ClassVar[str] = "user"
    per_pair: ClassVar[bool] = True
