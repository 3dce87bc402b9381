"""Reading files of rows by bytes: physical lines, JSON objects, and what identifies the files."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import json
import re
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from stages.errors import InputError
from stages.records import Fault, shown

NAME, WHOLE = 255, 4_000  # bytes of a name, and of it with its folders, that file systems take
LINE_BYTES = 64 << 20  # a longer line is not a row but another kind of file
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_UTF16 = {  # with a byte order mark, or characters of Latin with zeros before or behind each
    "UTF-16": re.compile(rb"\xff\xfe|\xfe\xff"),
    "UTF-16LE": re.compile(rb"([^\0]\0){4}"),
    "UTF-16BE": re.compile(rb"(\0[^\0]){4}"),
}
_PACKED = {
    "packed with gzip twice": re.compile(rb"\x1f\x8b"),
    "a zip archive": re.compile(rb"PK\x03\x04"),
    "packed with bzip2": re.compile(rb"BZh[1-9]1AY&SY"),
    "packed with xz": re.compile(rb"\xfd7zXZ\x00"),
    "packed with zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
    "a tar archive": re.compile(rb".{257}ustar", re.DOTALL),
    "a Parquet file": re.compile(rb"PAR1[\x00-\x1f]"),
}
_NO_NUMBER = re.compile(r"[+-]?(nan|inf|infinity|null|none|n/?a|[.-]*)", re.IGNORECASE)
_SPACE = re.compile(r"[ \t\r\n]*")
_NEAR_END = 16  # a number, a name or an escape that is cut off is shorter
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)


class File(NamedTuple):
    """A file of the input: the name it goes by in messages and tables, and where it is."""

    name: str
    path: Path


def digest(files: Iterable[File]) -> str:
    """A sha256 over the names and the bytes of the files, and nothing else of them. Raises InputError."""
    whole = hashlib.sha256()
    for file in files:
        with _open(file) as handle:
            content = hashlib.file_digest(handle, "sha256").hexdigest()
        whole.update(f"{len(file.name)}:{file.name}:{content}\n".encode())
    return whole.hexdigest()


def _open(file: File) -> io.BufferedReader:
    refuse_irregular(file)
    try:
        return file.path.open("rb")
    except OSError as error:
        raise _unreadable(file, error) from None


def refuse_irregular(file: File) -> None:
    """Raises InputError unless it is a file on a disk: a pipe gives its bytes once alone or never, a device gives no end of them."""
    try:
        mode = file.path.stat().st_mode
    except OSError as error:
        raise _unreadable(file, error) from None
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        raise InputError(
            "a file of the data set cannot be read",
            where=str(file.path),
            got=kinds.get(stat.S_IFMT(mode), "a device"),
            try_="put a file there: it is read more than once",
        )


def _unreadable(file: File, error: OSError) -> InputError:
    return InputError(
        "a file of the data set cannot be read", where=str(file.path), got=error.strerror, try_="check the path"
    )


class _Unpacked(io.RawIOBase):
    """The content of a gzip file, of a damaged one as far as it can be unpacked, so that the line of the damage is known."""

    def __init__(self, packed: gzip.GzipFile) -> None:
        self._packed = packed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._packed.read1(len(buffer))
        buffer[: len(content)] = content
        return len(content)


def lines(file: File) -> Iterator[tuple[int, int, bytes]]:
    """The physical lines of a plain or gzip file: number from 1, offset in the unpacked file, bytes without line end.

    Lines end at LF or CR LF and nowhere else. A byte order mark is taken off. Raises InputError where the file breaks off.
    """
    number, offset = 0, 0
    with _unpacked(file) as handle:
        try:
            while line := handle.readline(LINE_BYTES):
                number += 1
                if len(line) == LINE_BYTES and not line.endswith(b"\n"):
                    raise InputError(
                        f"a line longer than {LINE_BYTES:,} bytes",
                        where=f"{file.path} line {number}",
                        try_="this is not a file of one row a line",
                    )
                start = offset
                offset += len(line)
                if number == 1:
                    refuse_binary(file, line)
                    if line.startswith(_BOM):
                        start += len(_BOM)
                        line = line[len(_BOM) :]
                yield number, start, line[:-1].removesuffix(b"\r") if line.endswith(b"\n") else line
        except _DAMAGED as error:
            raise damaged(file, number, error) from None


@contextmanager
def _unpacked(file: File) -> Iterator[io.BufferedIOBase]:
    with _open(file) as raw:
        packed = raw.peek(2)[:2] == _GZIP
        yield io.BufferedReader(_Unpacked(gzip.GzipFile(fileobj=raw)), 1 << 20) if packed else raw


def chunks(file: File, size: int = 1 << 20) -> Iterator[bytes]:
    """The bytes of a plain or gzip file, unpacked, without a byte order mark. Raises InputError where the file breaks off."""
    line = 0
    with _unpacked(file) as handle:
        try:
            first = True
            while chunk := handle.read(size):
                if first:
                    refuse_binary(file, chunk)
                    first, chunk = False, chunk.removeprefix(_BOM)
                line += chunk.count(b"\n")
                yield chunk
        except _DAMAGED as error:
            raise damaged(file, line, error) from None


def refuse_binary(file: File, start: bytes) -> None:
    """Raises InputError when a file, unpacked if it was packed with gzip, begins as UTF-16, a packed file or a Parquet file does."""
    if code := next((name for name, begin in _UTF16.items() if begin.match(start)), None):
        what, mend = f"{code}, and UTF-8 is needed", f"iconv -f {code} -t UTF-8 {file.path.name}"
    elif found := next((name for name, magic in _PACKED.items() if magic.match(start)), None):
        what, mend = f"{found}, and text is needed", "unpack it, or name the file for what it is"
    else:
        return
    raise InputError(f"the file is {what}", where=f"{file.path} line 1, byte 0", try_=mend)


def damaged(file: File, line: int, error: Exception) -> InputError:
    """What is said of a gzip file that breaks off after a line."""
    return InputError(
        "the gzip file is cut off or damaged",
        where=f"{file.path} after line {line}, in line {line + 1}",
        got=str(error),
        try_="fetch the file again; gzip -t shows whether it is whole",
    )


def utf8_fault(file: File, line: int, offset: int, error: UnicodeDecodeError) -> Fault:
    """A line that is not UTF-8. `offset` is the line's own in the file."""
    byte = error.object[error.start]
    return Fault(
        file.name,
        line,
        None,
        None,
        f"invalid UTF-8: 0x{byte:02x} at byte {error.start} of the line, byte {offset + error.start} of the file",
        "write the file as UTF-8; iconv converts from another encoding",
    )


