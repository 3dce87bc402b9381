"""PyLate, contrastive: `anchor`, `positive`, `negative_1` … `negative_n`, as for sentence-transformers.

PyLate takes a column as a query when its name has "query" or "anchor" in it, and skips one with `_id` in its name. It needs
an older sentence-transformers, and so an environment of its own.
"""

from __future__ import annotations

from stages.exporters.st_ntuple import StNtuple

CHECKED = {"pylate": "1.6.0"}
LOADER = "datasets"


class Pylate(StNtuple):
    """Rows of (anchor, positive, n negatives), one for each query and positive that has n."""
