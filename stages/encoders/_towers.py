"""A vision tower and, beside it, a text tower, whose projections meet in one space. Importing this file imports torch.

Saved, it is a folder with `towers.json`, `model.safetensors` and the tokenizer, and needs no code but this package.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from sentence_transformers.sentence_transformer.modules import InputModule
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerBase

from stages.imaging import square

CONFIG = "towers.json"
FEATURES = {"small": 256, "efficientnet_lite0": 1280}
"""Values that a vision tower gives for a picture."""


class Small(nn.Module):
    """A residual network of 2.8 million parameters that trains from scratch in minutes: float (n, 3, s, s) → (n, 256).

    Four halvings, two 3×3 convolutions each, as in ResNet (He et al. 2016), with group normalisation (Wu & He 2018), which
    gives a picture the same whatever else is in its batch.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (32, 64, 128, 256)
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.GroupNorm(8, 32), nn.ReLU())
        self.blocks = nn.Sequential(*(_Block(a, b) for a, b in zip((32, *widths), widths, strict=False)))

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels from -1 to 1."""
        features: Tensor = self.blocks(self.stem(pixels))
        return features.mean(dim=(2, 3))


class _Block(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        stride = 1 if before == after else 2
        self.one = nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.GroupNorm(8, after), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.GroupNorm(8, after))
        self.beside = nn.Identity() if stride == 1 else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.two(self.one(x)) + self.beside(x))


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 without its classifier (Tan & Le 2019, without squeeze and excitation): (n, 3, s, s) → (n, 1280)."""

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet

        # padding is worked out for each size, and no layer is skipped at random: passes of one batch must agree
        self.net = EfficientNet.from_name("efficientnet-lite0", drop_connect_rate=0.0)
        self.net._fc = nn.Identity()
        for module in self.net.modules():
            if isinstance(module, nn.Conv2d):
                _pad_by_size(module)

    def forward(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.net.extract_features(pixels)
        return features.mean(dim=(2, 3))


def _pad_by_size(convolution: nn.Conv2d) -> None:
    from efficientnet_lite_pytorch.utils import Conv2dDynamicSamePadding

    convolution.__class__ = Conv2dDynamicSamePadding
    if hasattr(convolution, "static_padding"):
        del convolution.static_padding


VISION = {"small": Small, "efficientnet_lite0": EfficientNetLite0}


class Towers(InputModule):  # type: ignore[misc]  # the library has no types
    """The first module of a SentenceTransformer that takes pictures, and texts where it has a text tower.

    Pictures are PIL images, uint8 arrays (h, w, 3), or tensors (3, size, size): uint8, or float from 0 to 1 as augmentations make
    them. Parts in `freeze` keep their weights and run as in evaluation; batch normalisation always does.
    """

    config_file_name = CONFIG
    config_keys = ["vision", "size", "text_config", "dimensions", "projection", "dropout", "freeze", "max_seq_length"]
    save_in_root = True

    def __init__(
        self,
        *,
        vision: str,
        size: int,
        text_config: dict[str, Any] | None,
        dimensions: int | None,
        projection: str,
        freeze: Sequence[str],
        max_seq_length: int | None,
        dropout: float = 0.0,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        super().__init__()
        self.vision, self.size, self.dimensions, self.projection = vision, size, dimensions, projection
        self.dropout = dropout
        self.freeze, self.text_config = list(freeze), text_config
        self.max_seq_length, self.tokenizer = max_seq_length, tokenizer
        self.vision_tower = VISION[vision]()
        self.vision_head = _head(FEATURES[vision], dimensions, projection, dropout)
        if text_config is not None:
            known = {key: value for key, value in text_config.items() if key != "model_type"}
            config = AutoConfig.for_model(text_config["model_type"], **known)
            self.text_tower = AutoModel.from_config(config, dtype=torch.float32)
            self.text_head = _head(config.hidden_size, dimensions, projection, dropout)
        for name in self.freeze:
            self._part(name).requires_grad_(False)
        self.train(self.training)

    def _part(self, name: str) -> nn.Module:
        part: nn.Module = self.vision_tower if name == "vision" else self.text_tower
        return part

    @property
    def modalities(self) -> list[Any]:
        return ["image"] if self.text_config is None else ["text", "image"]

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for name in self.freeze:
            self._part(name).eval()
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def get_embedding_dimension(self) -> int:
        return self.dimensions or FEATURES[self.vision]

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Tokens of texts, or `pixel_values` of pictures: uint8 or float (n, 3, size, size)."""
        if not isinstance(inputs[0], str):
            return {"pixel_values": torch.stack([_tensor(one, self.size) for one in inputs])}
        if self.tokenizer is None:
            raise ValueError("these towers take pictures alone")
        limit = min(filter(None, (kwargs.get("max_length"), self.max_seq_length)))
        texts = [f"{prompt}{text}" for text in inputs] if prompt else list(inputs)
        return dict(self.tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt"))

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Adds `sentence_embedding`, float (n, d). In place of inputs there may be what a tower gave: see `tower`."""
        pictures = "pixel_values" in features or "vision_features" in features
        given = features.get("vision_features" if pictures else "text_features")
        found = self.tower(features) if given is None else given
        features["sentence_embedding"] = (self.vision_head if pictures else self.text_head)(found)
        return features

    def tower(self, features: dict[str, Any]) -> Tensor:
        """What the tower gives for what `preprocess` gave, before the projection: float (n, f)."""
        if "pixel_values" in features:
            pixels = features["pixel_values"]
            values = (pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()) * 2 - 1
            with torch.set_grad_enabled(torch.is_grad_enabled() and "vision" not in self.freeze):
                seen: Tensor = self.vision_tower(values)
            return seen
        mask = features["attention_mask"]
        with torch.set_grad_enabled(torch.is_grad_enabled() and "text" not in self.freeze):
            given = {
                name: features[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in features
            }
            tokens: Tensor = self.text_tower(**given).last_hidden_state
        weight = mask.unsqueeze(-1).to(tokens.dtype)
        pooled: Tensor = (tokens * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
        return pooled

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        self.save_config(output_path)
        self.save_torch_weights(output_path)
        self.save_tokenizer(output_path)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> Self:
        folder = Path(model_name_or_path, subfolder)
        config = cls.load_config(str(folder), local_files_only=True)
        text = config["text_config"] is not None
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True) if text else None
        towers = cls(**config, tokenizer=tokenizer)
        towers.load_state_dict(load_file(folder / "model.safetensors"))
        return towers


def _head(features: int, dimensions: int | None, projection: str, dropout: float) -> nn.Module:
    """From a tower's features to the shared space."""
    if dimensions is None:
        return nn.Identity()
    if projection == "linear":
        linear = nn.Linear(features, dimensions, bias=False)
        return nn.Sequential(nn.Dropout(dropout), linear) if dropout else linear
    layers: list[nn.Module] = [
        nn.LayerNorm(features),
        nn.Linear(features, 2 * dimensions),
        nn.GELU(),
        nn.Linear(2 * dimensions, dimensions),
    ]
    if dropout:
        layers.insert(3, nn.Dropout(dropout))
        layers.insert(1, nn.Dropout(dropout))
    return nn.Sequential(*layers)


def _tensor(picture: Any, size: int) -> Tensor:
    """A picture as uint8 or float (3, size, size)."""
    if isinstance(picture, Tensor):
        if tuple(picture.shape) != (3, size, size):
            raise ValueError(f"a tensor of shape {tuple(picture.shape)}, not (3, {size}, {size})")
        return picture
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    return torch.from_numpy(np.array(square(image.convert("RGB"), size))).permute(2, 0, 1)
