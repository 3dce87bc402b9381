"""Written queries: a stub in place of the model, the round trip against BM25 by hand."""

from __future__ import annotations

import re

import pytest

from stages.errors import ConfigError, ResourceError
from stages.registry import build
from stages.views.synthetic import Synthetic
from stages.writers.endpoint import Endpoint
from tests import models
from tests.endpoint import KEY
from tests.stages.views.passages import made, passages
from tests.support import MemoryCache, TestContext

DOCUMENTS = passages(
    ("fox", "Animals", "the quick brown fox jumps over the lazy dog"),
    ("tea", "Kitchen", "boil the water before you pour it over the tea leaves"),
    ("moon", None, "the moon turns around the earth in twenty-seven days"),
)
QUERIES = {
    "fox": ["how does a fox jump", "lazy dog"],
    "tea": ["tea leaves and water", "moon earth days"],  # the second one finds another document
    "moon": ["how long does the moon take", "unrelated"],  # the second one finds nothing
}


def asked_for(prompt: str) -> str:
    return next(key for key in QUERIES if f" {key} " in f" {prompt.split('<document>')[1]} ".replace("\n", " "))


def answers(model, prompt):
    return "\n".join(f"{number}. {query}" for number, query in enumerate(QUERIES[asked_for(prompt)], 1))


def view(url, writer=None, **fields):
    return Synthetic(
        writer=Endpoint(**{"url": url, "model": "m", "backoff": 0.001, "workers": 1, **(writer or {})}),
        **{"within": 1, "queries": 2, **fields},
    )


def test_a_query_is_kept_when_it_finds_its_own_document(stub):
    server, context = stub(answers), TestContext()
    found, counts = made(view(server.url), DOCUMENTS, context)
    assert found == [
        ("fox", "how does a fox jump"),
        ("fox", "lazy dog"),
        ("tea", "tea leaves and water"),
        ("moon", "how long does the moon take"),
    ]
    assert counts["written"] == 6
    assert counts["dropped_not_found"] == 2
    assert counts["documents_asked"] == 3
    assert len(server.asked) == 3  # once a document, however often the queries are read
    assert any("4 of 6 written queries find their own document" in message for message in context.messages)
    assert "Animals the quick" in server.asked[0][1]  # the model reads the title


def test_without_a_check_all_are_kept_and_deeper_checks_keep_more(stub):
    server = stub(answers)
    everything, counts = made(view(server.url, within=0), DOCUMENTS, TestContext())
    assert everything == [(key, query) for key in QUERIES for query in QUERIES[key]]
    assert "dropped_not_found" not in counts
    deep, _ = made(view(server.url, within=3), DOCUMENTS, TestContext())
    assert set(everything) - set(deep) == {("moon", "unrelated"), ("tea", "moon earth days")}  # no word in common


def test_an_encoder_can_check(stub):
    check = build("retrievers", "encoder", {"encoder": {"name": "static", "model": models.WORDLLAMA, "tokenizer": models.WORDLLAMA_TOKENIZER}})  # fmt: skip
    found, _ = made(view(stub(answers).url, check=check), DOCUMENTS, TestContext())
    assert ("fox", "lazy dog") in found
    assert ("tea", "moon earth days") not in found


def test_answers_are_kept_and_only_what_is_missing_is_asked(stub):
    server, cache = stub(answers), MemoryCache()
    small = view(server.url, documents=2)
    first, _ = made(small, DOCUMENTS, TestContext(cache=cache))
    assert len(server.asked) == 2
    again, _ = made(small, DOCUMENTS, TestContext(cache=cache))
    assert (again, len(server.asked)) == (first, 2)
    made(view(server.url), DOCUMENTS, TestContext(cache=cache))
    assert len(server.asked) == len(set(server.asked)) == 3
    made(view(server.url, queries=1), DOCUMENTS, TestContext(cache=cache))
    assert len(server.asked) == 6  # another question


