"""Input that is wrong, with the message that is promised for each: a line here is a fixture and a test.

The rows of BEIR folders and of pairs stand beside the tests of their readers, where quarantine is tested as well; `ALL` counts
them in. To add another format, add a list of `Case` and a `Case.run` that reads it.
"""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.errors import ArtefactError, ConfigError, HardrockError, InputError, ResourceError
from tests.stages.data import read_pairs
from tests.stages.datasets.test_pairs import BAD_PAIRS
from tests.stages.test_ingest import BAD_ROWS


@dataclass(frozen=True)
class Case:
    """One fixture: its name, the bytes of each file, who reads it, which error it is and what the message has to hold."""

    name: str
    files: dict[str, bytes]
    run: Callable[[Path], Any]
    error: type[HardrockError]
    holds: tuple[str, ...]

    def write(self, folder: Path) -> Path:
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return folder


def _run(**fields: Any) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from stages.retrievers.run import Run
        from tests.retrieval_world import collection

        (path,) = folder.glob("given*")
        return Run(path=str(path), **fields).open(collection(folder))

    return read


def runs() -> list[Case]:
    good = b"q0 Q0 d1 1 2.5 t\n"
    broken: list[tuple[str, str, bytes, tuple[str, ...]]] = [
        ("five fields", "given.run", b"q0 Q0 d2 2 1.5\n", ("line 2", "not a line", "q0 Q0 d2 2 1.5", "try:")),
        ("two fields", "given.run", b"q0 d2\n", ("line 2", "not a line", "q0 d2")),
        ("seven fields", "given.run", b"q0 Q0 d2 2 1.5 t u\n", ("line 2", "not a line")),
        ("an id with a blank", "given.run", b"q0 Q0 d 2 2 1.5 t\n", ("line 2", "not a line")),
        ("rank is a word", "given.run", b"q0 Q0 d2 two 1.5 t\n", ("line 2", "not a line", "two")),
        ("rank is a fraction", "given.run", b"q0 Q0 d2 2.0 1.5 t\n", ("line 2", "not a line", "2.0")),
        ("score is a word", "given.run", b"q0 Q0 d2 2 high t\n", ("line 2", "not a line", "high")),
        ("score with a comma", "given.run", b"q0 Q0 d2 2 1,5 t\n", ("line 2", "not a line", "1,5")),
        ("score is empty", "given.run", b"q0 Q0 d2 2  t\n", ("line 2", "not a line")),
        ("score is NaN", "given.run", b"q0 Q0 d2 2 NaN t\n", ("line 2", "not a finite number", "NaN")),
        ("score is infinite", "given.run", b"q0 Q0 d2 2 -inf t\n", ("line 2", "not a finite number", "-inf")),
        ("score overflows", "given.run", b"q0 Q0 d2 2 1e999 t\n", ("line 2", "not a finite number", "1e999")),
        ("rank of 30 digits", "given.run", b"q0 Q0 d2 " + b"9" * 30 + b" 1 t\n", ("line 2", "not a line")),
        ("rank of 5,000 digits", "given.run", b"q0 Q0 d2 " + b"9" * 5000 + b" 1 t\n", ("line 2", "not a line")),
        ("a hit twice", "given.run", good, ("twice", "q0 and d1", "given.run")),
        ("unknown document", "given.run", b"q0 Q0 d99 2 1 t\n", ("line 2: document d99", "1 of 2 lines", "allowed_unknown = 1")),
        ("unknown query", "given.run", b"q99 Q0 d2 2 1 t\n", ("line 2: query q99", "allowed_unknown = 1")),
        ("not UTF-8", "given.run", b"q\xff Q0 d2 2 1 t\n", ("cannot be read", "given.run", "0xff")),
        ("a binary file", "given.run", bytes(range(1, 256)), ("given.run",)),
        ("escapes of a terminal", "given.run", b"q0 \x1b[2J\x1b]0;x\x07\n", ("line 2", "not a line", "\\x1b[2J")),
        ("HTML", "given.run", b"<!doctype html><html>\n", ("line 2", "not a line")),
    ]  # fmt: skip
    cases = [Case(f"run: {n}", {f: good + c}, _run(), InputError, h) for n, f, c, h in broken]
    packed = gzip.compress(good * 1)
    cases += [
        Case("run: cut gzip", {"given.run.gz": packed[:-9]}, _run(), InputError, ("cannot be read", "given.run.gz")),
        Case("run: no gzip", {"given.run.gz": good}, _run(), InputError, ("cannot be read", "given.run.gz")),
    ]
    return cases


