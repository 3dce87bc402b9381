"""Chooses the index by size: exact as long as that is the cheaper way, else an inverted file.

Measured with `python -m benchmarks.indexes` on one thread of an Intel Xeon (family 6, model 167; AVX-512), November 2026,
faiss-cpu 1.15.1, clustered vectors of 384 values, 2,000 queries, 100 documents a query:

    documents  index                                          recall  build CPU s  search CPU s per 1,000 queries
       50,000  flat                                            1.000          0.1                            0.32
       50,000  IVF1024,Flat nprobe 64                           .916          3.4                            0.20
       50,000  IVF1024,PQ96x4fs,RFlat nprobe 64, refine 8       .894          4.4                            0.22
       50,000  HNSW32 ef_search 512                             .933          6.4                            1.24
      200,000  flat                                            1.000          0.4                            1.11
      200,000  IVF2048,Flat nprobe 64                           .925         19.7                            0.47
      200,000  IVF2048,PQ96x4fs,RFlat nprobe 64, refine 8       .853         19.2                            0.29

Inverted lists that are searched cell by cell have the best recall for their time, so they are what is chosen. What they
save must pay for their build: against flat after 28,000 queries for 50,000 documents and after
26,000 for 200,000; against an exact
join that is some three times as fast as flat much later or not at all. The limit of 1e11 pairs is extrapolated from
these figures and from runs over 1,000,000 documents: the exact join of 5e10 pairs took 46 to 107 CPU
seconds where the processor has AMX, on an idle and on a busy machine.
"""

from __future__ import annotations

import math

from pydantic import Field

from stages.registry import Member, build, names

LEAST_ROWS = 20_000
"""Below this an inverted file has too few documents a list to be trained well, and an exact search is quick."""
PROBED = 1 / 16
"""Share of the lists that is visited. The recall that this gives is measured in every run and held against a floor."""


class Auto(Member):
    """Not an index but a choice of one. The manifest holds the chosen member with all its fields, and the reason."""

    exact_pairs: float = Field(
        1e11,
        gt=0,
        description="pairs of query and document up to which the search is exact; above it documents may be missed",
    )
    queries: int | None = Field(
        None, ge=1, description="queries that will be searched; none is the number there are, each searched once"
    )
    seed: int = Field(0, ge=0, description="seed of an approximate index's training")

    def choose(self, rows: int, dimensions: int, queries: int) -> tuple[Member, str]:
        """A member for a corpus (rows, dimensions) that `queries` queries search, and the reason in a sentence."""
        pairs = float(rows) * (self.queries or queries)
        if rows < LEAST_ROWS or pairs <= self.exact_pairs:
            name = "exact" if "exact" in names("indexes") else "flat"
            small = f"{rows:,} documents are fewer than {LEAST_ROWS:,}"
            few = f"{pairs:.2g} pairs are at most {self.exact_pairs:.2g}"
            return build("indexes", name, {}), f"{name}, because {few if pairs <= self.exact_pairs else small}"
        lists = cells(rows)
        fields = {
            "factory": f"IVF{lists},Flat",
            "nprobe": max(1, round(lists * PROBED)),
            "train_rows": min(rows, 64 * lists),
            "seed": self.seed,
        }
        because = f"{pairs:.2g} pairs are more than {self.exact_pairs:.2g} and there are {rows:,} documents"
        return build("indexes", "factory", fields), f"{fields['factory']}, because {because}"


def cells(rows: int) -> int:
    """Lists of an inverted file over `rows` documents: the power of two next to 4 √rows."""
    return int(2 ** round(math.log2(4 * math.sqrt(max(rows, 16)))))
