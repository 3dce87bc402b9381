"""An object store: what is written is whole, what has changed is told, and what it refuses is said in words."""

from __future__ import annotations

import pytest

from pipeline.objects import ABSENT, CHUNK, ChangedError, Objects, Place, objects
from stages.errors import ArtefactError, ConfigError, InputError, StorageError
from tests.s3 import SECRET, s3, server  # noqa: F401


@pytest.mark.parametrize(
    ("url", "bucket", "prefix"),
    [("s3://b", "b", ""), ("s3://b/", "b", ""), ("s3://b/a/c/", "b", "a/c"), ("s3://b/a b?c#d", "b", "a b?c#d")],
)
def test_a_place_is_a_bucket_and_what_names_begin_with(url, bucket, prefix):
    assert Place.of(url) == Place(bucket, prefix)


@pytest.mark.parametrize("url", ["s3://", "s3:///a", "gs://b/a", "b/a", "s3://b/a/../c", "s3://b/a//c"])
def test_what_is_no_place_is_refused(url):
    with pytest.raises(ConfigError, match="not a place"):
        Place.of(url)


def test_a_secret_in_a_url_is_refused_and_not_repeated():
    with pytest.raises(ConfigError) as refused:
        Place.of(f"s3://key:{SECRET.replace('/', '-')}@b/a")
    assert "never-shown" not in str(refused.value)
    with pytest.raises(ConfigError) as refused:
        objects("s3://b/a", "http://key:never-shown@127.0.0.1:9")
    assert "never-shown" not in str(refused.value)


def test_objects_are_written_read_and_listed(s3, tmp_path):  # noqa: F811
    place = s3.at("objects")
    large = bytes(range(256)) * (CHUNK // 256) + b"and more than one part"
    place.put("one", b"1")
    place.put_large("folder/large", (large[i : i + CHUNK] for i in range(0, len(large), CHUNK)))
    assert place.get("one")[0] == b"1"
    assert b"".join(place.read("folder/large")) == large
    assert [(one.name, one.bytes) for one in place.listed()] == [("folder/large", len(large)), ("one", 1)]
    assert [one.name for one in place.listed("folder")] == ["folder/large"]
    assert list(place.listed("fold")) == []  # a folder, not the beginning of a name
    assert s3.at("objects/one").itself().bytes == 1
    assert s3.at("objects").itself() is None
    place.remove("one")
    place.remove("one")
    assert place.get("one") is None


def test_a_write_with_a_condition_tells_that_another_was_faster(s3):  # noqa: F811
    place = s3.at("conditions")
    place.put("head", b"1", ABSENT)
    with pytest.raises(ChangedError, match="another process has changed it"):
        place.put("head", b"2", ABSENT)
    _, tag = place.get("head")
    place.put("head", b"3", tag)
    with pytest.raises(ChangedError):
        place.put("head", b"4", tag)
    assert place.get("head")[0] == b"3"
    with pytest.raises(ChangedError):
        list(place.read("head", tag))


@pytest.mark.parametrize("size", [10, CHUNK + 10])
def test_a_file_that_is_not_what_it_was_is_not_sent(s3, tmp_path, size):  # noqa: F811
    place = s3.at(f"changed-{size}")
    (tmp_path / "file").write_bytes(b"x" * size)
    with pytest.raises(ArtefactError, match="damaged"):
        place.send("file", tmp_path / "file", "0" * 64)
    assert list(place.listed()) == []


def test_a_bucket_that_is_not_there_is_named(s3):  # noqa: F811
    place = s3.at("x", bucket="elsewhere")
    for ask in (lambda: place.get("a"), lambda: place.put("a", b""), lambda: list(place.listed())):
        with pytest.raises(StorageError, match="no such bucket") as refused:
            ask()
        assert "s3://elsewhere" in str(refused.value)
    with pytest.raises(InputError, match="no such object"):
        list(s3.at("x").read("a"))


def test_an_endpoint_that_does_not_answer_is_named(monkeypatch, s3):  # noqa: F811
    with pytest.raises(StorageError, match=r"no answer from http://127\.0\.0\.1:9") as refused:
        objects("s3://b/a", "http://127.0.0.1:9").get("x")
    assert "AWS_ENDPOINT_URL" in str(refused.value)
    assert SECRET not in str(refused.value)


def test_credentials_that_are_missing_are_asked_for(monkeypatch, s3):  # noqa: F811
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StorageError, match="no credentials") as refused:
        s3.at("x").get("a")
    assert "AWS_ACCESS_KEY_ID" in str(refused.value)


class _Refusing:
    """A server that answers every request with one status."""

    def __init__(self, status: int, code: str) -> None:
        import threading
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>no</Message></Error>'.encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_PUT = do_GET  # noqa: N815

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.mark.parametrize(
    ("status", "code"), [(403, "AccessDenied"), (403, "InvalidAccessKeyId"), (403, "SignatureDoesNotMatch")]
)
def test_what_the_store_refuses_is_said_with_its_own_word(status, code, s3):  # noqa: F811
    refusing = _Refusing(status, code)
    for ask in (Objects.get, lambda place, name: place.put(name, b"x"), lambda place, name: list(place.listed(name))):
        with pytest.raises(StorageError, match="refuses access") as refused:
            ask(objects("s3://b/a", refusing.url), "x")
        assert code in str(refused.value)
        assert SECRET not in str(refused.value)
    refusing.server.shutdown()
