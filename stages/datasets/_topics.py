"""TREC topics in their forms: SGML with or without closing tags, XML, and lines of id and text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from itertools import zip_longest

from stages.datasets._helpers import File, lines, utf8_fault
from stages.records import Fault, Query

_TAGS = {"num": "num", "number": "num", "title": "title", "query": "title", "desc": "description", "narr": "narrative",
         "description": "description", "question": "description", "narrative": "narrative"}  # fmt: skip
_LABEL = re.compile(r"^\s*(Number|Topic|Description|Narrative)\s*:?\s*", re.I)
_TOPIC = re.compile(r"<top(?:ic)?(?:\s[^>]*)?>(.*?)(?=</top(?:ic)?>|<top(?:ic)?[\s>]|\Z)", re.S | re.I)
_TAG = re.compile(r"<(/?)([A-Za-z]+)[^>]*>")


def topics(file: File, field: str) -> Iterator[Query | Fault]:
    """The queries of a file of topics: the text of a topic is its title, description or narrative, as `field` says."""
    found: list[tuple[int, str]] = []
    for number, offset, line in lines(file):
        try:
            found.append((number, line.decode()))
        except UnicodeDecodeError as error:
            yield utf8_fault(file, number, offset, error)
    whole = "\n".join(text for _, text in found)
    if re.search(r"<top(?:ic)?[\s>]", whole, re.I):
        yield from _marked(file, whole, field)
        return
    for number, text in found:
        if text.strip():
            yield _line(file, number, text)


def _line(file: File, number: int, text: str) -> Query | Fault:
    fields = text.split("\t", 1) if "\t" in text else text.split(":", 1)
    if len(fields) == 2:
        return Query(file.name, number, fields[0].strip(), fields[1].strip())
    mend = "write id, a tab and the text, or topics with <top>"
    return Fault(file.name, number, None, None, "neither a topic nor id and text", mend)


def _marked(file: File, whole: str, field: str) -> Iterator[Query | Fault]:
    for topic in _TOPIC.finditer(whole):
        line = whole.count("\n", 0, topic.start()) + 1
        opening = whole[topic.start() : topic.start(1)]
        xml = opening.lower().startswith("<topic")
        parts = _parts(topic[1])
        number = re.search(r"\b(?:number|id|num)\s*=\s*[\"']([^\"']*)[\"']", opening, re.I)
        key = number[1].strip() if number else parts.get("num", "")
        text = parts.get(field)
        if not key:
            yield Fault(file.name, line, "num", None, "a topic without a number", "write <num> Number: 301")
        elif text is None:
            got = ", ".join(parts) or "nothing"
            reason = f"a topic without a {field}; it has: {got}"
            yield Fault(file.name, line, field, key, reason, "choose another topic_field")
        else:
            yield Query(file.name, line, key, html.unescape(text) if xml else text)


def _parts(topic: str) -> dict[str, str]:
    """The text of each known tag, up to the next one, without its label and with single blanks."""
    tags = [tag for tag in _TAG.finditer(topic) if tag[2].lower() in _TAGS]
    found: dict[str, str] = {}
    for tag, after in zip_longest(tags, tags[1:]):
        if not tag[1]:
            text = topic[tag.end() : after.start() if after else None]
            found.setdefault(_TAGS[tag[2].lower()], " ".join(_LABEL.sub("", text).split()))
    return found
