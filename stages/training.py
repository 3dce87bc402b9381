"""The training loop: batches, steps, checkpoints and the log, on sentence-transformers' trainer.

The library does the optimisation, the schedule and the saving of their states. What is here are the seams: batches that
are made from rows and carry the mask of known positives, an order that is a function of seed and epoch alone, a log that
goes on after a kill, and checkpoints that are proved to be whole before they are used.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from safetensors.torch import load_model, save_model
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from torch import Tensor, nn
from torch.utils.data import BatchSampler
from transformers import PrinterCallback, TrainerCallback, set_seed
from transformers.utils import logging as transformers_logging

from stages.checkpoints import Checkpoints, Journal
from stages.examples import Examples, Known
from stages.guidance import Guidance
from stages.objectives import Batch, Objective, Outcome

WEIGHTS, LOSS_WEIGHTS = "weights.safetensors", "loss.safetensors"


class Loads(Protocol):
    def module(self, device: str) -> SentenceTransformer: ...


class Texts:
    """The texts of some rows of a table, with a prompt for each."""

    def __init__(self, rows: np.ndarray, texts: pa.Array, prompts: pa.Array) -> None:
        """Rows ascending, int (n,); texts and prompts of these rows, strings (n,)."""
        self._rows, self._texts, self._prompts = rows, texts, prompts

    def of(self, rows: np.ndarray) -> tuple[list[str], list[str]]:
        """Texts and prompts of rows, which may repeat."""
        places = pa.array(np.searchsorted(self._rows, rows))
        return self._texts.take(places).to_pylist(), self._prompts.take(places).to_pylist()


@dataclass(frozen=True)
class Collator:
    """Makes a batch from the numbers of its examples: tokens, and which documents are known to be relevant."""

    examples: Examples
    known: Known
    queries: Texts
    documents: Texts
    module: SentenceTransformer
    max_tokens: int | None
    pass_rows: int
    valid_label_columns: tuple[str, ...] = ()
    guidance: Guidance | None = None

    def __call__(self, features: Sequence[dict[str, int]]) -> dict[str, Any]:
        picked = np.array([row["example"] for row in features])
        queries = self.examples.queries[picked]  # (B,)
        documents = np.concatenate([self.examples.positives[picked], self.examples.negatives_of(picked)])  # (M,)
        owners = np.concatenate([np.arange(len(picked)), self.examples.owners_of(picked)])  # (M,)
        guidance = self.guidance.of(queries, documents, owners) if self.guidance else {}
        return {
            "query": self._tokens("query", *self.queries.of(queries)),
            "document": self._tokens("document", *self.documents.of(documents)),
            "known": torch.from_numpy(self.known.mask(queries, documents)),  # (B, M)
            "owners": torch.from_numpy(owners),
            "guidance": {name: torch.from_numpy(values) for name, values in guidance.items()},
        }

    @property
    def limit(self) -> int | None:
        """Tokens of a text at most."""
        own = self.module.max_seq_length
        limits = [limit for limit in (own, self.max_tokens) if limit is not None and math.isfinite(limit)]
        return min(limits, default=None)

    def _tokens(self, role: str, texts: list[str], prompts: list[str]) -> dict[str, Any]:
        """Tokens in passes of texts with one prompt and of about one length, so that little of a pass is padding."""
        passes: list[list[int]] = []
        for prompt in sorted(set(prompts)):
            order = sorted((i for i, own in enumerate(prompts) if own == prompt), key=lambda i: len(texts[i]))
            passes += [order[start : start + self.pass_rows] for start in range(0, len(order), self.pass_rows)]
        cap = {} if self.max_tokens is None else {"max_length": self.limit}
        tokens = [
            dict(self.module.preprocess([texts[i] for i in rows], prompt=prompts[rows[0]] or None, task=role, **cap))
            for rows in passes
        ]
        return {
            "passes": tokens,
            "places": torch.from_numpy(np.argsort(np.concatenate(passes), kind="stable")),
            "at_limit": sum(self._at_limit(features) for features in tokens),
        }

    def _at_limit(self, features: dict[str, Any]) -> int:
        """Texts that take all the tokens there may be: most of them are cut."""
        if self.limit is None or "attention_mask" not in features:
            return 0
        return int((features["attention_mask"].sum(dim=1) >= self.limit).sum())


class Contrastive(nn.Module):
    """The loss as the trainer wants it: a module that holds the model and takes a batch."""

    def __init__(self, model: SentenceTransformer, objective: Objective, journal: Journal) -> None:
        super().__init__()
        self.model, self.objective, self._journal = model, objective.module(), journal

    def forward(self, batch: dict[str, Any], labels: None) -> Tensor:
        queries, documents = self._embed(batch, "query"), self._embed(batch, "document")
        positives = torch.arange(len(queries), device=queries.device)
        outcome: Outcome = self.objective(
            Batch(queries, documents, positives, batch["known"], batch["owners"], **batch["guidance"])
        )
        self._journal.add(
            outcome.loss.detach(),
            outcome.masked,
            len(queries) + len(documents),
            sum(batch[name]["at_limit"] for name in ("query", "document")),
        )
        return outcome.loss

    def _embed(self, batch: dict[str, Any], role: str) -> Tensor:
        """Embeddings in the order of the texts: float (n, d)."""
        passes = [self.model(dict(features), task=role)["sentence_embedding"] for features in batch[role]["passes"]]
        return torch.cat(passes)[batch[role]["places"]]


class Order(BatchSampler):
    """Every example once an epoch, in an order that is drawn from seed and epoch; the last batch may be small."""

    def __init__(self, examples: int, batch_size: int, seed: int) -> None:
        self.examples, self.batch_size, self.seed = examples, batch_size, seed
        self.drop_last, self.epoch = False, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.examples)
        for start in range(0, self.examples, self.batch_size):
            yield order[start : start + self.batch_size].tolist()

    def __len__(self) -> int:
        return math.ceil(self.examples / self.batch_size)


class Trainer(SentenceTransformerTrainer):  # type: ignore[misc]
    """The library's trainer with our batches, and with the weights of a checkpoint as safetensors.

    The states of optimizer, schedule and random numbers stay the library's own files. It reads them with
    `weights_only=True`, so they can hold tensors, arrays and numbers but no code.
    """

    def get_batch_sampler(self, dataset: Dataset, batch_size: int, **_: Any) -> BatchSampler:
        return Order(len(dataset), batch_size, self.args.seed)

    def collect_features(self, inputs: dict[str, Any]) -> tuple[dict[str, Any], None]:
        return inputs, None

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """No model card: it holds dates and durations, and the bytes of a result must not."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_model(self.model, str(folder / WEIGHTS))
        if any(True for _ in self.loss.objective.parameters()):
            save_model(self.loss.objective, str(folder / LOSS_WEIGHTS))

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        load_model(self.model, Path(checkpoint_path) / WEIGHTS)
        if (learned := Path(checkpoint_path) / LOSS_WEIGHTS).exists():
            load_model(self.loss.objective, learned)


