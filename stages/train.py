"""Trains the encoder on queries, their positives and the mined negatives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from stages.augmenting import Augmentation
from stages.batches.random import Random
from stages.checkpoints import Checkpoints, Journal, digest
from stages.encoding import refuse_kinds
from stages.errors import ConfigError
from stages.examples import Examples
from stages.guidance import Guidance, Scores, Vectors
from stages.losses.infonce import Infonce
from stages.objectives import Objective
from stages.pictures import Album, kinds
from stages.registry import ManyOf, OneOf
from stages.schemas import DEV_CURVE, TRAINING_LOG
from stages.settings import Settings, speed
from stages.spec import Context, Inputs, Part, Spec
from stages.training.data import Guide, Relevance, guided, pairs_of
from stages.training.parts import Batches, EarlyStopping, Encoder, Lora, Projection
from stages.training.place import Place, place_of
from stages.training.precision import bf16_on, check_devices

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from stages.training.collator import Collator, Texts
    from stages.training.development import Development
    from stages.training.loop import Schedule
    from stages.training.plan import Plan


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
    augmentations: Annotated[tuple[Augmentation, ...], ManyOf("augmentations")] = Field(
        (),
        description="what makes views of texts or pictures, other ones in each epoch, by `seed`; the recipe is stored, views "
        "are not. Each costs the time to make it. None: everything is trained on as it is",
    )
    projection: Projection | None = Field(
        None,
        description="a head in front of the loss that the saved model is without; none: the loss sees the embeddings",
    )
    pairs: Literal["all", "mined"] = Field(
        "all",
        description="all pairs of the split train, those without a mined negative with in-batch negatives only; or the mined ones",
    )
    negatives: int | None = Field(
        4,
        ge=0,
        description="mined negatives of a pair at most, the first chosen; each costs one more document a query; none: all; "
        "0: in-batch negatives only",
    )
    negatives_pool: int | None = Field(
        None,
        ge=1,
        description="mined negatives of a pair, the first chosen, of which each epoch takes `negatives` by turns; costs "
        "nothing; none: every epoch takes the same",
    )
    batches: Annotated[Batches, OneOf("batches")] = Field(
        default_factory=Random, description="which pairs come together in a batch"
    )
    epochs: float = Field(1.0, gt=0, description="passes over the pairs; time grows with it")
    max_steps: int | None = Field(
        None, ge=1, description="optimizer steps at most, whatever the epochs; the schedule fits them"
    )
    schedule_rounds: int = Field(
        1,
        ge=1,
        le=10_000,
        description="rounds that are one training: optimizer, learning rate, order and random numbers go on from round to round, "
        "with fresh negatives each; a round takes the steps that epochs and max_steps say. 1: each round starts anew",
    )
    batch_size: int = Field(
        64, ge=2, description="queries a batch; more are more in-batch negatives, fewer steps and more memory"
    )
    accumulate: int = Field(
        1, ge=1, description="batches a step, each with its own in-batch negatives; memory for one of them"
    )
    cached: bool = Field(
        False,
        description="gradient caching: memory for the activations of one pass in place of a whole batch, for a second "
        "forward pass, about 4/3 of the time; equal but for rounding",
    )
    learning_rate: float = Field(
        2e-5,
        gt=0,
        description="at its highest, after warm-up; transformers want 1e-5 to 5e-5, static embeddings 1e-2 to 2e-1",
    )
    learning_rates: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict,
        description="of parts of the model, as shares of `learning_rate`, by a regular expression found in the names of their "
        'parameters: {"_tower" = 0.03} lets pretrained towers learn slower than new projections',
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
        description="bf16 is automatic mixed precision with weights in fp32; auto is bf16 on CUDA and fp32 on a processor, so "
        "that no result hangs on its instructions. On one with AMX or AVX512-BF16 bf16 is faster",
    )
    devices: int = Field(
        1,
        ge=1,
        description="GPUs, or on a processor processes, that share the texts of every batch; batches, masks and negatives stay "
        "those of one, and the result differs by rounding and by what dropout draws",
    )
    lora: Lora | None = Field(None, description="trains adapters alone: less memory; none: all weights")
    early_stopping: EarlyStopping | None = Field(
        None,
        description="measures on the split dev and keeps the best weights; none: the last weights, after all steps",
    )
    seed: int = Field(0, ge=0, lt=2**32, description="order of the pairs, turns of the negatives and dropout")
    logging_steps: int = Field(10, ge=1, description="steps a row of the training log")
    workers: int = speed(
        0,
        "processes that make batches ahead: decode pictures, make views, tokenise. 0: this one, in between steps",
        ge=0,
    )
    checkpoint_steps: int = speed(
        100, "steps after which the state is saved, to go on from after a kill; each takes the time to write 3 times the weights; 0: never", ge=0
    )  # fmt: skip

    @model_validator(mode="after")
    def _pool_is_larger(self) -> Self:
        if self.negatives_pool is not None and (self.negatives is None or self.negatives_pool < self.negatives):
            raise ValueError("negatives_pool must be at least negatives, which must be a number")
        if self.early_stopping and self.schedule_rounds > 1:
            raise ValueError("early_stopping ends a training, and schedule_rounds carries it on: take one of them")
        return self

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
    version=4,
    config=TrainConfig,
    inputs=("corpus", "queries", "qrels", "pictures", "promoted", "triplets"),
    optional=("checkpoint", "training_state"),
    asks=asks,
    facts_of=("teacher_scores",),
    tables=("training_log", "dev_curve"),
    files=("checkpoint", "training_state"),
    external=external,
    resources=frozenset({"gpu", "memory"}),
)


def run(config: TrainConfig, inputs: Inputs, context: Context) -> Iterator[Part]:
    """Yields the trained model as a sentence-transformers folder, the log of its training and its curve on dev;
    with `schedule_rounds` also the state of the training, for the round that goes on with it.

    An example is a pair of a query and a document relevant to it, by the qrels or because judge promoted it, with negatives
    that were sampled for it. A step takes `accumulate` batches of `batch_size` examples. Documents that are known to be
    relevant to a row's query, by row or by text, are never its negatives, whoever brought them into the batch. What is in a
    batch depends on seed and number alone, and a run that was killed goes on from its last whole checkpoint to the same
    weights, bit by bit.

    Raises:
        YieldError: there is no pair to train on.
        ConfigError: the loss stops being a number, the device cannot be used, or something is asked for that the model or
            the data lack: layers for adapters, groups, a split dev.
    """
    from stages.training.card import card
    from stages.training.loop import carry
    from stages.training.model import merge, save
    from stages.training.plan import Plan

    for shard in context.shards:
        wanted = config.loss.wants
        scores = Scores.read(inputs["teacher_scores"], wanted.teacher) if wanted.scores else None
        relevance = Relevance.read(inputs)
        pairs, counters = pairs_of(
            inputs,
            relevance,
            scores,
            taken=config.pairs,
            limit=config.negatives_pool or config.negatives,
            log=context.log,
        )
        rotates = config.negatives if config.negatives_pool else None
        plan = Plan(config.batches, pairs, config.batch_size, config.seed, rotates)
        steps = _steps(config, plan)
        place = place_of(config.schedule_rounds, inputs, context, steps)
        journal, module = _fit(config, inputs, context, _Work(plan, place, relevance, scores))
        last = journal.rows[-1]["step"]
        facts = {
            "rows": len(pairs),
            "negatives": len(pairs.examples.negatives),
            "steps": last - place.start,
            "epochs": plan.share(last * config.accumulate) - plan.share(place.start * config.accumulate),
            "loss": journal.rows[-1]["loss"],
            "masked": journal.all_masked / ((last - place.start) * config.accumulate),
            "first_step": place.start + 1,
        }
        if journal.curve:
            facts |= {
                "best_step": journal.best()["step"],
                "best_ndcg": journal.best()["ndcg"],
                "stopped": journal.stopped,
            }
            context.log(_curve_says(journal))
        if journal.texts_at_limit:
            context.log(
                f"{journal.texts_at_limit} of {journal.texts} texts reach the limit of tokens; most are cut there"
            )
        counters |= {"texts": journal.texts, "texts.at_token_limit": journal.texts_at_limit}
        merge(module)
        says = card(config.semantic(), facts, counters, module)
        tables = {
            "training_log": pa.Table.from_pylist(journal.rows, schema=TRAINING_LOG),
            "dev_curve": pa.Table.from_pylist(journal.curve, schema=DEV_CURVE),
        }
        files = {"checkpoint": partial(save, module, says)}
        if place.stop < place.steps:
            files["training_state"] = partial(carry, context.scratch, place.stop)
        yield Part(shard, tables, files, counters, facts)


def _curve_says(journal: Journal) -> str:
    """Where the best weights are from."""
    best, last = journal.best(), journal.rows[-1]["step"]
    ends = f"stopped after step {last}" if journal.stopped else f"trained to step {last}"
    return f"{ends}; best on dev after step {best['step']}, nDCG@10 {best['ndcg']:.4f}, {journal.curve[0]['ndcg']:.4f} before"


def _steps(config: TrainConfig, plan: Plan) -> int:
    """Optimizer steps of the whole training. Raises ConfigError."""
    most = math.inf if config.max_steps is None else config.max_steps * config.accumulate
    batches = plan.length(config.epochs, most)
    if config.accumulate > batches:
        raise ConfigError(
            "a step would take more batches than the whole training has",
            where="train.accumulate",
            got=f"{config.accumulate:,}, and {batches:,} batches",
            try_=f"train.accumulate = {batches}, or more epochs",
        )
    steps = math.ceil(batches / config.accumulate)
    return steps if config.max_steps is None else min(steps, config.max_steps)


class _Work(NamedTuple):
    """What is trained on, the round's place in the schedule, and the teacher's scores where the loss wants them."""

    plan: Plan
    place: Place
    relevance: Relevance
    scores: Scores | None


class _Model(NamedTuple):
    """What is trained: the encoder, its module with the weights, and whether its passes are in bf16."""

    encoder: Encoder
    module: SentenceTransformer
    bf16: bool


def _fit(config: TrainConfig, inputs: Inputs, context: Context, work: _Work) -> tuple[Journal, SentenceTransformer]:
    """Trains, and returns the journal and the trained model."""
    from stages.training import loop, model
    from stages.training.projection import Projected

    plan, place, _, scores = work
    encoder, chosen = config.encoder, plan.pairs.examples
    refuse_kinds(encoder, kinds(inputs["corpus"]) | kinds(inputs["queries"]))
    if "checkpoint" in inputs:
        encoder = encoder.with_checkpoint(inputs["checkpoint"].path())
    bf16 = bf16_on(context.device, config.precision, context.log)
    check_devices(config.devices, context.device)
    many = config.devices > 1
    module = model.load(encoder, "cpu" if many else context.device, config.seed)
    if config.lora:
        lora = config.lora
        model.adapt(module, lora.rank, lora.alpha, lora.dropout, lora.target_modules)
    model.refuse_unnamed(module, config.learning_rates)
    collator = _collator(config, inputs, context, work, _Model(encoder, module, bf16))
    objective = config.loss
    if config.projection:
        sizes = module.get_embedding_dimension(), config.projection.hidden, config.projection.dimensions
        objective = Projected(config.loss, *sizes, config.seed)
    context.log(
        f"{context.device}, {'bf16' if bf16 else 'fp32'}: {len(chosen)} pairs, {len(chosen.negatives)} negatives, {place.stop - place.start} steps"
    )
    job: dict[str, Any] = {
        "objective": objective,
        "collator": collator,
        "schedule": _schedule(config, place, bf16, context.device),
        "checkpoints": Checkpoints(context.scratch, _belongs(config, chosen, scores)),
        "development": _development(config, inputs, context, encoder, collator),
        "carried": place.carried,
    }
    with context.progress("train", place.stop - place.start) as bar:
        if many:
            from stages.training.spread import Job, spread

            journal = spread(Job(**job), config.devices, log=context.log, advance=bar.advance)
        else:
            journal = loop.fit(**job, log=context.log, advance=bar.advance)
    return journal, module


def _guided(
    config: TrainConfig, inputs: Inputs, context: Context, chosen: Examples, bf16: bool
) -> tuple[Vectors, Vectors] | None:
    """The guide's vectors of the queries and the documents that are trained on; None without a guide."""
    if config.guide is None:
        return None
    if "picture" in kinds(inputs["corpus"]) | kinds(inputs["queries"]):
        raise ConfigError(
            "a guide reads texts, and there are pictures", where="train.guide", try_="a loss without a guide"
        )
    precision = "bf16" if bf16 else "fp32"
    return guided(config.guide, inputs, chosen, device=context.device, precision=precision, log=context.log)


