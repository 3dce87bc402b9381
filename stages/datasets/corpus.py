"""A corpus and nothing else: queries and qrels are made from the documents by views.

    [ingest.dataset]
    name = "corpus"
    path = "documents.jsonl"                    # or .csv, .tsv, .parquet, .gz of them, or a folder of .txt and .md

    [ingest.dataset.views.title]                # titles find their bodies
    [ingest.dataset.views.crop]                 # spans find their documents

    [ingest.dataset.views.synthetic]            # a language model's queries, where they find their document again
    writer = { name = "endpoint", url = "http://localhost:8000/v1", model = "NAME" }

Instead of a path, `base` takes the documents of any other data set, and with them its queries of the splits that are
to be measured on. Training on made queries and measuring on real ones is the test that counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from stages.datasets._documents import Documents
from stages.datasets._guess import Guess
from stages.datasets._made import Made
from stages.errors import ConfigError, HardrockError
from stages.intake import Dataset, Opening
from stages.registry import ManyOf, Member, OneOf
from stages.settings import speed
from stages.spec import Context
from stages.viewing import View

Split = Literal["train", "dev", "test"]


class Corpus(Member):
    """Documents of files or of another data set, and queries that views make from them.

    A made query's source is the name of its view, and so is that of its judgements. Its split is that of its document;
    documents with the same text, before or after titles are taken off, are in the same split. A query is made from the
    first document of each text and judged relevant for all of them. Queries with the same text are one query with several
    positives, whose source is the first view that made it; when they come from several splits they are left out, for the split
    that trains must not hold what another one tests. So are made queries that are given as well.
    """

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

    def fingerprint(self) -> str:
        """A sha256 over the bytes of the input, with those of the models that views read."""
        return " ".join([self._source.fingerprint(), *filter(None, (view.fingerprint() for view in self.views))])

    def open(self, context: Context) -> Made:
        """The data set, whose queries are made when they are first asked for."""
        return Made(
            source=self._source,
            name=self.name,
            column_names=self.base.column_names if self.base else self._files.column_names,
            makers={view.name: view.open(context) for view in self.views},
            keep_titles=not self._takes_titles if self.keep_titles is None else self.keep_titles,
            given_splits=self.given_splits,
            shares=(self.dev, self.test),
            seed=self.seed,
        )

    @property
    def _takes_titles(self) -> bool:
        return any(view.takes_titles for view in self.views)

    @property
    def _source(self) -> Dataset | Documents:
        return self.base or self._files

    @property
    def _files(self) -> Documents:
        asked = {"id": self.id, "title": self.title, "text": self.text, "group": self.group}
        qrels: dict[str, Path] = {split: Path(path) for split, path in self.qrels.items()}
        return Documents(Path(self.path or ""), asked, Path(self.queries) if self.queries else None, qrels)


def recognise(place: str) -> Guess | None:
    """Documents in a file or folder, where nothing says more: queries will be made of their spans."""
    if not Path(place).exists():
        return None
    documents = Documents(Path(place), dict.fromkeys(("id", "title", "text", "group")), None, {})
    try:
        files, mapped = documents.files, documents.column_names
    except HardrockError:
        return None
    texts = f"text in {mapped['text']!r}" if mapped else "a text each"
    why = f"{len(files)} file(s) of documents, {texts}; no queries, so spans of the documents are theirs"
    return Guess(20, {"path": place, "views": {"crop": {}}}, (why,))
