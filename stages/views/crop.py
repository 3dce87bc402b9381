"""Random spans of a document as queries.

Izacard et al., "Unsupervised Dense Information Retrieval with Contrastive Learning" (Contriever), TMLR 2022, section 3.1 and
appendix A.1: spans of 5% to 50% of the document. There the positive is a second, independent span; here it is the document
as it stands in the corpus, for that is what a search returns, and no document is invented.

With n words, u and v uniform in [0, 1) from seed, document id and number of the span:

    length = min(n - 1, max(min_words, floor(n · (min_share + (max_share - min_share) · u))))
    start  = floor((n - length + 1) · v)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from stages.records import stable_hash
from stages.viewing import Passage
from stages.views._each import Each

_UNITS = {"words": re.compile(r"\S+"), "characters": re.compile(r"\S")}


class Crop(Each):
    """Spans of each document, to the letter. A document of at most `min_words` words gives none."""

    crops: int = Field(1, ge=1, description="spans a document; pairs, and the time of training, grow in proportion")
    min_share: float = Field(
        0.05, gt=0, lt=1, description="shortest span as a share of the document; shorter ones are harder to place"
    )
    max_share: float = Field(
        0.5, gt=0, lt=1, description="longest span as a share of the document; longer ones are easier to find"
    )
    min_words: int = Field(3, ge=1, description="words that a span has at least, whatever its share")
    unit: Literal["words", "characters"] = Field(
        "words", description="what is counted; characters for languages that are written without blanks"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="of the spans")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_share > self.max_share:
            raise ValueError(f"min_share {self.min_share} is more than max_share {self.max_share}")
        return self

    def queries(self, passage: Passage) -> Sequence[str]:
        words = [found.span() for found in _UNITS[self.unit].finditer(passage.encoded)]
        if len(words) <= self.min_words:
            return ()
        return [self._span(passage, words, number) for number in range(self.crops)]

    def _span(self, passage: Passage, words: Sequence[tuple[int, int]], number: int) -> str:
        """One span, from the start of a word to the end of another."""
        share = self.min_share + (self.max_share - self.min_share) * self._uniform(passage.id, number, "length")
        length = min(len(words) - 1, max(self.min_words, int(len(words) * share)))
        start = int((len(words) - length + 1) * self._uniform(passage.id, number, "start"))
        return passage.encoded[words[start][0] : words[start + length - 1][1]]

    def _uniform(self, key: str, number: int, what: str) -> float:
        """A number from 0 to below 1 that hangs on seed, document and purpose alone."""
        return (stable_hash(f"crop {self.seed} {number} {what} {key}") >> 11) / 2**53
