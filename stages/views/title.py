"""Titles as queries, bodies as what they have to find.

MacAvaney, Yates, Hui and Frieder, "Content-Based Weak Supervision for Ad-Hoc Re-Ranking", 2019: headline and article stand
in for query and relevant document. Where this view is used the corpus is read without titles, else a document would hold
its query word for word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from stages.records import is_blank
from stages.text import normalise
from stages.viewing import Passage
from stages.views._each import Each


class Title(Each):
    """The title of each document that has a title and a text."""

    takes_titles: ClassVar[bool] = True

    min_words: int = Field(
        1, ge=1, description="words that a title has at least; short ones such as `Home` say little of a document"
    )

    def queries(self, passage: Passage) -> Sequence[str]:
        title = passage.title
        if title is None or is_blank(title) or is_blank(passage.text) or normalise(title) == normalise(passage.text):
            return ()
        return (title,) if len(title.split()) >= self.min_words else ()
