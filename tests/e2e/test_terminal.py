"""The commands on a real terminal: nothing wider than it, words whole, and single keys that label."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT

LOOKING = (
    ("show", "q0000", "--rows", "5"),
    ("why", "q0000", "40020"),
    ("suspects", "--rows", "2"),
    ("what-if", "--set", "judge.filters.relative_margin.margin=0.1"),
    ("status", "--why", "--set", "judge.filters.relative_margin.margin=0.1"),
    ("plan", "--set", "judge.filters.relative_margin.margin=0.1"),
    ("rounds",),
    ("audit",),
    ("diff", "ws", "ws", "--rows", "2"),
    ("sql", "FROM drop_reasons()"),
    ("doctor",),
)

LOOP = """
import json, sys
from pipeline.cli import cli
for arguments in json.loads(sys.argv[1]):
    print(f"@@ {arguments[0]}", flush=True)
    cli(arguments, standalone_mode=False)
"""


class Terminal:
    """A process whose input and output are a terminal of a width."""

    def __init__(self, command: list[str], folder: Path, columns: int) -> None:
        self.master, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        known = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")}
        self.process = subprocess.Popen(
            [sys.executable, *command], cwd=folder, stdin=inside, stdout=inside, stderr=inside, close_fds=True,
            env={**known, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        os.close(inside)
        self.said = ""
        self.heard = 0

    def read(self, until: str | None = None, patience: float = 120) -> str:
        """What it has said since the last call, up to the end of a text, or to its end."""
        begun, end = self.heard, time.monotonic() + patience
        while until is None or until not in self.said[begun:]:
            assert time.monotonic() < end, self.said
            if select.select([self.master], [], [], 0.2)[0]:
                try:
                    piece = os.read(self.master, 65_536)
                except OSError:  # the other end is closed
                    piece = b""
                if not piece:
                    break
                self.said += piece.decode()
        self.heard = len(self.said) if until is None else self.said.index(until, begun) + len(until)
        return self.said[begun : self.heard]

    def press(self, key: str) -> None:
        os.write(self.master, key.encode())

    def close(self) -> int:
        code = self.process.wait(120)
        os.close(self.master)
        return code


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "")


@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 120])
def test_nothing_is_wider_than_the_terminal_and_no_word_is_cut(project: Path, columns: int) -> None:
    taking = {"diff", "doctor"}
    commands = [[*c, *([] if c[0] in taking else ["--workspace", "ws"])] for c in LOOKING]
    terminal = Terminal(["-c", LOOP, json.dumps(commands)], project, columns)
    said = plain(terminal.read())
    assert terminal.close() == 0, said
    parts = re.split(r"^@@ (.*)$", said, flags=re.M)[1:]
    shown = dict(zip(parts[::2], parts[1::2], strict=True))
    assert list(shown) == [c[0] for c in LOOKING]
    for name, text in shown.items():
        lines = text.split("\n")
        assert max(map(len, lines)) <= columns, (name, max(lines, key=len))
        assert "…" not in text, name
        assert len(text.strip()) > 60, name
    for word in ("fracture", "relative_margin", "encounter", "femur"):
        assert word in shown["show"]
    assert re.search(r"known_positive +pass", shown["why"])
    assert "kept as negative" in shown["suspects"]
    assert re.search(r"nDCG@10 +dense +1 +0\.\d{4}", shown["rounds"])
    assert "runs only if what it" in shown["plan"]


def test_keys_label_one_pair_after_the_other(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project, tmp_path / "project", symlinks=True)
    folder = tmp_path / "project"
    terminal = Terminal(
        ["-m", "pipeline.cli", "review", "--workspace", "ws", "--count", "3", "--seed", "5"], folder, 80
    )
    asked = []
    for place, key in ((1, "y"), (2, "n"), (3, "b"), (2, "u"), (3, "q")):
        screen = plain(terminal.read(until=f"{place} of 3"))
        screen += plain(terminal.read(until="q quit"))
        asked.append(re.findall(r"kept as negative: (\S+),", screen)[-1])
        time.sleep(0.3)  # what is typed ahead of a question answers nothing
        terminal.press(key)
    rest = plain(terminal.read())
    assert terminal.close() == 0
    assert asked[1] == asked[3]
    assert asked[2] == asked[4]
    lines = [json.loads(line) for line in (folder / "ws/labels.jsonl").read_text().splitlines()]
    assert [(line["doc_id"], line["relevance"]) for line in lines] == [(asked[0], 1), (asked[1], 0), (asked[1], None)]
    assert "1 relevant, 0 not, 1 unsure; false negatives 100.0% (20.7% to" in " ".join(rest.split())
