"""Where and with what a stage ran: for run.json, which no key depends on, and for `hardrock doctor`."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch", "sentence-transformers", "transformers", "faiss-cpu", "numpy", "pyarrow", "duckdb", "datasets", "bm25s",
    "ir-measures", "pydantic", "hardrock",
)  # fmt: skip

INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def versions() -> dict[str, str]:
    """Installed versions of what results hang on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def hardware() -> dict[str, Any]:
    """Processor, its cores and vector instructions, memory in bytes."""
    name, flags = platform.machine(), set[str]()
    try:
        for line in Path("/proc/cpuinfo").read_text().split("\n"):
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            if key.strip() in ("flags", "Features"):
                flags = set(value.split())
                break
    except OSError:
        pass
    return {
        "processor": name,
        "cores": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "instructions": [flag for flag in INSTRUCTIONS if flag in flags],
    }


THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_WAIT_POLICY", "TOKENIZERS_PARALLELISM")


def threads() -> dict[str, Any]:
    """How many threads the libraries may take: cores that are open to this process, and what the environment says."""
    return {"cores": len(os.sched_getaffinity(0)), **{name: os.environ[name] for name in THREADS if name in os.environ}}


def gpus() -> list[dict[str, str]]:
    """The NVIDIA GPUs that the driver shows: name, memory, driver. Empty without a driver; torch is not asked."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return []
    lines = [line.split(", ") for line in done.stdout.strip().split("\n")]
    return [dict(zip(("name", "memory", "driver"), line, strict=False)) for line in lines if len(line) == 3]


def git_state() -> dict[str, Any] | None:
    """Commit of the code that runs and whether it has uncommitted changes; None outside of a checkout."""
    folder = Path(__file__).parent
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return {"commit": commit, "changed": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def peak_memory() -> int:
    """The most memory this process has held so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
