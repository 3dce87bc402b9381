"""Real training of a small real model (BERT-tiny) on phrases and descriptions of ICD-10-CM."""

from __future__ import annotations

import importlib.util
import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from stages import train
from stages.batches.random import Random
from stages.checkpoints import MARK, Checkpoints, Journal
from stages.errors import ConfigError, YieldError
from stages.examples import Examples, Pairs
from stages.losses._infonce import InBatchInfonce
from stages.objectives import Batch
from stages.text import text_hash
from stages.training import loop
from stages.training.collator import Collator
from stages.training.contrastive import Contrastive
from stages.training.plan import Plan
from tests import support


def folder_of(package: str, *inside: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"{package} is not installed")
    return Path(spec.origin).parent.joinpath(*inside)


@dataclass(frozen=True)
class Encoder:
    """A folder of sentence-transformers or transformers, as the family of encoders would have it."""

    folder: str
    query_prompt: str = ""
    document_prompt: str = ""

    def module(self, device: str) -> SentenceTransformer:
        return SentenceTransformer(self.folder, device=device)

    def fingerprint(self) -> str:
        return f"print of {self.folder}"

    def with_checkpoint(self, path: Path) -> Encoder:
        return replace(self, folder=str(path))


def pairs_of(count: int) -> Pairs:
    """Pairs that share no text, without negatives."""
    rows = np.arange(count, dtype=np.int32)
    alone = Examples(rows, rows, np.empty(0, np.int32), np.zeros(count + 1, np.int64))
    return Pairs(alone, alone, rows, rows, np.full(count, -1))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(str(folder_of("cognition", "model")))


@cache
def phrases() -> list[tuple[str, str, str]]:
    """Inclusion term, description of its code, description of a sibling: real ones, in the order of the file."""
    file = max(folder_of("simple_icd_10_cm").rglob("*.xml"), key=lambda path: path.stat().st_size)
    found = []
    for parent in ET.parse(file).getroot().iter("diag"):
        children = parent.findall("diag")
        for child in children:
            siblings = [c.findtext("desc") or "" for c in children if c is not child]
            for note in child.findall("inclusionTerm/note")[:1]:
                if siblings and note.text != child.findtext("desc"):
                    found.append((note.text or "", child.findtext("desc") or "", siblings[0]))
    return found


Rows = list[tuple[int, int]]


def inputs(
    queries: list[str],
    documents: list[str],
    positives: Rows,
    negatives: list[tuple[int, int, int]] = [],  # noqa: B006
    **columns: list[Any],
) -> dict[str, Any]:
    """The stage's inputs. `split` is one a positive, `prompt` one a query, `title` one a document."""
    splits = columns.get("split", ["train"] * len(positives))
    split_of = dict(zip([q for q, _ in positives], splits, strict=True))
    rows = {
        "corpus": [
            {"row": i, "doc_id": f"d{i}", "text": text, "text_hash": text_hash(text), "title": title}
            for i, (text, title) in enumerate(zip(documents, columns.get("title", [None] * len(documents)), strict=True))
        ],
        "queries": [
            {
                "row": i, "query_id": f"q{i}", "text": text, "text_hash": text_hash(text), "source": "given",
                "split": split_of.get(i, "train"), "prompt": prompt,
            }
            for i, (text, prompt) in enumerate(zip(queries, columns.get("prompt", [None] * len(queries)), strict=True))
        ],
        "qrels": [
            {"query_row": q, "doc_row": d, "relevance": 1, "split": split, "source": "given"}
            for (q, d), split in sorted(zip(positives, splits, strict=True))
        ],
        "triplets": [
            {
                "query_row": q, "positive_row": p, "negative_row": n, "negative_score": 0.5, "rank": 1,
                "sampler": "top", "seed": 0, "round": 0,
            }
            for q, p, n in negatives
        ],
        "promoted": [],
    }  # fmt: skip
    return {name: support.source(support.table(name, values)) for name, values in rows.items()}


