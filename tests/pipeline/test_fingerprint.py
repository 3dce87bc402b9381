"""What identifies a result, and how a difference is told."""

from pipeline.fingerprint import Identity, differences, digest
from stages.registry import Member
from stages.settings import Settings, speed


class Margin(Member):
    margin: float = 0.05


class Config(Settings):
    depth: int = 100
    block: int = speed(512, "rows a block")
    filters: tuple[Margin, ...] = (Margin(),)


def who(config: Settings, version: int = 1, **inputs: str) -> Identity:
    return Identity("judge", version, 0, config.semantic(), inputs, {})


def test_a_field_that_only_changes_speed_is_not_part_of_the_identity():
    assert who(Config(block=1)).key == who(Config(block=2)).key
    assert who(Config(depth=1)).key != who(Config(depth=2)).key


def test_version_round_input_and_nested_fields_are():
    base = who(Config(), judged="a")
    assert base.key == who(Config(), judged="a").key
    assert base.key != who(Config(), judged="b").key
    assert base.key != who(Config(), version=2, judged="a").key
    assert base.key != who(Config(filters=(Margin(margin=0.1),)), judged="a").key


def test_differences_name_the_key_with_both_values():
    old, new = who(Config(), corpus="a", qrels="x"), who(Config(filters=(Margin(margin=0.1),)), corpus="b", qrels="x")
    assert differences(old.as_json(), new.as_json()) == [
        "judge.filters.test_fingerprint.margin 0.05 → 0.1",
        "corpus changed",
    ]


def test_the_order_of_keys_does_not_matter():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest([1, 2]) != digest([2, 1])


def test_a_change_in_the_first_of_two_members_of_one_kind_is_said():
    def identity(first: int) -> dict:
        members = [{"name": "run", "path": first}, {"name": "run", "path": 2}]
        return {"stage": "mine", "version": 1, "config": {"retrievers": members}, "inputs": {}, "external": {}}

    assert differences(identity(1), identity(3)) == ["mine.retrievers.run.path 1 → 3"]
