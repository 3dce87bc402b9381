"""A language model behind a stub on this machine, with everything that an endpoint may do."""

from __future__ import annotations

import json

import pytest

from stages.errors import ConfigError, ResourceError
from stages.teachers.llm import Llm, read_verdict
from tests.endpoint import KEY
from tests.support import MemoryCache
from tests.teaching_world import DOCUMENTS, POSITIVES, QUERIES, inputs, scores, taught


def llm(url, **fields):
    return Llm(**{"url": url, "model": "cheap", "backoff": 0.001, "workers": 1, "depth": 5, **fields})


def about(word):
    """Relevant where query and document both have the word."""
    return lambda model, prompt: json.dumps({"relevant": prompt.lower().count(word) > 1})


CANDIDATES = {(q, (q + r) % len(DOCUMENTS)) for q in range(len(QUERIES)) for r in range(5)}
ASKED = {(q, d) for q, d in CANDIDATES if d not in POSITIVES[q]}


def test_candidates_get_verdicts_and_positives_are_not_asked(stub, tmp_path):
    server = stub(about("vaccin"))
    result = taught(tmp_path, llm(server.url))
    found = scores(result, "llm")
    assert {pair for pair, s in found.items() if s is not None} == ASKED
    assert {pair for pair in ASKED if found[pair] == 1} == {(0, 2), (2, 6)}  # the query's prompt counts "vaccines" once
    assert result.counters["llm.not_asked"] == len(found) - len(ASKED)
    assert set(server.keys) == {f"Bearer {KEY}"}
    assert len(server.asked) == len({prompt for _, prompt in server.asked})


def test_the_strong_model_reads_what_the_cheap_one_calls_relevant_and_decides(stub, tmp_path):
    def answer(model, prompt):
        return '{"relevant": true}' if model == "cheap" and "flour" in prompt else '{"relevant": false}'

    server = stub(answer)
    found = scores(taught(tmp_path, llm(server.url, strong_model="strong")), "llm")
    assert {found[pair] for pair in ASKED} == {0}
    assert {p for m, p in server.asked if m == "strong"} == {p for m, p in server.asked if "flour" in p}
    assert any(m == "strong" for m, _ in server.asked)


def test_a_second_run_asks_nothing_and_a_deeper_one_only_what_is_new(stub, tmp_path):
    server, cache = stub(about("vaccin")), MemoryCache()
    taught(tmp_path / "a", llm(server.url, depth=2), cache=cache)
    first = set(server.asked)
    deep = taught(tmp_path / "b", llm(server.url, depth=5), cache=cache)
    assert len(server.asked) == len(set(server.asked)) > len(first)
    again = taught(tmp_path / "c", llm(server.url, depth=5), cache=cache)
    assert len(server.asked) == len(set(server.asked))
    assert again["teacher_scores"].equals(deep["teacher_scores"])


def test_a_busy_endpoint_is_asked_again(stub, tmp_path):
    tries = {}

    def answer(model, prompt):
        tries[prompt] = tries.get(prompt, 0) + 1
        return [(429, {"Retry-After": "0.01"}), (503, {}), '{"relevant": false}'][min(tries[prompt], 3) - 1]

    server = stub(answer)
    result = taught(tmp_path, llm(server.url))
    assert {scores(result, "llm")[pair] for pair in ASKED} == {0}
    assert set(tries.values()) == {3}
    assert result.counters["llm.unanswered"] == 0


def test_garbage_gives_no_verdict_and_is_counted(stub, tmp_path):
    said = iter(
        [b"<html>", "I am not sure.", b'{"choices": []}', b"\xff\xfe", '{"relevant": true, "relevant": false}'] * 99
    )
    cache = MemoryCache()
    server = stub(lambda model, prompt: next(said))
    result = taught(tmp_path, llm(server.url), cache=cache)
    assert {scores(result, "llm")[pair] for pair in ASKED} == {None}
    assert result.counters["llm.unreadable"] == len(server.asked) > 0
    assert result.counters["llm.unscored"] == len(scores(result, "llm"))
    assert cache.added == 0


