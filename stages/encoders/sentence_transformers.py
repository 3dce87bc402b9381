"""A model that sentence-transformers loads: its own format, or a plain transformers folder with mean pooling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from stages import weights
from stages.registry import Member

if TYPE_CHECKING:
    from stages.encoders._loaded import Loaded


class SentenceTransformers(Member):
    """Encodes texts with a transformer. Pooling, and whatever follows it, is as the model was saved."""

    model: str = Field(description="package:NAME/PATH inside an installed package, a local folder, or a hub id")
    revision: str | None = Field(
        None, description="commit, tag or branch of a hub id; none is what the cache has as main"
    )
    sha256: str | None = Field(None, description="of model.safetensors, checked before it is used; none checks nothing")
    query_prompt: str = Field("", description="put in front of every query that has no prompt of its own")
    document_prompt: str = Field("", description="put in front of every document")
    max_tokens: int | None = Field(
        None,
        ge=2,
        description="tokens after which a text is cut, special ones included; none is the model's own limit. Cost grows with it",
    )
    normalise: bool = Field(
        True, description="scale each vector to length 1, so that scores are cosines; false keeps what the model gives"
    )
    dimensions: int | None = Field(
        None,
        ge=1,
        description="values of a vector that are kept, the first ones; none keeps all. For models that were trained so (Matryoshka); "
        "disk, memory and search shrink with it",
    )
    backend: Literal["torch", "onnx", "openvino"] = Field(
        "torch",
        description="what runs the model: onnx and openvino read a file that was exported before, for a processor, in fp32, "
        "and need optimum-onnx or optimum-intel: docs/embedding.md says which of them can be installed",
    )
    backend_file: str | None = Field(
        None,
        description="the exported file inside the model's folder; none is onnx/model.onnx or openvino/openvino_model.xml",
    )

    @property
    def prompts(self) -> dict[str, str]:
        """The prompt of each role."""
        return {"query": self.query_prompt, "document": self.document_prompt}

    def fingerprint(self) -> str:
        """sha256 over weights, configurations, tokenizer, pooling, prompts, limits and an exported file. Needs no torch."""
        folder = self._folder()
        settings: dict[str, Any] = {"prompts": self.prompts, "max_tokens": self.max_tokens, "normalise": self.normalise}
        settings |= {"dimensions": self.dimensions} if self.dimensions else {}
        files = weights.model_files(folder)
        if self.backend != "torch":
            settings["backend"] = self.backend
            files |= weights.exported_files(folder, self.backend, self.backend_file)
        return weights.fingerprint(files, settings)

    def load(self, device: str, precision: str) -> Loaded:
        """The model on `device`, ready to encode; `precision` is fp32 or bf16."""
        from stages.encoders._loaded import Loaded

        if self.backend == "torch":
            model = self.module(device)
        else:
            from stages.encoders import _backends

            model = _backends.open_exported(
                self._folder(), self.backend, self.backend_file, device=device, precision=precision, prompts=self.prompts,
                max_tokens=self.max_tokens, normalise=self.normalise,
            )  # fmt: skip
        return Loaded(
            model, device=device, precision=precision, prompts=self.prompts, normalise=self.normalise,
            dimensions=self.dimensions,
        )  # fmt: skip

    def module(self, device: str) -> Any:
        """The model as sentence_transformers.SentenceTransformer, in float32, for a trainer."""
        from stages.encoders._loaded import open_folder

        folder = self._folder()
        weights.model_files(folder)
        return open_folder(folder, device, self.prompts, self.max_tokens, self.normalise)

    def with_checkpoint(self, path: Path) -> SentenceTransformers:
        """The same encoder with the weights, tokenizer and pooling of a folder that a trainer saved."""
        own = {"model": str(path), "revision": None, "sha256": None}
        return self.model_copy(update={**own, "backend": "torch", "backend_file": None})  # it was trained by torch

    def notes(self) -> list[str]:
        """What a person should know: prompts that the model was saved with and that the configuration does not use."""
        saved = self._folder() / "config_sentence_transformers.json"
        if not saved.is_file():
            return []
        prompts = json.loads(saved.read_text(encoding="utf-8")).get("prompts") or {}
        given = {**self.prompts, "passage": self.document_prompt}
        field = {"query": "query_prompt", "document": "document_prompt", "passage": "document_prompt"}
        return [
            f"the model was saved with the {role} prompt {prompts[role]!r}, the configuration has {given[role]!r}: see {field[role]}"
            for role in field
            if prompts.get(role) and prompts[role] != given[role]
        ]

    def _folder(self) -> Path:
        folder = weights.locate(self.model, self.revision)
        weights.check(folder / "model.safetensors", self.sha256)
        return folder
