"""Samples of a tar as WebDataset has them: members that follow each other and have one key, the path up to the first dot."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath

from stages.datasets._helpers import File
from stages.datasets._pictures import is_picture
from stages.errors import HardrockError, InputError
from stages.records import Fault, shown

MEMBER_BYTES = 64 << 20
"""A larger member of a tar is not read."""
_RATIO = 200  # bytes unpacked for each of a compressed tar: one with more is made to fill memory or time

Members = dict[str, bytes]  # of a sample, by suffix in lower case


def without_picture(file: File, line: int, key: str, members: Members) -> Fault:
    """What is said of a sample that has no picture: mostly that its key has a dot."""
    dotted = next((suffix for suffix in members if is_picture(suffix)), None)
    if dotted:
        reason = (
            f"the key has a dot: readers take '{shown(key)}' for the key and '{shown(dotted)}' for the kind of file"
        )
        return Fault(file.name, line, None, key, reason, "name files with one dot, such as 000123.jpg")
    there = ", ".join(f".{suffix}" for suffix in members)
    return Fault(file.name, line, None, key, f"a sample without a picture; it has {shown(there)}", "add its picture")


def samples(file: File) -> Iterator[tuple[str, Members, list[tuple[str, str]]]]:
    """The key of each sample, its members, and what is wrong with it. Raises InputError where the tar cannot be read on."""
    key, members, faults = None, {}, []  # type: ignore[var-annotated]
    size, most = 0, _RATIO * max(file.path.stat().st_size, 1 << 20)
    try:
        with tarfile.open(file.path, "r|*") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                path = PurePosixPath(member.name)
                stem, _, suffix = path.name.partition(".")
                this = (path.parent / stem).as_posix()
                if this != key:
                    if key is not None:
                        yield key, members, faults
                    key, members, faults = this, {}, []
                size += member.size
                if size > most:
                    raise InputError("the tar unpacks to far more than it is", where=str(file.path), got=f"more than {most:,} bytes",
                                     try_="unpack it and look at it, if you trust it")  # fmt: skip
                if member.size > MEMBER_BYTES:
                    what = f"the member '{shown(path.name)}' has {member.size:,} bytes; the limit is {MEMBER_BYTES:,}"
                    faults.append((what, "make it smaller"))
                    continue
                if suffix.lower() in members:
                    faults.append((f"the member '{shown(path.name)}' comes twice", "give each sample its own key"))
                content = tar.extractfile(member)
                members[suffix.lower()] = content.read() if content else b""
    except HardrockError:
        raise
    except Exception as error:  # of every kind, as Python's reader of streams is not made for damaged ones
        raise InputError(
            "the tar is cut off or damaged", where=f"{file.path}, after the sample {key!r}", got=shown(str(error)),
            try_="fetch it again; tar -tf shows whether it is whole",
        ) from None  # fmt: skip
    if key is not None:
        yield key, members, faults
