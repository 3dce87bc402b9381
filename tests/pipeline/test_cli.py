"""The command line: quick to answer, with the exit codes of stages/errors.py."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.cli.guard import guarded
from stages import errors

ROOT = Path(__file__).parents[2]


def hardrock(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments], cwd=cwd, capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def test_help_imports_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "pipeline.cli", "--help"], cwd=ROOT, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.split("\n")}
    assert imported & {"torch", "faiss", "duckdb", "ray", "pyarrow", "numpy", "transformers", "pydantic"} == set()
    assert "click" in imported


def test_help_lists_every_command():
    text = hardrock("--help").stdout
    for name in (
        "run",
        "round",
        "ingest",
        "mine",
        "teach",
        "judge",
        "estimate",
        "train",
        "evaluate",
        "status",
        "plan",
        "sql",
        "show",
        "doctor",
        "calibrate",
        "what-if",
        "compare",
        "why",
        "suspects",
        "review",
        "audit",
        "diff",
        "completion",
    ):
        assert re.search(rf"^  {name} ", text, re.M), name


@pytest.mark.parametrize(
    ("shell", "name"), [("bash", "bash_complete"), ("zsh", "zsh_complete"), ("fish", "fish_complete")]
)
def test_completion_prints_the_shells_own_script(shell, name):
    said = hardrock("completion", shell).stdout
    assert f"_HARDROCK_COMPLETE={name} " in said
    assert "hardrock" in said


def test_what_the_script_asks_is_answered_with_commands_and_options():
    def completed(words: str, place: int) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", "import sys; sys.argv = ['hardrock']; from pipeline.cli import main; main()"],
            cwd=ROOT, capture_output=True, text=True, check=True,
            env={"PATH": "/usr/bin:/bin", "_HARDROCK_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(place)},
        )  # fmt: skip
        return done.stdout.split()

    assert completed("hardrock su", 1) == ["plain,suspects"]
    assert completed("hardrock review --see", 2) == ["plain,--seed"]


def test_an_unknown_command_gets_a_suggestion():
    done = hardrock("jugde")
    assert done.returncode == 2
    assert "did you mean 'judge'?" in done.stderr


def test_a_missing_configuration_names_what_to_do(tmp_path):
    done = hardrock("status", cwd=tmp_path)
    assert done.returncode == 2
    assert "--config FILE" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_table_of_exit_codes_in_the_docstring_is_the_truth():
    table = dict(re.findall(r"(\w+Error) +(\d+) ", errors.__doc__))
    classes = {name: value for name, value in vars(errors).items() if name.endswith("Error")}
    assert {name: str(cls.exit_code) for name, cls in classes.items()} == table


@pytest.mark.parametrize("error", [errors.InputError, errors.YieldError, errors.LockedError])
def test_an_error_becomes_its_exit_code_and_a_message(error, capsys):
    def fails() -> None:
        raise error("no text", where="corpus.jsonl, line 3", got="null", try_="remove the line")

    assert guarded(fails) == error.exit_code
    said = capsys.readouterr().err
    assert said == "error: no text\n  where: corpus.jsonl, line 3\n  got:   null\n  try:   remove the line\n"


def test_a_command_that_ends_with_a_code_and_no_message_ends_with_it():
    import click

    @click.command()
    def ends() -> None:
        raise click.exceptions.Exit(3)

    assert guarded(lambda: ends([], standalone_mode=False)) == 3
    assert guarded(lambda: click.command()(lambda: None)([], standalone_mode=False)) == 0


SLEEP = "import sys, time; from pipeline.cli.guard import guarded; print('up', flush=True); sys.exit(guarded(lambda: time.sleep(60)))"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_that_a_library_makes_an_error_of_is_a_signal_all_the_same(number, code, capsys):
    def queries() -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(60)
        except BaseException:
            raise RuntimeError("Query interrupted") from None  # as DuckDB does

    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
    try:
        assert guarded(queries) == code
    finally:
        for one, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(one, handler)
    assert "Go on with: hardrock" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_with_their_codes_and_say_how_to_go_on(number, code):
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEP, "train"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "up\n"
    time.sleep(0.3)
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == code
    assert "Go on with: hardrock train" in said
    assert "Traceback" not in said
