"""A first configuration for data that are there: which format they are in, by every format's own account, and the file itself."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.datasets._guess import Guess
from stages.errors import ConfigError, InputError, suggestion
from stages.registry import names

TEMPLATE = """# Made by `hardrock init --from {source}`. Every key has a default; `hardrock check` says what it makes of the data.
{told}
rounds = 1                          # trains once: round 0 is the untrained model, round 1 the trained one

[encoder]                           # used by embed and by train
{encoder}

[ingest]
on_bad_row = "fail"                 # or "quarantine": bad rows go into the table rejects
missing_judgements_allowed = 0

[ingest.dataset]
{dataset}

[index.kind]
name = "exact"                      # or flat; auto; factory = "IVF…", which is approximate

[mine]
depth = 100                         # candidates a query

[judge]
comparison = "least_positive"

[judge.filters.known_positive]      # rules in order: the first that drops a candidate is its verdict
[judge.filters.same_text]
{filters}[judge.filters.relative_margin]
margin = -0.05                      # keep s ≤ p − |p|·margin: up to 1.05 times the positive's score; 0.05 is stricter

[sample]
negatives = 5                       # a (query, positive) pair
seed = 0

[sample.sampler]
name = "top"

{targets}
[train]
batch_size = 64
negatives = 4                       # of a pair; each costs one more document a query
learning_rate = 5e-5

[evaluate]
splits = ["test"]
"""
TEXTS = ("name = \"sentence_transformers\"\nmodel = {}   # a package, a folder, or a hub id", """[export.targets.st_triplet]
[export.targets.st_ntuple]
negatives = 5
[export.targets.flagembedding]
""")  # fmt: skip
PICTURES = (
    'name = "two_tower"                  # trained from scratch; clip takes a hub id or a folder, see docs/image-data.md',
    "# export: open_clip and webdataset by themselves, where there are pictures\n",
)
"""Tables of the encoder and of the targets of export, by what there is to encode."""
SPAM = "[judge.filters.negative_relevance]  # what is judged below 0, as spam, is no hard negative either\n"
MAPPED = {"anchor": "anchor", "positive": "positive", "negative": "negatives", "label": "label",
          "anchor_id": "anchor_id", "positive_id": "positive_id", "split": "split"}  # fmt: skip
"""What can be mapped to a column, and the field that it becomes."""


@dataclass(frozen=True)
class Recognised:
    """The format that fits best, and what else fits."""

    name: str
    guess: Guess
    fields: Mapping[str, Any]
    others: tuple[str, ...] = ()
    unsure: tuple[str, ...] = field(default=())


def recognise(place: str, name: str | None = None, columns: Mapping[str, Any] | None = None) -> Recognised:
    """Asks every format. `name` takes one of them, `columns` are fields that name columns. Raises InputError, ConfigError."""
    known = names("datasets")
    if name is not None and name not in known:
        raise ConfigError(f"no {name!r} among the datasets", try_=suggestion(name, known))
    found: list[tuple[str, Guess]] = []
    for one in known if name is None else [name]:
        module = importlib.import_module(f"stages.datasets.{one}")
        member = getattr(module, "".join(word.capitalize() for word in one.split("_")))
        guess = module.recognise(place)
        if guess and all(key in member.model_fields for key in columns or ()):
            found.append((one, guess))
    if not found:
        what = "no format reads this" if Path(place).exists() else "no such file or folder, and no id that is known"
        raise InputError(what, where=place, got="its columns are not named as in " + "any" if columns else None,
                         try_=f"--format {'|'.join(known)}, or --map anchor=COLUMN,positive=COLUMN")  # fmt: skip
    found.sort(key=lambda item: -item[1].score)
    best, guess = found[0]
    unsure = list(() if columns and guess.score < 10 else guess.unsure)
    if len(found) > 1 and found[1][1].score == guess.score:
        unsure.append(f"{found[1][0]} fits as well")
    others = tuple(f"{one} ({its.why[0] if its.why else 'by its suffix'})" for one, its in found[1:4])
    return Recognised(best, guess, {**guess.fields, **(columns or {})}, others, tuple(unsure))


def mapping(given: str | None) -> dict[str, Any]:
    """`anchor=COL,positive=COL,negative=COL,negative=COL` as fields. Raises ConfigError."""
    found: dict[str, Any] = {}
    for part in given.split(",") if given else ():
        role, equals, column = part.partition("=")
        if not equals or not column or role.strip() not in MAPPED:
            raise ConfigError(f"{part!r} maps nothing", try_=f"--map ROLE=COLUMN,… with ROLE of {', '.join(MAPPED)}")
        key = MAPPED[role.strip()]
        found[key] = [*found.get(key, []), column] if key == "negatives" else column
    return found


def configuration(found: Recognised, source: str, target: Path, encoder: str) -> str:
    """The text of the configuration; a path that was given relative to here is written relative to its folder."""
    fields = dict(found.fields)
    if "path" in fields and not Path(fields["path"]).is_absolute():
        fields["path"] = os.path.relpath(fields["path"], target.parent)
    dataset = "\n".join(f"{key} = {_value(value)}" for key, value in {"name": found.name, **fields}.items())
    told = [f"# Guessed: {line}" for line in found.guess.why] + [f"# Not sure: {line}" for line in found.unsure]
    told += [f"# Also possible: {line}" for line in found.others]
    module = importlib.import_module(f"stages.datasets.{found.name}")
    pictured = getattr(getattr(module, "".join(word.capitalize() for word in found.name.split("_"))), "pictured", False)
    model, targets = PICTURES if pictured else TEXTS
    lines = "\n".join(line.replace("\n", " ") for line in told)
    shown = "".join(c if c.isprintable() else "?" for c in source)
    return TEMPLATE.format(source=shown, told=_printable(lines), encoder=model.replace("{}", _value(encoder)), dataset=dataset,
                           targets=targets, filters=SPAM if found.name in {"trec", "ir_datasets"} else "")  # fmt: skip


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def _value(value: Any) -> str:
    """A TOML value: strings and lists of strings as JSON writes them, but for DEL, which TOML does not take."""
    if isinstance(value, Mapping):
        inside = ", ".join(f"{key} = {_value(each)}" for key, each in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=True).replace("\x7f", "\\u007f")
