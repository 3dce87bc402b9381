"""Documents in memory for views, and a context that says what they log."""

from __future__ import annotations

from stages.text import join_title
from stages.viewing import Passage


def passages(*documents: tuple[str, str | None, str], keep_titles: bool = False):
    """Documents of (id, title, text) as views ask for them."""
    held = [
        Passage(key, title, text, join_title(title if keep_titles else None, text)) for key, title, text in documents
    ]
    return lambda: iter(held)


def made(view, documents, context):
    """(id of the document, query) of each query that a view makes, and the view's counts."""
    maker = view.open(context)
    ids = [passage.id for passage in documents()]
    first = [(ids[place], text) for place, text in maker.make(documents)]
    assert [(ids[place], text) for place, text in maker.make(documents)] == first, "the same queries each time"
    return first, dict(maker.counts)
