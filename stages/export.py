"""Writes the triplets as files that other trainers load unmodified, one folder a target.

exports/st_triplet/data/train-00000-of-00001.parquet    what the trainer reads
exports/st_triplet/ids.parquet                          ids, rows, ranks and scores, in the same row order
exports/st_triplet/export.json                          what it was checked with, counts, sha256, what was left out

A shard is a piece of one target: the rows of some whole queries. When all pieces are there, one process joins each target's.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import Field

from stages.errors import ConfigError
from stages.exporters._common import Summary, Texts
from stages.exporters._pieces import Pieced, Portion, taken_over
from stages.exporters._verify import check
from stages.exporters.flagembedding import Flagembedding
from stages.exporters.open_clip import OpenClip
from stages.exporters.st_ntuple import StNtuple
from stages.exporters.st_triplet import StTriplet
from stages.exporters.webdataset import Webdataset
from stages.held import once
from stages.pictures import kinds
from stages.registry import ManyOf
from stages.settings import Settings
from stages.spec import WHOLE, Context, Inputs, Part, Shard, Source, Spec, cut


class Exporter(Protocol):
    """A target format. One of pictures has a class variable `takes` that says what it needs; others take texts."""

    @property
    def name(self) -> str: ...

    def write(self, triplets: Source, texts: Texts, folder: Path) -> Summary:
        """Writes the target into the new `folder`: `data/`, `ids.parquet` and `export.json`."""
        ...


OTHERS = ".others"
"""Ends the name of the shard of what a target has beside its rows."""

TEXT_TARGETS = (StTriplet(), StNtuple(), Flagembedding())


class ExportConfig(Settings):
    """What to export."""

    targets: Annotated[tuple[Exporter, ...] | None, ManyOf("exporters")] = Field(
        None,
        description="target formats, each in a folder of its own; each takes about the space of its texts or pictures. One that "
        "cannot hold what there is, is refused and counted. None: st_triplet, st_ntuple and flagembedding for texts, open_clip and "
        "webdataset for pictures with captions, webdataset for pictures alone",
    )
    shard_triplets: int = Field(
        262_144,
        ge=1,
        description="triplets a shard, which is what a kill can lose and what one worker does; a target of Parquet files has a file "
        "for each. docs/exports.md says which targets are one shard",
    )


def asks(config: ExportConfig) -> tuple[str, ...]:
    """The tables besides `SPEC.inputs` that the chosen targets need: those of other targets make nothing stale."""
    return tuple(sorted({name for target in config.targets or () for name in getattr(target, "needs", ())}))


def shards(config: ExportConfig, inputs: Inputs) -> tuple[Shard, ...]:
    """For each target shards of the triplets, and one of what it has beside them; a target that has no pieces is one shard."""
    if config.targets is not None and not config.targets:
        raise ConfigError("export has no targets", try_="[export.targets.st_triplet]")
    found: list[Shard] = []
    for target in sorted_out(config, inputs)[0]:
        found += _rows_of(target, config, inputs)
        if isinstance(target, Pieced) and target.accompanied:
            found.append(Shard(f"{target.name}{OTHERS}", 0))
    return tuple(found)


SPEC = Spec(
    name="export",
    version=5,
    config=ExportConfig,
    inputs=("corpus", "queries", "pictures", "triplets"),
    facts_of=("corpus",),
    asks=asks,
    files=("exports",),
    shards=shards,
    finishes=True,
)


def run(config: ExportConfig, inputs: Inputs, context: Context) -> Iterator[Part]:
    """Yields a piece of a target for each shard. Raises InputError, YieldError."""
    if not context.shards:
        return
    texts = once(context, "texts", lambda: _texts(config, inputs, context.scratch / "texts"))
    targets = {target.name: target for target in sorted_out(config, inputs)[0]}
    with context.progress("export", len(context.shards)) as bar:
        for shard in context.shards:
            target = targets[shard.name.removesuffix(OTHERS)]
            yield Part(shard, pieces={str(shard): partial(_piece, target, shard, inputs["triplets"], texts)})
            bar.advance()


def finish(config: ExportConfig, inputs: Inputs, context: Context, pieces: Path) -> Iterator[Part]:
    """Yields one folder for each target, joined of its pieces, then what was counted. Raises InputError, YieldError."""
    found: dict[str, Summary] = {}
    taken, refused = sorted_out(config, inputs)
    with context.progress("join exports", len(taken)) as bar:
        for target in taken:
            places = [pieces / str(shard) for shard in _rows_of(target, config, inputs)]
            write = partial(_join, target, places, pieces, inputs["triplets"], found=found)
            yield Part(WHOLE, files={f"exports/{target.name}": write}, last=False)
            bar.advance()
    for name, summary in found.items():
        for reason, count in summary.left_out.items():
            if count:
                context.log(f"{name}: left out {count} {reason.replace('_', ' ')}")
        for what, count in summary.escaped.items():
            if count:
                context.log(f"{name}: changed {count} {what.replace('_', ' ')}")
    for name, why in refused.items():
        context.log(f"{name}: refused, {why}")
    counters = _counters(found) | {f"{name}.refused": 1 for name in refused}
    facts = {n: _facts(s) for n, s in found.items()} | {n: {"refused": why} for n, why in refused.items()}
    yield Part(WHOLE, counters=counters, facts={"exports": facts})


def sorted_out(config: ExportConfig, inputs: Inputs) -> tuple[tuple[Exporter, ...], dict[str, str]]:
    """The targets that can hold what there is, and of the others by name why they cannot."""
    queries, documents = kinds(inputs["queries"]), kinds(inputs["corpus"])
    pictures, texts = "picture" in queries | documents, "text" in queries | documents
    targets = config.targets
    if targets is None and not pictures:
        targets = TEXT_TARGETS
    elif targets is None:
        targets = (*((OpenClip(),) if texts else ()), Webdataset())  # type: ignore[call-arg]
    refused = {}
    for target in targets:
        takes = getattr(target, "takes", None)
        if takes is None and pictures:
            refused[target.name] = (
                "it holds texts alone, and there are pictures: open_clip, webdataset and hf_pictures hold these"
            )
        elif takes is not None and not pictures:
            refused[target.name] = f"it holds {takes}, and there are no pictures"
        elif takes == "pictures with captions" and not texts:
            refused[target.name] = f"it holds {takes}, and there are no captions that search or are searched for"
    return tuple(target for target in targets if target.name not in refused), refused


def verify(config: ExportConfig, inputs: Inputs, folder: Path) -> dict[str, str]:
    """Loads each target below `folder` with the package that it is for, and compares every row with the triplets.

    Returns what was found, by target. Raises ArtefactError for a row that differs.
    """
    texts = _texts(config, inputs)
    return {
        target.name: check(target, inputs["triplets"], texts, folder / "exports" / target.name)
        for target in sorted_out(config, inputs)[0]
    }


def _texts(config: ExportConfig, inputs: Inputs, place: Path | None = None) -> Texts:
    more = {name: inputs[name] for name in ("pictures", *asks(config))}
    return Texts.read(inputs["queries"], inputs["corpus"], more, place)


def _rows_of(target: Exporter, config: ExportConfig, inputs: Inputs) -> tuple[Shard, ...]:
    """The shards of a target's rows."""
    rows = inputs["triplets"].rows
    return cut(target.name, rows, config.shard_triplets if isinstance(target, Pieced) else max(rows, 1))


