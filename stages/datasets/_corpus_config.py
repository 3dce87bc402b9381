"""What is asked of a corpus whose queries are made: where documents and real queries are, which views, which splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from stages.errors import ConfigError
from stages.intake import Dataset, Opening
from stages.registry import ManyOf, Member, OneOf
from stages.settings import speed
from stages.viewing import View

Split = Literal["train", "dev", "test"]


class CorpusConfig(Member):
    """The table of the configuration, with what does not go together refused."""

    path: str | None = speed(
        None,
        "A file of rows, a folder of these, or a folder of .txt and .md files. Its content is part of a result's identity.",
    )
    base: Annotated[Dataset | None, OneOf("datasets")] = Field(
        None, description="Another data set, instead of a path: its documents, and its queries of `given_splits`."
    )
    views: Annotated[tuple[View, ...], ManyOf("views")] = Field(
        description="What makes queries, in order. Each adds up to its own number of pairs for every document."
    )
    id: str | None = Field(
        None,
        description="Column of ids; null looks for a known name, and makes ids from the texts where there is none.",
    )
    title: str | None = Field(None, description="Column of titles; null looks for a known name.")
    text: str | None = Field(None, description="Column of texts; null looks for a known name.")
    group: str | None = Field(None, description="Column of parents or sources; null: none.")
    queries: str | None = speed(
        None,
        "A file of real queries, with columns of id and text: for dev and test, or to train on beside the made ones.",
    )
    qrels: dict[Split, str] = speed(
        {}, "Files of the real queries' judgements by split, as in BEIR: query-id, corpus-id and score, tabs between."
    )
    given_splits: tuple[Split, ...] = Field(
        ("dev", "test"),
        description="Splits whose real queries are kept. Their documents can be in training all the same.",
    )
    keep_titles: bool | None = Field(
        None,
        description="Whether documents keep their titles; null: unless a view asks for them as queries, for with its title in it a "
        "document is found by its words alone.",
    )
    dev: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of documents whose queries are in dev; null: .1, or 0 with real queries there.",
    )
    test: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of documents whose queries are in test; null: .1, or 0 with real queries there.",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Of the splits.")

    column_names: ClassVar[Mapping[str, str]] = {}

    @field_validator("base")
    @classmethod
    def _is_read(cls, base: Dataset | None) -> Dataset | None:
        if isinstance(base, Opening):
            raise ConfigError(
                "the base makes its queries itself", where="datasets.corpus.base", try_="one corpus with all views"
            )
        return base

    @field_validator("qrels", mode="before")
    @classmethod
    def _are_splits(cls, qrels: object) -> object:
        if isinstance(qrels, dict) and (unknown := [key for key in qrels if key not in ("train", "dev", "test")]):
            raise ValueError(f"{unknown[0]!r} is none of train, dev, test")
        return qrels

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.path is None) == (self.base is None):
            raise ValueError("documents come from a path or from a base, and from one of them alone")
        if self.base is not None and (self.queries or self.qrels or self.id or self.title or self.text or self.group):
            raise ValueError("columns, queries and qrels are those of a path; a base has its own")
        if bool(self.queries) != bool(self.qrels):
            raise ValueError("real queries need both: queries = a file, and qrels = { test = a file }")
        if not self.views:
            raise ValueError("no view makes queries; [ingest.dataset.views.crop] is one")
        if len({view.name for view in self.views}) < len(self.views):
            raise ValueError("a view occurs twice, and ids of its queries would too")
        if (self.dev or 0) + (self.test or 0) > 1:
            raise ValueError(f"dev and test are shares of one whole: {self.dev} + {self.test} is more than 1")
        return self
