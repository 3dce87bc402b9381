"""An OpenAI-compatible endpoint on this machine that answers as a test wants."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

KEY = "sk-never-shown"


class Stub:
    """Answers as `answer(model, prompt)` says: a text, or (status, headers). `asked` are (model, prompt)."""

    def __init__(self, answer):
        self.answer, self.asked, self.keys, self.lock = answer, [], [], threading.Lock()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                prompt = body["messages"][-1]["content"]
                with stub.lock:
                    stub.asked.append((body["model"], prompt))
                    stub.keys.append(self.headers.get("Authorization"))
                    said = stub.answer(body["model"], prompt)
                if isinstance(said, tuple):
                    status, headers, data = said[0], said[1], KEY.encode()
                else:
                    status, headers = 200, {}
                    data = said if isinstance(said, bytes) else json.dumps(
                        {"choices": [{"message": {"content": said}}], "usage": {"total_tokens": 10}}
                    ).encode()  # fmt: skip
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    started = []

    def start(answer):
        started.append(Stub(answer))
        return started[-1]

    yield start
    for each in started:
        each.server.shutdown()
        each.server.server_close()
