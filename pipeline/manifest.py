"""The manifest: the only proof that a stage's result is complete, and what its files must be."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.fingerprint import digest
from stages.errors import ArtefactError, StorageError

FORMAT = 2

PROOF = "sha256"


def spelled(value: Any) -> bytes:
    """A JSON value as a workspace stores it: readable, and in one spelling."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def prove(value: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with a hash of itself."""
    return {**value, PROOF: digest(dict(value))}


def proven(data: bytes) -> dict[str, Any]:
    """The object that `prove` made, from its bytes. Raises ValueError or TypeError when one bit is not as it was written."""
    value = json.loads(data)
    if spelled(value) != data:
        raise ValueError("it is not as it was written")
    proof = value.pop(PROOF, None)
    if proof != digest(value):
        raise ValueError("its content and its hash do not agree")
    return dict(value)


@dataclass(frozen=True)
class Stored:
    """One file of a result: its path inside the stage's folder, size in bytes, sha256 and, of a table, its rows."""

    file: str
    bytes: int
    sha256: str
    rows: int | None = None


@dataclass(frozen=True)
class Record:
    """What is stored of one shard, or of a whole stage. The `pieces` of a shard are no part of the whole."""

    tables: Mapping[str, tuple[Stored, ...]] = field(default_factory=dict)
    files: Mapping[str, tuple[Stored, ...]] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    pieces: tuple[Stored, ...] = ()

    def stored(self) -> list[Stored]:
        found = [one for group in (self.tables, self.files) for many in group.values() for one in many]
        return [*found, *self.pieces]

    def as_json(self) -> dict[str, Any]:
        return {
            "tables": {name: [asdict(one) for one in many] for name, many in self.tables.items()},
            "files": {name: [asdict(one) for one in many] for name, many in self.files.items()},
            "counters": dict(sorted(self.counters.items())),
            "facts": dict(self.facts),
            **({"pieces": [asdict(one) for one in self.pieces]} if self.pieces else {}),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Record:
        return Record(
            tables={name: tuple(Stored(**one) for one in many) for name, many in value["tables"].items()},
            files={name: tuple(Stored(**one) for one in many) for name, many in value["files"].items()},
            counters=value["counters"],
            facts=value["facts"],
            pieces=tuple(Stored(**one) for one in value.get("pieces", ())),
        )


def merge(records: Iterable[Record]) -> Record:
    """The records of a shard's parts, or of a stage's shards, in order as one: files follow each other, counters add up."""
    tables: dict[str, list[Stored]] = {}
    files: dict[str, list[Stored]] = {}
    counters: dict[str, int] = {}
    facts: dict[str, Any] = {}
    pieces: list[Stored] = []
    for record in records:
        for name, many in record.tables.items():
            tables.setdefault(name, []).extend(many)
        for name, many in record.files.items():
            files.setdefault(name, []).extend(many)
        for name, count in record.counters.items():
            counters[name] = counters.get(name, 0) + count
        facts.update(record.facts)
        pieces += record.pieces
    return Record(
        {name: tuple(many) for name, many in tables.items()},
        {name: tuple(many) for name, many in files.items()},
        counters,
        facts,
        tuple(pieces),
    )


@dataclass(frozen=True)
class Manifest:
    """A complete result: the identity it has, the key of that identity, and what is stored."""

    identity: Mapping[str, Any]
    key: str
    record: Record

    def fingerprint(self, name: str, *, with_facts: bool) -> str:
        """Identifies the content of one table or file of this result, whatever led to it; its facts only if they are read."""
        stored = self.record.tables.get(name) or self.record.files.get(name) or ()
        facts = dict(self.record.facts) if with_facts else {}
        return digest([[[one.file, one.rows, one.sha256] for one in stored], facts])

    def as_json(self) -> dict[str, Any]:
        """What is written: with a hash of all of it."""
        return prove({"format": FORMAT, "key": self.key, "identity": dict(self.identity), **self.record.as_json()})


def read(path: Path) -> Manifest | None:
    """The manifest at `path`; None when there is none. Raises ArtefactError when it is not a whole manifest."""
    mend = f"remove {path.parent} so that the stage runs again"
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # nobody may ever write into a pipe
            raise ArtefactError("a manifest that is no file", where=str(path), try_=mend)
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StorageError(f"cannot read {path}", got=error.strerror or error, try_="mend the permissions") from error
    return parsed(data, str(path), mend)


def parsed(data: bytes, where: str, mend: str) -> Manifest:
    """The manifest that is written in `data`. Raises ArtefactError when it is not a whole one, saying how to `mend` that."""
    try:
        return _parsed(data)
    except _EarlierError as error:
        raise ArtefactError(str(error), where=where, try_=f"use a new workspace, or {mend}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtefactError("the manifest is damaged", where=where, got=error, try_=mend) from None


class _EarlierError(Exception):
    pass


@lru_cache(maxsize=64)
def _parsed(data: bytes) -> Manifest:
    """The manifest of these bytes: a run asks for each of them dozens of times."""
    found = json.loads(data)["format"]
    if isinstance(found, int) and 0 < found < FORMAT:
        raise _EarlierError(f"the manifest is of format {found}, this version reads {FORMAT}")
    value = proven(data)
    if value["format"] != FORMAT:
        raise ValueError(f"it is of format {value['format']}, this version reads {FORMAT}")
    if digest(value["identity"]) != value["key"]:
        raise ValueError("key and identity do not agree")
    return Manifest(value["identity"], value["key"], Record.from_json(value))
