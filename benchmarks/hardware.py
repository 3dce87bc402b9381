"""The machine and the libraries that a figure belongs to."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
LIBRARIES = ("faiss-cpu", "numpy", "sentence-transformers", "torch")


def describe(threads: int) -> str:
    """Two lines: processor, cores, memory, instructions that matter here; versions and threads."""
    model, flags = _processor()
    known = ", ".join(name for name in INSTRUCTIONS if name in flags) or "no AVX2"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return (
        f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB; {known}\n"
        f"Python {platform.python_version()}, {versions}; {threads} thread{'s' if threads > 1 else ''}"
    )


def _processor() -> tuple[str, set[str]]:
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return platform.processor() or platform.machine(), set()
    fields: dict[str, str] = {}
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    named = f"{fields.get('model name', 'processor')} (family {fields.get('cpu family')}, model {fields.get('model')})"
    return named, set(fields.get("flags", "").split())
