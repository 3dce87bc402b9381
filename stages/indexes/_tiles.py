"""The product in bfloat16 on processors with AMX: one loop multiplies and keeps what is above the limit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from stages.indexes._kernels import PACK, Documents, Pack, Pairs, Queries, Room, bound, encoded, rounded_down
from stages.scoring import flat


class _Laid(NamedTuple):
    """Documents as `stages.compiled.tiles` reads them."""

    codes: np.ndarray  # uint16 (n/32, d/32, 32, 32), rows of zeros behind the last document
    rows: int


@dataclass(frozen=True)
class Tiles:
    """As `Bf16`, but that scores are float32, and what is not above a limit never leaves a core's first cache."""

    name: str = "bf16"
    device: str = "cpu"
    room: Room = field(default_factory=Room, compare=False, repr=False)

    def documents(self, values: np.ndarray, known: Documents | None = None) -> Documents:
        import torch

        from stages.compiled.codes import to_bfloat16

        values, (n, d) = flat(values), values.shape
        if known is None:
            known = Documents(None, 1.0, *to_bfloat16(values, np.empty((n, d), dtype=np.uint16)))
        whole = torch.from_numpy(values)
        if n % 32 or d % 32:
            whole = torch.nn.functional.pad(whole, (0, -d % 32, 0, -n % 32))
        codes = torch.empty((len(whole) // 32, whole.shape[1] // 32, 32, 32), dtype=torch.bfloat16)
        codes.copy_(whole.view(len(codes), 32, -1, 32).transpose(1, 2))
        return known._replace(codes=_Laid(codes.view(torch.uint16).numpy(), n))

    def queries(self, values: np.ndarray) -> Queries:
        return encoded(values, self.device, self._encode)

    def _encode(self, values: np.ndarray) -> tuple[Pack, np.ndarray, np.ndarray]:
        import torch

        from stages.compiled.instructions import in_turns

        exact = torch.from_numpy(values)
        codes = exact.bfloat16()
        both = (torch.linalg.vector_norm(v, dim=1, dtype=torch.float64) for v in (codes.float(), exact - codes.float()))
        length, error = (of.numpy() for of in both)
        wide = torch.nn.functional.pad(codes, (0, -codes.shape[1] % 32, 0, -len(codes) % 32))
        laid = in_turns(wide)
        return Pack(laid.view(torch.uint16).numpy().reshape(len(laid), -1), None), length, error

    def scores(self, documents: Documents, pack: Pack) -> Any:
        from stages.compiled import tiles
        from stages.compiled.instructions import whole_tiles

        codes, rows = documents.codes
        out = self.room.scores(32 * len(codes), 32 * len(pack.codes))
        tiles.scores(codes.reshape(-1), pack.codes.reshape(-1), 32 * codes.shape[1], whole_tiles(), out.numpy())
        return out[:rows]

    def above(
        self, documents: Documents, queries: Queries, limit: np.ndarray, span: np.ndarray, wanted: Iterable[int]
    ) -> Iterator[tuple[int, Pairs]]:
        from stages.compiled import tiles
        from stages.compiled.instructions import whole_tiles

        codes, rows = documents.codes
        off = bound(documents, queries, 64 * codes.shape[1] + 16)
        floors, size, whole = rounded_down(limit - off), PACK[self.device], whole_tiles()
        errors = np.nextafter(off.astype(np.float32), np.float32(np.inf))
        for pack in wanted:
            by, part = queries.packs[pack].codes, slice(pack * size, (pack + 1) * size)
            behind = 32 * len(by) - len(floors[part])
            floor = np.pad(floors[part], (0, behind), constant_values=np.inf)  # queries that are none find nothing
            d, flat_codes = 32 * codes.shape[1], codes.reshape(-1)
            given = flat_codes, rows, by.reshape(-1), d, floor, errors[part], whole
            yield pack, self.room.filled(rows * len(errors[part]), tiles.above, *given)
