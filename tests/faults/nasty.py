"""Bad input as somebody from outside would think of it, through the command line: a line here is a fixture and a test.

Each changes a small whole data set, its configuration or a place beside them, and says how `hardrock ingest` has to end.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

CONFIGURATION = """
[ingest.dataset]
name = "beir"
path = "{data}"
[encoder]
name = "static"
model = "{data}/model.safetensors"
tokenizer = "{data}/tokenizer.json"
[mine]
depth = 8
[export.targets.st_triplet]
"""

Change = Callable[[Path], object]
Ends = tuple[int, tuple[str, ...]]
"""The exit code, and what is said."""


def _add(name: str, content: bytes) -> Change:
    def change(folder: Path) -> None:
        path = folder / "data" / name
        path.write_bytes(path.read_bytes() + content)

    return change


def _corpus(*rows: object) -> Change:
    return _add("corpus.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())


def _line(text: bytes) -> Change:
    return _add("corpus.jsonl", text + b"\n")


def _qrel(text: bytes, split: str = "train") -> Change:
    return _add(f"qrels/{split}.tsv", text + b"\n")


def _all(name: str, new: Callable[[bytes], bytes], to: str | None = None) -> Change:
    def change(folder: Path) -> None:
        path = folder / "data" / name
        content = new(path.read_bytes())
        path.unlink()
        (folder / "data" / (to or name)).write_bytes(content)

    return change


def _instead(name: str, make: Callable[[Path], object]) -> Change:
    def change(folder: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        make(path)

    return change


def _sparse(name: str) -> Change:
    return lambda folder: os.truncate(folder / "data" / name, 2 << 30)


def _set(old: str, new: str) -> Change:
    def change(folder: Path) -> None:
        path = folder / "hardrock.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


CORPUS, TRAIN = "corpus.jsonl line 15", "train.tsv line 7"
BAD: dict[str, tuple[Change, Ends]] = {
    "an integer of 400 digits for an id": (_line(b'{"_id": ' + b"9" * 400 + b', "text": "x"}'), (3, (CORPUS, "'_id'", "ids are text"))),
    "half of a surrogate pair in a text": (_line(b'{"_id": "s", "text": "a \\ud800 b"}'), (3, (CORPUS, "'text'", "'s'", "lone surrogate"))),
    "half of a surrogate pair in an id": (_line(b'{"_id": "s\\udc00", "text": "a"}'), (3, (CORPUS, "'_id'", "lone surrogate"))),
    "ids that differ in their normal form alone": (_corpus({"_id": "\u00e9", "text": "a"}, {"_id": "e\u0301", "text": "b"}), (0, ("16 corpus",))),
    "ids that differ in blanks alone": (_corpus({"_id": "d00 ", "text": "a"}, {"_id": " d00", "text": "b"}), (0, ("16 corpus",))),
    "a judgement whose id has a blank more": (_qrel(b"q0 \td00\t1"), (3, (TRAIN, "'q0 ' is not there", "missing_judgements_allowed"))),
    "a corpus of no bytes": (_instead("data/corpus.jsonl", Path.touch), (3, ("corpus: no row is left", "data"))),
    "queries of no bytes": (_instead("data/queries.jsonl", Path.touch), (3, ("queries: no row is left", "data"))),
    "judgements of no bytes": (_instead("data/qrels/train.tsv", Path.touch), (0, ("qrels/train.tsv holds no judgement", "5 queries without any judgement"))),
    "judgements that are a header alone": (_all("qrels/train.tsv", lambda b: b.split(b"\n")[0]), (0, ("qrels/train.tsv holds no judgement",))),
    "a folder for a corpus": (_instead("data/corpus.jsonl", Path.mkdir), (3, ("corpus.jsonl", "a folder"))),
    "a pipe for a corpus": (_instead("data/corpus.jsonl", os.mkfifo), (3, ("corpus.jsonl", "a pipe"))),
    "a ring of links for a corpus": (_instead("data/corpus.jsonl", _loop), (3, ("corpus.jsonl", "symbolic links"))),
    "a ring of links for the judgements": (_instead("data/qrels", _loop), (3, ("qrels",))),
    "a sparse end of 2 GB behind a corpus": (_sparse("corpus.jsonl"), (3, (CORPUS, "a line longer than"))),
    "a sparse end of 2 GB behind judgements": (_sparse("qrels/train.tsv"), (3, (TRAIN, "a line longer than"))),
    "UTF-16 with a mark": (_all("corpus.jsonl", lambda b: b.decode().encode("utf-16")), (3, ("corpus.jsonl line 1", "UTF-16", "iconv"))),
    "UTF-16 without a mark": (_all("corpus.jsonl", lambda b: b.decode().encode("utf-16-le")), (3, ("corpus.jsonl line 1", "UTF-16LE", "iconv"))),
    "big-endian UTF-16 judgements": (_all("qrels/train.tsv", lambda b: b.decode().encode("utf-16-be")), (3, ("train.tsv line 1", "UTF-16BE", "iconv"))),
    "gzip with something behind it": (_all("corpus.jsonl", lambda b: gzip.compress(b) + b"garbage", "corpus.jsonl.gz"), (3, ("corpus.jsonl.gz", "cut off or damaged"))),
    "zstd that is called gz": (_all("corpus.jsonl", lambda b: b"\x28\xb5\x2f\xfd" + b, "corpus.jsonl.gz"), (3, ("corpus.jsonl.gz", "zstd"))),
    "a relevance below zero": (_qrel(b"q0\td10\t-1"), (0, ("10 qrels",))),
    "a relevance of a half": (_qrel(b"q0\td10\t0.5"), (3, (TRAIN, "'0.5' is not a whole number"))),
    "a relevance that is NaN": (_qrel(b"q0\td10\tnan"), (3, (TRAIN, "'nan' is not a whole number"))),
    "a relevance beyond 32 bits": (_qrel(b"q0\td10\t2147483648"), (3, (TRAIN, "32 bits"))),
    "a relevance of 20 digits": (_qrel(b"q0\td10\t99999999999999999999"), (3, (TRAIN, "32 bits"))),
    "a relevance in full-width digits": (_qrel("q0\td10\t１".encode()), (3, (TRAIN, "not a whole number"))),
    "a query without any judgement": (_add("queries.jsonl", b'{"_id": "lonely", "text": "who"}\n'), (0, ("1 queries without any judgement",))),
    "queries without a relevant document": (_all("qrels/train.tsv", lambda b: b.replace(b"\t1\n", b"\t0\n")), (0, ("5 queries have judgements but no relevant document",))),
    "a relevant document that is not there": (_qrel(b"q0\tnowhere\t1"), (3, (TRAIN, "'nowhere' is not there"))),
    "two judgements that contradict each other": (_qrel(b"q0\td00\t0"), (3, (TRAIN, "'q0'", "qrels/train.tsv line 2"))),
    "one query in two splits": (_qrel(b"q0\td00\t1", "test"), (3, ("test.tsv line 4", "two splits"))),
    "a header the other way round": (_all("qrels/train.tsv", lambda b: b.replace(b"query-id\tcorpus-id", b"corpus-id\tquery-id")), (3, ("train.tsv line 1", "the document before the query"))),
    "NUL as it is in a line": (_line(b'{"_id": "n", "text": "a \x00 b"}'), (3, (CORPUS, "broken JSON"))),
    "a line of 100 MB": (_line(b'{"_id": "big", "text": "' + b"word " * 20_000_000 + b'"}'), (3, (CORPUS, "a line longer than"))),
    "JSON of 100,000 levels": (_line(b'{"_id": "x", "text": "t", "metadata": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), (3, (CORPUS, "nested too deeply"))),
    "a key twice": (_line(b'{"_id": "x", "text": "one", "text": "two"}'), (3, (CORPUS, "'text' occurs twice"))),
    "two objects in a line": (_line(b'{"_id": "x", "text": "a"} {"_id": "y", "text": "b"}'), (3, (CORPUS, "broken JSON"))),
    "an object over several lines": (_line(b'{\n"_id": "x"\n}'), (3, (CORPUS, "one whole object a line"))),
    "a JSON array for a file": (_all("corpus.jsonl", lambda b: b"[" + b.strip().replace(b"\n", b", ") + b"]"), (3, ("corpus.jsonl line 1", "jq -c '.[]'"))),
    "true for an id": (_corpus({"_id": True, "text": "a"}), (3, (CORPUS, "'_id'"))),
    "a text of what cannot be seen": (_corpus({"_id": "x", "text": "\u200b\u200b"}), (3, (CORPUS, "'x'", "invisible"))),
    "commas between the columns": (_all("qrels/train.tsv", lambda b: b.replace(b"\t", b",")), (3, ("train.tsv line 1", "one tab between"))),
    "line ends of an old Mac": (_all("qrels/train.tsv", lambda b: b.replace(b"\n", b"\r")), (3, ("train.tsv line 1",))),
    "configuration: a number in quotes": (_set("depth = 8", 'depth = "8"'), (2, ("hardrock.toml", "mine.depth", "without quotes"))),
    "configuration: true for a number": (_set("depth = 8", "depth = true"), (2, ("hardrock.toml", "mine.depth", "True"))),
    "configuration: infinite": (_set("depth = 8", "depth = inf"), (2, ("hardrock.toml", "mine.depth", "inf"))),
    "configuration: NaN": (_set("depth = 8", "depth = nan"), (2, ("hardrock.toml", "mine.depth", "nan"))),
    "configuration: more than can be counted": (_set("depth = 8", "depth = 9223372036854775808"), (2, ("hardrock.toml", "mine.depth", "64 bits"))),
    "configuration: infinite in a list": (_set("depth = 8", "depth = 8\n[estimate]\ngap_bands = [0.0, inf]"), (2, ("hardrock.toml", "estimate.gap_bands", "finite"))),
    "configuration: below zero": (_set("depth = 8", "depth = -1"), (2, ("hardrock.toml", "mine.depth", "-1"))),
    "configuration: a date": (_set("depth = 8", "depth = 1979-05-27"), (2, ("hardrock.toml", "mine.depth"))),
    "configuration: a path of 10 kB": (_set('path = "', 'path = "' + "/x" * 5000), (74, ("File name too long", "255 bytes"))),
    "configuration: a name of 300 bytes": (_set('path = "', f'path = "/tmp/{"x" * 300}'), (74, ("x" * 300, "File name too long", "255 bytes"))),
    "configuration: NUL in a path": (_set('path = "', 'path = "\\u0000'), (3, ("no such folder",))),
    "configuration: empty": (lambda folder: (folder / "hardrock.toml").write_bytes(b""), (2, ("hardrock.toml", "ingest.dataset"))),
    "configuration: with a byte order mark": (lambda folder: (folder / "hardrock.toml").write_bytes(b"\xef\xbb\xbf" + (folder / "hardrock.toml").read_bytes()), (0, ("14 corpus",))),
    "configuration: a pipe": (_instead("hardrock.toml", os.mkfifo), (2, ("hardrock.toml", "a pipe"))),
    "configuration: a ring of links": (_instead("hardrock.toml", _loop), (2, ("hardrock.toml", "symbolic links"))),
    "workspace: a file": (_instead("ws", lambda path: path.write_text("x")), (2, ("ws' is a file",))),
    "workspace: a link to nowhere": (_instead("ws", lambda path: path.symlink_to("/nowhere/at/all")), (74, ("ws",))),
    "workspace: a ring of links": (_instead("ws", _loop), (74, ("ws",))),
    "workspace: a pipe for its lock": (lambda folder: ((folder / "ws").mkdir(), os.mkfifo(folder / "ws/lock")), (74, ("ws/lock",))),
    "workspace: a folder for its lock": (lambda folder: (folder / "ws/lock").mkdir(parents=True), (74, ("ws/lock",))),
    "workspace: a file for what is begun": (lambda folder: ((folder / "ws").mkdir(), (folder / "ws/.building").write_text("x")), (74, ("ws/.building",))),
    "workspace: a file for its logs": (lambda folder: ((folder / "ws").mkdir(), (folder / "ws/logs").write_text("x")), (74, ("ws/logs",))),
    "workspace: a pipe for its labels": (lambda folder: ((folder / "ws").mkdir(), os.mkfifo(folder / "ws/labels.jsonl")), (74, ("labels.jsonl", "a pipe"))),
    "workspace: labels that are none": (lambda folder: ((folder / "ws").mkdir(), (folder / "ws/labels.jsonl").write_bytes(b"\xff\xfe{")), (3, ("labels.jsonl", "UTF-8"))),
}  # fmt: skip