def repeated(names: Iterable[str]) -> str | None:
    """The first name that occurs twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


class _RepeatedKeyError(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise _RepeatedKeyError(repeated(name for name, _ in pairs))
    return row


_JSON = json.JSONDecoder(object_pairs_hook=_unique)


def objects(file: File) -> Iterator[tuple[int, dict[str, Any]] | Fault]:
    """The objects of a JSONL file with their physical lines. Lines of white space alone are passed over."""
    for number, offset, line in lines(file):
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            yield utf8_fault(file, number, offset, error)
            continue
        if not text.strip(" \t\r"):
            continue
        try:
            row = _JSON.decode(text)
        except (ValueError, RecursionError) as error:
            yield Fault(file.name, number, None, None, *(_odd_bytes(text) or _json_reason(text, error)))
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            mend = "write one object a line; jq -c '.[]' makes that of a JSON array"
            yield Fault(file.name, number, None, None, f"not a JSON object: {shown(text)}", mend)


def elements(file: File) -> Iterator[tuple[int, dict[str, Any]] | Fault]:
    """The objects of a JSON array, or of JSONL where the file does not begin with `[`, with the lines that they begin on.

    In memory is one element and a piece of the file, whatever its size. Raises InputError where the array cannot be read on.
    """
    head = next(chunks(file), b"").lstrip()
    yield from _Array(file).read() if head.startswith(b"[") else objects(file)


class _Array:
    """The elements of a JSON array, decoded from a window of the file that moves on."""

    def __init__(self, file: File) -> None:
        self._file, self._source = file, chunks(file)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._window, self._at, self._line, self._bytes = "", 0, 1, 0

    def read(self) -> Iterator[tuple[int, dict[str, Any]] | Fault]:
        self._skip()
        self._take(1)
        if self._skip() == "]":
            self._end()
            return
        while True:
            line = self._line
            row = self._element()
            if isinstance(row, dict):
                yield line, row
            else:
                yield Fault(self._file.name, line, None, None, f"not a JSON object: {shown(row)}", "write an object")
            after = self._skip()
            if after == "]":
                self._end()
                return
            if after != ",":
                raise self._broken(
                    f"',' or ']' belongs here, and not '{shown(after)}'" if after else "the file ends here"
                )
            self._take(1)
            self._skip()

    def _end(self) -> None:
        self._take(1)
        if more := self._skip():
            raise self._broken(f"the array ends, and '{shown(more)}' follows")

    def _element(self) -> Any:
        while True:
            start = self._at  # which moves when more is read
            try:
                row, end = _JSON.raw_decode(self._window, start)
            except (ValueError, RecursionError) as error:
                ends = isinstance(error, json.JSONDecodeError) and (
                    error.msg.startswith("Unterminated") or error.pos >= len(self._window) - _NEAR_END
                )
                if ends and len(self._window) - self._at <= LINE_BYTES and self._more():
                    continue
                raise self._broken(_element_reason(error, start)) from None
            self._take(end - self._at)
            return row

    def _skip(self) -> str:
        """Passes over white space; the character that follows, empty at the end of the file."""
        while True:
            gap = _SPACE.match(self._window, self._at)
            self._take(len(gap[0]) if gap else 0)
            if self._at < len(self._window):
                return self._window[self._at]
            if not self._more():
                return ""

    def _take(self, characters: int) -> None:
        self._line += self._window.count("\n", self._at, self._at + characters)
        self._at += characters

    def _more(self) -> bool:
        chunk = next(self._source, None)
        held = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(chunk or b"", final=chunk is None)
        except UnicodeDecodeError as error:
            what = f"invalid UTF-8: 0x{error.object[error.start]:02x} at byte {self._bytes - held + error.start} of the file"
            raise self._broken(what) from None
        self._bytes += len(chunk or b"")
        self._window, self._at = self._window[self._at :] + text, 0
        return chunk is not None

    def _broken(self, what: str) -> InputError:
        where = f"{self._file.path}, in the element of the array from line {self._line}"
        return InputError(
            f"broken JSON: {what.removeprefix('broken JSON: ')}", where=where, try_="write the array whole"
        )


def _element_reason(error: Exception, start: int) -> str:
    """What is wrong with an element of an array, and at which of its own characters."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.removesuffix(' at')} at character {error.pos - start + 1} of the element"
    return _json_reason("", error)[0]


