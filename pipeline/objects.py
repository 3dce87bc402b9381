"""Objects of an S3-like store: read, listed, and written whole or not at all.

The library is obstore. A PUT of such a store is atomic and is seen by every later read, and it can be conditional: only if
the object is not there, or is still the one that was read. There is no rename and no lock. Credentials, region and endpoint
come from the usual environment variables of AWS; none of them is ever part of a message.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stages.errors import ArtefactError, ConfigError, InputError, LockedError, ResourceError, StorageError

SCHEME = "s3://"

CHUNK = 8 << 20
"""Bytes that are sent or received at a time. What is larger is uploaded in parts, of which nothing shows until all are there."""

STREAMS = 4
"""Parts of one object that are under way at once."""

TRIES, WAIT = 4, timedelta(seconds=60)
"""How often, and for how long, a request that failed by chance is repeated."""

ABSENT = ""
"""In place of the tag of an object: there is none yet."""

CREDENTIALS = (
    "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_SKIP_SIGNATURE",
)  # fmt: skip
"""Variables of which one says how to sign; without any, the machine's own role is asked for."""


class ChangedError(LockedError):
    """An object is not any more what it was when it was read."""


@dataclass(frozen=True)
class Place:
    """A bucket, and what the names of the objects in it begin with: no slash at its ends, perhaps nothing."""

    bucket: str
    prefix: str

    @classmethod
    def of(cls, url: str) -> Place:
        """`s3://bucket/some/prefix`. Raises ConfigError."""
        parts = urlsplit(url)
        prefix = url.removeprefix(SCHEME).partition("/")[2].strip("/")
        wrong = (
            "it does not begin with s3://" if not url.startswith(SCHEME)
            else "credentials do not belong in it" if "@" in parts.netloc
            else "it names no bucket" if not parts.netloc
            else "a part of the name is empty, . or .." if prefix and not is_plain(prefix)
            else None
        )  # fmt: skip
        if wrong:
            shown = f"{SCHEME}…" if "@" in parts.netloc else url
            raise ConfigError(
                f"not a place in an object store: {wrong}", got=shown, try_="s3://BUCKET/PREFIX; keys belong in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )  # fmt: skip
        return cls(parts.netloc, prefix)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}".rstrip("/")


@dataclass(frozen=True)
class Found:
    """An object: its name below the place that was asked, bytes, and the tag that changes with its content."""

    name: str
    bytes: int
    tag: str


def is_plain(name: str) -> bool:
    """Whether a name can be a path below a folder: no part of it is empty, `.` or `..`, or holds what no file name may."""
    return all(part not in ("", ".", "..") and "\0" not in part and "\\" not in part for part in name.split("/"))


