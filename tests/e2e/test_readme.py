"""What the README tells people to type is run here."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import pytest

from tests.e2e.conftest import ROOT, hardrock

README = (ROOT / "README.md").read_text()


def commands(language: str) -> list[str]:
    blocks = re.findall(rf"^```{language}\n(.*?)^```", README, re.S | re.M)
    return [line for block in blocks for line in block.strip().split("\n")]


@pytest.mark.parametrize("line", [c for c in commands("sh") if c.startswith("hardrock")])
def test_hardrock_commands_run(project, tmp_path, line):
    arguments = shlex.split(line.replace(" --estimator hierarchy", ""))[1:]  # which the data here do not have
    if arguments[0] == "show":
        arguments[1] = "broken femur initial"  # the README's query is of the default data
    where = [] if arguments[0] == "doctor" else ["--workspace", "ws"]
    shutil.copytree(project, tmp_path / "project", symlinks=True)  # some of them write
    done = hardrock(*arguments, *where, cwd=tmp_path / "project")
    assert (done.stdout + done.stderr).strip()


def test_the_plan_in_the_readme_is_what_plan_says(project):
    said = hardrock(
        "plan", "--workspace", "ws", "--set", "judge.filters.relative_margin.margin=0.1", cwd=project
    ).stdout
    shown = [line.strip() for line in re.findall(r"^    round-00/.*$", README, re.M)]
    assert shown
    shown[0] = shown[0].replace(" -0.05 ", " 0.05 ")  # the margin of the project here
    assert said.split("\n")[: len(shown)] == shown


@pytest.mark.parametrize("line", [c for c in commands("sh") if c.startswith("make")])
def test_make_knows_its_targets(line):
    done = subprocess.run(
        [*shlex.split(line), "--dry-run", f"VENV={sys.prefix}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert ("pytest" if "test" in shlex.split(line) else "hardrock run") in done.stdout


def test_make_help_lists_every_stage():
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in [
        "setup",
        "ingest",
        "embed",
        "index",
        "mine",
        "judge",
        "sample",
        "export",
        "train",
        "evaluate",
        "guard",
        "report",
        "all",
        "test",
        "bench",
        "sql",
        "clean",
        "round",
    ]:
        assert re.search(rf"^  make {name} ", said, re.M), name


def test_the_configuration_of_the_readme_runs_on_own_data(project, tmp_path):
    (text,) = re.findall(r"^```toml\n(.*?)^```", README, re.S | re.M)
    assert tomllib.loads(text)["ingest"]["dataset"]["name"] == "beir"
    shutil.copytree(project / "beir", tmp_path / "my-data")
    (tmp_path / "hardrock.toml").write_text(text)
    hardrock("mine", "--limit", "5", cwd=tmp_path)
    assert (tmp_path / "data/workspaces/hardrock-limit-5/round-00/mine/manifest.json").is_file()


def test_make_honours_its_variables(project, tmp_path):
    """CONFIG, WORKSPACE, DEVICE and LIMIT reach the command."""
    variables = {
        "CONFIG": str(project / "hardrock.toml"),
        "WORKSPACE": str(tmp_path / "ws"),
        "DEVICE": "cpu",
        "LIMIT": "4",
    }
    stamp = f"VENV={tmp_path}/venv"
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv/installed").touch()
    command = tmp_path / "venv/bin/hardrock"
    command.write_text(f'#!/bin/sh\nexec env PYTHONPATH={ROOT} {sys.executable} -m pipeline.cli "$@"\n')
    command.chmod(0o755)
    settings = [f"{key}={value}" for key, value in variables.items()]
    old = ["-o", "requirements.lock", "-o", "requirements-nodeps.lock", "-o", "pyproject.toml"]
    subprocess.run(["make", *old, stamp, "ingest", *settings], cwd=ROOT, check=True, capture_output=True)
    import pyarrow.parquet as pq

    assert pq.read_table(tmp_path / "ws/ingest/corpus-00000.parquet").num_rows <= 40
    refused = subprocess.run(
        ["make", *old, stamp, "embed", *settings[:2], "DEVICE=tpu"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert "tpu" in refused.stderr
