"""The training loop: steps, checkpoints, early stopping and the log, on sentence-transformers' trainer.

The library does the optimisation, the schedule and the saving of their states. What is here are the seams: batches that
are a function of their number, a log that goes on after a kill, measurements on dev, and checkpoints that are proved to be
whole before they are used.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader
from transformers import PrinterCallback, TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from stages.checkpoints import MARK, Checkpoints, Journal
from stages.float32 import whole_float32
from stages.objectives import Objective
from stages.training.collator import Collator
from stages.training.contrastive import Contrastive
from stages.training.development import Development
from stages.training.plan import Plan
from stages.training.world import World

WEIGHTS, LEARNED, BEST = "weights.safetensors", "loss.safetensors", "best.safetensors"
"""Of a checkpoint: the model, what the loss has learned, and the model that was best on dev."""


class _Numbers(BatchSampler):
    """The numbers of all batches, one after the other; what is in each is the plan's to say."""

    def __init__(self, count: int) -> None:
        self.batch_size, self.drop_last, self._count = 1, False, count

    def __iter__(self) -> Iterator[list[int]]:
        return ([number] for number in range(self._count))

    def __len__(self) -> int:
        return self._count


class Trainer(SentenceTransformerTrainer):  # type: ignore[misc]
    """The library's trainer with our batches, and with the weights of a checkpoint as safetensors.

    The states of optimizer, schedule and random numbers stay the library's own files. It reads them with
    `weights_only=True`, so they can hold tensors, arrays and numbers but no code.
    """

    def get_train_dataloader(self) -> Any:
        """One epoch, in the library's eyes, of all batches there are: the plan's epochs may differ in length."""
        count = self.args.max_steps * self.args.gradient_accumulation_steps
        return self.accelerator.prepare(
            DataLoader(
                range(count),  # type: ignore[arg-type]
                batch_sampler=_Numbers(count),
                collate_fn=self.data_collator,
                pin_memory=self.args.dataloader_pin_memory,
                num_workers=self.workers,
            )
        )

    def training_step(self, *given: Any, **named: Any) -> Tensor:
        """The library's, and at the end of an optimizer step the gradients of all processes."""
        loss: Tensor = super().training_step(*given, **named)
        if self.accelerator.sync_gradients:
            self.world.sum_gradients(self.model.parameters())
        return loss

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        """Clips the model's gradients as the library does, and apart from them those of what the loss learns.

        The gradient of a learned temperature is `temperature_rate` times as large as one of a weight: under one norm it
        would shrink all the others.
        """
        nn.utils.clip_grad_norm_(list(self.loss.objective.parameters()), self.args.max_grad_norm)
        return super()._clip_grad_norm(model)

    def collect_features(self, inputs: dict[str, Any]) -> tuple[dict[str, Any], None]:
        return inputs, None

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """No model card: it holds dates and durations, and the bytes of a result must not."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_model(self.model, str(folder / WEIGHTS))
        if learned := self.loss.objective.state_dict():
            save_file({name: value.contiguous() for name, value in learned.items()}, folder / LEARNED)
        if self.best:
            save_file(self.best, folder / BEST)

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        folder = Path(checkpoint_path)
        load_model(self.model, folder / WEIGHTS)
        if (folder / LEARNED).exists():
            self.loss.objective.load_state_dict(load_file(folder / LEARNED))
        self.best = load_file(folder / BEST) if (folder / BEST).exists() else {}

    world: World = World()
    """The processes that train together."""

    workers: int = 0
    """Processes that make batches ahead."""

    best: dict[str, Tensor] = {}
    """The weights that were best on dev so far; empty when nothing is measured."""

    def keep_best(self) -> None:
        """Takes the weights of now for the best."""
        self.best = {name: value.detach().cpu().clone().contiguous() for name, value in self.model.state_dict().items()}


@dataclass(frozen=True)
class Schedule:
    """How long, how fast and how often. `steps` are those of the whole schedule; this training takes them from `start` to `stop`."""

    steps: int
    start: int
    stop: int
    accumulate: int
    cached: bool
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    seed: int
    bf16: bool
    device: str
    logging_steps: int
    checkpoint_steps: int
    evaluate_steps: int
    """Steps from one measurement on dev to the next; 0 measures nothing."""
    patience: int
    workers: int = 0
    learning_rates: Mapping[str, float] = field(default_factory=dict)
    """Of parameters whose names a regular expression is found in."""


class _Watcher(TrainerCallback):  # type: ignore[misc]
    """Keeps the journal, measures on dev, marks checkpoints as whole and moves the progress bar."""

    def __init__(
        self,
        schedule: Schedule,
        plan: Plan,
        journal: Journal,
        checkpoints: Checkpoints,
        *,
        development: Development | None,
        advance: Callable[[int], None],
        world: World,
    ) -> None:
        self._world = world
        self._schedule, self._plan, self._journal, self._checkpoints = schedule, plan, journal, checkpoints
        self._development, self._advance = development, advance
        self.keep_best: Callable[[], None]

    def on_train_begin(self, args: Any, state: Any, control: Any, **found: Any) -> None:
        if not self._journal.curve:
            self._measure(0)

    def on_step_begin(self, args: Any, state: Any, control: Any, **found: Any) -> None:
        begins = state.global_step * self._schedule.accumulate
        epoch = self._plan.epoch_of(begins)
        if epoch and self._plan.epoch_of(begins - self._schedule.accumulate) < epoch:
            torch.empty((), dtype=torch.int64).random_()  # as a loader does that begins an epoch

    def on_step_end(self, args: Any, state: Any, control: Any, **found: Any) -> None:
        step, schedule = state.global_step, self._schedule
        stops = False
        if schedule.evaluate_steps and (step % schedule.evaluate_steps == 0 or step == schedule.stop):
            self._measure(step)
            stops = self._journal.since_best() >= schedule.patience
        if step % schedule.logging_steps == 0 or step == schedule.stop or stops:
            epoch = self._plan.position(step * schedule.accumulate)
            self._journal.row(step, epoch, found["lr_scheduler"].get_last_lr()[0])
        if stops:
            self._journal.stopped = control.should_training_stop = True
            control.should_save = bool(schedule.checkpoint_steps)
        elif step == schedule.stop < schedule.steps:
            control.should_save = control.should_training_stop = True
        if self._world.rank:
            control.should_save = False
        self._advance(1)

    def on_save(self, args: Any, state: Any, control: Any, **found: Any) -> None:
        self._journal.settle(state.global_step)
        self._checkpoints.complete(Path(args.output_dir) / f"checkpoint-{state.global_step}", self._journal)

    def _measure(self, step: int) -> None:
        """A point of the curve, and the weights kept when there is none better."""
        if self._development:
            epoch = self._plan.position(step * self._schedule.accumulate) if step else 0.0
            ndcg = self._world.agree(self._development.measure)
            self._journal.curve.append({"step": step, "epoch": epoch, "ndcg": ndcg})
            if self._journal.since_best() == 0:
                self.keep_best()


def fit(
    objective: Objective,
    collator: Collator,
    *,
    schedule: Schedule,
    checkpoints: Checkpoints,
    log: Callable[[str], None],
    advance: Callable[[int], None],
    development: Development | None = None,
    carried: Path | None = None,
    world: World = World(),  # noqa: B008
) -> Journal:
    """Trains the collator's module in place, from the last whole checkpoint on if there is one, and returns its journal.

    Without one it goes on from `carried`, the state that the round before ended with at the step `schedule.start`.
    With `development` the module ends with the weights that were best there.
    """
    module, resumed = collator.module, world.agree(lambda: checkpoints.latest(log))
    path, journal = resumed or (carried, Journal(accumulate=schedule.accumulate))
    done = int(resumed[0].name.partition("-")[2]) if resumed else schedule.start
    watcher = _Watcher(
        schedule, collator.plan, journal, checkpoints, development=development, advance=advance, world=world
    )
    trainer = Trainer(
        model=module,
        args=_arguments(schedule, checkpoints.folder, saves=world.rank == 0),
        loss=Contrastive(module, objective, journal, cached=schedule.cached, world=world, seed=schedule.seed),
        data_collator=collator,
        callbacks=[watcher],
    )
    watcher.keep_best, trainer.world, trainer.workers = trainer.keep_best, world, schedule.workers
    trainer.remove_callback(PrinterCallback)
    if path:
        log(f"goes on after step {done} of {schedule.steps}")
        advance(done - schedule.start)
    if path and (journal.stopped or done >= schedule.stop):
        trainer._load_from_checkpoint(str(path))
    else:
        with nullcontext() if schedule.bf16 else whole_float32():
            trainer.train(resume_from_checkpoint=str(path) if path else None)
    if trainer.best:
        module.load_state_dict(trainer.best)
    module.eval()
    if learned := learned_scalars(trainer.loss.objective):
        log(f"the loss learned: {learned}")
    return journal


def learned_scalars(objective: nn.Module) -> str:
    """What a loss has learned that is one number, such as its temperature: not the weights of a head."""
    alone = (m for m in objective.modules() if any(p.ndim == 0 for p in m.parameters(recurse=False)))
    return "; ".join(module.extra_repr().removesuffix(", learned") for module in alone)


def carry(folder: Path, stop: int, path: Path) -> None:
    """Copies the state at the end of a round to `path`, for the round that goes on from it."""
    shutil.copytree(folder / f"checkpoint-{stop}", path, ignore=shutil.ignore_patterns(f"{MARK}*"), dirs_exist_ok=True)


def steps_done(state: Path) -> int:
    """Optimizer steps that went into a state."""
    return int(TrainerState.load_from_json(str(state / TRAINER_STATE_NAME)).global_step)


def _arguments(schedule: Schedule, folder: Path, saves: bool) -> SentenceTransformerTrainingArguments:
    """Everything that changes the result is named, so that a new default of the library changes nothing."""
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        max_steps=schedule.steps,
        gradient_accumulation_steps=schedule.accumulate,
        optim="adamw_torch_fused",
        adam_beta1=0.9,
        adam_beta2=0.999,
        adam_epsilon=1e-8,
        max_grad_norm=1.0,
        learning_rate=schedule.learning_rate,
        learning_rate_mapping=dict(schedule.learning_rates),
        lr_scheduler_type="linear",
        warmup_steps=schedule.warmup_steps,
        weight_decay=schedule.weight_decay,
        seed=schedule.seed,
        bf16=schedule.bf16,
        use_cpu=schedule.device == "cpu",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        save_strategy="steps" if schedule.checkpoint_steps and saves else "no",
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
