"""Trains the encoder on queries, their positives and the mined negatives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from stages.checkpoints import Checkpoints, Journal, digest
from stages.errors import ConfigError, ResourceError, YieldError
from stages.examples import Examples, Known, examples
from stages.guidance import Guidance, Scores, Vectors
from stages.losses.infonce import Infonce
from stages.objectives import Objective
from stages.registry import OneOf
from stages.schemas import TRAINING_LOG
from stages.settings import Settings, speed
from stages.spec import Context, Inputs, Part, Source, Spec
from stages.text import join_title

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from stages.training import Texts


class Encoder(Protocol):
    """What is trained."""

    @property
    def query_prompt(self) -> str: ...

    @property
    def document_prompt(self) -> str: ...

    def module(self, device: str) -> SentenceTransformer:
        """The model with its weights, on the device."""
        ...

    def fingerprint(self) -> str:
        """A hash of weights, tokenizer, pooling and prompts."""
        ...

    def with_checkpoint(self, path: Path) -> Encoder:
        """The same encoder with the weights of a trained model's folder."""
        ...


class Guide(Protocol):
    """An encoder that is only asked."""

    @property
    def query_prompt(self) -> str: ...

    @property
    def document_prompt(self) -> str: ...

    def fingerprint(self) -> str: ...

    def load(self, device: str, precision: str) -> Any:
        """The model in memory: `encode(texts, role, prompts)` gives embeddings, float32 (n, d)."""
        ...


class TrainConfig(Settings):
    """How the encoder is trained: AdamW, a linear schedule with warm-up, gradients clipped to norm 1."""

    encoder: Annotated[Encoder, OneOf("encoders")] = Field(
        description="the model to train; a later round goes on from the round before"
    )
    loss: Annotated[Objective, OneOf("losses")] = Field(default_factory=Infonce, description="what is minimised")
    guide: Annotated[Guide | None, OneOf("encoders")] = Field(
        None,
        description="the encoder that a guided loss masks by; it encodes each text that is trained on once, and its "
        "vectors stay in memory: 4 bytes times texts times dimensions",
    )
    pairs: Literal["all", "mined"] = Field(
        "all",
        description="all pairs of the split train, those without a mined negative with in-batch negatives only; or the mined ones",
    )
    negatives: int | None = Field(
        1,
        ge=1,
        description="mined negatives of a pair at most, the first chosen; each costs one more document a query; none: all",
    )
    epochs: float = Field(1.0, gt=0, description="passes over the pairs; time grows with it")
    max_steps: int | None = Field(
        None, ge=1, description="optimizer steps at most, whatever the epochs; the schedule fits them"
    )
    batch_size: int = Field(
        64, ge=2, description="queries a step; more are more in-batch negatives, fewer steps and more memory"
    )
    learning_rate: float = Field(
        2e-5,
        gt=0,
        description="at its highest, after warm-up; transformers want 1e-5 to 5e-5, static embeddings 1e-2 to 2e-1",
    )
    warmup_ratio: float = Field(
        0.1, ge=0, le=1, description="share of the steps in which the learning rate rises from 0"
    )
    weight_decay: float = Field(0.0, ge=0, description="AdamW's decay of weights, not of biases and norms")
    max_tokens: int | None = Field(
        None,
        ge=4,
        description="texts are cut there while training, never above the model's own limit; none: the model's own limit",
    )
    pass_rows: int | None = Field(
        None,
        ge=1,
        description="texts of about one length that go through the model at once; fewer are less padding, more keep a GPU "
        "busy; none: 16 on a processor, 256 on CUDA",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="bf16 is automatic mixed precision with weights in fp32; auto is bf16 on CUDA and fp32 on a processor",
    )
    seed: int = Field(0, ge=0, lt=2**32, description="order of the pairs and dropout")
    logging_steps: int = Field(10, ge=1, description="steps a row of the training log")
    checkpoint_steps: int = speed(
        100, "steps after which the state is saved, to go on from after a kill; each takes the time to write 3 times the weights; 0: never", ge=0
    )  # fmt: skip

    @model_validator(mode="after")
    def _guide_and_loss_belong_together(self) -> TrainConfig:
        if self.loss.wants.guide and self.guide is None:
            raise ConfigError("the loss needs a guide", where="train.guide", try_="[train.guide] with an encoder")
        if self.guide is not None and not self.loss.wants.guide:
            raise ConfigError(
                "the loss takes no guide", where="train.guide", try_='[train.loss] with name = "guided", or no guide'
            )
        return self


def external(config: TrainConfig, inputs: Inputs, device: str) -> Mapping[str, str]:
    """The weights of the guide, and those that training starts from where they are not those of the round before."""
    prints = {} if "checkpoint" in inputs else {"encoder": config.encoder.fingerprint()}
    return prints if config.guide is None else {**prints, "guide": config.guide.fingerprint()}


