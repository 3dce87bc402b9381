"""What the views share that read one document at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from stages.registry import Member
from stages.spec import Context
from stages.viewing import Passage, Passages


class Each(Member):
    """A view that is a function of one document and needs nothing from outside."""

    takes_titles: ClassVar[bool] = False

    def fingerprint(self) -> str:
        """Nothing outside of the data is read."""
        return ""

    def queries(self, passage: Passage) -> Sequence[str]:
        """The queries of one document; none when it does not lend itself."""
        raise NotImplementedError

    def open(self, context: Context) -> _Maker:
        return _Maker(self)


class _Maker:
    """A view at work. `counts` says how many documents gave no query."""

    def __init__(self, view: Each) -> None:
        self._view = view
        self.counts: dict[str, int] = {}

    def make(self, passages: Passages) -> Iterator[tuple[int, str]]:
        self.counts = {"documents_without": 0}
        for place, passage in enumerate(passages()):
            found = self._view.queries(passage)
            self.counts["documents_without"] += not found
            for text in found:
                yield place, text