def real(count: int, step: int = 7) -> dict[str, Any]:
    """Pairs with one sibling as their negative, from all over the code set."""
    some = phrases()[::step][:count]
    assert len(some) == count
    documents = list(dict.fromkeys(text for _, own, sibling in some for text in (own, sibling)))
    place = {text: i for i, text in enumerate(documents)}
    positives = [(i, place[own]) for i, (_, own, _) in enumerate(some)]
    negatives = [(i, place[own], place[sibling]) for i, (_, own, sibling) in enumerate(some)]
    return inputs([term for term, _, _ in some], documents, positives, negatives)


def reciprocal_rank(model: SentenceTransformer, sources: dict[str, Any]) -> float:
    queries, documents = (
        model.encode(sources[name].read()["text"].to_pylist(), normalize_embeddings=True)
        for name in ("queries", "corpus")
    )
    scores = queries @ documents.T
    own = scores[np.arange(len(queries)), sources["qrels"].read()["doc_row"].to_numpy()]
    return float(np.mean(1 / (scores > own[:, None]).sum(axis=1, initial=1)))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_training_lowers_the_loss_and_finds_unseen_documents(encoder: Encoder, tmp_path: Path):
    seen, unseen = real(240, step=11), real(150, step=13)
    config = train.TrainConfig(encoder=encoder, batch_size=32, epochs=4, learning_rate=3e-4, logging_steps=5)
    result = support.run(train, config, seen, tmp_path)
    rows = result.rows("training_log")
    assert [row["step"] for row in rows] == [5, 10, 15, 20, 25, 30, 32]
    assert [row["epoch"] for row in rows] == [row["step"] / 8 for row in rows]
    assert rows[-1]["learning_rate"] == 0
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    before, after = encoder.module("cpu"), SentenceTransformer(str(result.files["checkpoint"]), device="cpu")
    assert reciprocal_rank(after, seen) > reciprocal_rank(before, seen) + 0.15
    assert reciprocal_rank(after, unseen) > reciprocal_rank(before, unseen) + 0.05
    assert result.facts["rows"] == 240
    assert result.facts["steps"] == 32
    assert result.facts["epochs"] == 4
    assert result.facts["loss"] == rows[-1]["loss"]
    assert result.counters["texts"] == 4 * 240 * 3


def small(encoder: Encoder, **changes: Any) -> train.TrainConfig:
    """Two epochs of three steps each, the last of an epoch with a small batch."""
    fields = {
        "batch_size": 8,
        "epochs": 2,
        "logging_steps": 4,
        "checkpoint_steps": 2,
        "learning_rate": 1e-3,
        "negatives": 1,
        **changes,
    }
    return train.TrainConfig(encoder=encoder, **fields)


@pytest.fixture(scope="module")
def uninterrupted(
    encoder: Encoder, tmp_path_factory: pytest.TempPathFactory
) -> tuple[support.Result, dict[str, bytes]]:
    result = support.run(train, small(encoder), real(20), tmp_path_factory.mktemp("uninterrupted"))
    return result, contents(result.files["checkpoint"])


def test_two_runs_give_the_same_bytes(encoder: Encoder, uninterrupted: Any, tmp_path: Path, capfd: Any):
    expected, files = uninterrupted
    torch.rand(3)  # nothing may depend on the state that the process is in
    np.random.rand(3)
    result = support.run(train, small(encoder), real(20), tmp_path)
    assert contents(result.files["checkpoint"]) == files
    assert result["training_log"].equals(expected["training_log"])
    assert result.facts == expected.facts
    assert capfd.readouterr().out == ""


def test_the_result_is_a_plain_folder_without_pickles_dates_or_paths(uninterrupted: Any):
    result, files = uninterrupted
    assert {Path(name).suffix for name in files} <= {".json", ".md", ".txt", ".safetensors"}
    text = b"".join(content for name, content in files.items() if name.endswith("config.json"))
    assert str(result.files["checkpoint"].parent).encode() not in text
    assert b"site-packages" not in text
    loaded = SentenceTransformer(str(result.files["checkpoint"]), device="cpu")
    assert loaded.encode(["a phrase"]).shape == (1, 128)


