"""What the device can do that a training is asked for: bf16, and as many GPUs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from stages.errors import ConfigError, ResourceError
from stages.workers import cores


def bf16_on(device: str, asked: Literal["auto", "fp32", "bf16"], log: Callable[[str], None]) -> bool:
    """Whether to train in bf16: automatically on a GPU that has it. Raises ConfigError or ResourceError where the device cannot."""
    import torch

    if device == "cpu":
        wanted = asked == "bf16"
        capabilities: Mapping[str, Any] = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        if wanted and not capabilities.get("avx512_bf16", True):
            log("this processor has no bf16 instructions: bf16 is slower here than fp32")
        return wanted
    if device not in {"cuda", "cuda:0"}:
        raise ConfigError(
            f"training runs on the first GPU that it sees, not on {device!r}",
            try_=f"CUDA_VISIBLE_DEVICES={device[5:]} and DEVICE=cuda",
        )
    supported = torch.cuda.is_bf16_supported(including_emulation=False)
    if asked == "bf16" and not supported:
        raise ResourceError("this GPU has no bf16", got=torch.cuda.get_device_name(), try_='precision = "fp32"')
    return supported and asked != "fp32"


def check_devices(asked: int, device: str) -> None:
    """Raises ResourceError when there are fewer GPUs, or on a processor cores, than are to train together; two are always allowed."""
    import torch

    there = torch.cuda.device_count() if device != "cpu" else max(2, cores())
    if asked > there:
        kind = "cores" if device == "cpu" else "GPUs"
        raise ResourceError(
            f"there are fewer {kind} than are asked for", where="train.devices",
            got=f"{asked:,}, and {there} there", try_=f"train.devices = {there}",
        )  # fmt: skip
