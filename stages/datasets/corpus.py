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

from pathlib import Path

from stages.datasets._corpus_config import CorpusConfig
from stages.datasets._documents import Documents
from stages.datasets._guess import Guess
from stages.datasets._made import Made
from stages.errors import HardrockError
from stages.intake import Dataset
from stages.spec import Context


class Corpus(CorpusConfig):
    """Documents of files or of another data set, and queries that views make from them.

    A made query's source is the name of its view, and so is that of its judgements. Its split is that of its document;
    documents with the same text, before or after titles are taken off, are in the same split. A query is made from the
    first document of each text and judged relevant for all of them. Queries with the same text are one query with several
    positives, whose source is the first view that made it; when they come from several splits they are left out, for the split
    that trains must not hold what another one tests. So are made queries that are given as well.
    """

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
