"""One vector a token, averaged: sentence-transformers' StaticEmbedding from a table of weights and a tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from stages import weights as _weights
from stages.encoders.sentence_transformers import SentenceTransformers
from stages.errors import ArtefactError, ResourceError
from stages.registry import Member

if TYPE_CHECKING:
    import torch

    from stages.encoders._loaded import Loaded


class Static(Member):
    """Encodes a text as the mean of its tokens' vectors. Hundreds of times faster than a transformer, and trainable."""

    model: str = Field(
        description="file of weights (safetensors): package:NAME/PATH inside an installed package, or a local path"
    )
    tokenizer: str = Field(
        description="file of the tokenizer (tokenizer.json of the tokenizers library), found in the same way"
    )
    sha256: str | None = Field(
        None, description="of the file of weights, checked before it is used; none checks nothing"
    )
    query_prompt: str = Field("", description="put in front of every query that has no prompt of its own")
    document_prompt: str = Field("", description="put in front of every document")
    normalise: bool = Field(
        True, description="scale each vector to length 1, so that scores are cosines; false keeps the mean"
    )
    dimensions: int | None = Field(
        None,
        ge=1,
        description="values of a vector that are kept, the first ones; none keeps all, for models trained so",
    )

    @property
    def prompts(self) -> dict[str, str]:
        """The prompt of each role."""
        return {"query": self.query_prompt, "document": self.document_prompt}

    def fingerprint(self) -> str:
        """sha256 over weights, tokenizer and prompts. Needs no torch."""
        weights, tokenizer = self._files()
        settings: dict[str, Any] = {"prompts": self.prompts, "normalise": self.normalise}
        settings |= {"dimensions": self.dimensions} if self.dimensions else {}
        return _weights.fingerprint({"weights": weights, "tokenizer": tokenizer}, settings)

    def load(self, device: str, precision: str) -> Loaded:
        """The model on `device`, ready to encode; a mean of float32 vectors is the same at either `precision`."""
        from stages.encoders._loaded import Loaded

        return Loaded(
            self.module(device), device=device, precision=precision, prompts=self.prompts, normalise=self.normalise,
            dimensions=self.dimensions,
        )  # fmt: skip

    def module(self, device: str) -> Any:
        """The model as sentence_transformers.SentenceTransformer, in float32, for a trainer."""
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding
        from tokenizers import Tokenizer

        from stages.encoders._loaded import finished

        weights, tokenizer_file = self._files()
        try:
            tokenizer = Tokenizer.from_file(str(tokenizer_file))
        except Exception as error:  # the library raises Exception itself
            raise ResourceError("the tokenizer cannot be read", where=str(tokenizer_file), got=error) from None
        table = _table(weights)
        if tokenizer.get_vocab_size() > len(table):
            raise ArtefactError(
                "the tokenizer has more tokens than there are vectors",
                where=f"{tokenizer_file} and {weights}",
                got=f"{tokenizer.get_vocab_size()} tokens, {len(table)} vectors",
            )
        model = SentenceTransformer(
            modules=[StaticEmbedding(tokenizer, embedding_weights=table)], device=device, prompts=self.prompts
        )
        return finished(model, self.normalise)

    def with_checkpoint(self, path: Path) -> SentenceTransformers:
        """An encoder with the same prompts whose weights and tokenizer are a folder that a trainer saved."""
        return SentenceTransformers(
            model=str(path),
            query_prompt=self.query_prompt,
            document_prompt=self.document_prompt,
            normalise=self.normalise,
            dimensions=self.dimensions,
        )

    def notes(self) -> list[str]:
        """Nothing: a table of weights brings no prompts."""
        return []

    def _files(self) -> tuple[Path, Path]:
        weights, tokenizer = _weights.locate(self.model), _weights.locate(self.tokenizer)
        if weights.suffix != ".safetensors" or not weights.is_file():
            raise ResourceError(
                "the weights are not a safetensors file", where=str(weights), try_="a file that ends in .safetensors"
            )
        _weights.check(weights, self.sha256)
        return weights, tokenizer


def _table(path: Path) -> torch.Tensor:
    """The vectors of a file of weights: float32 (tokens, d)."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ArtefactError("the weights cannot be read", where=str(path), got=error) from None
    named = next((tensors[name] for name in ("embedding.weight", "embeddings") if name in tensors), None)
    if named is None and len(tensors) == 1:
        named = next(iter(tensors.values()))
    if named is None or named.ndim != 2:
        raise ArtefactError(
            "the file has no table of vectors",
            where=str(path),
            got=", ".join(sorted(tensors)),
            try_="a tensor embedding.weight",
        )
    table: torch.Tensor = named.float().contiguous()
    return table
