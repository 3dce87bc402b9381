"""The arms of a comparison, as data. An arm is what `--set` would change in the configuration; another arm is another entry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stages.errors import ConfigError, suggestion

BASELINE, OURS = "in_batch", "ours"
"""The arms that all others are tested against."""


@dataclass(frozen=True)
class Arm:
    """One way to come by negatives.

    `changes` are overrides of the configuration, `KEY=VALUE` with a TOML value. `rounds` share the budget of steps.
    `miner` names a library that mines in the place of the retrievers; `pipeline.compare.miner` calls it. `mines` is
    whether it trains on mined negatives at all. `pictured` is whether it can be had where there are pictures: what does not search
    vectors would search their captions.
    """

    name: str
    says: str
    changes: tuple[str, ...] = ()
    rounds: int = 1
    miner: str | None = None
    mines: bool = True
    pictured: bool = True


def _rules(*filters: str) -> str:
    """The filters of an arm in order, each `name` or `name={…}`, and no other."""
    tables = (one if "=" in one else f"{one}={{}}" for one in filters)
    return f"judge.filters={{{', '.join(tables)}}}"


_SIMPLE = ("teach.teachers=[]", "judge.promote=false", 'sample.sampler={name="top"}')
"""A simple rule takes the first candidates that it keeps, and asks no teacher."""

_SEARCH = ('mine.retrievers=[{name="dense"}]', *_SIMPLE)

_NOT_DENSE = ("deepen.limit=0", *_SIMPLE)
"""A deeper search is a dense one: an arm that searches otherwise has none."""

ARMS = (
    Arm(
        BASELINE,
        "no mined negatives: the other rows of the batch alone",
        ("train.negatives=0", 'train.pairs="all"'),
        mines=False,
    ),
    Arm(
        "random",
        "documents drawn at random",
        (
            'mine.retrievers=[{name="random"}]',
            _rules("known_positive", "same_text"),
            *_NOT_DENSE,
            'sample.sampler={name="random"}',
        ),
        pictured=False,
    ),
    Arm(
        "bm25",
        "the first of BM25 that are not known positives (DPR, arXiv 2004.04906)",
        (
            'mine.retrievers=[{name="bm25"}]',
            _rules("known_positive", "same_text"),
            *_NOT_DENSE,
            'sample.sampler={name="first"}',
        ),
        pictured=False,
    ),
    Arm(
        "naive",
        "the nearest by the model that are not known positives",
        (_rules("known_positive"), *_SEARCH),
    ),
    Arm(
        "shift",
        "the nearest from rank 11 on (TopK shifted by N of NV-Retriever, arXiv 2407.15831)",
        (_rules("known_positive", "same_text", "shift={n=10}"), *_SEARCH),
    ),
    Arm(
        "absolute",
        "the nearest that lie 0.05 below the positive (TopK-MarginPos of NV-Retriever)",
        (_rules("known_positive", "same_text", "absolute_margin={margin=0.05}"), *_SEARCH),
    ),
    Arm(
        "relative",
        "the nearest below 95% of the positive's score (TopK-PercPos of NV-Retriever)",
        (_rules("known_positive", "same_text", "relative_margin={margin=0.05}"), *_SEARCH),
    ),
    Arm(OURS, "the configuration as it is given"),
    Arm(
        "sentence_transformers",
        "`mine_hard_negatives` of sentence-transformers, with the settings of its documentation",
        (_rules("known_positive"), *_NOT_DENSE, 'sample.sampler={name="first"}'),
        miner="sentence_transformers",
        pictured=False,
    ),
    Arm("second_round", "the configuration as it is given, mined again after half of the steps (ANCE)", rounds=2),
)


def chosen(names: Sequence[str]) -> tuple[Arm, ...]:
    """The arms with these names in the order of the table; all of them for none. Raises ConfigError with a suggestion."""
    known = {arm.name: arm for arm in ARMS}
    for name in names:
        if name not in known:
            raise ConfigError(f"no arm {name!r}", try_=suggestion(name, list(known)))
    return tuple(arm for arm in ARMS if not names or arm.name in names)


def seeing(arms: Sequence[Arm], *, named: bool) -> tuple[tuple[Arm, ...], str]:
    """Those of the arms that can be had where there are pictures, and the names of the others.

    Raises ConfigError where there are others and they were asked for by name.
    """
    fits = tuple(arm for arm in arms if arm.pictured)
    others = ", ".join(arm.name for arm in arms if not arm.pictured)
    if others and named:
        raise ConfigError(
            "there are pictures, and these arms search texts", where="--arms", got=others,
            try_=f"--arms {' '.join(arm.name for arm in ARMS if arm.pictured)}",
        )  # fmt: skip
    return fits, others
