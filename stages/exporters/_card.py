"""The `README.md` of a data set folder: which files are which configuration, as the Hugging Face Hub and `datasets` read it."""

from __future__ import annotations

from collections.abc import Mapping

from stages.exporters._common import dumps

TAGS = ("sentence-transformers", "hard-negatives")


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
