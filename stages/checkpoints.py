"""What outlives a kill of a training: the log so far, and states that are proved to be whole before they are used."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

MARK = "complete.json"


@dataclass
class Journal:
    """The rows of the training log, the sums of the batches since the last one and since the start, and the curve on dev."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    accumulate: int = 1
    """Batches of a step."""
    batches: int = 0
    loss: float = 0.0
    masked: float = 0.0
    all_masked: float = 0.0
    texts: int = 0
    texts_at_limit: int = 0
    curve: list[dict[str, Any]] = field(default_factory=list)
    """Each measurement on dev: step, epoch and nDCG@10."""
    stopped: bool = False
    """Whether the training was ended before its last step, as nothing was gained any more."""
    _loss: list[Tensor] = field(default_factory=list, repr=False)
    _masked: list[Tensor] = field(default_factory=list, repr=False)
    _at_limit: list[int | Tensor] = field(default_factory=list, repr=False)

    def add(self, loss: Tensor, masked: Tensor, texts: int, texts_at_limit: int | Tensor) -> None:
        """One batch. The tensors stay on their device: reading each would wait for it."""
        self.texts += texts
        self._at_limit.append(texts_at_limit)
        self._loss.append(loss)
        self._masked.append(masked)

    def settle(self, step: int) -> None:
        """Reads what was added. Raises ConfigError when a loss is not finite."""
        losses, masked = ([float(value) for value in values] for values in (self._loss, self._masked))
        if not np.isfinite(losses).all():
            behind = len(losses) - 1 - int(np.flatnonzero(~np.isfinite(losses))[0])
            raise ConfigError(
                "the loss is not a finite number", where=f"training step {step - behind // self.accumulate}",
                try_="a lower learning_rate, a higher temperature, or precision = \"fp32\"",
            )  # fmt: skip
        for loss, share in zip(losses, masked, strict=True):
            self.batches, self.loss, self.masked = self.batches + 1, self.loss + loss, self.masked + share
            self.all_masked += share
        self.texts_at_limit += sum(int(count) for count in self._at_limit)
        self._loss, self._masked, self._at_limit = [], [], []

    def row(self, step: int, epoch: float, learning_rate: float) -> None:
        """Ends a row of the log."""
        self.settle(step)
        mean = {"loss": self.loss / self.batches, "masked": self.masked / self.batches}
        self.rows.append({"step": step, "epoch": epoch, "learning_rate": learning_rate, **mean})
        self.batches, self.loss, self.masked = 0, 0.0, 0.0

    def best(self) -> dict[str, Any]:
        """The first of the best measurements on dev."""
        return max(self.curve, key=lambda point: float(point["ndcg"]))

    def since_best(self) -> int:
        """Measurements on dev after the best one."""
        return len(self.curve) - 1 - self.curve.index(self.best())

    def as_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if not key.startswith("_")}


class Checkpoints:
    """The states of an unfinished training. One counts only with a mark, written last, that has a hash of every file."""

    def __init__(self, folder: Path, belongs: str) -> None:
        """`belongs` is a hash of what is trained and how; states of anything else are not used."""
        self.folder, self.belongs = folder, belongs

    def latest(self, log: Callable[[str], None]) -> tuple[Path, Journal] | None:
        """The last whole state with its journal. All others are removed."""
        found = None
        states = sorted(
            self.folder.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]), reverse=True
        )
        for path in states:
            journal = None if found else self._journal(path)
            if journal is not None:
                found = path, journal
            else:
                if not found:
                    log(f"{path.name} is not whole or belongs to another training, and is left out")
                shutil.rmtree(path)
        return found

    def complete(self, path: Path, journal: Journal) -> None:
        """Marks a state as whole, then removes the others."""
        mark = {"belongs": self.belongs, "journal": journal.as_json(), "files": _hashes(path)}
        mark["digest"] = digest(mark)
        temporary = path / f"{MARK}.tmp"
        with temporary.open("w") as file:
            json.dump(mark, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path / MARK)
        for other in self.folder.glob("checkpoint-*"):
            if other != path:
                shutil.rmtree(other)

    def _journal(self, path: Path) -> Journal | None:
        """The journal of a state that is whole and belongs here."""
        try:
            mark = json.loads((path / MARK).read_text())
            proof = mark.pop("digest")
        except (OSError, ValueError, KeyError, AttributeError):
            return None
        whole = proof == digest(mark) and mark["belongs"] == self.belongs and mark["files"] == _hashes(path)
        return Journal(**mark["journal"]) if whole else None


def _hashes(folder: Path) -> dict[str, str]:
    """sha256 of each file of a checkpoint but its mark."""
    hashes = {}
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(MARK):
            with path.open("rb") as file:
                hashes[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def digest(*values: Any) -> str:
    """A hash of JSON values and arrays."""
    total = hashlib.sha256()
    for value in values:
        is_array = isinstance(value, np.ndarray)
        total.update(np.ascontiguousarray(value).tobytes() if is_array else json.dumps(value, sort_keys=True).encode())
    return total.hexdigest()