def _load(*overrides: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from pipeline.config import load

        return load(folder / "my.toml", overrides)

    return read


BASE = b'[ingest.dataset]\nname = "beir"\npath = "x"\n[encoder]\nname = "static"\nmodel = "m"\ntokenizer = "t"\n'


def configurations() -> list[Case]:
    broken: list[tuple[str, bytes, tuple[str, ...]]] = [
        ("not TOML", b"rounds = = 1\n", ("not TOML", "my.toml", "line 1")),
        ("key twice", b"rounds = 1\nrounds = 2\n", ("not TOML", "my.toml", "line 2")),
        ("not UTF-8", b'a = "\xff"\n', ("not TOML", "my.toml", "0xff")),
        ("UTF-16", "rounds = 1".encode("utf-16"), ("not TOML", "my.toml")),
        ("NUL", b"rounds = 1\x00\n", ("not TOML", "my.toml")),
        ("open string", b'a = "b\n', ("not TOML", "my.toml", "line 1")),
        ("nested too deeply", b"a = " + b"[" * 100_000, ("not TOML", "my.toml")),
        ("unknown stage", BASE + b"[mien]\ndepth = 2\n", ("unknown key 'mien'", "my.toml", "did you mean 'mine'?")),
        ("unknown key", BASE + b"[mine]\ndeth = 2\n", ("unknown key 'mine.deth'", "my.toml", "did you mean 'depth'?")),
        ("rounds is text", b'rounds = "1"\n' + BASE, ("rounds is a whole number", "my.toml", "got:")),
        ("rounds is true", b"rounds = true\n" + BASE, ("rounds is a whole number", "True")),
        ("rounds below zero", b"rounds = -1\n" + BASE, ("rounds is a whole number", "-1")),
        ("rounds beyond count", b"rounds = 100\n" + BASE, ("from 0 to 99", "100")),
        ("rounds is infinite", b"rounds = inf\n" + BASE, ("rounds is a whole number", "inf")),
        ("a stage is a number", b"mine = 3\n" + BASE, ("mine is a table", "my.toml", "[mine]")),
        ("a stage is a list", BASE + b"[[mine]]\ndepth = 2\n", ("mine is a table", "my.toml")),
        ("a limit below zero", BASE + b"[mine]\ndepth = -2\n", ("mine.depth", "my.toml", "got:", "-2")),
        ("a number as text", BASE + b'[mine]\ndepth = "deep"\n', ("mine.depth", "my.toml", "'deep'")),
        ("NaN for a number", BASE + b"[sample]\nmin_yield = nan\n", ("sample.min_yield", "my.toml", "nan")),
        ("above one", BASE + b"[sample]\nmin_yield = 1.5\n", ("sample.min_yield", "1.5")),
        ("unknown data set", BASE.replace(b"beir", b"bier"), ("no 'bier' among the datasets", "my.toml", "did you mean 'beir'?")),
        ("data set without a name", BASE.replace(b'name = "beir"\n', b""), ("has no name", "datasets", "my.toml")),
        ("data set without a path", BASE.replace(b'path = "x"\n', b""), ("'datasets.beir.path' is missing", "my.toml")),
        ("no data set", BASE.partition(b"[encoder]")[2], ("my.toml",)),
        ("no encoder", BASE.partition(b"[encoder]")[0], ("'embed.encoder' is missing", "my.toml")),
        ("unknown filter", BASE + b"[judge.filters.absolut_margin]\nmargin = 0.1\n",
         ("no 'absolut_margin' among the filters", "did you mean 'absolute_margin'?", "my.toml")),
        ("filters as a list of names", BASE + b'[judge]\nfilters = ["known_positive"]\n', ("tables and not values", "my.toml")),
        ("unknown key of a filter", BASE + b"[judge.filters.absolute_margin]\nmargn = 0.1\n",
         ("unknown key 'filters.absolute_margin.margn'", "did you mean 'margin'?")),
        ("a member is a path", BASE + b'[index.kind]\nname = "../../x"\n', ("no '../../x' among the indexes", "my.toml")),
        ("a member's name is a number", BASE + b"[index.kind]\nname = 3\n", ("indexes", "my.toml", "3")),
        ("a member that is hidden", BASE + b'[index.kind]\nname = "_faiss"\n', ("no '_faiss' among the indexes", "my.toml")),
    ]  # fmt: skip
    cases = [Case(f"config: {n}", {"my.toml": c}, _load(), ConfigError, h) for n, c, h in broken]
    cases += [
        Case("config: not there", {}, _load(), ConfigError, ("no such configuration file", "my.toml", "try:")),
        Case("config: a folder", {"my.toml/a": b""}, _load(), ConfigError, ("cannot be read", "my.toml")),
        Case("--set without a value", {"my.toml": BASE}, _load("mine.depth"), ConfigError, ("'mine.depth'", "stage.key=value")),
        Case("--set through a value", {"my.toml": b"rounds = 1\n" + BASE}, _load("rounds.a=1"), ConfigError, ("goes through 'rounds'",)),
        Case("--set of nothing", {"my.toml": BASE}, _load("=1"), ConfigError, ("unknown key ''",)),
    ]  # fmt: skip
    return cases


def _model(folder: Path) -> Any:
    from stages.encoders.sentence_transformers import SentenceTransformers

    encoder = SentenceTransformers(model=str(folder / "model"))
    encoder.fingerprint()
    return encoder.load("cpu", "fp32")


def models() -> list[Case]:
    from tests.models import folder

    place = folder("cognition") / "model"
    whole = {f"model/{p.name}": p.read_bytes() for p in place.iterdir() if p.is_file()}
    weights, configuration = whole["model/model.safetensors"], json.loads(whole["model/config.json"])
    length = struct.unpack("<Q", weights[:8])[0]

    def changed(**files: bytes | None) -> dict[str, bytes]:
        made = {**whole, **{f"model/{n.replace('__', '.')}": c for n, c in files.items()}}
        return {name: content for name, content in made.items() if content is not None}

    def configured(**fields: Any) -> dict[str, bytes]:
        return changed(config__json=json.dumps({**configuration, **fields}).encode())

    cut, huge = weights[: len(weights) // 2], struct.pack("<Q", 1 << 62) + weights[8:]
    overlong = struct.pack("<Q", length) + b"[" * length
    return [
        Case("model: no weights", changed(model__safetensors=None), _model, ResourceError, ("no weights", "model.safetensors", "try:")),
        Case("model: pickled weights", changed(model__safetensors=None, pytorch_model__bin=b"\x80\x04."), _model, ResourceError,
             ("pickled", "pytorch_model.bin", "save_pretrained")),
        Case("model: a file", {"model": b"x"}, _model, ResourceError, ("not a folder", "model")),
        Case("model: not there", {}, _model, ResourceError, ("model",)),
        Case("model: weights cut", changed(model__safetensors=cut), _model, HardrockError, ("model",)),
        Case("model: weights empty", changed(model__safetensors=b""), _model, HardrockError, ("model",)),
        Case("model: header too long", changed(model__safetensors=huge), _model, HardrockError, ("model",)),
        Case("model: header no JSON", changed(model__safetensors=overlong), _model, HardrockError, ("model",)),
        Case("model: modules no JSON", changed(modules__json=b"{"), _model, ArtefactError, ("modules", "modules.json")),
        Case("model: modules without path", changed(modules__json=b'[{"a": 1}]'), _model, ArtefactError, ("modules.json",)),
        Case("model: configuration no JSON", changed(config__json=b"{"), _model, HardrockError, ("model",)),
        Case("model: configuration missing", changed(config__json=None), _model, HardrockError, ("model",)),
        Case("model: unknown architecture", configured(model_type="nothing_like_it"), _model, HardrockError, ("model", "nothing_like_it")),
        Case("model: another size", configured(hidden_size=64, num_attention_heads=2), _model, HardrockError, ("model",)),
        Case("model: tokenizer no JSON", changed(tokenizer__json=b"{", vocab__txt=None), _model, HardrockError, ("model",)),
        Case("model: code of its own", configured(auto_map={"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}, model_type="evil"),
             _model, HardrockError, ("model",)),
    ]  # fmt: skip


def _pairs(**fields: Any) -> Callable[[Path], Any]:
    return lambda folder: read_pairs(next(folder.glob("p.*")), folder / "scratch", **fields)


def _parquet(**columns: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def pairs() -> list[Case]:
    good = _parquet(anchor=["a", "c"], positive=["b", "d"])
    flipped = bytearray(_parquet(anchor=[f"text {i}" for i in range(3000)], positive=["b"] * 3000))
    flipped[len(flipped) // 3] ^= 255
    table: list[tuple[str, dict[str, bytes], type[HardrockError], tuple[str, ...]]] = [
        ("cut", {"p.parquet": good[:-20]}, InputError, ("cannot be read", "p.parquet", "try:")),
        ("empty", {"p.parquet": b""}, InputError, ("cannot be read", "p.parquet")),
        ("another format", {"p.parquet": b"ARROW1\0\0" * 9}, InputError, ("cannot be read", "p.parquet")),
        ("footer of 4 GB", {"p.parquet": good[:-8] + b"\xff\xff\xff\x7fPAR1"}, InputError, ("cannot be read", "p.parquet")),
        ("other columns", {"p.parquet": _parquet(a=["x"], b=["y"])}, ConfigError, ("no column is known", "columns: a, b")),
        ("integers", {"p.parquet": _parquet(anchor=[1, 2], positive=["b", "d"])}, ConfigError, ("'anchor' is int64", "strings")),
        ("a list of numbers", {"p.parquet": _parquet(anchor=["a"], positive=[[1]])}, ConfigError, ("'positive' is list", "p.parquet")),
        ("blank text", {"p.parquet": _parquet(anchor=["a", " "], positive=["b", "d"])}, InputError, ("line 2", "'anchor'", "white space")),
        ("null in a list", {"p.parquet": _parquet(anchor=["a"], positive=[["b", None]])}, InputError, ("line 1", "'positive'", "null")),
        ("objects", {"p.parquet": _parquet(anchor=["a"], positive=[{"x": "y"}])}, ConfigError, ("'positive' is struct", "p.parquet")),
    ]  # fmt: skip
    cases = [Case(f"pairs in Parquet: {n}", f, _pairs(), e, h) for n, f, e, h in table]
    packed = gzip.compress(b"anchor,positive\n" + b"a,b\n" * 500)
    return [
        *cases,
        Case("pairs: cut gzip", {"p.csv.gz": packed[:-9]}, _pairs(), InputError, ("gzip", "p.csv.gz", "in line")),
        Case("pairs: UTF-16", {"p.csv": "anchor,positive\na,b\n".encode("utf-16")}, _pairs(), InputError, ("UTF-16", "p.csv", "iconv")),
        Case("pairs: NUL in a cell", {"p.tsv": b"anchor\tpositive\na\t\x00\n"}, _pairs(), InputError, ("line 2", "'positive'")),
        Case("pairs: deep JSON", {"p.jsonl": b'{"anchor": "a", "positive": "b"}\n' + b'{"a":' * 100_000}, _pairs(), InputError,
             ("line 2", "nested too deeply")),
        Case("pairs: long number", {"p.jsonl": b'{"anchor": "a", "positive": "b"}\n{"anchor": ' + b"9" * 5000 + b"}"}, _pairs(), InputError,
             ("line 2", "number")),
        Case("pairs: key twice", {"p.jsonl": b'{"anchor": "a", "positive": "b"}\n{"anchor": "c", "anchor": "d"}'}, _pairs(), InputError,
             ("line 2", "'anchor' occurs twice")),
    ]  # fmt: skip


def _vectors(*bad: Any) -> Callable[[Path], Any]:
    def embed(folder: Path) -> Any:
        from stages import embed as stage
        from tests.models import corpus, queries
        from tests.stages.test_embed import Fake
        from tests.support import run

        encoder = Fake({f"bad {i}": value for i, value in enumerate(bad)})
        texts = ["good", *(f"bad {i}" for i in range(len(bad)))]
        config = stage.EmbedConfig.model_construct(
            encoder=encoder, precision="fp32", shard_rows=8192, batch_tokens=None
        )
        return run(stage, config, {"corpus": corpus(texts), "queries": queries(["good"])}, folder)

    return embed


def vectors() -> list[Case]:
    nan, inf = float("nan"), float("inf")
    table: list[tuple[str, tuple[Any, ...], tuple[str, ...]]] = [
        ("NaN", ([nan, 1, 1],), ("1 vectors hold values that are not finite", "'d1'", "bad 0")),
        ("infinite", ([1, inf, 1],), ("not finite", "'d1'")),
        ("below all", ([1, 1, -inf],), ("not finite", "'d1'")),
        ("zero", ([0, 0, 0],), ("nothing but zeros", "'d1'")),
        ("minus zero", ([-0.0, 0, -0.0],), ("nothing but zeros", "'d1'")),
        ("beyond float32", ([np.float64(1e39), 1, 1],), ("not finite", "'d1'")),
        ("seven at once", tuple([nan, 0, 0] for _ in range(7)), ("7 vectors", "'d1', 'd2', 'd3', 'd4', 'd5' …")),
        ("NaN among zeros", ([0, 0, 0], [nan, 0, 0]), ("not finite", "'d2'")),
    ]  # fmt: skip
    return [Case(f"vectors: {n}", {}, _vectors(*bad), InputError, h) for n, bad, h in table]


OWN = [*runs(), *configurations(), *models(), *pairs(), *vectors()]
ALL = len(OWN) + len(BAD_ROWS) + len(BAD_PAIRS)
