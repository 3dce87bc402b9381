"""The `README.md` of a data set folder: which files are which configuration, as the Hugging Face Hub and `datasets` read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stages.exporters._common import dumps

SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)


def card(configs: Mapping[str, Mapping[str, str]], says: str, default: str = "", **more: object) -> str:
    """The card: `configs` gives for each configuration the pattern of the files of each split; `more` are further keys.

    Values are written as JSON, which is YAML.
    """
    lines = ["---", *(f"{key}: {dumps(value)}" for key, value in more.items()), "configs:"]
    for name, splits in configs.items():
        lines += [f"- config_name: {dumps(name)}", *(["  default: true"] if name == default else []), "  data_files:"]
        for split, path in splits.items():
            lines += [f"  - split: {dumps(split)}", f"    path: {dumps(path)}"]
    return "\n".join([*lines, "---", "", says.strip(), ""])


def keys(
    title: str, rows: int, *, language: str, license: str, tasks: Sequence[str], tags: Sequence[str]
) -> dict[str, Any]:
    """The keys by which the hub finds a data set; language and licence where they are given."""
    given = {"language": language, "license": license}
    size = next((name for limit, name in SIZES if rows < limit), "10M<n<100M")
    return {
        **{key: value for key, value in given.items() if value},
        "pretty_name": title,
        "task_categories": list(tasks),
        "size_categories": [size],
        "tags": list(tags),
    }