def _collator(config: TrainConfig, inputs: Inputs, context: Context, work: _Work, model: _Model) -> Collator:
    """What makes the batches."""
    from stages.training.collator import Augmenting, Collator
    from stages.training.frozen import frozen, remember
    from stages.training.model import rows_of_a_pass

    encoder, module, bf16 = model
    chosen = work.plan.pairs.examples
    queries, documents = _read(encoder, inputs, context, chosen)
    shows = "picture" in kinds(inputs["corpus"]) | kinds(inputs["queries"])
    collator = Collator(
        plan=work.plan,
        known=work.relevance.known(),
        queries=queries,
        documents=documents,
        module=module,
        max_tokens=config.max_tokens,
        pass_rows=rows_of_a_pass(module, config.pass_rows, context.device, cached=config.cached, pictures=shows),
        guidance=Guidance(work.scores, _guided(config, inputs, context, chosen, bf16)),
        augmenting=Augmenting(config.augmentations, config.seed) if config.augmentations else None,
    )
    remember(collator, frozen(module, config.augmentations), context.scratch, bf16, context.log)
    return collator


def _development(
    config: TrainConfig, inputs: Inputs, context: Context, encoder: Encoder, collator: Collator
) -> Development | None:
    """What is measured while training; None where nothing is."""
    from stages.training.development import development

    if config.early_stopping is None:
        return None
    return development(
        inputs,
        collator,
        (encoder.query_prompt, encoder.document_prompt),
        config.early_stopping.documents,
        seed=config.seed,
        album=context.scratch / "dev_pictures.arrow",
        log=context.log,
    )


