"""A data set of the package ir_datasets, which is not installed with Hardrock: `pip install ir-datasets`.

One id for each split that is read: `train = "beir/scifact/train"`. The documents of all ids have to be the same. `default_text()` is
the text of a document or a query. Document pairs, scored documents and iterations of qrels are not read. What identifies the
data is the ids: the package checks what it fetches against hashes of its own.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, model_validator

from stages.datasets._guess import Guess
from stages.errors import ConfigError, ResourceError
from stages.records import SPLITS, Document, Fault, Judgement, Note, Query, split_of
from stages.registry import Member


class IrDatasets(Member):
    """Documents, queries and qrels by the ids of ir_datasets. Lines are the numbers of records, from 1."""

    id: str | None = Field(None, description="One id whose queries are split by a hash of their id.")
    train: str | None = Field(None, description="The id of the training queries.")
    dev: str | None = Field(None, description="The id of the queries for development.")
    test: str | None = Field(None, description="The id of the test queries.")

    column_names: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="after")
    def _some(self) -> IrDatasets:
        if (self.id is None) == (self.train is None and self.dev is None and self.test is None):
            raise ValueError('id = "…", or an id for each of train, dev and test that is read')
        return self

    @cached_property
    def _ids(self) -> dict[str, str | None]:
        """Each id with its split."""
        if self.id is not None:
            return {self.id: None}
        return {name: split for split in SPLITS if (name := getattr(self, split)) is not None}

    @cached_property
    def _loaded(self) -> dict[str, Any]:
        try:
            package = importlib.import_module("ir_datasets")
        except ImportError:
            raise ResourceError("the package ir_datasets is not installed", try_="pip install ir-datasets") from None
        found = {}
        for name in self._ids:
            try:
                found[name] = package.load(name)
            except KeyError:
                raise ConfigError(f"ir_datasets knows no {name!r}", try_="https://ir-datasets.com lists them") from None
            for part in ("docs", "queries", "qrels"):
                if not getattr(found[name], f"has_{part}")():
                    raise ConfigError(f"{name} has no {part}", try_="an id that ends in its split: beir/scifact/test")
        return found

    def fingerprint(self) -> str:
        """A sha256 over the ids."""
        return sha256(repr(sorted(self._ids.items())).encode()).hexdigest()

    def locate(self, file: str) -> str:
        return f"ir_datasets {file}"

    def documents(self) -> Iterator[Document | Fault | Note]:
        name, data = next(iter(self._loaded.items()))
        for number, document in enumerate(data.docs_iter(), 1):
            yield Document(name, number, document.doc_id, _text(document))

    def queries(self) -> Iterator[Query | Fault | Note]:
        seen: dict[str, Any] = {}
        for name, data in self._loaded.items():
            for number, query in enumerate(data.queries_iter(), 1):
                text, key = _text(query), _key(query.query_id)
                if (known := seen.get(key)) is None or known != text:
                    seen[key] = text
                    yield Query(name, number, query.query_id, text)

    def judgements(self) -> Iterator[Judgement | Fault | Note]:
        for name, data in self._loaded.items():
            for number, item in enumerate(data.qrels_iter(), 1):
                split = self._ids[name] or split_of(_key(item.query_id))
                yield Judgement(name, number, item.query_id, item.doc_id, item.relevance, split)


def _text(record: Any) -> Any:
    return record.default_text() if hasattr(record, "default_text") else record.text


def _key(value: Any) -> str:
    """An id as a key; one that is no text is refused by ingest."""
    return value if isinstance(value, str) else repr(value)


def recognise(place: str) -> Guess | None:
    """An id that the package knows, where it is installed, or that looks like one."""
    if Path(place).exists() or place.startswith(("/", ".", "~")):
        return None
    try:
        known = place in importlib.import_module("ir_datasets").registry
    except ImportError:
        return (
            Guess(10, {"id": place}, ("it reads as an id of ir_datasets",), ("ir_datasets is not installed",))
            if place.count("/") > 1
            else None
        )
    return Guess(90, {"id": place}, ("ir_datasets knows it",)) if known else None
