"""Models that were exported for ONNX Runtime or OpenVINO, through sentence-transformers' own backends."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from stages import weights
from stages.encoders._loaded import open_folder
from stages.errors import ConfigError, ResourceError

_NEEDS = {
    "onnx": ("onnxruntime", "optimum.onnxruntime", "ORTModelForFeatureExtraction"),
    "openvino": ("openvino", "optimum.intel", "OVModelForFeatureExtraction"),
}
"""The runtime, and the package through which the library uses it, with what it takes of that."""


def open_exported(
    folder: Path,
    backend: str,
    file: str | None,
    *,
    device: str,
    precision: str,
    prompts: Mapping[str, str],
    max_tokens: int | None,
    normalise: bool,
) -> SentenceTransformer:
    """The model, ready to encode on a processor. Nothing is exported here.

    Raises ConfigError for a device or an arithmetic that the backend has not, ResourceError where packages or the file lack.
    """
    if device != "cpu" or precision != "fp32":
        raise ConfigError(
            f"the backend {backend} is for a processor and fp32",
            where="encoder.backend",
            got=f"{device}, {precision}",
            try_="DEVICE=cpu and precision = fp32, or backend = torch; an exported file brings its own arithmetic",
        )
    if lacks := unusable(backend):
        raise ResourceError(
            f"the backend {backend} needs {_NEEDS[backend][0]} and {_NEEDS[backend][1]}",
            where="encoder.backend",
            got=lacks,
            try_="docs/embedding.md says which versions go together; or backend = torch",
        )
    exported = weights.exported_files(folder, backend, file)
    name = file or weights.EXPORTED[backend]
    if name not in exported:
        raise ResourceError(f"the model has no file for the backend {backend}", where=str(folder / name))
    model_kwargs: dict[str, Any] = {"file_name": Path(name).name, "subfolder": str(Path(name).parent), "export": False}
    if backend == "onnx":
        model_kwargs["provider"] = "CPUExecutionProvider"
    else:  # by itself it takes bf16 where the processor has it
        model_kwargs["ov_config"] = {"INFERENCE_PRECISION_HINT": "f32"}
    how = {"backend": backend, "model_kwargs": model_kwargs}
    return open_folder(folder, device, prompts, max_tokens, normalise, exported=how)


def unusable(backend: str) -> str:
    """Why a backend cannot be used here; empty where it can. Packages that are there may not fit to each other."""
    runtime, package, model = _NEEDS[backend]
    try:
        import_module(runtime)
        getattr(import_module(package), model)
    except (ImportError, AttributeError) as error:  # what is imported late fails in either way
        return str(error).split("\n", 1)[0]
    return ""