def test_another_seed_gives_another_model(encoder: Encoder, uninterrupted: Any, tmp_path: Path):
    result = support.run(train, small(encoder, seed=1), real(20), tmp_path)
    assert contents(result.files["checkpoint"])["model.safetensors"] != uninterrupted[1]["model.safetensors"]


class Killed(BaseException):
    pass


def kill_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dies in the forward pass of a step, from 1."""
    done = 0
    add = Journal.add

    def dies(self: Journal, *args: Any) -> None:
        nonlocal done
        done += 1
        if done == step:
            raise Killed
        add(self, *args)

    monkeypatch.setattr(Journal, "add", dies)


def killed(step: int, config: train.TrainConfig, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        kill_at(step, patch)
        with pytest.raises(Killed):
            support.run(train, config, real(20), folder)


@pytest.mark.parametrize("step", [2, 4, 5, 6], ids=["before any state", "in epoch 1", "in epoch 2", "at the last step"])
def test_a_killed_run_goes_on_to_the_same_bytes(
    encoder: Encoder, uninterrupted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
):
    killed(step, small(encoder), tmp_path, monkeypatch)
    result = support.run(train, small(encoder), real(20), tmp_path)
    whole = (step - 1) // 2 * 2
    assert any(f"goes on after step {whole}" in message for message in result.messages) == (whole > 0)
    assert contents(result.files["checkpoint"]) == uninterrupted[1]
    assert result["training_log"].equals(uninterrupted[0]["training_log"])
    assert (result.facts, result.counters) == (uninterrupted[0].facts, uninterrupted[0].counters)


def test_a_state_at_the_end_of_an_epoch_is_gone_on_from(
    encoder: Encoder, uninterrupted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    killed(5, small(encoder, checkpoint_steps=3), tmp_path, monkeypatch)
    result = support.run(train, small(encoder, checkpoint_steps=3), real(20), tmp_path)
    assert "goes on after step 3 of 6" in result.messages
    assert contents(result.files["checkpoint"]) == uninterrupted[1]


def test_a_run_killed_while_its_result_is_stored_does_no_step_again(
    encoder: Encoder, uninterrupted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    support.run(train, small(encoder), real(20), tmp_path)
    kill_at(1, monkeypatch)
    result = support.run(train, small(encoder), real(20), tmp_path)
    assert contents(result.files["checkpoint"]) == uninterrupted[1]
    assert result["training_log"].equals(uninterrupted[0]["training_log"])


def test_a_torn_state_is_left_out_for_the_whole_one_before_it(
    encoder: Encoder, uninterrupted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    killed(4, small(encoder), tmp_path, monkeypatch)
    state = tmp_path / "scratch" / "checkpoint-2"
    torn = state.with_name("checkpoint-4")
    torn.mkdir()
    (torn / loop.WEIGHTS).write_bytes((state / loop.WEIGHTS).read_bytes()[:1000])
    result = support.run(train, small(encoder), real(20), tmp_path)
    assert result.messages[1:] == [
        "checkpoint-4 is not whole or belongs to another training, and is left out", "goes on after step 2 of 6",
    ]  # fmt: skip
    assert contents(result.files["checkpoint"]) == uninterrupted[1]
    assert result["training_log"].equals(uninterrupted[0]["training_log"])


@pytest.mark.parametrize(
    "fault", ["none", "flipped", "short", "missing", "added", "unmarked", "torn mark", "forged", "another's"]
)
def test_a_state_is_used_only_when_every_byte_is_right(tmp_path: Path, fault: str):
    state = tmp_path / "checkpoint-7"
    state.mkdir()
    file, mark = state / "optimizer.pt", state / MARK
    file.write_bytes(b"moments")
    (state / loop.WEIGHTS).write_bytes(b"weights")
    journal = Journal(rows=[{"step": 5, "loss": 0.1}], batches=2, loss=0.3, texts=40)
    Checkpoints(tmp_path, "this").complete(state, journal)
    match fault:
        case "flipped":
            file.write_bytes(b"momentz")
        case "short":
            file.write_bytes(b"moment")
        case "missing":
            file.unlink()
        case "added":
            (state / "scaler.pt").write_bytes(b"")
        case "unmarked":
            mark.unlink()
        case "torn mark":
            mark.write_text(mark.read_text()[:-9])
        case "forged":
            mark.write_text(mark.read_text().replace('"texts": 40', '"texts": 41'))
    messages: list[str] = []
    found = Checkpoints(tmp_path, "that" if fault == "another's" else "this").latest(messages.append)
    assert found == ((state, journal) if fault == "none" else None)
    assert state.exists() == (fault == "none")
    assert len(messages) == (fault != "none")


def test_no_state_holds_a_pickle_that_is_more_than_tensors_and_numbers(encoder: Encoder, tmp_path: Path):
    from transformers.trainer_pt_utils import safe_globals

    support.run(train, small(encoder), real(20), tmp_path)
    (state,) = (tmp_path / "scratch").iterdir()
    assert state.name == "checkpoint-6"
    pickles = sorted(p for p in state.iterdir() if p.suffix in {".bin", ".pt", ".pth", ".pkl"})
    assert [p.name for p in pickles] == ["optimizer.pt", "rng_state.pth", "scheduler.pt"]
    with safe_globals():
        for path in pickles:
            torch.load(path, weights_only=True)


def test_saving_more_often_changes_nothing(encoder: Encoder, uninterrupted: Any, tmp_path: Path):
    result = support.run(train, small(encoder, checkpoint_steps=0), real(20), tmp_path)
    assert contents(result.files["checkpoint"]) == uninterrupted[1]
    assert list((tmp_path / "scratch").glob("checkpoint-*")) == []
    assert small(encoder, checkpoint_steps=0).semantic() == small(encoder).semantic()


def test_known_positives_of_other_rows_are_masked_and_counted(encoder: Encoder, tmp_path: Path):
    """One batch of all five examples, so the masked pairs can be counted by hand."""
    documents = ["alpha", "beta", "gamma", "Alpha ", "delta", "epsilon"]
    queries = ["first", "second", "third", "FIRST"]
    sources = inputs(
        queries, documents,
        positives=[(0, 0), (0, 1), (1, 2), (2, 3), (3, 4), (1, 5)],
        negatives=[(0, 0, 5), (1, 2, 0), (2, 3, 1)],
        split=["train"] * 5 + ["test"],
    )  # fmt: skip
    config = train.TrainConfig(encoder=encoder, batch_size=8, epochs=1, max_steps=1, logging_steps=1)
    (row,) = support.run(train, config, sources, tmp_path).rows("training_log")
    # Columns: positives 0, 1, 2, 3, 4 and negatives 5, 0, 1. Text 3 is text 0; query 3 is query 0 and knows 0, 1, 4 too.
    # Both rows of query 0 and that of query 3 know the columns 0, 1, 3, 4, 0, 1, one of them its own: 3 · 5 masked. Query 1
    # knows 2, its own, and by its test split 5: 1. Query 2 knows 3, its own, and its copies 0 and 0: 2.
    assert round(row["masked"] * 5 * 7) == 18
    assert row["masked"] == pytest.approx(18 / 35)


def record(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None, list[str]]]:
    """What is tokenised: role, prompt and texts of each pass."""
    seen: list[tuple[str, str | None, list[str]]] = []
    preprocess = SentenceTransformer.preprocess

    def recording(self: Any, texts: list[str], prompt: str | None = None, **others: Any) -> Any:
        if "task" in others:
            seen.append((others["task"], prompt, list(texts)))
        return preprocess(self, texts, prompt=prompt, **others)

    monkeypatch.setattr(SentenceTransformer, "preprocess", recording)
    return seen


def test_titles_prompts_and_negatives_reach_the_model(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sources = inputs(
        ["short", "a longer query", "third"],
        ["one", "two", "three", "four", "five", "never used"],
        positives=[(0, 0), (1, 1), (2, 2)],
        negatives=[(0, 0, 3), (0, 0, 4), (2, 2, 4), (2, 2, 3), (2, 2, 1)],
        title=[None, "Title", " ", None, None, None],
        prompt=[None, "own: ", ""],
    )
    seen = record(monkeypatch)
    prompted = replace(encoder, query_prompt="query: ", document_prompt="passage: ")
    config = train.TrainConfig(encoder=prompted, max_steps=1, negatives=2, batch_size=3, pass_rows=4)
    result = support.run(train, config, sources, tmp_path)
    assert {(prompt, *texts) for role, prompt, texts in seen if role == "query"} == {
        (None, "third"), ("own: ", "a longer query"), ("query: ", "short"),
    }  # fmt: skip
    passes = [(prompt, texts) for role, prompt, texts in seen if role == "document"]
    assert [prompt for prompt, _ in passes] == ["passage: ", "passage: "]
    assert [len(texts) for _, texts in passes] == [4, 3]
    assert sorted(passes[0][1] + passes[1][1]) == sorted(["one", "Title two", "three", "four", "five", "five", "four"])
    assert result.counters["pairs.without_negatives"] == 1
    assert result.counters["triplets.over_limit"] == 1
    assert "1 of 3 pairs have no mined negative and have in-batch negatives only" in result.messages


def test_passes_by_length_and_prompt_keep_every_text_in_its_place(encoder: Encoder):
    words = ["tiny", "somewhat longer text", "x", "a text that is the longest of them all", "medium text", "x"]
    prompts = ["", "p: ", "", "", "p: ", ""]
    module = encoder.module("cpu").eval()
    collator = Collator(None, None, None, None, module, None, pass_rows=2)  # type: ignore[arg-type]
    contrastive = Contrastive(module, train.Infonce(), Journal())
    with torch.no_grad():
        found = contrastive.embed(collator.tokens("query", words, prompts), "query")
    expected = [module.encode(text, prompt=prompt or None) for text, prompt in zip(words, prompts, strict=True)]
    np.testing.assert_allclose(found.numpy(), np.stack(expected), atol=1e-5)


def test_max_tokens_cuts_while_training_and_is_counted_but_is_not_saved(encoder: Encoder, tmp_path: Path):
    long = "many words " * 30
    sources = inputs([long, "short"], ["one", long + "two"], positives=[(0, 0), (1, 1)])
    config = train.TrainConfig(encoder=encoder, max_steps=1, batch_size=2, max_tokens=16)
    result = support.run(train, config, sources, tmp_path)
    assert result.counters["texts"] == 4
    assert result.counters["texts.at_token_limit"] == 2
    assert "2 of 4 texts reach the limit of tokens; most are cut there" in result.messages
    saved = SentenceTransformer(str(result.files["checkpoint"]), device="cpu")
    assert saved.max_seq_length == encoder.module("cpu").max_seq_length == 512


def test_a_round_goes_on_from_the_model_of_the_round_before(encoder: Encoder, uninterrupted: Any, tmp_path: Path):
    before = uninterrupted[0].inputs()["checkpoint"]
    sources = {**real(20), "checkpoint": before}
    result = support.run(train, small(encoder, learning_rate=1e-12, max_steps=1), sources, tmp_path)
    old, new = (SentenceTransformer(str(f), device="cpu") for f in (before.path(), result.files["checkpoint"]))
    np.testing.assert_allclose(old.encode(["phrase"]), new.encode(["phrase"]), atol=1e-6)
    assert train.external(small(encoder), sources, "cpu") == {}
    assert train.external(small(encoder), real(20), "cpu") == {"encoder": encoder.fingerprint()}


def test_static_embeddings_train_in_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: Encoder):
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(encoder.folder) / "tokenizer.json"))

    class Static(Encoder):
        def module(self, device: str) -> SentenceTransformer:
            return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=16)], device=device)

    seen = record(monkeypatch)
    config = train.TrainConfig(
        encoder=Static("static"), batch_size=64, epochs=6, learning_rate=0.05, max_tokens=128, logging_steps=2
    )
    result = support.run(train, config, real(120), tmp_path)
    rows = result.rows("training_log")
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert [len(texts) for role, _, texts in seen if role == "document"][:2] == [128, 112]
    assert result.counters["texts.at_token_limit"] == 0


def test_bf16_on_a_processor_only_when_it_is_asked_for(encoder: Encoder, uninterrupted: Any, tmp_path: Path):
    assert "cpu, fp32: 20 pairs, 20 negatives, 6 steps" in uninterrupted[0].messages
    result = support.run(train, small(encoder, precision="bf16", max_steps=2), real(20), tmp_path)
    assert "cpu, bf16: 20 pairs, 20 negatives, 2 steps" in result.messages
    weights = SentenceTransformer(str(result.files["checkpoint"]), device="cpu").state_dict()
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {torch.float32}


def test_the_schedule_fits_the_steps(encoder: Encoder, tmp_path: Path):
    config = small(encoder, epochs=1.5, warmup_ratio=0.4, logging_steps=1, learning_rate=1e-3)
    rows = support.run(train, config, real(20), tmp_path).rows("training_log")
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.5e-3, 1e-3, 2e-3 / 3, 1e-3 / 3, 0])


def test_nothing_to_train_on_says_so(encoder: Encoder, tmp_path: Path):
    sources = inputs(["query"], ["one", "two"], positives=[(0, 0)], negatives=[(0, 0, 1)], split=["test"])
    with pytest.raises(YieldError, match="nothing to train on"):
        support.run(train, small(encoder), sources, tmp_path)
    pairs = inputs(["query"], ["one", "two"], positives=[(0, 0)])
    with pytest.raises(YieldError, match="nothing to train on"):
        support.run(train, small(encoder, pairs="mined"), pairs, tmp_path)


def test_a_loss_that_is_no_number_ends_the_training_and_leaves_no_state(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    forward = InBatchInfonce.forward

    def breaks(self: Any, batch: Batch) -> Any:
        return forward(self, replace(batch, queries=batch.queries * float("nan")))

    monkeypatch.setattr(InBatchInfonce, "forward", breaks)
    with pytest.raises(ConfigError, match="not a finite number") as caught:
        support.run(train, small(encoder, logging_steps=100), real(20), tmp_path)
    assert caught.value.where == "training step 1"
    assert list((tmp_path / "scratch").glob(f"checkpoint-*/{MARK}")) == []


def test_a_second_gpu_is_refused_with_a_way_out(encoder: Encoder, tmp_path: Path):
    with pytest.raises(ConfigError, match="first GPU") as caught:
        support.run(train, small(encoder), real(20), tmp_path, device="cuda:1")
    assert caught.value.try_ == "CUDA_VISIBLE_DEVICES=1 and DEVICE=cuda"


def test_importing_the_stage_is_light():
    import subprocess
    import sys

    code = "import sys, stages.train; print(sorted({'torch', 'datasets', 'transformers'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def listed(plan: Plan, count: int) -> list[list[int]]:
    return [plan.batch(number)[1].tolist() for number in range(count)]


def test_each_epoch_has_its_own_order_of_all_examples():
    plan = Plan(Random(), pairs_of(10), 4, seed=0)
    batches = listed(plan, 9)
    assert [len(batch) for batch in batches] == [4, 4, 2] * 3
    orders = [[example for batch in batches[start : start + 3] for example in batch] for start in (0, 3, 6)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_a_batch_does_not_hang_on_those_before_it(encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What a run takes in its second epoch is what the plan says, asked from the end on."""
    seen = record(monkeypatch)
    support.run(train, small(encoder), real(20), tmp_path)
    queries = real(20)["queries"].read()["text"].to_pylist()
    taken = [text for role, _, texts in seen if role == "query" for text in texts]
    plan = Plan(Random(), pairs_of(20), 8, seed=0)
    expected = [[queries[i] for i in plan.batch(number)[1]] for number in (5, 4, 3, 2, 1, 0)][::-1]
    sizes = np.cumsum([0, *map(len, expected)])
    assert [sorted(taken[a:b]) for a, b in pairwise(sizes)] == [sorted(texts) for texts in expected]