def asks(config: TrainConfig) -> tuple[str, ...]:
    """The table besides `SPEC.inputs` that the loss needs."""
    return ("teacher_scores",) if config.loss.wants.scores else ()


SPEC = Spec(
    name="train",
    version=1,
    config=TrainConfig,
    inputs=("corpus", "queries", "qrels", "triplets"),
    optional=("checkpoint",),
    asks=asks,
    facts_of=("teacher_scores",),
    tables=("training_log",),
    files=("checkpoint",),
    external=external,
    resources=frozenset({"gpu", "memory"}),
)


def run(config: TrainConfig, inputs: Inputs, context: Context) -> Iterator[Part]:
    """Yields the trained model as a sentence-transformers folder, and the log of its training.

    An example is a pair of a query and a document relevant to it, with the first negatives that were sampled for it. A
    step takes `batch_size` examples. Documents that are known to be relevant to a row's query, by row or by text, are
    never its negatives, whoever brought them into the batch. The order of the examples depends on seed and epoch alone, and
    a run that was killed goes on from its last whole checkpoint to the same weights, bit by bit.

    Raises:
        YieldError: there is no pair to train on.
        ConfigError: the loss stops being a number, or the device cannot be used.
    """
    from stages.training import save

    for shard in context.shards:
        wanted = config.loss.wants
        scores = Scores.read(inputs["teacher_scores"], wanted.teacher) if wanted.scores else None
        chosen, counters = _examples(config, inputs, context, scores)
        guidance = Guidance(scores, _guided(config, inputs, context, chosen))
        journal, module = _fit(config, inputs, context, chosen, guidance)
        steps = _steps(config, len(chosen))
        table = pa.Table.from_pylist(journal.rows, schema=TRAINING_LOG)
        facts = {
            "rows": len(chosen),
            "negatives": len(chosen.negatives),
            "steps": steps,
            "epochs": steps / math.ceil(len(chosen) / config.batch_size),
            "loss": journal.rows[-1]["loss"],
            "masked": journal.all_masked / steps,
        }
        if journal.texts_at_limit:
            context.log(
                f"{journal.texts_at_limit} of {journal.texts} texts reach the limit of tokens; most are cut there"
            )
        counters |= {"texts": journal.texts, "texts.at_token_limit": journal.texts_at_limit}
        yield Part(shard, {"training_log": table}, {"checkpoint": partial(save, module)}, counters, facts)


def _examples(
    config: TrainConfig, inputs: Inputs, context: Context, scores: Scores | None
) -> tuple[Examples, dict[str, int]]:
    """The examples to train on and the counters of how they came about. Raises YieldError when there are none.

    With a teacher's scores these are the mined ones that have scores: of any other there is nothing to learn.
    """
    qrels = inputs["qrels"].read(["query_row", "doc_row", "relevance", "split"])
    triplets = inputs["triplets"].read(["query_row", "positive_row", "negative_row"])
    unscored: dict[str, int] = {}
    if scores is not None:
        triplets, unscored = scores.scored(triplets)
        for reason, count in unscored.items():
            if count:
                context.log(f"{count} {reason.replace('.', ', their ').replace('_', ' ')}, are left out")
    pairs: Literal["all", "mined"] = config.pairs if scores is None else "mined"
    chosen, counters = examples(qrels, triplets, config.negatives, pairs)
    counters |= unscored
    if not len(chosen):
        raise YieldError(
            "there is nothing to train on", got=f"{counters['pairs']} pairs in the split train, {len(triplets)} triplets",
            try_="wider filters, qrels for the split train, or train.pairs = \"all\"",
        )  # fmt: skip
    alone, foreign = counters["pairs.without_negatives"], counters["triplets.not_of_train"]
    if alone:
        fate = "have in-batch negatives only" if pairs == "all" else "are left out"
        context.log(f"{alone} of {counters['pairs']} pairs have no mined negative and {fate}")
    if foreign:
        context.log(f"{foreign} triplets belong to no pair of the split train and are left out")
    return chosen, counters


def _steps(config: TrainConfig, rows: int) -> int:
    """Optimizer steps of the whole training."""
    steps = math.ceil(config.epochs * math.ceil(rows / config.batch_size))
    return steps if config.max_steps is None else min(steps, config.max_steps)


