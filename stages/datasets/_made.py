"""A data set whose queries are made from its documents."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from stages.records import (
    SPLITS,
    Document,
    Fault,
    Judgement,
    Note,
    Query,
    is_blank,
    split_of,
    wrong_id,
    wrong_string,
    wrong_text,
)
from stages.text import join_title, text_hash
from stages.viewing import Maker, Passage

SHARE = 0.1
"""Share of documents in dev, and in test, where nothing else is said and no real queries are."""

_ID_BYTES = 1 << 20  # ids are capped by ingest; here they only have to be ids


class Source(Protocol):
    """Where the documents come from, and the real queries."""

    def fingerprint(self) -> str: ...

    def locate(self, file: str) -> str: ...

    def documents(self) -> Iterator[Document | Fault | Note]: ...

    def queries(self) -> Iterator[Query | Fault | Note]: ...

    def judgements(self) -> Iterator[Judgement | Fault | Note]: ...


@dataclass(frozen=True)
class _Survey:
    """The n sound documents in order, without their texts."""

    ids: list[str]
    files: list[str]
    file: np.ndarray  # int32 (n,), place in files
    line: np.ndarray  # int64 (n,)
    first: np.ndarray  # int64 (n,), the first document that holds the same text in the corpus
    part: np.ndarray  # int64 (n,), one number for documents whose splits must not differ

    def place(self, document: int) -> tuple[str, int]:
        return self.files[self.file[document]], int(self.line[document])


@dataclass(frozen=True)
class _Plan:
    """The m made queries in the order of making."""

    view: np.ndarray  # int32 (m,)
    document: np.ndarray  # int64 (m,), place in the survey
    group: np.ndarray  # int64 (m,), one number for queries with the same text
    leads: np.ndarray  # bool (m,), whether the query is kept: the first of its group, and the group is kept
    counts: dict[str, int]


@dataclass(frozen=True)
class Made:
    """Documents of a source, its real queries of some splits, and the queries that makers make. See `Corpus`."""

    source: Source
    name: str
    column_names: Mapping[str, str]
    makers: Mapping[str, Maker]
    keep_titles: bool
    given_splits: tuple[str, ...]
    shares: tuple[float | None, float | None]  # of dev and of test
    seed: int

    @property
    def counts(self) -> Mapping[str, int]:
        """What was made and what was not, by name."""
        return self._plan.counts

    def fingerprint(self) -> str:
        return self.source.fingerprint()

    def locate(self, file: str) -> str:
        return self.source.locate(file)

    def documents(self) -> Iterator[Document | Fault | Note]:
        for item in self.source.documents():
            yield self._held(item) if isinstance(item, Document) else item

    def queries(self) -> Iterator[Query | Fault | Note]:
        given = self._given
        for item in self.source.queries() if given else ():
            if not isinstance(item, Query) or item.id in given:
                yield item
        survey, plan = self._survey, self._plan
        for i, (key, text) in enumerate(self._texts()):
            if plan.leads[i]:
                document = int(plan.document[i])
                yield Query(*survey.place(document), key, text, source=self._names[plan.view[i]])

    def judgements(self) -> Iterator[Judgement | Fault | Note]:
        given = self._given
        for item in self.source.judgements() if given else ():
            if not isinstance(item, Judgement) or item.split in self.given_splits:
                yield item
        yield from self._notes()
        survey, plan, splits = self._survey, self._plan, self._splits
        copies = _members(survey.first)
        same = _members(plan.group)
        for i, key in enumerate(self._ids()):
            if not plan.leads[i]:
                continue
            origins = np.unique(plan.document[same(int(plan.group[i]))])
            for document in np.concatenate([copies(int(origin)) for origin in origins]).tolist():
                place = survey.place(document)
                split = SPLITS[splits[document]]
                yield Judgement(*place, key, survey.ids[document], 1, split, self._names[plan.view[i]])

    def _notes(self) -> Iterator[Note]:
        counts = self.counts
        for name in self._names:
            without = counts[f"views.{name}.documents_without"]
            yield Note(
                f"{name}: {counts[f'views.{name}.queries']:,} queries"
                + (f"; {without:,} documents give none" if without else "")
            )
        for name, says in (
            ("copies", "documents repeat the text of another: its queries find them too"),
            ("in_several_splits", "made queries come from documents of several splits: left out"),
            ("given_too", "made queries have the text of a real one: left out"),
        ):
            if count := counts[f"views.{name}"]:
                yield Note(f"{count:,} {says}")
        if self.keep_titles and "title" in self._names:
            yield Note("documents keep their titles although titles are queries: words alone find the positives")

    @property
    def _names(self) -> list[str]:
        return list(self.makers)

    def _held(self, document: Document) -> Document:
        """The document as the corpus holds it: without its title where titles are queries, unless it has nothing else."""
        title, text = document.title, document.text
        if self.keep_titles or title is None or not isinstance(text, str) or is_blank(text):
            return document
        if wrong_string(title, "a title"):
            return document  # so that ingest sees it
        return document._replace(title=None)

    def _sound(self) -> Iterator[tuple[Document, str]]:
        """The documents that ingest keeps, and what is encoded of each."""
        seen: set[str] = set()
        for item in self.source.documents():
            if not isinstance(item, Document) or wrong_id(item.id, _ID_BYTES) or item.id in seen:
                continue
            title, text = item.title, item.text
            if title is not None and wrong_string(title, "a title"):
                continue
            if wrong_text(text) and (wrong_string(text, "a text") or is_blank(title or "")):
                continue
            seen.add(item.id)
            title = self._held(item).title
            yield item, join_title(None if title is None or is_blank(title) else title, text)

    @cached_property
    def _survey(self) -> _Survey:
        ids: list[str] = []
        names: dict[str, int] = {}
        file, line, encoded, bodies = array("i"), array("q"), array("q"), array("q")
        for document, whole in self._sound():
            ids.append(document.id)
            file.append(names.setdefault(document.file, len(names)))
            line.append(document.line)
            encoded.append(text_hash(whole))
            bodies.append(encoded[-1] if is_blank(document.text) else text_hash(document.text))
        held = np.array(encoded, dtype=np.int64)
        _, first, code = np.unique(held, return_index=True, return_inverse=True)
        body = np.unique(np.array(bodies, dtype=np.int64), return_inverse=True)[1]
        return _Survey(ids, list(names), np.array(file), np.array(line), first[code], parts(held, code, body))

    @cached_property
    def _splits(self) -> np.ndarray:
        """The split of each document, int8 (n,), a number in SPLITS: a function of the seed and of its part."""
        given = set(self._given.values())
        dev, test = (
            (0.0 if split in given else SHARE) if share is None else share
            for split, share in zip(("dev", "test"), self.shares, strict=True)
        )
        own, code = np.unique(self._survey.part, return_inverse=True)
        split = [SPLITS.index(split_of(f"{self.seed} {part}", dev, test)) for part in own.tolist()]
        chosen: np.ndarray = np.array(split, dtype=np.int8)[code]
        return chosen

    @cached_property
    def _given(self) -> dict[str, str]:
        """The split of each real query that is kept, by its id."""
        return {
            item.query_id: item.split
            for item in self.source.judgements()
            if isinstance(item, Judgement)
            and item.split in self.given_splits
            and not wrong_id(item.query_id, _ID_BYTES)
        }

    @cached_property
    def _plan(self) -> _Plan:
        survey = self._survey
        firsts = np.unique(survey.first)
        view, place, hashes = array("i"), array("q"), array("q")
        counts: dict[str, int] = {}
        for number, (name, maker) in enumerate(self.makers.items()):
            for origin, text in maker.make(self._passages):
                view.append(number)
                place.append(origin)
                hashes.append(text_hash(text))
            counts |= {f"views.{name}.{what}": count for what, count in maker.counts.items()}
        document = firsts[np.array(place, dtype=np.int64)]
        own, lead, group = np.unique(np.array(hashes, dtype=np.int64), return_index=True, return_inverse=True)
        splits = self._splits[document]
        straddles = np.zeros(len(own), dtype=bool)
        straddles[group[splits != splits[lead][group]]] = True
        given = np.isin(own, self._given_hashes()) & ~straddles
        leads = np.zeros(len(group), dtype=bool)
        leads[lead[~straddles & ~given]] = True
        views = np.array(view, dtype=np.int32)
        for number, name in enumerate(self._names):
            counts[f"views.{name}.queries"] = int((leads & (views == number)).sum())
        counts |= {
            "views.copies": len(survey.ids) - len(firsts),
            "views.in_several_splits": int(straddles[group].sum()),
            "views.given_too": int(given[group].sum()),
        }
        return _Plan(views, document, group, leads, counts)

    def _given_hashes(self) -> np.ndarray:
        """Hashes of the real queries' texts: int64."""
        given = self._given
        texts = (item for item in self.source.queries() if isinstance(item, Query)) if given else ()
        return np.array(
            [text_hash(item.text) for item in texts if item.id in given and not wrong_text(item.text)], dtype=np.int64
        )

    def _passages(self) -> Iterator[Passage]:
        first = self._survey.first
        for number, (document, encoded) in enumerate(self._sound()):
            if first[number] == number:
                yield Passage(document.id, document.title, document.text, encoded)

    def _texts(self) -> Iterator[tuple[str, str]]:
        """Id and text of each made query, in the order of the plan."""
        texts = (text for maker in self.makers.values() for _, text in maker.make(self._passages))
        return zip(self._ids(), texts, strict=True)

    def _ids(self) -> Iterator[str]:
        """The id of each made query: its view, its document's id, and its number among those of both."""
        last, number = (-1, -1), 0
        survey, plan, names = self._survey, self._plan, self._names
        for own in zip(plan.view.tolist(), plan.document.tolist(), strict=True):
            number = number + 1 if own == last else 1
            last = own
            yield f"{names[own[0]]}/{survey.ids[own[1]]}/{number}"


def parts(values: np.ndarray, *codes: np.ndarray) -> np.ndarray:
    """The least value of all that hang together: int64 (n,), where equal codes, int (n,) each, hang together."""
    least = values.copy()
    while True:
        before = least
        for code in codes:
            lowest = np.full(int(code.max(initial=-1)) + 1, np.iinfo(np.int64).max)
            np.minimum.at(lowest, code, least)
            least = lowest[code]
        if np.array_equal(before, least):
            return least


def _members(keys: np.ndarray) -> Any:
    """A function from a key to the places that have it, ascending."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    return lambda key: order[np.searchsorted(ordered, key) : np.searchsorted(ordered, key, side="right")]
