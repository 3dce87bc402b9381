"""One process at a time in a workspace."""

import json
import os
import signal
import subprocess
import sys

import pytest

from pipeline.lock import locked
from stages.errors import LockedError

HOLD = "import sys,time; from pathlib import Path; from pipeline.lock import locked\nwith locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_names_the_holder(tmp_path, holder):
    with pytest.raises(LockedError) as caught, locked(tmp_path):
        pass
    assert caught.value.exit_code == 75
    assert f"process {holder.pid} on" in str(caught.value)


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with locked(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_the_lock_is_free_after_use(tmp_path):
    for _ in range(2):
        with locked(tmp_path):
            held = json.loads((tmp_path / "lock").read_text())
        assert held["pid"] == os.getpid()