def test_a_spent_budget_leaves_documents_without_and_more_goes_on(stub):
    server, cache = stub(answers), MemoryCache()
    context = TestContext(cache=cache)
    found, counts = made(view(server.url, {"max_requests": 1}), DOCUMENTS, context)
    assert {key for key, _ in found} == {"fox"}
    assert counts["writer.spent"] == counts["documents_without"] == 2
    assert any("budget is spent after 1 requests and 10 tokens" in message for message in context.messages)
    found, _ = made(view(server.url), DOCUMENTS, TestContext(cache=cache))
    assert {key for key, _ in found} == set(QUERIES)
    assert len(server.asked) == len(set(server.asked)) == 3
    tokens = stub(answers)
    made(view(tokens.url, {"max_tokens": 15}), DOCUMENTS, TestContext())
    assert len(tokens.asked) == 2


def test_several_workers_give_the_same(stub):
    server = stub(answers)
    one, _ = made(view(server.url), DOCUMENTS, TestContext())
    many, _ = made(view(server.url, {"workers": 8}), DOCUMENTS, TestContext())
    assert one == many


def test_a_busy_endpoint_is_asked_again(stub):
    tries = {}

    def busy(model, prompt):
        tries[prompt] = tries.get(prompt, 0) + 1
        return (503, {}) if tries[prompt] < 3 else answers(model, prompt)

    found, _ = made(view(stub(busy).url), DOCUMENTS, TestContext())
    assert {key for key, _ in found} == set(QUERIES)
    assert set(tries.values()) == {3}


def test_an_endpoint_that_never_answers_ends_the_stage_and_keeps_what_it_gave(stub):
    many = passages(*((f"d{i}", None, f"document number {i}") for i in range(200)))
    cache, gone = MemoryCache(), []

    def answer(model, prompt):
        number = int(re.search(r"number (\d+)", prompt)[1])
        gone.append(number)
        return f"query {number}" if number < 70 else (500, {})

    server = stub(answer)
    with pytest.raises(ResourceError, match="does not answer"):
        made(view(server.url, {"attempts": 1}), many, TestContext(cache=cache))
    assert max(gone) == 77
    assert cache.added == 70


@pytest.mark.parametrize("status", [401, 404, 302])
def test_a_refusal_ends_the_stage_at_once_and_shows_no_key(stub, status):
    server = stub(lambda model, prompt: (status, {"Location": "http://127.0.0.1:1/"}))
    with pytest.raises(ResourceError, match="refuses") as error:
        made(view(server.url), DOCUMENTS, TestContext())
    assert len(server.asked) == 1
    assert KEY not in str(error.value)


def test_garbage_gives_no_query(stub):
    said = iter([b"<html>", b'{"choices": []}', "``` \n\n```"] * 9)
    with_garbage, cache = view(stub(lambda model, prompt: next(said)).url), MemoryCache()
    found, counts = made(with_garbage, DOCUMENTS, TestContext(cache=cache))
    assert found == []
    assert counts["documents_without"] == counts["writer.unreadable"] == 3
    assert cache.added == 0


def test_repeated_queries_of_a_document_are_one(stub):
    server = stub(lambda model, prompt: 'Here are two queries:\n- "Lazy Dog"\n* lazy  dog\n3) a third')
    found, counts = made(view(server.url, within=0, queries=3), DOCUMENTS, TestContext())
    assert found[:2] == [("fox", "Lazy Dog"), ("fox", "a third")]
    assert counts["written"] == 6


def test_what_cannot_check_or_be_asked_is_refused():
    with pytest.raises(ConfigError, match="'dense' cannot check"):
        build("views", "synthetic", {"writer": {"name": "endpoint", "url": "http://x/v1", "model": "m"}, "check": {"name": "dense"}})  # fmt: skip
    with pytest.raises(ConfigError, match="not that of an endpoint"):
        build("writers", "endpoint", {"url": "file:///etc/passwd", "model": "m"})
    with pytest.raises(ConfigError, match=r"no \{document\}"):
        build("writers", "endpoint", {"url": "http://x/v1", "model": "m", "prompt": "write"})


def test_the_fingerprint_is_of_what_changes_the_queries():
    base = view("http://x/v1")
    assert base.fingerprint() == view("http://x/v1", {"workers": 9, "max_requests": 5}).fingerprint()
    others = [view("http://x/v1", {field: value}) for field, value in (("model", "n"), ("prompt", "{document}"))]
    assert len({base.fingerprint(), *(other.fingerprint() for other in others)}) == 3
