"""A model of a local folder as the writer of queries, through transformers: seq2seq such as docTTTTTquery, or causal.

Nogueira and Lin, "From doc2query to docTTTTTquery", 2019: each query is sampled by itself from the k likeliest tokens. The
random numbers of a document hang on seed and text alone, so that it gets the same queries in whatever order it comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator

from stages import weights
from stages.errors import ConfigError, ResourceError
from stages.records import stable_hash
from stages.registry import Member
from stages.spec import Context

INSTRUCTION = "Write one search query that this document answers.\n\nDocument: {document}\n\nQuery:"
"""What a causal model is given, where the configuration has no prompt; a seq2seq model gets the document alone."""


class Local(Member):
    """Writes queries by a model of its own, one document at a time."""

    chunk: ClassVar[int] = 256

    model: str = Field(description="folder of the model: package:NAME/PATH, a local folder, or a hub id")
    revision: str | None = Field(None, description="of a hub id: a commit; none takes the newest")
    prompt: str | None = Field(
        None,
        description="what the model reads; {document} is filled in. None: a seq2seq model reads the document alone, a causal one "
        "an instruction",
    )
    document_tokens: int = Field(
        384, ge=1, description="tokens after which a document is cut; time and memory grow with it"
    )
    query_tokens: int = Field(64, ge=1, description="tokens of a query at most; time grows in proportion")
    top_k: int = Field(10, ge=1, description="likeliest tokens that are sampled from; 1 gives a document one query")
    temperature: float = Field(
        1.0, gt=0, description="divides the logits; higher gives more different queries, and worse ones"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="of the sampling")

    @field_validator("prompt")
    @classmethod
    def _has_a_place(cls, prompt: str | None) -> str | None:
        if prompt is not None and "{document}" not in prompt:
            raise ValueError("the prompt has no {document}")
        return prompt

    def fingerprint(self) -> str:
        """sha256 over the weights, the tokenizer and all that the queries hang on. Needs no torch."""
        settings = {key: value for key, value in self.semantic().items() if key not in ("model", "revision")}
        return weights.fingerprint(weights.model_files(self._folder()), settings | {"instruction": INSTRUCTION})

    def open(self, context: Context) -> _Writer:
        """The model on the device. Raises ResourceError for a folder that cannot be loaded, ConfigError for another kind of model."""
        model, tokenizer, seq2seq = _load(self._folder(), context.device)
        key = f"{self.fingerprint()}-{context.device.partition(':')[0]}"
        prompt = self.prompt or ("{document}" if seq2seq else INSTRUCTION)
        return _Writer(self, model, tokenizer, seq2seq, prompt, context.device, key)

    def _folder(self) -> Path:
        return weights.locate(self.model, self.revision)


def _load(folder: Path, device: str) -> tuple[Any, Any, bool]:
    """Model, tokenizer and whether it is seq2seq: safetensors only, no remote code, no network, float32."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    weights.model_files(folder)
    safe = {"trust_remote_code": False, "local_files_only": True}
    with weights.loader_report() as missing:
        try:
            seq2seq = bool(AutoConfig.from_pretrained(str(folder), **safe).is_encoder_decoder)
            kind = AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM
            model = kind.from_pretrained(str(folder), use_safetensors=True, dtype=torch.float32, **safe)
            tokenizer = AutoTokenizer.from_pretrained(str(folder), **safe)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise ResourceError(
                "the model cannot be loaded", where=str(folder), got=(str(error).splitlines() or [""])[0],
                try_="a seq2seq or a causal model as transformers saves it",
            ) from None  # fmt: skip
    weights.refuse_missing(missing, folder)
    if tokenizer.eos_token_id is None or not tokenizer.is_fast:
        got = "no token for the end of a text" if tokenizer.is_fast else "a tokenizer without a tokenizer.json"
        raise ConfigError("the model cannot write queries", where=str(folder), got=got, try_="another model")
    return model.to(device).eval(), tokenizer, seq2seq


@dataclass
class _Writer:
    """The model at work. `counts` says how many documents were cut."""

    writer: Local
    model: Any
    tokenizer: Any
    seq2seq: bool
    prompt: str
    device: str
    key: str
    counts: dict[str, int] = field(default_factory=lambda: {"truncated": 0})

    def write(self, texts: Sequence[str], queries: int) -> list[list[str] | None]:
        """As `stages.viewing.OpenWriter.write`; there is always an answer."""
        return [self._queries(text, queries) for text in texts]

    def _queries(self, text: str, queries: int) -> list[str]:
        import torch

        tokens = self._tokens(text)
        own = torch.device(self.device)
        with torch.inference_mode(), torch.random.fork_rng([own] if own.type == "cuda" else []):
            torch.manual_seed(stable_hash(f"{self.writer.seed} {text}") >> 1)
            output = self.model.generate(
                **tokens,
                do_sample=True,
                num_beams=1,
                top_k=self.writer.top_k,
                top_p=1.0,
                temperature=self.writer.temperature,
                max_new_tokens=self.writer.query_tokens,
                num_return_sequences=queries,
                pad_token_id=self._pad,
            )
        if not self.seq2seq:
            output = output[:, tokens["input_ids"].shape[1] :]
        found = self.tokenizer.batch_decode(output, skip_special_tokens=True)
        return [next((line for line in query.splitlines() if line.strip()), "") for query in found]

    def _tokens(self, text: str) -> dict[str, Any]:
        """The prompt with the document, which is cut, in it."""
        limit = self.writer.document_tokens
        cut = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        offsets = cut["offset_mapping"]
        if len(offsets) > limit:
            self.counts["truncated"] += 1
            text = text[: offsets[limit - 1][1]]
        asked = self.prompt.replace("{document}", text)
        if not self.seq2seq and self.tokenizer.chat_template:
            asked = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": asked}], tokenize=False, add_generation_prompt=True
            )
            encoded = self.tokenizer(asked, add_special_tokens=False, return_tensors="pt", verbose=False)
        else:
            encoded = self.tokenizer(asked, return_tensors="pt", verbose=False)
        return {name: encoded[name].to(self.device) for name in ("input_ids", "attention_mask")}

    @property
    def _pad(self) -> int:
        pad = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if pad is None else pad)
