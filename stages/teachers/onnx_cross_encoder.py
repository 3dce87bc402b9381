"""A cross-encoder as an ONNX file, run by onnxruntime on the processor; made for 8-bit rerankers.

Pairs go through the model one at a time, without padding. An 8-bit model scales its activations over the whole batch, so
that in a batch a pair's score would hang on the others (by .1 and more in logits); and on a processor batches are no
faster. onnxruntime is not among Hardrock's own dependencies: `pip install 'hardrock[onnx]'`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from stages import weights
from stages.errors import ArtefactError, ConfigError, ResourceError
from stages.settings import speed
from stages.spec import Cache
from stages.teachers._teacher import Labelled, scored
from stages.teaching import Log, Pairs, Scored, remembered

CHUNK = 1_024
"""Pairs scored before they are stored, which is what a kill can lose."""

INPUTS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
"""Inputs that a model may have, and where a tokenizer has them."""


class OnnxCrossEncoder(Labelled):
    """Scores a pair by one model that reads both texts, without torch."""

    model: str = Field(description="folder with the file and tokenizer.json: package:NAME/PATH, or a local folder")
    file: str = Field("model.onnx", description="the model's file in the folder")
    sha256: str | None = Field(None, description="of the model's file, checked before it is used; none checks nothing")
    max_tokens: int = Field(
        512,
        ge=8,
        description="tokens of a pair, special ones included; what the longer text has beyond is cut. Cost grows with it",
    )
    activation: Literal["sigmoid", "none"] = Field(
        "sigmoid", description="sigmoid gives scores from 0 to 1, which thresholds are made for; none gives logits"
    )
    threads: int | None = speed(None, "threads of the model; none is one for each core", ge=1)

    def fingerprint(self) -> str:
        """sha256 over the model, the tokenizer and all that the scores hang on. Needs no onnxruntime."""
        model, tokenizer = self._files()
        settings = {"kind": "onnx_cross_encoder", "max_tokens": self.max_tokens, "activation": self.activation}
        return weights.fingerprint({"model": model, "tokenizer": tokenizer}, settings)

    def open(self, device: str, cache: Cache, log: Log) -> _Scorer:
        """The model on the processor. Raises ResourceError without onnxruntime, ConfigError for a model of another kind."""
        model, tokenizer = self._files()
        if device != "cpu":
            log(f"{self.title} runs on the processor, not on {device}")
        return _Scorer(
            self, _session(model, self.threads), _tokenizer(tokenizer), cache, f"teach/{self.fingerprint()}-cpu"
        )

    def _files(self) -> tuple[Path, Path]:
        folder = weights.locate(self.model)
        model, tokenizer = folder / self.file, folder / "tokenizer.json"
        for path in (model, tokenizer):
            if not path.is_file():
                raise ResourceError(
                    "a file of the model is missing",
                    where=str(path),
                    try_="a folder with model.onnx and tokenizer.json",
                )
        weights.check(model, self.sha256)
        return model, tokenizer


def _session(path: Path, threads: int | None) -> Any:
    """The model, ready to run."""
    try:
        import onnxruntime
    except ImportError:
        raise ResourceError(
            "onnxruntime is not installed", where="teachers.onnx_cross_encoder", try_="pip install 'hardrock[onnx]'"
        ) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has an exception for each way in which a file is wrong
        raise ArtefactError(
            "the model cannot be loaded", where=str(path), got=(str(error).splitlines() or [""])[0]
        ) from None
    names = [each.name for each in session.get_inputs()]
    outputs = session.get_outputs()
    if not {"input_ids"} <= set(names) <= set(INPUTS) or len(outputs) != 1:
        raise ConfigError(
            "the model is no cross-encoder",
            where=str(path),
            got=f"inputs {', '.join(names)}; {len(outputs)} outputs",
            try_=f"inputs among {', '.join(INPUTS)} and one output (pairs, 1)",
        )
    return session


def _tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


@dataclass
class _Scorer:
    """The model at work."""

    teacher: OnnxCrossEncoder
    session: Any
    tokenizer: Any
    cache: Cache
    cached: str
    counts: dict[str, int] = field(default_factory=dict)

    def score(self, pairs: Pairs) -> Scored:
        everything = np.ones(len(pairs), dtype=bool)
        return remembered(self.cache, self.cached, pairs.texts(), everything, chunk=CHUNK, score=self.score_texts)

    def score_texts(self, pairs: list[tuple[str, str]]) -> Scored:
        """Scores of pairs of texts, in their order."""
        self.tokenizer.no_truncation()
        truncated = [len(each.ids) > self.teacher.max_tokens for each in self.tokenizer.encode_batch(pairs)]
        self.tokenizer.enable_truncation(self.teacher.max_tokens, strategy="longest_first")
        logits = np.array([self._logit(each) for each in self.tokenizer.encode_batch(pairs)], dtype=np.float32)
        return scored(logits, truncated, self.teacher.activation)

    def _logit(self, encoded: Any) -> float:
        feed = {
            each.name: np.array([getattr(encoded, INPUTS[each.name])], dtype=np.int64)
            for each in self.session.get_inputs()
        }
        output = np.asarray(self.session.run(None, feed)[0])
        if output.size != 1:
            raise ConfigError(
                "a teacher gives a pair one score", where=self.teacher.model, got=f"an output of shape {output.shape}"
            )
        return float(output.reshape(-1)[0])
