"""A small valid data set for each reader, often several: what its changes begin from."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.mutations import Files
from tests.pictures import JPEG, png
from tests.stages.data import CORPUS, QUERIES, TRAIN, jsonl
from tests.stages.datasets import test_corpus, test_examples, test_icd10cm
from tests.stages.datasets import test_emoji_artists as artists
from tests.stages.datasets import test_picture_files as picture_files
from tests.stages.datasets import test_repositories as repositories
from tests.stages.datasets.test_examples import BREAD, DOCS, IDS, PASSAGES, QUESTION, SOUP

Seed = tuple[Files, dict[str, Any]]
"""Files by name, and the fields of the data set; `path` is added: the folder, or the one file where the name is in `FILE`."""

FILE = "file"


def tar(samples: list[Files], mode: Literal["w", "w:gz"] = "w") -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=mode) as file:
        for name, content in (item for sample in samples for item in sample.items()):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return sink.getvalue()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def arrow(rows: list[dict[str, Any]]) -> bytes:
    table, sink = pa.Table.from_pylist(rows), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


SVG = b"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 10 20'><rect width='10' height='%d' fill='#123456'/></svg>"
EMOJI = [
    {"unified": "1F600", "category": "Smileys", "subcategory": "face"},
    {"unified": "1F6B4-200D-2642-FE0F", "category": "People", "subcategory": "sport"},
]
CAPTIONED = [
    {"file_name": "train/a.png", "text": "a red dog", "group": "dog", "label": "animal"},
    {"file_name": "test/c.png", "text": ["a cat", "a small cat"], "group": "cat", "label": "animal"},
]
DRAWN = {"train/a.png": png(0), "test/c.png": png(1)}
IMAGES = [
    {"id": f"i{n}", "image": {"bytes": png(n), "path": None}, "caption": f"picture {n}", "label": n % 2, "group": "g"}
    for n in range(3)
]

PAIRS = [{"anchor": "a", "positive": "b"}, {"anchor": "c", "positive": "d"}]
LISTS = [{"query": "bread", "pos": ["wheat"], "neg": ["stone"]}]
CARD = b"---\nconfigs:\n- config_name: one\n  data_files: one/*.parquet\n- config_name: two\n  data_files:\n  - split: train\n    path: two/*\n---\n# A set\n"
TREE = {"corpus": repositories.CORPUS, "queries": repositories.QUERIES, "qrels/test": repositories.QRELS}

RECORDS = {
    "docs": [{"doc_id": "0001", "text": "one"}, {"doc_id": "1", "text": "two"}],
    "queries": [{"query_id": "q1", "text": "one?"}, {"query_id": "q2", "text": "two?"}],
    "qrels": [{"query_id": "q1", "doc_id": "0001", "relevance": 1}, {"query_id": "q2", "doc_id": "1", "relevance": 2}],
}
"""What the package ir_datasets would give, in JSON."""
RLHN = {
    "query_id": "7",
    "query": "bread",
    "positive_passages": [{"docid": "a", "title": "", "text": "wheat"}],
    "negative_passages": [{"docid": "b", "title": "", "text": "stone"}],
    "subset": "fever",
}

ICONS = {f"package/{name}": content for name, content in artists.package(
    "@iconify-json/noto", {"icons.json": artists.icons(artists.RED), "chars.json": artists.CODES}).items()}  # fmt: skip
NAMES = {f"package/{name}": content for name, content in artists.package(
    "emojibase-data", {"en/data.json": artists.NAMES, "en/messages.json": artists.MESSAGES}).items()}  # fmt: skip
NPM = {f"{folder}/{name.removeprefix('package/')}": content for folder, files in (("noto", ICONS), ("names", NAMES))
       for name, content in files.items()}  # fmt: skip

SEEDS: dict[str, list[Seed]] = {
    "beir": [
        ({"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels/train.tsv": TRAIN}, {}),
        ({"corpus.jsonl.gz": gzip.compress(CORPUS), "queries.jsonl": QUERIES, "qrels/train.tsv": TRAIN, "qrels/test.tsv": b"q2 0 d1 1\n"}, {}),
    ],
    "pairs": [
        ({"p.csv": b'anchor,positive\na,b\nc,"d\n""e"\n'}, {FILE: "p.csv"}),
        ({"p.tsv": b"qid\tanchor\tdid\tpositive\n1\ta\t1\tb\n2\tc\t2\td\n"}, {FILE: "p.tsv", "anchor_id": "qid", "positive_id": "did"}),
        ({"p.jsonl": jsonl(*PAIRS, {"anchor": "e", "positive": ["f", "g"]})}, {FILE: "p.jsonl"}),
        ({"p.jsonl.gz": gzip.compress(jsonl(*PAIRS))}, {FILE: "p.jsonl.gz"}),
        ({"p.parquet": parquet(PAIRS)}, {FILE: "p.parquet"}),
        ({"l.csv": b"anchor,positive,label\na,p,1\na,n,0\n"}, {FILE: "l.csv", "label": "label"}),
        ({"train.jsonl": jsonl(*PAIRS), "test.csv": b"anchor,positive\nx,y\n"}, {}),
    ],
    "flagembedding": [
        ({"a.jsonl": jsonl(BREAD, SOUP, {**BREAD, "prompt": "find: ", "pos_scores": [1, 2]})}, {FILE: "a.jsonl"}),
        ({"a.json": json.dumps([BREAD, SOUP], indent=1).encode()}, {FILE: "a.json"}),
        ({"a.parquet": parquet(LISTS)}, {FILE: "a.parquet"}),
    ],
    "tevatron": [
        ({"a.jsonl": jsonl(PASSAGES)}, {FILE: "a.jsonl"}),
        ({"b.parquet": parquet([PASSAGES])}, {FILE: "b.parquet"}),
        ({"corpus/corpus.jsonl": jsonl(*DOCS), "data/train.jsonl": jsonl(IDS)}, {}),
        ({"a.jsonl": jsonl({"query": "bread", "positives": ["wheat"], "negatives": ["stone"]})}, {FILE: "a.jsonl"}),
    ],
    "dpr": [
        ({"d.json": json.dumps([QUESTION]).encode()}, {FILE: "d.json"}),
        ({"d.json": jsonl(QUESTION, QUESTION)}, {FILE: "d.json"}),
        ({"d.json.gz": gzip.compress(json.dumps([QUESTION], indent=2).encode())}, {FILE: "d.json.gz"}),
        ({"train.json": json.dumps([QUESTION]).encode(), "psgs_w100.tsv": b'id\ttext\ttitle\n01\t"wheat"\tCorn\n9\tnever\tNine\n'}, {"corpus": "psgs_w100.tsv"}),
    ],
    "huggingface": [
        ({"train.csv": b"query,query_id,pos,neg\nbread,0001,\"['wheat', 'rye']\",\"['stone']\"\n"}, {"anchor_id": "query_id"}),
        ({"README.md": CARD, "one/train-0.parquet": parquet(LISTS), "two/a.parquet": parquet(LISTS)}, {"subset": "one"}),
        ({"README.md": CARD, "one/train-0.parquet": parquet(LISTS), "two/a.jsonl": jsonl(*LISTS)}, {"subset": "two"}),
        ({"state.json": b'{"_data_files": [{"filename": "data.arrow"}], "_split": "train"}', "dataset_info.json": b'{"features": {}}', "data.arrow": arrow(LISTS)}, {}),
        ({"train-0.parquet": parquet([RLHN, {**RLHN, "query_id": "8", "query": "soup"}])}, {}),
        ({"dataset_dict.json": b'{"splits": ["train"]}', "train/state.json": b'{"_data_files": [{"filename": "data.arrow"}]}', "train/data.arrow": arrow(LISTS)}, {}),
    ],
    "mteb": [
        ({f"{name}.jsonl": jsonl(*rows) for name, rows in TREE.items()}, {}),
        ({f"{name}/{name.split('/')[-1]}-00000-of-00001.parquet": parquet(rows) for name, rows in TREE.items()}, {}),
        ({**{f"de-{name}.jsonl": jsonl(*rows) for name, rows in TREE.items()}, "de-instruction.jsonl": jsonl({"query-id": "q1", "instruction": "Find: "})}, {"subset": "de"}),
    ],
    "msmarco": [
        (repositories.MSMARCO, {}),
        (repositories.MSMARCO, {"triples": True, "fix_encoding": True}),
        ({"msmarco-docs.tsv": b"D1\thttp://a\tTitle\tBody\n", "msmarco-doctrain-queries.tsv": b"1\tone?\n", "msmarco-doctrain-qrels.tsv": b"1 0 D1 1\n"}, {}),
        ({"triples.train.small.tsv": b"bread\twheat\tstone\nsoup\tstock\twheat\n"}, {}),
    ],
    "trec": [
        (repositories.TREC, {}),
        ({**repositories.TREC, "topics.txt": repositories.XML}, {"topic_field": "description"}),
        ({**repositories.TREC, "topics.txt": b"301\tone: two\n302\tPolio\n"}, {}),
        ({"collection.tsv": b"FT-1\tfirst\nFT-2\tsecond\n", "topics.txt": repositories.SGML, "qrels.txt": b"301 FT-1 1\n"}, {}),
    ],
    "corpus": [
        ({"c.jsonl": jsonl(*test_corpus.TEXTS)}, {FILE: "c.jsonl", "views": {"title": {}}}),
        ({"c.csv": b"id,title,text\na,Red fox,It hunts mice in the snow.\nb,Green tea,Water that boils.\n"}, {FILE: "c.csv", "views": {"title": {}}}),
        ({"c.parquet": parquet(test_corpus.TEXTS)}, {FILE: "c.parquet", "views": {"title": {}}}),
    ],
    "icd10cm": [({"data/icd10c-tabular-X.xml": test_icd10cm.XML.encode()}, {})],
    "ir_datasets": [
        ({"train.json": json.dumps(RECORDS).encode(), "test.json": json.dumps(RECORDS).encode()}, {"train": "train", "test": "test"}),
        ({"one.json": json.dumps(RECORDS).encode()}, {"id": "one"}),
    ],
    "image_folder": [
        ({"metadata.jsonl": jsonl(*CAPTIONED), **DRAWN}, {"direction": "both"}),
        ({"metadata.csv": b"file_name,caption,group\na.png,a dog,g\nb.jpg,a cat,g\n", "a.png": png(2), "b.jpg": JPEG}, {"direction": "image_to_text"}),
        ({"train/metadata.parquet": parquet([{"file_name": "a.png", "text": "a dog"}]), "train/a.png": png(3), "test/metadata.jsonl": jsonl({"file_name": "b.png", "text": "b"}), "test/b.png": png(4)}, {}),
        ({"a.png": png(5), "a.txt": b"a dog\n", "b.png": png(6), "b.txt": b"a cat\nthat sleeps\n"}, {}),
        ({"dog/a.png": png(7), "cat/b.png": png(8), "cat/c.png": png(9)}, {"direction": "classes"}),
        ({"metadata.jsonl": jsonl(*CAPTIONED), **DRAWN}, {"direction": "views", "group_positives": True}),
    ],
    "webdataset": [
        ({"one.tar": tar(picture_files.SAMPLES)}, {FILE: "one.tar"}),
        ({"one.tar.gz": tar(picture_files.SAMPLES, "w:gz")}, {FILE: "one.tar.gz", "direction": "both"}),
        ({"train-000.tar": tar(picture_files.SAMPLES[:1]), "test/000.tar": tar(picture_files.SAMPLES[1:])}, {"direction": "classes"}),
    ],
    "image_rows": [
        ({"data.parquet": parquet(IMAGES)}, {"direction": "both"}),
        ({"train-00000-of-00001.parquet": parquet(IMAGES[:2]), "test-00000-of-00001.parquet": parquet(IMAGES[2:])}, {}),
        ({"data.parquet": parquet([{"image": {"bytes": None, "path": "a.png"}, "text": "a dog"}]), "a.png": png(5)}, {"direction": "views"}),
        ({"state.json": b'{"_data_files": [{"filename": "data.arrow"}], "_split": "train"}', "dataset_info.json": b'{"features": {}}', "data.arrow": arrow(IMAGES)}, {}),
    ],
    "open_clip": [
        ({"t.tsv": b"filepath\ttitle\na.png\ta dog\nb.jpg\t\"a \"\"cat\"\"\"\na.png\tone more\n", "a.png": png(2), "b.jpg": JPEG}, {FILE: "t.tsv", "direction": "both"}),
        ({"t.csv": b"path,filepath,title\n1,test/a.png,a dog\n2,train/b.png,\n", "test/a.png": png(2), "train/b.png": png(3)}, {FILE: "t.csv"}),
    ],
    "openmoji": [
        ({"openmoji/svg/1F600.svg": SVG % 10, "openmoji/svg/1F6B4-200D-2642-FE0F.svg": SVG % 20, "data/emoji.json": json.dumps(EMOJI).encode()}, {"direction": "both"}),
        ({"openmoji/svg/1F600.svg": SVG % 5, "openmoji/svg/E000.svg": SVG % 5, "data/emoji.json": json.dumps(EMOJI).encode()}, {"direction": "classes"}),
    ],
    "emoji_artists": [
        (NPM, {"artists": ["noto"], "direction": "both"}),
        (NPM, {"artists": ["noto"], "direction": "classes", "tones": True, "tags": True}),
        ({"noto.tgz": tar([ICONS], "w:gz"), "emojibase-data.tgz": tar([NAMES], "w:gz")}, {"artists": ["noto"], "direction": "views"}),
    ],
}  # fmt: skip

assert test_examples