def _read(encoder: Encoder, inputs: Inputs, context: Context, chosen: Examples) -> tuple[Texts, Texts]:
    """What is trained on: texts in memory, and pictures in a file of the scratch folder that is mapped."""
    from stages.training.collator import pictures_of, texts_of

    sides = (
        (inputs["queries"], np.unique(chosen.queries), encoder.query_prompt),
        (inputs["corpus"], np.union1d(chosen.positives, chosen.negatives), encoder.document_prompt),
    )
    wanted = np.unique(np.concatenate([pictures_of(source, rows) for source, rows, _ in sides]))
    album = Album.store(inputs["pictures"], wanted, context.scratch / "pictures.arrow") if len(wanted) else None
    queries, documents = (texts_of(source, rows, prompt, album) for source, rows, prompt in sides)
    return queries, documents


def _schedule(config: TrainConfig, place: Place, bf16: bool, device: str) -> Schedule:
    """How long, how fast and how often."""
    from stages.training.loop import Schedule

    stopping = config.early_stopping
    return Schedule(
        steps=place.steps,
        start=place.start,
        stop=place.stop,
        warmup_steps=math.ceil(config.warmup_ratio * place.steps),
        bf16=bf16,
        device=device,
        evaluate_steps=stopping.evaluate_steps if stopping else 0,
        patience=stopping.patience if stopping else 0,
        learning_rates={part: share * config.learning_rate for part, share in config.learning_rates.items()},
        **{
            name: getattr(config, name)
            for name in (
                "accumulate", "cached", "learning_rate", "weight_decay", "seed", "logging_steps", "checkpoint_steps", "workers",
            )
        },
    )  # fmt: skip


def _belongs(config: TrainConfig, chosen: Examples, scores: Scores | None) -> str:
    """A hash of what is trained and how: states of another training are not gone on from."""
    taught = (scores.of_pairs.keys, scores.of_pairs.values) if scores else ()
    parts = (chosen.queries, chosen.positives, chosen.negatives, chosen.offsets)
    return digest(config.semantic(), *parts, *taught)
