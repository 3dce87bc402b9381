"""Changes one key of a TOML file and leaves every other byte of it."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from pipeline.store import commit
from stages.errors import ConfigError, StorageError

_HEADER = re.compile(r"^\s*\[(?!\[)(?P<path>.+)\]\s*(#.*)?$")
_ENTRY = re.compile(r"""^(?P<before>\s*(?P<path>[^=#"']+?|.*?["'].*?)\s*=\s*)(?P<value>[^\s#]+)(?P<after>\s*(#.*)?)$""")


def set_number(path: Path, key: Sequence[str], value: float, siblings: Sequence[Sequence[str]] = ()) -> bool:
    """Sets a number in a configuration file; False when it has it already. See `edited`.

    Written in one step, with the file's own mode; a link stays one. Raises StorageError when the file may not be written.
    """
    place = path.resolve()
    if not place.stat().st_mode & 0o222:
        raise StorageError("the configuration is read-only", where=str(place), try_=_by_hand(key, value))
    text = place.read_bytes().decode("utf-8")
    changed = edited(text, key, value, siblings)
    if changed == text:
        return False

    def write(temporary: Path) -> None:
        temporary.write_bytes(changed.encode("utf-8"))
        shutil.copymode(place, temporary)

    commit(place, write)
    return True


def edited(text: str, key: Sequence[str], value: float, siblings: Sequence[Sequence[str]] = ()) -> str:
    """The text of a TOML file with a number set: on its line, else below the header of its table, else in a new table.

    `siblings` are tables that a new table needs beside it, in order, the new one among them: they are appended as well
    where none of them is there. What comes out is parsed, and must differ from what was in that key alone.
    Raises ConfigError when the key cannot be set so.
    """
    before = tomllib.loads(text)
    for attempt in (_on_its_line, _below_header, _in_new_tables):
        changed = attempt(text, tuple(key), _number(value), [tuple(one) for one in siblings])
        if changed is not None and _parsed(changed) == _expected(before, key, value, siblings):
            return changed
    raise ConfigError(f"{'.'.join(key)} cannot be set by itself", try_=_by_hand(key, value))


def _on_its_line(text: str, key: tuple[str, ...], value: str, siblings: list[tuple[str, ...]]) -> str | None:
    lines = text.splitlines(keepends=True)
    table: tuple[str, ...] = ()
    for number, line in enumerate(lines):
        body, end = _line(line)
        if header := _HEADER.match(body):
            table = _keys(header["path"])
        elif (entry := _ENTRY.match(body)) and (*table, *_keys(entry["path"])) == key:
            lines[number] = f"{entry['before']}{value}{entry['after']}{end}"
            return "".join(lines)
    return None


def _below_header(text: str, key: tuple[str, ...], value: str, siblings: list[tuple[str, ...]]) -> str | None:
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        body, end = _line(line)
        header = _HEADER.match(body)
        if header and _keys(header["path"]) == key[:-1]:
            lines[number] = f"{body}{end or chr(10)}{key[-1]} = {value}{end}"
            return "".join(lines)
    return None


def _in_new_tables(text: str, key: tuple[str, ...], value: str, siblings: list[tuple[str, ...]]) -> str:
    there = tomllib.loads(text)
    new = [key[:-1]] if any(_has(there, one) for one in siblings) or not siblings else siblings
    end = "\r\n" if "\r\n" in text else "\n"
    out = text if not text or text.endswith("\n") else text + end
    for table in new:
        out += f"{end}[{'.'.join(table)}]{end}" + (f"{key[-1]} = {value}{end}" if table == key[:-1] else "")
    return out


def _expected(before: Mapping[str, Any], key: Sequence[str], value: float, siblings: Sequence[Sequence[str]]) -> Any:
    wanted: dict[str, Any] = deepcopy(dict(before))
    new = [] if any(_has(before, one) for one in siblings) else siblings
    for path in (*new, key[:-1]):
        table = wanted
        for step in path:
            table = table.setdefault(step, {})
    table[key[-1]] = value
    return wanted


def _has(tables: Mapping[str, Any], path: Sequence[str]) -> bool:
    value: Any = tables
    for step in path:
        if not isinstance(value, Mapping) or step not in value:
            return False
        value = value[step]
    return True


def _parsed(text: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _keys(path: str) -> tuple[str, ...]:
    """The steps of a dotted key; nothing for what is none."""
    try:
        value: Any = tomllib.loads(f"{path} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    steps = []
    while isinstance(value, dict):
        [(step, value)] = value.items()
        steps.append(step)
    return tuple(steps)


def _line(line: str) -> tuple[str, str]:
    body = line.rstrip("\r\n")
    return body, line[len(body) :]


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and not isinstance(value, float) else repr(value)


def _by_hand(key: Sequence[str], value: float) -> str:
    return f"write it by hand: [{'.'.join(key[:-1])}] {key[-1]} = {_number(value)}"
