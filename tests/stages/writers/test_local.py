"""Local models with random weights, made and saved here: what they write is nonsense, and always the same nonsense."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from stages.errors import ConfigError, ResourceError
from stages.records import stable_hash
from stages.registry import build
from stages.views.synthetic import Synthetic
from stages.writers.local import INSTRUCTION, Local
from tests.stages.views.passages import made, passages
from tests.support import MemoryCache, TestContext

WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "lazy",
    "dog",
    "boil",
    "water",
    "before",
    "you",
    "pour",
    "it",
    "tea",
    "leaves",
    "moon",
    "turns",
    "around",
    "earth",
]
TEXTS = ["the quick brown fox jumps", "boil water before you pour it over the tea leaves", "moon turns around earth"]


def tokenizer():
    vocabulary = {word: number for number, word in enumerate(["<pad>", "</s>", "<unk>", *dict.fromkeys(WORDS)])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


@pytest.fixture(scope="module")
def seq2seq(tmp_path_factory):
    folder = tmp_path_factory.mktemp("t5")
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer()), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, pad_token_id=0, eos_token_id=1,
        decoder_start_token_id=0,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt2")
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer()), n_embd=16, n_layer=1, n_head=2, n_positions=256, bos_token_id=1, eos_token_id=1
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def write(folder, texts=TEXTS, queries=3, **fields):
    return Local(model=str(folder), query_tokens=8, **fields).open(TestContext()).write(texts, queries)


def sampled(folder, text, queries, seed=0, top_k=10):
    """What the model samples token by token, without `generate`: the reference for seq2seq."""
    model, own = T5ForConditionalGeneration.from_pretrained(folder).eval(), tokenizer()
    ids = torch.tensor([own(text)["input_ids"]]).repeat(queries, 1)
    torch.manual_seed(stable_hash(f"{seed} {text}") >> 1)
    said, ended = torch.zeros((queries, 1), dtype=torch.long), torch.zeros(queries, dtype=torch.bool)
    with torch.inference_mode():
        for _ in range(8):
            logits = model(input_ids=ids, decoder_input_ids=said).logits[:, -1].float()
            least = logits.topk(top_k).values[:, -1:]
            share = logits.masked_fill(logits < least, -torch.inf).softmax(dim=-1)
            token = torch.multinomial(share, 1).squeeze(1).masked_fill(ended, 0)
            ended |= token == 1
            said = torch.cat([said, token[:, None]], dim=1)
            if ended.all():
                break
    return own.batch_decode(said, skip_special_tokens=True)


def test_a_seq2seq_model_writes_what_it_samples(seq2seq):
    found = write(seq2seq)
    assert found == [sampled(seq2seq, text, 3) for text in TEXTS]
    assert len({query for queries in found for query in queries}) > 3


def test_a_text_gets_the_same_queries_in_whatever_company(seq2seq):
    found = write(seq2seq)
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    assert write(seq2seq, TEXTS[::-1]) == found[::-1]
    assert torch.equal(torch.random.get_rng_state(), state)  # random numbers of others are left alone
    assert write(seq2seq, TEXTS[1:2]) == found[1:2]
    assert write(seq2seq, seed=1) != found


def test_a_causal_model_gives_what_comes_after_the_prompt(causal):
    found = write(causal)
    assert all(len(queries) == 3 for queries in found)
    assert not any("Query" in query or "Document" in query for queries in found for query in queries)
    assert write(causal, prompt=INSTRUCTION) == found
    assert write(causal, prompt="{document}") != found


def test_long_documents_are_cut_and_counted(seq2seq):
    writer = Local(model=str(seq2seq), query_tokens=8, document_tokens=5).open(TestContext())
    cut = writer.write([TEXTS[0], TEXTS[1]], 1)
    assert writer.counts == {"truncated": 1}
    assert cut[0] == write(seq2seq, TEXTS[:1], 1)[0]
    assert len(writer._tokens(TEXTS[1])["input_ids"][0]) == 6  # and the end of the text


def test_the_view_with_a_local_model(seq2seq):
    view = Synthetic(writer=Local(model=str(seq2seq), query_tokens=8), queries=3, within=1)
    documents, cache = passages(*((f"d{i}", None, text) for i, text in enumerate(TEXTS))), MemoryCache()
    found, counts = made(view, documents, TestContext(cache=cache))
    every = {(f"d{i}", query) for i, queries in enumerate(write(seq2seq)) for query in queries if query}
    assert set(found) <= every
    assert counts["written"] == len(every) == len(found) + counts["dropped_not_found"]
    assert cache.added == 3
    assert made(view, documents, TestContext(cache=cache))[0] == found


def test_the_fingerprint_is_of_weights_and_settings_and_not_of_the_place(seq2seq, tmp_path):
    import shutil

    one = Local(model=str(seq2seq))
    shutil.copytree(seq2seq, tmp_path / "copy")
    assert Local(model=str(tmp_path / "copy")).fingerprint() == one.fingerprint()
    assert Local(model=str(seq2seq), seed=1).fingerprint() != one.fingerprint()
    (tmp_path / "copy/tokenizer_config.json").write_text("{}")
    assert Local(model=str(tmp_path / "copy")).fingerprint() != one.fingerprint()


def test_what_cannot_write_is_refused(tmp_path):
    with pytest.raises(ResourceError, match="not there"):
        build("writers", "local", {"model": str(tmp_path / "none/at/all")}).fingerprint()
    with pytest.raises(ResourceError, match="no weights"):
        build("writers", "local", {"model": str(tmp_path)}).fingerprint()
    with pytest.raises(ConfigError, match=r"no \{document\}"):
        build("writers", "local", {"model": "x", "prompt": "write"})
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text('{"model_type": "resnet"}')
    with pytest.raises(ResourceError, match="cannot be loaded"):
        Local(model=str(tmp_path)).open(TestContext())
