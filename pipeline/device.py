"""The one switch between processor and GPU."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from stages.errors import ConfigError, ResourceError


def resolve(asked: str) -> str:
    """`auto` becomes `cuda` where a driver and a torch built for it are there, else `cpu`. An explicit `cuda` must exist.

    Does not import torch, so that a run with nothing to do stays quick; torch itself confirms the device when it is used.
    """
    if asked not in {"auto", "cpu"} and asked.partition(":")[0] != "cuda":
        raise ConfigError(f"no device {asked!r}", try_="DEVICE=auto, cpu, cuda or cuda:0")
    if asked == "cpu":
        return "cpu"
    missing = _without_cuda()
    if asked == "auto":
        return "cpu" if missing else "cuda"
    if missing:
        raise ResourceError(f"the device {asked!r} is not there", got=missing, try_="DEVICE=auto or DEVICE=cpu")
    return asked


def _without_cuda() -> str | None:
    """Why CUDA cannot be used; None when it can."""
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return "no NVIDIA driver on this machine"
    try:
        build = version("torch")
    except PackageNotFoundError:
        return "torch is not installed"
    return f"torch {build} is built for the processor only" if build.endswith("+cpu") else None
