"""FAISS is measured at its best, whatever its library takes this processor for."""

import pytest

from benchmarks import blas


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({None: 1.16, "SkylakeX": 0.29, "Haswell": 0.46, "Zen": 0.47}, "SkylakeX"),
        ({None: 1.0, "SkylakeX": 0.99, "Haswell": 1.2, "Zen": 1.2}, None),  # by chance alone
        ({None: 1.0, "SkylakeX": None, "Haswell": 0.6, "Zen": 0.5}, "Zen"),  # None: it has no such instructions
        ({None: 1.0, "SkylakeX": None, "Haswell": None, "Zen": None}, None),
    ],
)
def test_the_fastest_kernels_are_chosen(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[str | None, float | None], chosen: str | None
) -> None:
    monkeypatch.delenv(blas.VARIABLE, raising=False)
    monkeypatch.setattr(blas, "_seconds", lambda name, dimensions, threads: seconds[name])
    best = blas.fastest(384, 1)
    assert best.environment == ({blas.VARIABLE: chosen} if chosen else {})
    assert (chosen or "as it comes") in best.says


def test_what_the_environment_says_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(blas.VARIABLE, "Haswell")
    assert blas.fastest(384, 1).environment == {blas.VARIABLE: "Haswell"}


def test_the_probe_runs_faiss() -> None:
    seconds = blas._seconds(None, 8, 1)
    assert seconds is not None
    assert seconds > 0
