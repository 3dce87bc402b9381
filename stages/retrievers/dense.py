"""The round's own encoder, through the saved index."""

from __future__ import annotations

from stages.registry import Member


class Dense(Member):
    """Searches the index that the index stage built, by the vectors that the embed stage made.

    It needs neither text nor model, so there is nothing to set: the stage that has index and vectors searches by itself.
    """

    def fingerprint(self) -> str:
        """Nothing outside of the workspace is read."""
        return ""
