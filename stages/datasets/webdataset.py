"""WebDataset: tars, or a folder of them, of pictures with captions in `.txt` or `.json` beside them

Members of one sample follow each other and have one key, the path up to the first dot of the name: 000123.jpg, 000123.txt,
000123.json. Nothing is unpacked: a tar is read as a stream, a sample at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import PurePosixPath
from typing import ClassVar

from pydantic import Field

from stages.datasets._captioned import Captioned, Shown
from stages.datasets._examples import split_in
from stages.datasets._guess import Guess
from stages.datasets._helpers import File, digest
from stages.datasets._pictures import CAPTIONS, GROUPS, LABELS, captions_of, is_picture
from stages.datasets._tables import files_at
from stages.datasets._tar_samples import Members, samples, without_picture
from stages.errors import HardrockError
from stages.records import Fault, Note, Picture, shown
from stages.settings import speed

SUFFIXES = (".tar", ".tar.gz", ".tgz")


class Webdataset(Captioned):
    """Samples of tars. A picture's id is its key.

    The caption is the text of `.txt`, else of a known key of `.json` or of the one named; the class `.cls` or a key of `.json`.
    """

    path: str = speed(
        ..., "A tar, or a folder of tars. Their content is part of a result's identity, their place is not."
    )
    caption: str | None = Field(None, description="Key of captions in .json; null takes .txt, else a known key.")
    group: str | None = Field(
        None, description="Key of groups in .json, which are split as one; null looks for `group`."
    )
    label: str | None = Field(None, description="Key of classes in .json; null takes .cls, else a known key.")

    column_names: ClassVar[Mapping[str, str]] = {"id": "key", "text": "caption"}

    def fingerprint(self) -> str:
        """A sha256 over the names and bytes of all tars."""
        return digest(self._files)

    def locate(self, file: str) -> str:
        return next((str(one.path) for one in self._files if one.name == file), file)

    @cached_property
    def _files(self) -> list[File]:
        return files_at(self.path, SUFFIXES)

    def shown(self) -> Iterator[Shown | Fault | Note]:
        for file in self._files:
            for line, (key, members, faults) in enumerate(samples(file), 1):
                name = PurePosixPath(key).name
                if faults:
                    yield Fault(file.name, line, None, key, *faults[0])
                elif (suffix := next((s for s in members if "." not in s and is_picture(f"x.{s}")), None)) is None:
                    yield without_picture(file, line, key, members)
                else:
                    yield self._sample(
                        file, line, key, Picture(members[suffix], f"{file.name}/{name}.{suffix}"), members
                    )

    def _sample(self, file: File, line: int, key: str, picture: Picture, members: Members) -> Shown | Fault:
        suffix = "json"
        try:
            known = json.loads(members["json"]) if "json" in members else {}
            suffix = "txt"
            text = members["txt"].decode().strip() if "txt" in members and not self.caption else None
            suffix = "cls"
            given = members["cls"].decode().strip() if "cls" in members and not self.label else None
        except (ValueError, RecursionError) as error:
            reason = f"the member .{suffix} cannot be read: {shown(str(error))}"
            return Fault(file.name, line, suffix, key, reason, "write it as UTF-8, and .json as one object")
        if not isinstance(known, dict):
            return Fault(file.name, line, "json", key, f"not a JSON object: {shown(known)}", "write one object")
        found = {
            field: next((known[name] for name in ((asked,) if asked else names) if known.get(name) is not None), None)
            for field, asked, names in (
                ("caption", self.caption, CAPTIONS), ("group", self.group, GROUPS), ("label", self.label, LABELS),
            )
        }  # fmt: skip
        captions = captions_of(text if text is not None else found["caption"])
        label = given if given is not None else found["label"]
        return Shown(
            file.name, line, key, picture, captions, found["group"],
            str(label) if isinstance(label, int) else label, split_in(file.name),
        )  # fmt: skip


def recognise(place: str) -> Guess | None:
    """Tars with pictures in them."""
    try:
        file = files_at(place, SUFFIXES)[0]
        _, members, _ = next(samples(file))
    except (HardrockError, OSError, StopIteration):
        return None
    if not any(is_picture(suffix) or is_picture(f"x.{suffix}") for suffix in members):
        return None
    return Guess(80, {"path": place}, (f"{file.name} holds samples of {', '.join('.' + s for s in members)}",))
