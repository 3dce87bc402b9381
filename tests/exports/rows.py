"""Reads an export with the package of its trainer, in that package's own environment, and prints what it holds.

`python rows.py TARGET FOLDER`: one JSON line a row, [query, positives, negatives], or [caption, sha256 of the RGB pixels]. It
imports nothing of this project.
"""

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TRANSFORMERS_OFFLINE="1", USE_HF="1")


def pylate(folder):
    """Through the collator: what it tokenizes as queries, and as documents."""
    from datasets import load_dataset
    from pylate.utils import ColBERTCollator

    taken = []

    def tokenize(texts, is_query=False, **_):
        taken.append((is_query, list(texts)))
        return {}

    rows = load_dataset("parquet", data_files=str(folder / "data/*.parquet"), split="train")
    collate = ColBERTCollator(tokenize)
    for row in rows:
        taken.clear()
        collate([row])
        queries = [text for is_query, texts in taken if is_query for text in texts]
        positive, *negatives = [text for is_query, texts in taken if not is_query for text in texts]
        yield queries[0], [positive], negatives


def pylate_kd(folder):
    """Through its KDProcessing, which looks the texts up."""
    from datasets import load_dataset
    from pylate.utils import KDProcessing

    train, queries, documents = (
        load_dataset(str(folder), name, split="train") for name in ("train", "queries", "documents")
    )
    look_up = KDProcessing(queries=queries, documents=documents)
    for row in train:
        found = look_up.map(dict(row))
        positive, *negatives = found["documents"]
        yield found["query"], [positive], negatives


def ms_swift(folder):
    """Through its own load_dataset, which drops what it does not know."""
    from swift.dataset import load_dataset

    rows, _ = load_dataset([str(folder / "data/train.jsonl")], split_dataset_ratio=0.0)
    for row in rows:
        both = ([one[-1]["content"] for one in row[f"{kind}_messages"]] for kind in ("positive", "negative"))
        yield row["messages"][-1]["content"], *both


def nemo_automodel(folder):
    """Through its loader of corpus-id files, and the corpus that it opens."""
    from nemo_automodel.components.datasets.llm.retrieval_dataset import load_datasets

    rows, corpora = load_datasets([str(folder / "data/train.json")], concatenate=True)
    for row in rows:
        corpus = corpora[row["corpus_id"]]
        both = ([corpus.get_document_by_id(one["id"])["text"] for one in row[f"{kind}_doc"]] for kind in ("pos", "neg"))
        yield row["question"], *both


def pixels(image):
    """What stands for a decoded picture."""
    return hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()


def open_clip_data():
    """The module of its data sets. Of the compiled operators of torchvision it calls none; their names have to be there."""
    import torch

    operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from open_clip_train import data

    return data


def open_clip(folder):
    """Through its CsvDataset, in the target's folder."""
    found = open_clip_data().CsvDataset(
        "data/train.tsv", pixels, img_key="filepath", caption_key="title", tokenizer=lambda texts: texts
    )
    for i in range(len(found)):
        picture, caption = found[i]
        yield caption, picture


def webdataset(folder):
    """Through its WebDataset pipeline: in order, as it evaluates, and with the number that training finds in sizes.json."""
    data = open_clip_data()
    tars = [str(path) for path in sorted((folder / "data").glob("*.tar"))]
    args = argparse.Namespace(
        train_data="::".join(tars), val_data=tars, train_num_samples=None, val_num_samples=None, batch_size=1, workers=0,
        world_size=1, seed=0, dataset_resampled=False, train_data_upsampling_factors=None,
    )  # fmt: skip
    rows = [
        (caption, picture)
        for pictures, captions in data.get_wds_dataset(args, pixels, False, tokenizer=lambda text: [text]).dataloader
        for picture, caption in zip(pictures, captions, strict=True)
    ]
    training = data.get_wds_dataset(args, pixels, True, tokenizer=lambda text: [text]).dataloader
    if training.num_samples != len(rows):
        raise ValueError(f"training counts {training.num_samples} samples of {len(rows)}")
    yield from rows


LOADERS = {"pylate": pylate, "pylate_kd": pylate_kd, "ms_swift": ms_swift, "ms_swift_reranker": ms_swift,
           "nemo_automodel": nemo_automodel, "open_clip": open_clip, "webdataset": webdataset}  # fmt: skip

if __name__ == "__main__":
    for one in LOADERS[sys.argv[1]](Path(sys.argv[2])):
        sys.stdout.write(json.dumps(["row", *one]) + "\n")
