"""Packages and settings that are known not to work together, each with its mend. Nothing is imported to find out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version


@dataclass(frozen=True)
class Clash:
    """What does not work, and how to mend it."""

    says: str
    mend: str
    warning: bool = False  # slow or wasteful, and not broken


def installed(package: str) -> str | None:
    """The version of a package; None when it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def clashes(
    cores: int, environment: Mapping[str, str], device: str | None, found: Callable[[str], str | None] = installed
) -> list[Clash]:
    """All clashes of what is installed. `device` is what auto means here; None where that could not be told."""
    says: list[Clash] = []
    torch = found("torch")
    if torch is None:
        return [Clash("torch is not installed", "pip install -r requirements.lock")]
    for companion in ("torchvision", "torchaudio"):
        other = found(companion)
        if other is not None and torch.endswith("+cpu") != other.endswith("+cpu"):
            says.append(
                Clash(
                    f"{companion} {other} beside torch {torch}: one is built for the processor only and the other is not, so "
                    "sentence-transformers cannot be imported",
                    f"pip uninstall {companion}, or install the build that belongs to this torch",
                )
            )
    for package, needed in (
        ("accelerate", "training"),
        ("faiss-cpu", "the index"),
        ("sentence-transformers", "encoders"),
    ):
        if found(package) is None and not (package == "faiss-cpu" and _faiss(found)):
            says.append(Clash(f"{package} is missing, {needed} needs it", f"pip install {package}"))
    if found("faiss-cpu") and (gpu := _faiss(found)):
        says.append(Clash(f"faiss-cpu and {gpu} overwrite each other's files", "pip uninstall both, then install one"))
    if found("keras") and (found("keras") or "").startswith("3") and found("tensorflow") and not found("tf-keras"):
        says.append(
            Clash(
                "transformers cannot be imported beside keras 3 and tensorflow",
                "pip install tf-keras, or pip uninstall tensorflow",
            )
        )
    if device == "cpu" and "+cu" in torch:
        says.append(
            Clash(f"torch {torch} is built for CUDA and there is no GPU: it is large, and runs on the processor",
                  "pip install torch --index-url https://download.pytorch.org/whl/cpu", warning=True)
        )  # fmt: skip
    asked = environment.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > cores:
        says.append(
            Clash(
                f"OMP_NUM_THREADS is {asked} on {cores} cores: threads wait for each other",
                f"OMP_NUM_THREADS={cores}",
                warning=True,
            )
        )
    return says


def _faiss(found: Callable[[str], str | None]) -> str | None:
    """A build of FAISS for GPUs, which brings the same module as faiss-cpu."""
    return next(
        (name for name in ("faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cu11", "faiss-gpu-cuvs") if found(name)), None
    )