def test_a_spent_budget_leaves_the_rest_without_a_score(stub, tmp_path):
    server, cache = stub(about("vaccin")), MemoryCache()
    result = taught(tmp_path / "a", llm(server.url, max_requests=4), cache=cache)
    assert len(server.asked) == 4
    assert result.counters["llm.spent"] > 0
    assert any("budget is spent after 4 requests" in m for m in result.messages)
    scored = [pair for pair in sorted(ASKED) if scores(result, "llm")[pair] is not None]
    assert scored[:4] == sorted(ASKED)[:4]
    assert {QUERIES[q] for q, _ in scored[4:]} <= {QUERIES[0]}  # query 2 asks the same as query 0
    rest = taught(tmp_path / "b", llm(server.url, max_requests=1000), cache=cache)
    assert all(scores(rest, "llm")[pair] is not None for pair in ASKED)
    assert len(server.asked) == len(set(server.asked))
    tokens = stub(about("vaccin"))
    taught(tmp_path / "c", llm(tokens.url, max_tokens=25))
    assert len(tokens.asked) == 3


def test_an_endpoint_that_never_answers_ends_the_stage(stub, tmp_path):
    server = stub(lambda model, prompt: (500, {}))
    with pytest.raises(ResourceError, match="does not answer"):
        taught(tmp_path, llm(server.url, attempts=2))
    assert len(server.asked) == 16


@pytest.mark.parametrize("status", [401, 404, 302])
def test_a_refusal_ends_the_stage_at_once_and_shows_no_key(stub, tmp_path, status):
    elsewhere = stub(about("vaccin"))
    server = stub(lambda model, prompt: (status, {"Location": elsewhere.url}))
    with pytest.raises(ResourceError, match="refuses") as error:
        taught(tmp_path, llm(server.url))
    assert len(server.asked) == 1
    assert elsewhere.asked == []
    assert KEY not in str(error.value)
    assert str(status) in str(error.value)


def test_the_key_is_in_no_configuration_and_no_message(stub, tmp_path):
    server = stub(about("vaccin"))
    teacher = llm(server.url)
    result = taught(tmp_path, teacher)
    scorer = teacher.open("cpu", MemoryCache(), print)
    told = [repr(teacher), repr(scorer), json.dumps(teacher.semantic()), teacher.fingerprint(), *result.messages]
    assert KEY not in " ".join([*told, json.dumps(result.facts)])


def test_several_workers_give_the_same(stub, tmp_path):
    server = stub(about("vaccin"))
    one = taught(tmp_path / "a", llm(server.url))
    many = taught(tmp_path / "b", llm(server.url, workers=8))
    assert many["teacher_scores"].equals(one["teacher_scores"])


def test_a_long_document_is_cut_and_counted(stub, tmp_path):
    server = stub(about("vaccin"))
    result = taught(tmp_path, llm(server.url, document_chars=20), given=inputs())
    assert result.counters["llm.truncated"] == len(ASKED)
    assert all(len(prompt.split("<document>")[1].split("</document>")[0].strip()) <= 20 for _, prompt in server.asked)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "localhost:8000", "https://name:word@host/v1"])
def test_an_url_that_is_no_endpoint_is_refused(url):
    with pytest.raises(ConfigError, match="not that of an endpoint"):
        llm(url)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ('{"relevant": true}', True),
        ('```json\n{ "relevant" : false }\n```', False),
        ("{'relevant': True}", True),
        ("relevant: no", False),
        ("Yes.", True),
        ("NO", False),
        ('Sure! {"relevant": "yes", "why": "no other"}', True),
        ("yes and no", None),
        ("", None),
        ("irrelevant", None),
        ("I know nothing", None),
    ],
)
def test_verdicts_are_read(answer, says):
    assert read_verdict(answer) is says