@dataclass(frozen=True)
class Schedule:
    """How long, how fast and how often."""

    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    seed: int
    bf16: bool
    device: str
    logging_steps: int
    checkpoint_steps: int


class _Watcher(TrainerCallback):  # type: ignore[misc]
    """Keeps the journal, marks checkpoints as whole and moves the progress bar."""

    def __init__(
        self, schedule: Schedule, journal: Journal, checkpoints: Checkpoints, advance: Callable[[int], None]
    ) -> None:
        self._schedule, self._journal, self._checkpoints, self._advance = schedule, journal, checkpoints, advance

    def on_step_end(self, args: Any, state: Any, control: Any, **found: Any) -> None:
        step = state.global_step
        if step % self._schedule.logging_steps == 0 or step == self._schedule.steps:
            self._journal.row(step, state.epoch, found["lr_scheduler"].get_last_lr()[0])
        self._advance(1)

    def on_save(self, args: Any, state: Any, control: Any, **found: Any) -> None:
        self._journal.settle(state.global_step)
        self._checkpoints.complete(Path(args.output_dir) / f"checkpoint-{state.global_step}", self._journal)


def load(encoder: Loads, device: str, seed: int) -> SentenceTransformer:
    """The encoder's module. Weights that its files lack are drawn from the seed."""
    set_seed(seed)
    with _quiet():
        return encoder.module(device)


def save(module: SentenceTransformer, path: Path) -> None:
    """Writes the folder that sentence-transformers loads: safetensors, and no model card, which would hold dates."""
    with _quiet():
        module.save_pretrained(str(path), create_model_card=False, safe_serialization=True)


def rows_of_a_pass(module: SentenceTransformer, asked: int | None, device: str) -> int:
    """Texts of a pass: all of them where there is no padding to save, as with static embeddings."""
    if "attention_mask" not in module.preprocess(["probe"]):
        return sys.maxsize
    return asked or (16 if device == "cpu" else 256)


def fit(
    objective: Objective,
    collator: Collator,
    *,
    schedule: Schedule,
    checkpoints: Checkpoints,
    log: Callable[[str], None],
    advance: Callable[[int], None],
) -> Journal:
    """Trains the collator's module in place, from the last whole checkpoint on if there is one, and returns its journal."""
    module, resumed = collator.module, checkpoints.latest(log)
    path, journal = resumed or (None, Journal())
    done = int(path.name.partition("-")[2]) if path else 0
    trainer = Trainer(
        model=module,
        args=_arguments(schedule, checkpoints.folder),
        train_dataset=Dataset.from_dict({"example": np.arange(len(collator.examples))}),
        loss=Contrastive(module, objective, journal),
        data_collator=collator,
        callbacks=[_Watcher(schedule, journal, checkpoints, advance)],
    )
    trainer.remove_callback(PrinterCallback)
    if path:
        log(f"goes on after step {done} of {schedule.steps}")
        advance(done)
    if path and done >= schedule.steps:
        trainer._load_from_checkpoint(str(path))
    else:
        trainer.train(resume_from_checkpoint=str(path) if path else None)
    module.eval()
    if any(True for _ in trainer.loss.objective.parameters()):
        log(f"the loss learned: {' '.join(str(trainer.loss.objective).split())}")
    return journal


def _arguments(schedule: Schedule, folder: Path) -> SentenceTransformerTrainingArguments:
    """Everything that changes the result is named, so that a new default of the library changes nothing."""
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        max_steps=schedule.steps,
        per_device_train_batch_size=schedule.batch_size,
        gradient_accumulation_steps=1,
        optim="adamw_torch_fused",
        adam_beta1=0.9,
        adam_beta2=0.999,
        adam_epsilon=1e-8,
        max_grad_norm=1.0,
        learning_rate=schedule.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=schedule.warmup_steps,
        weight_decay=schedule.weight_decay,
        seed=schedule.seed,
        bf16=schedule.bf16,
        use_cpu=schedule.device == "cpu",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        save_strategy="steps" if schedule.checkpoint_steps else "no",
        save_steps=schedule.checkpoint_steps or 1,
        report_to="none",
        disable_tqdm=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=schedule.device != "cpu",
        push_to_hub=False,
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # one device a stage; the library would spread the batch over all it sees
    return arguments


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's own progress bars."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
