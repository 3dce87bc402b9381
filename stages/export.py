"""Writes the triplets as files that other trainers load unmodified, one folder a target.

exports/st_triplet/data/train-00000-of-00001.parquet    what the trainer reads
exports/st_triplet/ids.parquet                          ids, rows, ranks and scores, in the same row order
exports/st_triplet/export.json                          what it was checked with, counts, sha256, what was left out
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import Field

from stages.errors import ConfigError
from stages.exporters._common import Summary, Texts
from stages.exporters._verify import check
from stages.exporters.flagembedding import Flagembedding
from stages.exporters.st_ntuple import StNtuple
from stages.exporters.st_triplet import StTriplet
from stages.registry import ManyOf
from stages.settings import Settings
from stages.spec import Context, Inputs, Part, Source, Spec


class Exporter(Protocol):
    """A target format."""

    @property
    def name(self) -> str: ...

    def write(self, triplets: Source, texts: Texts, folder: Path) -> Summary:
        """Writes the target into the new `folder`: `data/`, `ids.parquet` and `export.json`."""
        ...


class ExportConfig(Settings):
    """What to export."""

    targets: Annotated[tuple[Exporter, ...], ManyOf("exporters")] = Field(
        (StTriplet(), StNtuple(), Flagembedding()),
        description="target formats, each in a folder of its own; each takes about the space of its texts",
    )


def asks(config: ExportConfig) -> tuple[str, ...]:
    """The tables besides `SPEC.inputs` that the chosen targets need: those of other targets make nothing stale."""
    return tuple(sorted({name for target in config.targets for name in getattr(target, "needs", ())}))


SPEC = Spec(
    name="export",
    version=2,
    config=ExportConfig,
    inputs=("corpus", "queries", "triplets"),
    asks=asks,
    files=("exports",),
)


def run(config: ExportConfig, inputs: Inputs, context: Context) -> Iterator[Part]:
    """Yields one folder for each target, then what was counted. Raises InputError, YieldError, ConfigError."""
    if not config.targets:
        raise ConfigError("export has no targets", try_="[export.targets.st_triplet]")
    for shard in context.shards:
        texts = _texts(config, inputs)
        found: dict[str, Summary] = {}
        with context.progress("export", len(config.targets)) as bar:
            for target in config.targets:
                write = partial(_write, target, inputs["triplets"], texts, found)
                yield Part(shard, files={f"exports/{target.name}": write}, last=False)
                bar.advance()
        for name, summary in found.items():
            for reason, count in summary.left_out.items():
                if count:
                    context.log(f"{name}: left out {count} {reason.replace('_', ' ')}")
            for what, count in summary.escaped.items():
                if count:
                    context.log(f"{name}: changed {count} {what.replace('_', ' ')}")
        yield Part(shard, counters=_counters(found), facts={"exports": {n: _facts(s) for n, s in found.items()}})


def verify(config: ExportConfig, inputs: Inputs, folder: Path) -> dict[str, str]:
    """Loads each target below `folder` with the package that it is for, and compares every row with the triplets.

    Returns what was found, by target. Raises ArtefactError for a row that differs.
    """
    texts = _texts(config, inputs)
    return {
        target.name: check(target, inputs["triplets"], texts, folder / "exports" / target.name)
        for target in config.targets
    }


def _texts(config: ExportConfig, inputs: Inputs) -> Texts:
    return Texts.read(inputs["queries"], inputs["corpus"], {name: inputs[name] for name in asks(config)})


def _write(target: Exporter, triplets: Source, texts: Texts, found: dict[str, Summary], folder: Path) -> None:
    found[target.name] = target.write(triplets, texts, folder)


def _counters(found: dict[str, Summary]) -> dict[str, int]:
    counters = {f"{name}.rows": summary.rows for name, summary in found.items()}
    for name, summary in found.items():
        counters |= {f"{name}.left_out.{reason}": count for reason, count in summary.left_out.items()}
        counters |= {f"{name}.escaped.{what}": count for what, count in summary.escaped.items()}
    return counters


def _facts(summary: Summary) -> dict[str, Any]:
    return {"rows": summary.rows, "files": list(summary.files), "left_out": dict(summary.left_out)}
