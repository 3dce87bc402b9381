"""Makes the batch of a number: which examples, their texts as tokens or their pictures as pixels, and what is known of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from sentence_transformers import SentenceTransformer

from stages.augmenting import Augmentation, draw
from stages.examples import Known
from stages.guidance import Guidance
from stages.imaging import rgb
from stages.pictures import Album
from stages.spec import Source
from stages.text import joined
from stages.training.plan import Plan

Item = Any
"""A text, str; or a picture, PIL.Image.Image of mode RGB, or a uint8 tensor (3, h, w) where it is a view of one; or `Held`."""


class Held(NamedTuple):
    """What a frozen tower gives for a text or picture, in its place."""

    tower: str
    features: np.ndarray  # float32 (d,)
    at_limit: bool


@dataclass(frozen=True)
class Features:
    """What a frozen tower gives for some of n rows, in a file that is mapped."""

    tower: str
    file: Path  # float32 (f, d), as numpy saves it
    places: np.ndarray  # int64 (n,), the place of each row in the file, -1 for rows that are not in it
    at_limit: np.ndarray  # bool (f,), texts that take all the tokens there may be


class Texts:
    """The texts or pictures of some rows of a table, with a prompt for each text. Pictures are decoded when they are asked for."""

    def __init__(
        self,
        rows: np.ndarray,
        texts: pa.Array,
        prompts: pa.Array,
        pictures: np.ndarray | None = None,
        album: Album | None = None,
    ) -> None:
        """Rows ascending, int (n,); texts and prompts of these rows, strings (n,); the row of each in the album, -1 for texts."""
        self.rows, self._texts, self._prompts, self._pictures, self._album = rows, texts, prompts, pictures, album
        self.features: list[Features] = []

    def of(self, rows: np.ndarray) -> tuple[list[Item], list[str]]:
        """Texts or pictures and prompts of rows, which may repeat. What frozen towers gave stands in their place."""
        found = np.searchsorted(self.rows, rows)
        places = pa.array(found)
        items: list[Item] = self._texts.take(places).to_pylist()
        for one in self.features:
            values = np.load(one.file, mmap_mode="r")
            for i, place in enumerate(one.places[found].tolist()):
                if place >= 0:
                    items[i] = Held(one.tower, values[place], bool(one.at_limit[place]))
        if self._pictures is not None and self._album is not None:
            wanted = [
                -1 if isinstance(item, Held) else row for item, row in zip(items, self._pictures[found], strict=True)
            ]
            decoded = {row: rgb(self._album[row]) for row in sorted(set(wanted)) if row >= 0}
            items = [decoded.get(row, item) for row, item in zip(wanted, items, strict=True)]
        return items, self._prompts.take(places).to_pylist()

    def sameness(self, shown: bool) -> tuple[np.ndarray, list[Any]]:
        """The places among the rows of all pictures, or of all texts: int64 (k,); and what is the same for the same item."""
        pictured = np.zeros(len(self.rows), dtype=bool) if self._pictures is None else self._pictures >= 0
        places = np.flatnonzero(pictured == shown)
        if shown:
            return places, [] if self._pictures is None else self._pictures[places].tolist()
        chosen = pa.array(places)
        return places, list(
            zip(self._prompts.take(chosen).to_pylist(), self._texts.take(chosen).to_pylist(), strict=True)
        )

    def shown(self, rows: np.ndarray) -> np.ndarray:
        """Which rows are pictures: bool, as many as rows."""
        if self._pictures is None:
            return np.zeros(len(rows), dtype=bool)
        return np.asarray(self._pictures[np.searchsorted(self.rows, rows)] >= 0)


def texts_of(source: Source, rows: np.ndarray, prompt: str, album: Album | None = None) -> Texts:
    """What is encoded of some rows, int (n,) ascending. A prompt of a query's own stands in for `prompt`, pictures have none.

    `album` holds the pictures of these rows, where there are any.
    """
    titled, prompted = "title" in source.schema.names, "prompt" in source.schema.names
    texts: list[str] = []
    prompts: list[str] = []
    pictures: list[np.ndarray] = []
    optional = ["title"] * titled + ["prompt"] * prompted
    for batch in source.batches(["row", "text", "picture", *optional]):
        first = batch["row"][0].as_py() if batch.num_rows else 0
        inside = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + batch.num_rows)] - first
        found = batch.take(pa.array(inside))
        texts += joined(found) if titled else found["text"].to_pylist()
        pictures.append(found["picture"].fill_null(-1).to_numpy())
        own = found["prompt"].to_pylist() if prompted else [None] * len(inside)
        prompts += [
            "" if shown >= 0 else prompt if one is None else one for one, shown in zip(own, pictures[-1], strict=True)
        ]
    kept = pa.array(prompts, pa.string()).dictionary_encode()
    places = np.concatenate(pictures) if album is not None else None
    return Texts(rows, pa.array(texts, pa.large_string()), kept, places, album)


def pictures_of(source: Source, rows: np.ndarray) -> np.ndarray:
    """The rows in the table of pictures that some rows show, ascending and each once: int32."""
    column = source.read(["picture"])["picture"].combine_chunks().take(pa.array(rows))
    return np.unique(column.drop_null().to_numpy())


@dataclass(frozen=True)
class Augmenting:
    """Views in place of what is trained on, other ones in each epoch."""

    recipes: tuple[Augmentation, ...]
    seed: int

    def views(self, items: list[Item], epoch: int, keys: list[tuple[int, int]]) -> list[Item]:
        """A view of each item, by its (example, place)."""
        for recipe in self.recipes:
            chosen = [i for i, item in enumerate(items) if isinstance(item, str) == (recipe.kind == "text")]
            if chosen:
                draws = [draw(self.seed, epoch, *keys[i]) for i in chosen]
                items = items.copy()
                for i, view in zip(chosen, recipe.views([items[i] for i in chosen], draws), strict=True):
                    items[i] = view
        return items


@dataclass(frozen=True)
class Collator:
    """Makes a batch from its number in the plan: tokens, and which documents are known to be relevant."""

    plan: Plan
    known: Known
    queries: Texts
    documents: Texts
    module: SentenceTransformer
    max_tokens: int | None
    pass_rows: int
    guidance: Guidance | None = None
    augmenting: Augmenting | None = None
    share: tuple[int, int] = (0, 1)
    """Which of how many processes this is: it has every so-manyth pass."""

    def __call__(self, numbers: Sequence[int]) -> dict[str, Any]:
        examples, picked = self.plan.batch(*numbers)
        queries = examples.queries[picked]  # (B,)
        documents = np.concatenate([examples.positives[picked], examples.negatives_of(picked)])  # (M,)
        owners = np.concatenate([np.arange(len(picked)), examples.owners_of(picked)])  # (M,)
        guidance = self.guidance.of(queries, documents, owners) if self.guidance else {}
        asked, asked_prompts = self.queries.of(queries)
        held, held_prompts = self.documents.of(documents)
        if self.augmenting is not None:
            epoch, places = self.plan.epoch_of(*numbers), _places(owners)
            asked = self.augmenting.views(asked, epoch, [(example, 0) for example in picked.tolist()])
            held = self.augmenting.views(held, epoch, list(zip(picked[owners].tolist(), places.tolist(), strict=True)))
        return {
            "query": self.tokens("query", asked, asked_prompts),
            "document": self.tokens("document", held, held_prompts),
            "known": torch.from_numpy(self.known.mask(queries, documents)),  # (B, M)
            "owners": torch.from_numpy(owners),
            "number": numbers[0],
            "guidance": {name: torch.from_numpy(values) for name, values in guidance.items()},
        }

    @property
    def limit(self) -> int | None:
        """Tokens of a text at most."""
        own = self.module.max_seq_length
        limits = [limit for limit in (own, self.max_tokens) if limit is not None and math.isfinite(limit)]
        return min(limits, default=None)

    def tokens(self, role: str, texts: list[Item], prompts: list[str]) -> dict[str, Any]:
        """What the model takes, in passes of texts with one prompt and of about one length, so that little of a pass is
        padding; and in passes of pictures.
        """
        passes: list[list[int]] = []
        rank, size = self.share
        lengths = [len(item) if isinstance(item, str) else -1 for item in texts]
        towers = [item.tower if isinstance(item, Held) else "" for item in texts]
        sorts = [(length < 0, *sort) for length, *sort in zip(lengths, towers, prompts, strict=True)]
        for sort in sorted(set(sorts)):
            order = sorted((i for i, own in enumerate(sorts) if own == sort), key=lambda i: lengths[i])
            rows = min(self.pass_rows, -(-len(order) // size))
            passes += [order[start : start + rows] for start in range(0, len(order), rows)]
        tokens = [self._inputs(role, [texts[i] for i in rows], prompts[rows[0]]) for rows in passes[rank::size]]
        own = [texts[i] for rows in passes[rank::size] for i in rows]
        owner = np.repeat(np.arange(len(passes)), [len(rows) for rows in passes])
        return {
            "passes": tokens,
            "own": torch.from_numpy(np.flatnonzero(owner % size == rank)),
            "places": torch.from_numpy(np.argsort(np.concatenate(passes), kind="stable")),
            "at_limit": sum(int(self.at_limit(features).sum()) for features in tokens)
            + sum(item.at_limit for item in own if isinstance(item, Held)),
        }

    def _inputs(self, role: str, items: list[Item], prompt: str) -> dict[str, Any]:
        """What the model takes of items of one sort."""
        if isinstance(items[0], Held):
            return {f"{items[0].tower}_features": torch.from_numpy(np.stack([item.features for item in items]))}
        cap = {} if self.max_tokens is None else {"max_length": self.limit}
        return dict(self.module.preprocess(items, prompt=prompt or None, task=role, **cap))

    def at_limit(self, features: dict[str, Any]) -> torch.Tensor:
        """Texts of a pass that take all the tokens there may be, bool (n,): most of them are cut."""
        if self.limit is None or "attention_mask" not in features:
            return torch.zeros(0, dtype=torch.bool)
        found: torch.Tensor = features["attention_mask"].sum(dim=1) >= self.limit
        return found


def _places(owners: np.ndarray) -> np.ndarray:
    """The place of each document within its row: 1 the positive, 2 and on the negatives: int64 (M,)."""
    order = np.argsort(owners, kind="stable")
    counts = np.bincount(owners)
    places = np.empty(len(owners), dtype=np.int64)
    places[order] = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    return places
