"""Batches of the own forward pass on a GPU: the next one is copied there while this one is computed.

Tokens are padded in pinned memory of the host and copied without waiting, on a stream of their own. The stream that computes
waits for the copy by an event; the host waits for nothing until the shard's vectors are copied back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

if TYPE_CHECKING:
    from stages.encoders._loaded import Prepared
    from stages.encoders._packed import Packed


class _Sent(NamedTuple):
    """A batch on its way. The host's tensors are kept until the copy is surely done."""

    batch: slice
    host: tuple[torch.Tensor, torch.Tensor]
    ids: torch.Tensor  # int64 (b, s)
    lengths: torch.Tensor | None  # int64 (b,); None without padding
    arrived: torch.cuda.Event


@dataclass
class Feed:
    """Batches of one call. See `stages.encoders._loaded.Batches`."""

    own: Packed
    prepared: Prepared
    device: torch.device
    by_prompt: bool = False
    _stream: torch.cuda.Stream = field(init=False)
    _next: _Sent | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]

    def vectors(self, batch: slice, following: slice) -> torch.Tensor:
        """Vectors float32 (b, d) on the device, perhaps not computed yet; sends the following batch off meanwhile."""
        now = self._next if self._next is not None and self._next.batch == batch else self._send(batch)
        self._next = None
        compute = torch.cuda.current_stream(self.device)
        compute.wait_event(now.arrived)
        for sent in (now.ids, now.lengths):
            if sent is not None:
                sent.record_stream(compute)
        found = self.own.block(now.ids, now.lengths)
        if following.stop > following.start:
            self._next = self._send(following)
        return found

    def drop(self) -> None:
        self._next = None

    def _send(self, batch: slice) -> _Sent:
        lengths, tokens = self.prepared.lengths[batch], (self.prepared.tokens or [])[batch]
        longest = int(lengths.max())
        ids = torch.zeros((len(tokens), longest), dtype=torch.int64, pin_memory=True)
        block = ids.numpy()
        for row, text in enumerate(tokens):
            block[row, : len(text)] = text
        counts = torch.empty(len(tokens), dtype=torch.int64, pin_memory=True)
        counts.numpy()[:] = lengths
        padded = bool(np.any(lengths != longest))
        with torch.cuda.stream(self._stream):
            there = ids.to(self.device, non_blocking=True)
            sizes = counts.to(self.device, non_blocking=True) if padded else None
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record(self._stream)
        return _Sent(batch, (ids, counts), there, sizes, arrived)
