"""A real S3-like server on this machine: moto's, with a bucket in it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.objects import Objects, objects

SECRET = "wJalrXUtnFEMI/never-shown"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
BUCKET = "bucket"


@dataclass(frozen=True)
class Server:
    """Its address, and the variables by which a command finds it."""

    url: str

    @property
    def environment(self) -> dict[str, str]:
        return {**KEYS, "AWS_ENDPOINT_URL": self.url}

    def at(self, prefix: str, bucket: str = BUCKET) -> Objects:
        return objects(f"s3://{bucket}/{prefix}", self.url)


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("moto")
    pytest.importorskip("obstore")
    log: Path = tmp_path_factory.mktemp("s3") / "log"
    found = Server(f"http://127.0.0.1:{free_port()}")
    with log.open("wb") as file:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", found.url.rpartition(":")[2]]
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **KEYS})
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(urllib.request.Request(f"{found.url}/{BUCKET}", method="PUT")).close()
                break
            except urllib.error.URLError:
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
        yield found
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def s3(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server, with its variables in this process."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server
