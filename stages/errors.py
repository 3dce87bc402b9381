"""One tree of errors, and with it the table of exit codes.

    HardrockError            1   a fault of Hardrock itself
    ├── ConfigError          2   the configuration or the command line is wrong
    ├── InputError           3   the data that was given is wrong
    ├── YieldError           4   the data is sound, but too little survives to go on
    ├── ArtefactError        5   a file in the workspace is missing, damaged or does not belong here
    ├── ResourceError        6   a model, package or device that is asked for is not there
    ├── StorageError        74   the disk or the file system refuses
    └── LockedError         75   another process works in this workspace

Ctrl-C ends with 130, SIGTERM with 143. Every message says what is wrong, where, what was found and what to try.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

_LISTED = 50


class HardrockError(Exception):
    """Base of every error that is shown to a person without a traceback."""

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, got: object = None, try_: str | None = None) -> None:
        self.what, self.where, self.got, self.try_ = what, where, got, try_
        super().__init__(what)

    def __str__(self) -> str:
        """The lines of the message; what cannot be printed, such as a terminal's escape sequence in a file's name, is spelled out."""
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.got is not None:
            lines.append(f"  got:   {self.got}")
        if self.try_:
            lines.append(f"  try:   {self.try_}")
        return "".join(
            c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in "\n".join(lines)
        )


class ConfigError(HardrockError):
    """The configuration or the command line is wrong."""

    exit_code = 2


class InputError(HardrockError):
    """The data that was given is wrong."""

    exit_code = 3


class YieldError(HardrockError):
    """The data is sound, but too little of it survives to go on."""

    exit_code = 4


class ArtefactError(HardrockError):
    """A file in the workspace is missing, damaged or does not belong here."""

    exit_code = 5


class ResourceError(HardrockError):
    """A model, package or device that is asked for is not there."""

    exit_code = 6


class StorageError(HardrockError):
    """The disk or the file system refuses."""

    exit_code = 74


class LockedError(HardrockError):
    """Another process works in this workspace."""

    exit_code = 75


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the closest known one, or all of them."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known: {listing(names)}"


def listing(names: Sequence[str]) -> str:
    """Names in one line of a message: long ones are cut, and of very many it says how many more there are."""
    told = ", ".join(name if len(name) <= 80 else f"{name[:80]}…" for name in names[:_LISTED])
    return told if len(names) <= _LISTED else f"{told} and {len(names) - _LISTED:,} more"
