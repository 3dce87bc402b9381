"""Documents for a filter's test: what they have given, and what was read of them noted."""

import numpy as np
import pyarrow as pa


class Documents:
    def __init__(self, texts=(), *, vectors=(), found=(), queries=0, groups=(), held_out=()):
        self._texts, self._vectors = list(texts), np.array(vectors, np.float32)
        self.occurrences = (np.array(found, np.int64), queries)
        self.groups, self.held_out = np.array(groups, np.int64), np.array(held_out, bool)
        self.cache = {}
        self.read = []

    def texts(self, blocks):
        for rows in blocks:
            self.read += rows.tolist()
            yield pa.array([self._texts[r] for r in rows], pa.large_string())

    def vectors(self, blocks):
        for rows in blocks:
            self.read += rows.tolist()
            yield self._vectors[rows]