def _fit(
    config: TrainConfig, inputs: Inputs, context: Context, chosen: Examples, guidance: Guidance
) -> tuple[Journal, SentenceTransformer]:
    """Trains, and returns the journal and the trained model."""
    from stages import training

    steps = _steps(config, len(chosen))
    encoder = config.encoder
    if "checkpoint" in inputs:
        encoder = encoder.with_checkpoint(inputs["checkpoint"].path())
    bf16 = _bf16(config, context.device)
    module = training.load(encoder, context.device, config.seed)
    collator = training.Collator(
        examples=chosen,
        known=_known(inputs),
        queries=_texts(inputs["queries"], np.unique(chosen.queries), encoder.query_prompt),
        documents=_texts(inputs["corpus"], np.union1d(chosen.positives, chosen.negatives), encoder.document_prompt),
        module=module,
        max_tokens=config.max_tokens,
        pass_rows=training.rows_of_a_pass(module, config.pass_rows, context.device),
        guidance=guidance,
    )
    schedule = training.Schedule(
        steps=steps,
        warmup_steps=math.ceil(config.warmup_ratio * steps),
        bf16=bf16,
        device=context.device,
        **{
            name: getattr(config, name)
            for name in ("batch_size", "learning_rate", "weight_decay", "seed", "logging_steps", "checkpoint_steps")
        },
    )
    taught = guidance.scores.of_pairs if guidance.scores else None
    belongs = digest(
        config.semantic(),
        chosen.queries,
        chosen.positives,
        chosen.negatives,
        chosen.offsets,
        *((taught.keys, taught.values) if taught else ()),
    )
    context.log(
        f"{context.device}, {'bf16' if bf16 else 'fp32'}: {len(chosen)} pairs, {len(chosen.negatives)} negatives, {steps} steps"
    )
    with context.progress("train", steps) as bar:
        journal = training.fit(
            config.loss,
            collator,
            schedule=schedule,
            checkpoints=Checkpoints(context.scratch, belongs),
            log=context.log,
            advance=bar.advance,
        )
    return journal, module


def _guided(config: TrainConfig, inputs: Inputs, context: Context, chosen: Examples) -> tuple[Vectors, Vectors] | None:
    """What the guide makes of the queries and documents that are trained on; None without a guide."""
    if config.guide is None:
        return None
    precision = "bf16" if _bf16(config, context.device) else "fp32"
    loaded, found = config.guide.load(context.device, precision), []
    for role, name, rows, prompt in (
        ("query", "queries", np.unique(chosen.queries), config.guide.query_prompt),
        ("document", "corpus", np.union1d(chosen.positives, chosen.negatives), config.guide.document_prompt),
    ):
        texts, prompts = _texts(inputs[name], rows, prompt).of(rows)
        context.log(f"the guide encodes {len(texts)} {'queries' if name == 'queries' else 'documents'}")
        found.append(Vectors(rows, loaded.encode(texts, role, prompts)))
    return found[0], found[1]


def _bf16(config: TrainConfig, device: str) -> bool:
    """Whether to train in bf16. Raises ConfigError or ResourceError where the device cannot."""
    if device == "cpu":
        return config.precision == "bf16"
    import torch

    if device not in {"cuda", "cuda:0"}:
        raise ConfigError(
            f"training runs on the first GPU that it sees, not on {device!r}",
            try_=f"CUDA_VISIBLE_DEVICES={device[5:]} and DEVICE=cuda",
        )
    supported = torch.cuda.is_bf16_supported(including_emulation=False)
    if config.precision == "bf16" and not supported:
        raise ResourceError("this GPU has no bf16", got=torch.cuda.get_device_name(), try_='precision = "fp32"')
    return supported and config.precision != "fp32"


def _known(inputs: Inputs) -> Known:
    """What is known to be relevant, in all splits: a document of the test split is no negative either."""
    hashes = [inputs[name].read(["text_hash"])["text_hash"].to_numpy() for name in ("queries", "corpus")]
    return Known(inputs["qrels"].read(["query_row", "doc_row", "relevance"]), *hashes)


def _texts(source: Source, rows: np.ndarray, prompt: str) -> Texts:
    """The texts of some rows as they are encoded, int (n,) ascending. A prompt of a query's own stands in for `prompt`."""
    from stages.training import Texts

    titled, prompted = "title" in source.schema.names, "prompt" in source.schema.names
    texts: list[str] = []
    prompts: list[str] = []
    optional = ["title"] * titled + ["prompt"] * prompted
    for batch in source.batches(["row", "text", *optional]):
        first = batch["row"][0].as_py() if batch.num_rows else 0
        inside = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + batch.num_rows)] - first
        found = batch.take(pa.array(inside))
        titles = found["title"].to_pylist() if titled else [None] * len(inside)
        texts += [join_title(title, text) for title, text in zip(titles, found["text"].to_pylist(), strict=True)]
        prompts += (
            [prompt if own is None else own for own in found["prompt"].to_pylist()]
            if prompted
            else [prompt] * len(inside)
        )
    return Texts(rows, pa.array(texts, pa.large_string()), pa.array(prompts, pa.string()).dictionary_encode())
