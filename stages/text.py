"""When two texts count as the same, and what is encoded of a document."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from hashlib import blake2b
from string import Formatter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

TITLE_FIRST = "{title} {text}"
_JOIN = b"join"  # key in the metadata of the column title


def normalise(text: str) -> str:
    """NFKC, case folded, every run of white space one blank, none at the ends."""
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())


def text_hash(text: str) -> int:
    """A 64-bit hash of the normalised text, the same on every machine. Equal texts in the sense of `normalise` are equal."""
    return int.from_bytes(blake2b(normalise(text).encode(), digest_size=8).digest(), "little", signed=True)


def text_hashes(texts: Iterable[str]) -> np.ndarray:
    """`text_hash` of each text: int64 (n,)."""
    return np.fromiter((text_hash(text) for text in texts), dtype=np.int64)


def join_title(title: str | None, text: str, template: str = TITLE_FIRST) -> str:
    """What is encoded of a document: its text, and where it has a title what the template makes of both, or that if it is blank."""
    if not title or not title.strip():
        return text
    both = template.format(title=title, text=text)
    return both if both.strip() else title


def joined(documents: pa.Table | pa.RecordBatch) -> list[str]:
    """What is encoded of each document, from the columns title and text. They are joined as the column title says."""
    template = template_of(documents.schema)
    pairs = zip(documents.column("title").to_pylist(), documents.column("text").to_pylist(), strict=True)
    return [join_title(title, text, template) for title, text in pairs]


def template_of(corpus: pa.Schema) -> str:
    """How titles and texts of a corpus are joined: the column title says it, so that who reads texts reads this as well."""
    return ((corpus.field("title").metadata or {}).get(_JOIN) or TITLE_FIRST.encode()).decode()


def with_template(corpus: pa.Schema, template: str) -> pa.Schema:
    """The schema whose column title says how it is joined. The default goes without saying."""
    if template == TITLE_FIRST:
        return corpus
    field = corpus.field("title")
    said = field.with_metadata({**(field.metadata or {}), _JOIN: template.encode()})
    return corpus.set(corpus.get_field_index("title"), said)


def pieces(template: str) -> list[tuple[str, str | None]]:
    """A template as literals, each with the place after it: title, text or None. Raises ValueError for any other template."""
    found = [(literal, name) for literal, name, _, _ in Formatter().parse(template)]
    names = [name for _, name in found if name is not None]
    plain = all(not spec and not conversion for _, _, spec, conversion in Formatter().parse(template))
    if not plain or names.count("text") != 1 or sorted(names) not in (["text"], ["text", "title"]):
        raise ValueError("it has {text} once, {title} at most once, and no other braces but {{ and }}")
    if "\0" in template:
        raise ValueError("it has a NUL character, which no trainer can use")
    return found
