"""A file that is cut short while it is mapped: the process ends in order, with a message that names the file.

The kernel answers a read beyond the end of a mapped file with SIGBUS, which would end the process without a word. Python
cannot turn that into an exception, since the read would be tried again, so the handler speaks and ends the process at once,
as a kill would: what a workspace shows is whole at any moment. See docs/decisions/0010.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Any

from stages.errors import ArtefactError

_SA_SIGINFO = 4
_ADDRESS_AT = 16
"""Offset in bytes of `si_addr` in `siginfo_t` on a 64-bit Linux."""


class _Action(ctypes.Structure):
    """`struct sigaction` of Linux's C libraries."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_byte * 128),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


_kept: list[Any] = []
"""What C calls must outlive the call that installs it."""


def install() -> None:
    """Sets the handler for this process. Does nothing on other systems than a 64-bit Linux."""
    if not sys.platform.startswith("linux") or ctypes.sizeof(ctypes.c_void_p) != 8 or _kept:
        return
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(_cut)
    _kept.append(handler)
    action = _Action(handler=ctypes.cast(handler, ctypes.c_void_p), flags=_SA_SIGINFO)
    ctypes.CDLL(None).sigaction(int(signal.SIGBUS), ctypes.byref(action), None)


def _cut(number: int, information: int, context: int) -> None:
    """Runs in the thread that reads. Nothing after it does."""
    try:
        address = ctypes.c_uint64.from_address(information + _ADDRESS_AT).value
        error = ArtefactError(
            "a file was cut short while it was read",
            where=mapped(address) or "a file that is mapped into memory",
            try_="nothing was stored of it. Let nothing else write there, remove the damaged result, and run again",
        )
        os.write(2, f"error: {error}\n".encode(errors="backslashreplace"))
    finally:
        os._exit(ArtefactError.exit_code)


def mapped(address: int) -> str | None:
    """The file that is mapped at an address of this process."""
    with open("/proc/self/maps", errors="surrogateescape") as lines:
        for line in lines:
            span, *_, path = line.rstrip("\n").split(None, 5) if line.count(" ") >= 5 else (line, "")
            start, _, end = span.partition("-")
            if path.startswith("/") and int(start, 16) <= address < int(end, 16):
                return path
    return None
