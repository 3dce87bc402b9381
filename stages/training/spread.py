"""A training on several devices: starts a process for each, shows what the first one says, and takes over its result."""

from __future__ import annotations

import os
import queue
import signal
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_model, save_model

from stages.checkpoints import Checkpoints, Journal
from stages.errors import HardrockError, ResourceError
from stages.objectives import Objective
from stages.training.collator import Collator
from stages.training.development import Development
from stages.training.loop import Schedule, fit
from stages.training.world import World

_PATIENCE = timedelta(hours=2)
"""For the slowest process at one batch, and for the measurement on dev that the others wait for."""


@dataclass(frozen=True)
class Job:
    """All that a process needs to train."""

    objective: Objective
    collator: Collator
    schedule: Schedule
    checkpoints: Checkpoints
    development: Development | None
    carried: Path | None


@dataclass(frozen=True)
class _Crew:
    """What all processes of a training are told."""

    size: int
    folder: Path  # where they meet, and where the first leaves the weights
    job: Job
    threads: int
    parent: int


def spread(job: Job, size: int, *, log: Callable[[str], None], advance: Callable[[int], None]) -> Journal:
    """Trains the job's module in place in `size` processes, and returns the journal of the first. See `loop.fit`.

    Raises what a process raises, and ResourceError when one ends without a word.
    """
    context = mp.get_context("spawn")
    says: Any = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        crew = _Crew(size, Path(folder), job, max(1, torch.get_num_threads() // size), os.getpid())
        processes = [context.Process(target=_train, args=(rank, crew, says), daemon=True) for rank in range(size)]
        try:
            for process in processes:
                process.start()
            journal = _listen(says, processes, {"log": log, "advance": advance})
            for process in processes:
                process.join()
            load_model(job.collator.module, _result(Path(folder)))
        finally:
            for process in processes:
                if process.is_alive():
                    process.kill()
    return journal


def _listen(says: Any, processes: list[Any], handlers: dict[str, Callable[[Any], None]]) -> Journal:
    """What the processes say until the first one is done."""
    while True:
        try:
            kind, value = says.get(timeout=1)
        except queue.Empty:
            ended = [(rank, p.exitcode) for rank, p in enumerate(processes) if p.exitcode]
            if ended:
                raise ResourceError(
                    "a process of the training ended without a word", where=f"the one for device {ended[0][0]}",
                    got=f"exit code {ended[0][1]}", try_="less memory: smaller train.pass_rows, or train.cached = true",
                ) from None  # fmt: skip
            continue
        if kind == "done":
            return Journal(**value)
        if kind == "failed":
            name, fields = value
            raise next(each for each in _errors() if each.__name__ == name)(**fields)
        handlers[kind](value)


def _errors() -> list[type[HardrockError]]:
    found = [HardrockError]
    for each in found:
        found += each.__subclasses__()
    return found


def _result(folder: Path) -> Path:
    return folder / "weights.safetensors"


def _train(rank: int, crew: _Crew, says: Any) -> None:
    """One process. The first one tells how it goes, saves the states and leaves the weights."""
    size, folder, job = crew.size, crew.folder, crew.job
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us
    first, cuda = rank == 0, job.schedule.device != "cpu"
    torch.set_num_threads(crew.threads)
    if cuda:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES")
        os.environ["CUDA_VISIBLE_DEVICES"] = seen.split(",")[rank] if seen else str(rank)  # the only one that is seen
        job.collator.module.to("cuda")
    for values in (*job.collator.module.parameters(), *job.collator.module.buffers()):
        values.data = values.data.clone()  # tensors come through memory that all processes share
    dist.init_process_group(
        "nccl" if cuda else "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=size,
        timeout=_PATIENCE,
    )

    def tell(kind: str) -> Callable[[Any], None]:
        return (lambda value: says.put((kind, value))) if first else lambda value: None

    advanced = tell("advance")

    def advance(amount: int) -> None:
        if os.getppid() != crew.parent:
            os._exit(1)  # the stage was killed, and nobody waits for the result
        advanced(amount)

    try:
        journal = fit(
            job.objective,
            replace(job.collator, share=(rank, size)),
            schedule=job.schedule,
            checkpoints=job.checkpoints,
            log=tell("log"),
            advance=advance,
            development=job.development,
            carried=job.carried,
            world=World(rank, size),
        )
    except HardrockError as error:
        says.put(
            ("failed", (type(error).__name__, {"what": error.what, "where": error.where, "got": error.got if error.got is None else str(error.got), "try_": error.try_}))
        )  # fmt: skip
        return
    if first:
        save_model(job.collator.module, str(_result(folder)))
        says.put(("done", journal.as_json()))
    with suppress(RuntimeError):
        dist.barrier()
    dist.destroy_process_group()
