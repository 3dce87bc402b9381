"""Array jobs on the command line, at the same time."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.conftest import hardrock


@pytest.mark.slow
def test_four_jobs_at_once_on_the_command_line(project, tmp_path):
    given = ["--config", str(project / "hardrock.toml"), "--workspace", str(tmp_path / "ws")]
    hardrock("ingest", *given, cwd=project)
    with ThreadPoolExecutor(4) as threads:
        jobs = list(
            threads.map(
                lambda i: hardrock("embed", "--shard", f"{i}/4", *given, cwd=project, check=False), (1, 2, 3, 4)
            )
        )
    assert [job.returncode for job in jobs] == [0] * 4, [job.stderr for job in jobs]
    assert any("4 of all 4 are there" in job.stderr for job in jobs), [job.stderr for job in jobs]
    hardrock("embed", *given, cwd=project)
    ours, theirs = (
        {path.name: path.read_bytes() for path in (place / "round-00/embed").iterdir() if path.name != "run.json"}
        for place in (tmp_path / "ws", project / "ws")
    )
    assert ours == theirs