def _odd_bytes(text: str) -> tuple[str, str] | None:
    """What is said of a line that is no JSON for what stands between its objects."""
    if text.startswith("\0"):
        return "the line begins with NUL bytes: a piece of the file was never written", "fetch or write the file again"
    if "\r" in text.strip("\r"):
        return "a carriage return stands inside of the line", r"end lines with LF or CR LF: tr '\r' '\n'"
    return None


def _json_reason(text: str, error: Exception) -> tuple[str, str]:
    if isinstance(error, json.JSONDecodeError):
        reason = f"broken JSON: {error.msg.removesuffix(' at')} at character {error.pos + 1} of {len(text)}"
        whole = "write one whole object a line"
        return reason, f"{whole}; the line seems to be cut off" if error.pos >= len(text) - 1 else whole
    if isinstance(error, _RepeatedKeyError):
        return f"the key '{shown(str(error))}' occurs twice in one object", "keep one of the two"
    if isinstance(error, RecursionError):
        return "JSON that is nested too deeply", "write a flat object"
    return f"a JSON number that cannot be read: {shown(str(error))}", "write ids and texts in quotes"


def names_a_column(field: str) -> bool:
    """Whether the last field of the first line of qrels is a header's: no digit, and none of the words for no number."""
    return not re.search(r"\d", field) and not _NO_NUMBER.fullmatch(field)


def missing_key(file: File, line: int, row: dict[str, Any], key: str, id_key: str) -> Fault:
    """A row without a key that it needs; its id, where it has one, stands under `id_key`."""
    given = row.get(id_key)
    known = ", ".join(shown(name) for name in list(row)[:8]) or "none"
    reason = f"the key {key!r} is missing; its keys are: {known}"
    return Fault(file.name, line, key, given if isinstance(given, str) else None, reason, f"name the key {key!r}")
