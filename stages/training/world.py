"""The processes of one training, each with a device of its own: they share the texts of every batch and agree on the rest.

Every process makes the same batch and embeds a share of its passes. Then each has the embeddings of all, and computes the
loss of the whole batch, so that masks and in-batch negatives are those of one device and nothing hangs on how many there
are, but for rounding. What the gradient of an embedding does to the weights, the process finds out that embedded it; the
sum over the processes is the gradient of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


class _Sum(torch.autograd.Function):
    """The sum over the processes. Each computes the loss of all of it, so the gradient of its own part is the whole one."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


@dataclass(frozen=True)
class World:
    """One of `size` processes. Alone it does nothing, and no process group is needed."""

    rank: int = 0
    size: int = 1

    def whole(self, own: Tensor, places: Tensor, count: int) -> Tensor:
        """The embeddings of all `count` texts, (count, d), from this process' own (n, d), which stand at `places` (n,)."""
        if self.size == 1:
            return own
        empty = torch.zeros(count, own.shape[1], dtype=own.dtype, device=own.device)
        return cast(Tensor, _Sum.apply(empty.index_copy(0, places, own)))  # type: ignore[no-untyped-call]

    def total(self, count: int, device: torch.device) -> int | Tensor:
        """The sum of a count over the processes; it stays on its device."""
        if self.size == 1:
            return count
        counted = torch.tensor(count, device=device)
        dist.all_reduce(counted)
        return counted

    def seed(self, seed: int, number: int) -> None:
        """Begins new random numbers for the batch of a number, others in each process, the same after a resume."""
        if self.size > 1:
            torch.manual_seed(int(np.random.SeedSequence([seed, number, self.rank]).generate_state(1)[0]))

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Puts the sum over the processes in the place of each gradient. What no process has a gradient of keeps none."""
        if self.size == 1:
            return
        trained = [each for each in parameters if each.requires_grad]
        if not trained:
            return
        there = torch.tensor([each.grad is not None for each in trained], device=trained[0].device).int()
        dist.all_reduce(there)
        for each, processes in zip(trained, there.tolist(), strict=True):
            if processes:
                if each.grad is None:
                    each.grad = torch.zeros_like(each)
                dist.all_reduce(each.grad)

    def agree(self, work: Callable[[], T]) -> T:
        """What the first process finds; the others wait for it."""
        if self.size == 1:
            return work()
        found: list[Any] = [work() if self.rank == 0 else None]
        dist.broadcast_object_list(found, src=0)
        return cast(T, found[0])
