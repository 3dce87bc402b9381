"""What a data set yields, row by row, and what can be wrong with a row.

A data set adapter reads its format and yields records as they stand there; ingest checks them. What an adapter cannot
make into a record, it yields as a `Fault`, so that one policy decides about all bad rows.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, NamedTuple

SPLITS = ("train", "dev", "test")
SPLIT_NAMES = {
    **{name: name for name in SPLITS},
    "training": "train",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "development": "dev",
    "testing": "test",
}
"""Names under which the three splits are found in data, in lower case."""

_INVISIBLE = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})
_SHOWN = 80  # characters of an id or a value in a message


class Picture(NamedTuple):
    """What is encoded instead of a text.

    `content` is its encoded bytes, or what reads at most so many of them. The latter may raise OSError, and goes to another
    process: it is a function of a module, or a partial of one.
    """

    content: bytes | Callable[[int], bytes]
    name: str = ""  # what messages call it: its file in the data set. What has one name is one picture


class Document(NamedTuple):
    file: str
    line: int  # line or row in the file, from 1
    id: Any
    text: Any
    title: Any = None
    group: Any = None
    picture: Any = None  # a Picture, beside which the text is a caption and may be empty
    label: Any = None  # its class


class Query(NamedTuple):
    file: str
    line: int
    id: Any
    text: Any
    prompt: Any = None
    source: str = "given"
    picture: Any = None


class Judgement(NamedTuple):
    file: str
    line: int
    query_id: Any
    doc_id: Any
    relevance: Any  # above 0 is relevant
    split: str
    source: str = "given"


class Fault(NamedTuple):
    """A row that cannot be used: where it stands, what is wrong and how to mend it."""

    file: str
    line: int | None
    column: str | None
    id: str | None
    reason: str
    mend: str


class Note(NamedTuple):
    """Something the adapter took in a way that a person should know."""

    message: str


class Wrong(NamedTuple):
    """What is wrong with a value, and how to mend it."""

    reason: str
    mend: str


def stable_hash(key: str) -> int:
    """A 64-bit hash, 0 to 2**64 - 1, the same on every machine: what chooses parts and splits."""
    return int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def split_of(key: str, dev: float = 0.1, test: float = 0.2) -> str:
    """The split of a key by its stable hash, with the shares of dev and test given and the rest in train."""
    place = stable_hash(key) / 2**64
    if place < test:
        return "test"
    return "dev" if place < test + dev else "train"


def shown(value: object) -> str:
    """A value as it goes into a message: printable, and cut when it is long."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except ValueError:  # an int of too many digits to print
        text = "a very long number"
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: _SHOWN + 1])
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen: empty, or white space, control and format characters alone."""
    return not text[:1].isalnum() and all(unicodedata.category(c) in _INVISIBLE for c in text)


def wrong_string(value: object, what: str) -> Wrong | None:
    """What keeps a value from being stored as a string; `what` names what it should be, such as "a text"."""
    if not isinstance(value, str):
        return Wrong(f"{_kind(value)} where {what} belongs", f"write it as {what}, in quotes, or take the row out")
    if value.isascii():
        return None
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return Wrong(
            f"a lone surrogate, U+{ord(value[error.start]):04X}, at character {error.start + 1}",
            "write the character that it was half of, or take it out",
        )
    return None


def wrong_text(value: object) -> Wrong | None:
    """What keeps a value from being a text that can be encoded; None when nothing does."""
    if type(value) is str and value.isascii() and value[:1].isalnum():
        return None  # nearly all of them
    wrong = wrong_string(value, "a text")
    if wrong or not isinstance(value, str) or not is_blank(value):
        return wrong
    reason = "white space or invisible characters alone" if value else "an empty text"
    return Wrong(reason, "give it a text, or take the row out")


def wrong_id(value: object, limit: int) -> Wrong | None:
    """What keeps a value from being an id of at most `limit` bytes of UTF-8; None when nothing does."""
    if type(value) is str and value.isascii() and value[:1].isalnum() and len(value) <= limit:
        return None  # nearly all of them
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not _is_nan(value):
        return Wrong(
            f'the number {shown(value)} where an id belongs: as ids, 1 and "1" would be the same',
            f'ids are text: write it in quotes, as it is meant: "{shown(value)}"',
        )
    wrong = wrong_string(value, "an id")
    if wrong or not isinstance(value, str):
        return wrong
    if is_blank(value):
        return Wrong("white space or invisible characters alone as an id" if value else "an empty id", "give it an id")
    if len(value) * 4 > limit and (size := len(value.encode())) > limit:
        return Wrong(f"an id of {size:,} bytes; the limit is {limit:,}", "shorten it, or raise id_bytes")
    return None


def wrong_relevance(value: object) -> Wrong | None:
    """What keeps a value from being a relevance: it is no whole number, or does not fit in 32 bits."""
    mend = "write a whole number: above 0 is relevant, 0 is not"
    if isinstance(value, bool) or not isinstance(value, int):
        return Wrong(f"{_kind(value)} where a relevance belongs", mend)
    if not -(2**31) <= value < 2**31:
        return Wrong(f"the relevance {shown(value)} is not a whole number of 32 bits", mend)
    return None


def wrong_scores(value: object, texts: int) -> Wrong | None:
    """What keeps a value from being the scores of so many texts: a list as long, of numbers."""
    mend = "give one number for each text, in the same order, or leave the scores out"
    if not isinstance(value, list):
        return Wrong(f"{_kind(value)} where a list of scores belongs", mend)
    if len(value) != texts:
        return Wrong(f"{len(value)} scores for {texts} texts", mend)
    for i, score in enumerate(value):
        number = isinstance(score, (int, float)) and not isinstance(score, bool)
        if not number or (isinstance(score, float) and not math.isfinite(score)):
            return Wrong(f"{_kind(score)} where score {i} belongs", mend)
    return None


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if _is_nan(value):
        return "NaN"
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"the number {shown(value)}"
    for kind, name in ((bytes, "bytes"), (list, "a list"), (dict, "an object")):
        if isinstance(value, kind):
            return name
    return f"a {type(value).__name__}"


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