class Objects:
    """What lies at one place of a store. Every name is below the place."""

    def __init__(self, place: Place, endpoint: str | None = None, store: Any = None) -> None:
        """`endpoint` is the URL of a store that is not Amazon's; none is AWS_ENDPOINT_URL. `store` is one of obstore, for tests."""
        self.place = place
        self.endpoint = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        if self.endpoint and "@" in urlsplit(self.endpoint).netloc:
            raise ConfigError(
                "credentials do not belong in the endpoint", try_="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        self._store = store if store is not None else _opened(place.bucket, self.endpoint)

    def get(self, name: str) -> tuple[bytes, str] | None:
        """A small object and its tag; None when there is none."""
        import obstore

        with self._asking(name):
            try:
                found = obstore.get(self._store, self._key(name))
            except FileNotFoundError as error:
                _refuse_bucket(error, self.place)
                return None
            return bytes(found.bytes()), found.meta["e_tag"] or ABSENT

    def read(self, name: str, tag: str | None = None) -> Iterator[bytes]:
        """An object piece by piece, only if it still has the tag. Raises InputError when it is not there, ChangedError."""
        import obstore

        with self._asking(name):
            try:
                found = obstore.get(self._store, self._key(name), options={"if_match": tag} if tag else None)
                for piece in found.stream(min_chunk_size=CHUNK):
                    yield bytes(piece)
            except FileNotFoundError as error:
                _refuse_bucket(error, self.place)
                raise InputError("there is no such object", where=self.where(name)) from None

    def put(self, name: str, data: bytes, tag: str | None = None) -> None:
        """Writes a small object. With a tag only where the object has it, with `ABSENT` only where there is none; else ChangedError."""
        import obstore

        mode: Any = "overwrite" if tag is None else "create" if tag == ABSENT else {"e_tag": tag}
        with self._asking(name):
            obstore.put(self._store, self._key(name), data, mode=mode, use_multipart=False)

    def put_large(self, name: str, pieces: Iterable[bytes]) -> None:
        """Writes an object of any size. Where `pieces` raises, nothing is written."""
        import obstore

        with self._asking(name):
            obstore.put(self._store, self._key(name), iter(pieces), chunk_size=CHUNK, max_concurrency=STREAMS)

    def send(self, name: str, path: Path, expected: str) -> None:
        """Writes a file, unless its sha256 is another by now: ArtefactError."""

        def pieces() -> Iterator[bytes]:
            seen = hashlib.sha256()
            with path.open("rb") as file:
                while piece := file.read(CHUNK):
                    seen.update(piece)
                    yield piece
            if seen.hexdigest() != expected:
                raise damaged(
                    str(path), seen.hexdigest(), expected, f"remove {path.parent} so that the stage runs again"
                )

        if path.stat().st_size <= CHUNK:
            self.put(name, b"".join(pieces()))
        else:
            self.put_large(name, pieces())

    def remove(self, name: str) -> None:
        """Removes an object; it may be absent."""
        import obstore

        with self._asking(name), suppress(FileNotFoundError):
            obstore.delete(self._store, self._key(name))

    def listed(self, below: str = "") -> Iterator[Found]:
        """The objects in a folder of the place and further below, or in the place itself."""
        import obstore

        folder = self._key(below)
        with self._asking(below):
            for many in obstore.list(self._store, f"{folder}/" if folder else None):
                for one in many:
                    name = one["path"].removeprefix(f"{self.place.prefix}/" if self.place.prefix else "")
                    yield Found(name, one["size"], one["e_tag"] or ABSENT)

    def itself(self) -> Found | None:
        """The object that the place names, where it is one; its name is empty."""
        import obstore

        with self._asking(""):
            try:
                found = obstore.head(self._store, self.place.prefix) if self.place.prefix else None
            except FileNotFoundError:
                return None
        return Found("", found["size"], found["e_tag"] or ABSENT) if found else None

    def where(self, name: str) -> str:
        return f"{self.place}/{name}" if name else str(self.place)

    def _key(self, name: str) -> str:
        return "/".join(part for part in (self.place.prefix, name) if part)

    @contextmanager
    def _asking(self, name: str) -> Iterator[None]:
        """Turns what the library says into an error for a person."""
        from obstore import exceptions

        where = self.where(name)
        try:
            yield
        except (exceptions.PreconditionError, exceptions.AlreadyExistsError, exceptions.NotModifiedError):
            raise ChangedError(
                "another process has changed it meanwhile", where=where, try_="the same command again"
            ) from None
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise self._refused(error, where) from None
        except exceptions.NotSupportedError as error:
            raise StorageError(
                "the store lacks conditional writes, which keep two pushes apart", where=where, got=_said(error)
            ) from None
        except FileNotFoundError as error:
            _refuse_bucket(error, self.place)
            raise StorageError("the store has lost an object", where=where) from None
        except exceptions.BaseError as error:
            _refuse_bucket(error, self.place)
            raise self._failed(error, where) from None

    def _refused(self, error: Exception, where: str) -> StorageError:
        mend = "look at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, and at what they may do in this bucket"
        return StorageError("the store refuses access", where=where, got=_code(error), try_=mend)

    def _failed(self, error: Exception, where: str) -> StorageError:
        said = _said(error)
        if not any(os.environ.get(name) for name in CREDENTIALS) and (
            "169.254." in said or "credential" in said.lower()
        ):
            return StorageError(
                "there are no credentials for the store", where=where, got="no AWS_ACCESS_KEY_ID, and the machine has no role",
                try_="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; AWS_SKIP_SIGNATURE=true for a public bucket",
            )  # fmt: skip
        if any(f"status code: {status}" in said for status in (401, 403)):
            return self._refused(error, where)
        if "error sending request" in said or "HTTP error" in said:
            at = self.endpoint or "Amazon S3"
            return StorageError(
                f"no answer from {at}",
                where=where,
                got=said,
                try_="look at AWS_ENDPOINT_URL, AWS_REGION and the network",
            )
        return StorageError(
            "the store refuses", where=where, got=said, try_="the same command goes on from what is there"
        )


def damaged(where: str, got: str, expected: str, mend: str) -> ArtefactError:
    """A file or an object that is not what it should be."""
    return ArtefactError("a file is damaged", where=where, got=f"sha256 {got}, not {expected}", try_=mend)


def objects(url: str, endpoint: str | None = None) -> Objects:
    """What lies at a URL. Raises ConfigError, ResourceError."""
    return Objects(Place.of(url), endpoint)


def _opened(bucket: str, endpoint: str | None) -> Any:
    try:
        from obstore.exceptions import BaseError
        from obstore.store import S3Store
    except ImportError:
        raise ResourceError(
            "obstore is not installed, which speaks to object stores", try_="pip install 'hardrock[s3]'"
        ) from None
    plain = endpoint is not None and endpoint.startswith("http://")
    try:
        return S3Store(
            bucket,
            **({"endpoint": endpoint} if endpoint else {}),
            client_options={"allow_http": plain, "connect_timeout": "5s", "timeout": "300s"},
            retry_config={"max_retries": TRIES, "retry_timeout": WAIT},
        )
    except (BaseError, ValueError) as error:
        raise ConfigError(
            "the store cannot be opened",
            where=f"{SCHEME}{bucket}",
            got=_said(error),
            try_="look at the variables AWS_…",
        ) from None


def _refuse_bucket(error: Exception, place: Place) -> None:
    if "NoSuchBucket" in str(error):
        raise StorageError(
            "there is no such bucket",
            where=f"{SCHEME}{place.bucket}",
            try_="make it, or look at AWS_REGION and the endpoint",
        ) from None


def _said(error: Exception) -> str:
    """The first line of what the library says: what follows are its own data structures."""
    return str(error).strip().partition("\n")[0][:300]


def _code(error: Exception) -> str:
    """The store's own word for why it refuses."""
    text = str(error)
    code = text.partition("<Code>")[2].partition("</Code>")[0]
    return code or _said(error)