def _piece(target: Exporter, shard: Shard, triplets: Source, texts: Texts, folder: Path) -> None:
    if not isinstance(target, Pieced):
        target.write(triplets, texts, folder)
    elif shard.name.endswith(OTHERS):
        target.piece_of_others(texts, folder)
    else:
        target.piece(Portion(triplets, shard.start, shard.stop), texts, folder)


def _join(
    target: Exporter, places: list[Path], pieces: Path, triplets: Source, folder: Path, *, found: dict[str, Summary]
) -> None:
    if isinstance(target, Pieced):
        others = pieces / str(Shard(f"{target.name}{OTHERS}", 0)) if target.accompanied else None
        found[target.name] = target.join(places, others, triplets, folder)
    else:
        found[target.name] = taken_over(target.name, places, folder)


def _counters(found: dict[str, Summary]) -> dict[str, int]:
    counters = {f"{name}.rows": summary.rows for name, summary in found.items()}
    for name, summary in found.items():
        counters |= {f"{name}.left_out.{reason}": count for reason, count in summary.left_out.items()}
        counters |= {f"{name}.escaped.{what}": count for what, count in summary.escaped.items()}
    return counters


def _facts(summary: Summary) -> dict[str, Any]:
    return {"rows": summary.rows, "files": list(summary.files), "left_out": dict(summary.left_out)}
