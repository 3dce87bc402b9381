"""What is measured, one contender a process: python -m benchmarks.contenders NAME FOLDER OPTIONS (JSON).

Each loads what it reads, then does its work under a clock, and prints one line of JSON: wall and CPU seconds of the work,
peak memory of the process, what was resident before the work began, and figures of its own. Hits go to FOLDER/hits.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

Work = Callable[[], dict[str, Any]]
MARGIN = 0.05


class Clock:
    """CPU seconds by name, of the calls made through it."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        start = time.process_time()
        result = work()
        self.spent[name] = self.spent.get(name, 0.0) + time.process_time() - start
        return result


def _vectors(folder: Path, mapped: bool) -> tuple[np.ndarray, np.ndarray]:
    documents = np.load(folder / "documents.npy", mmap_mode="r" if mapped else None)
    return np.asarray(documents), np.load(folder / "queries.npy")


class _Blocks:
    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __iter__(self):
        return (self.values[i : i + 65_536] for i in range(0, len(self.values), 65_536))


def _save_hits(folder: Path, name: str, rows: np.ndarray) -> None:
    place = folder / "hits"
    place.mkdir(exist_ok=True)
    np.save(place / f"{name}.npy", rows.astype(np.int32))


def _load_loops() -> None:
    """Loads what is compiled, which is not part of the work, as the loading of FAISS is not."""
    from stages.compiled import instructions

    names = ["codes", "pairs", "products", *(["tiles"] if instructions.available() else [])]
    for name in names:
        import_module(f"stages.compiled.{name}")


def search_ours(folder: Path, options: dict[str, Any]) -> Work:
    """Hardrock's search: the index is built, and each block of queries searched and rescored in float64."""
    import faiss  # noqa: F401 - its loading is not part of the work

    from stages.registry import build
    from stages.scoring import longest
    from stages.search import Holding, Joined, certified_search

    _load_loops()
    fields = dict(options["index"])
    kind: Any = build("indexes", fields.pop("name"), fields)
    documents, queries = _vectors(folder, options["mapped"])
    if hasattr(kind, "choose"):
        kind = kind.choose(*documents.shape, len(queries))[0]
    given = [documents]
    del documents

    def work() -> dict[str, Any]:
        clock, vectors = Clock(), given.pop()
        searcher = clock("build", lambda: kind.build(_Blocks(vectors), *vectors.shape))
        if isinstance(searcher, Holding):  # as the stages do: vectors are held once
            vectors = searcher.vectors
        length = None if isinstance(searcher, Joined) else clock("lengths", lambda: longest(vectors))
        step, found = options["block_queries"], []
        for start in range(0, len(queries), step):
            part = queries[start : start + step]
            call = lambda part=part: certified_search(  # noqa: E731
                searcher, part, vectors, options["depth"], kind.exact, longest_document=length
            )
            found.append(clock("search", call).rows)
        _save_hits(folder, "ours", np.concatenate(found))
        return {"split": clock.spent, "kind": kind.semantic(), "exact": kind.exact}

    return work


def search_faiss(folder: Path, options: dict[str, Any], *, batch: int, name: str) -> Work:
    """FAISS IndexFlatIP, `batch` queries a call."""
    import faiss

    documents, queries = _vectors(folder, options["mapped"])

    def work() -> dict[str, Any]:
        index = faiss.IndexFlatIP(documents.shape[1])
        for block in _Blocks(documents):
            index.add(block)
        found = [index.search(queries[i : i + batch], options["depth"])[1] for i in range(0, len(queries), batch)]
        _save_hits(folder, name, np.concatenate(found))
        return {}

    return work


def search_semantic(folder: Path, options: dict[str, Any]) -> Work:
    """sentence-transformers' `util.semantic_search` at its defaults, by inner product."""
    import torch
    from sentence_transformers import util

    documents, queries = (torch.from_numpy(values) for values in _vectors(folder, options["mapped"]))

    def work() -> dict[str, Any]:
        found = util.semantic_search(queries, documents, top_k=options["depth"], score_function=util.dot_score)
        _save_hits(folder, "st-semantic", np.array([[hit["corpus_id"] for hit in hits] for hits in found]))
        return {}

    return work


def search_similarity(folder: Path, options: dict[str, Any]) -> Work:
    """The search inside `mine_hard_negatives` with use_faiss=False: cos_sim of 16,384 queries a call, then topk."""
    import torch
    from sentence_transformers import util

    documents, queries = (torch.from_numpy(values) for values in _vectors(folder, options["mapped"]))

    def work() -> dict[str, Any]:
        found = []
        for part in queries.split(16_384):
            found.append(torch.topk(util.cos_sim(part, documents), options["depth"], dim=1).indices.numpy())
        _save_hits(folder, "st-similarity", np.concatenate(found))
        return {}

    return work


def triplets_ours(folder: Path, options: dict[str, Any]) -> Work:
    """The stages index, mine, judge, sample and export, on tables in memory; the index and the export are files."""
    import faiss  # noqa: F401
    import pyarrow.parquet as pq

    from benchmarks.memory import run, vectors
    from pipeline.memory import MemoryTable
    from stages import deepen, export, index, judge, mine, sample, teach
    from stages.schemas import PICTURES

    _load_loops()
    documents, queries = _vectors(folder, False)
    inputs: dict[str, Any] = {
        name: MemoryTable((pq.read_table(folder / f"{name}.parquet"),)) for name in ("corpus", "queries", "qrels")
    }
    inputs["pictures"] = MemoryTable((PICTURES.empty_table(),))
    inputs |= {"corpus_vectors": vectors(documents), "query_vectors": vectors(queries)}
    depth, negatives = options["depth"], options["negatives"]
    steps = (
        (index, {"kind": options["index"], "recall_depth": depth}),
        (mine, {"depth": depth}),
        (teach, {}),
        (judge, {"filters": {"known_positive": {}, "same_text": {}, "relative_margin": {"margin": MARGIN}}}),
        (deepen, {"limit": 0}),
        (sample, {"negatives": negatives}),
        (export, {"targets": {"st_triplet": {}}}),
    )

    def work() -> dict[str, Any]:
        clock, known, rows = Clock(), inputs, {}
        with tempfile.TemporaryDirectory(dir=folder) as place:
            for number, (stage, fields) in enumerate(steps):
                config = stage.SPEC.config.model_validate(fields)
                call = lambda s=stage, c=config, k=known: run(s, c, k, Path(place))  # noqa: E731
                known = clock(stage.SPEC.name, call)
                del call
                rows |= {name: known[name].rows for name in stage.SPEC.tables}
                # Tables are files in a workspace: what no later stage reads is not held.
                read = {"triplets", *(name for later, _ in steps[number + 1 :] for name in later.SPEC.inputs)}
                known = {name: each for name, each in known.items() if name in inputs or name in read}
        full = known["triplets"].read(["query_row"])["query_row"].to_numpy()
        return {
            "split": clock.spent,
            "candidates": rows["candidates"],
            **_filled(full, len(queries), negatives),
        }

    return work


class _Given:
    """In the place of a SentenceTransformer: it knows the vectors of the texts, so that no model has to run."""

    def __init__(self, documents: np.ndarray, queries: np.ndarray) -> None:
        import torch

        self.device = torch.device("cpu")
        self._documents, self._queries = documents, queries

    def get_embedding_dimension(self) -> int:
        return self._documents.shape[1]

    def encode_document(self, texts: list[str], **_: Any) -> np.ndarray:
        return _whole(self._documents, texts)

    def encode_query(self, texts: list[str], **_: Any) -> np.ndarray:
        return _whole(self._queries, texts)

    def similarity(self, left: Any, right: Any) -> Any:
        from sentence_transformers import util

        return util.cos_sim(left, right)

    def similarity_pairwise(self, left: Any, right: Any) -> Any:
        from sentence_transformers import util

        return util.pairwise_cos_sim(left, right)


def _whole(vectors: np.ndarray, texts: list[str]) -> np.ndarray:
    if len(texts) != len(vectors):
        raise SystemExit(f"{len(vectors)} vectors for {len(texts)} different texts")
    return vectors


def triplets_peer(folder: Path, options: dict[str, Any], *, use_faiss: bool) -> Work:
    """`sentence_transformers.util.mine_hard_negatives` on the same texts and vectors, and its result as Parquet."""
    import pyarrow.parquet as pq
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    documents, queries = _vectors(folder, False)
    corpus = pq.read_table(folder / "corpus.parquet")["text"].to_pylist()
    asked = pq.read_table(folder / "queries.parquet")["text"].to_pylist()
    positives = np.load(folder / "positives.npy")
    pairs = Dataset.from_dict({"anchor": asked, "positive": [corpus[i] for i in positives]})
    model: Any = _Given(documents, queries)

    def work() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            found = mine_hard_negatives(
                pairs,
                model,
                corpus=corpus,
                relative_margin=MARGIN,
                num_negatives=options["negatives"],
                range_max=options["depth"] - 1,
                use_faiss=use_faiss,
                verbose=False,
            )
            found.to_parquet(f"{place}/train.parquet")
        number = {text: row for row, text in enumerate(asked)}
        rows = np.array([number[text] for text in found["anchor"]])
        return _filled(rows, len(queries), options["negatives"])

    return work


def _filled(rows: np.ndarray, queries: int, negatives: int) -> dict[str, int]:
    """Triplets, and queries that got all negatives or at least one, by the query row of each triplet."""
    counts = np.bincount(rows, minlength=queries)
    return {"triplets": len(rows), "full": int((counts >= negatives).sum()), "some": int((counts > 0).sum())}


def contenders() -> dict[str, Callable[[Path, dict[str, Any]], Work]]:
    """Every contender by name."""
    return {
        "ours": search_ours,
        "faiss-16384": lambda f, o: search_faiss(f, o, batch=16_384, name="faiss-16384"),
        "faiss-4096": lambda f, o: search_faiss(f, o, batch=4_096, name="faiss-4096"),
        "faiss-64": lambda f, o: search_faiss(f, o, batch=64, name="faiss-64"),
        "st-semantic": search_semantic,
        "st-similarity": search_similarity,
        "triplets-ours": triplets_ours,
        "triplets-st-faiss": lambda f, o: triplets_peer(f, o, use_faiss=True),
        "triplets-st": lambda f, o: triplets_peer(f, o, use_faiss=False),
    }


def memory() -> tuple[float, float]:
    """Megabytes of this process: resident now, and at most so far.

    The peak is the kernel's VmHWM, which begins anew with each program; ru_maxrss begins with the parent's.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        fields = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
        return int(fields["VmRSS"][0]) / 1024, int(fields["VmHWM"][0]) / 1024
    except (OSError, KeyError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return peak, peak


def main() -> None:
    """Runs one contender once."""
    name, folder, options = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    import torch

    torch.set_num_threads(options["threads"])
    with redirect_stdout(sys.stderr):
        work = contenders()[name](folder, options)
        before = memory()[0]
        wall, spent = time.perf_counter(), time.process_time()
        figures = work()
        wall, spent = time.perf_counter() - wall, time.process_time() - spent
    print(json.dumps({"wall": wall, "cpu": spent, "before": before, "peak": memory()[1], **figures}))


if __name__ == "__main__":
    main()
