"""`make test-exports`: exports through trainers that cannot live in one environment with the others.

Each gets a virtual environment of its own below a folder, on top of the packages that are installed here, with the
versions that the trainer wants in front of them. Where its installation fails it is skipped, and the table says why; what is
installed and cannot be imported is a failure.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path
from typing import Any

from PIL import Image

from stages.exporters._common import Texts
from stages.registry import build
from tests import pictured_world
from tests.export_world import world

ROWS = [(q, 6 * q, 6 * q + n) for q in range(4) for n in range(1, 6)]
ROWS_PY = Path(__file__).parent / "rows.py"
ENVIRONMENTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "pylate": (
        ("pylate==1.6.0", "sentence-transformers==5.3.0", "transformers==5.3.0", "tokenizers==0.22.2", "huggingface-hub>=1.3,<2", "datasets==4.8.4", "ujson==5.12.0", "fastkmeans==0.5.0",
         "fast-plaid==1.4.6.2110", "httpx", "httpcore", "h11", "anyio"),
        ("pylate", "pylate_kd"),
    ),
    "ms-swift": (
        ("ms-swift==4.6.0", "datasets==4.8.4", "transformers==5.19.0", "huggingface-hub>=1.3,<2", "pillow", "modelscope==1.40.2", "modelscope-hub==0.5.1", "aiohttp", "aiosignal", "aiohappyeyeballs", "frozenlist", "multidict", "yarl", "propcache", "attrs", "peft==0.20.0", "trl==0.29.1", "dacite",
         "addict", "json-repair", "simplejson", "attrdict", "binpacking", "einops", "oss2", "rouge", "nltk",
         "importlib-metadata", "sortedcontainers", "zipp", "crcmod", "pycryptodome", "aliyun-python-sdk-core",
         "aliyun-python-sdk-kms", "jmespath", "openai", "jiter", "distro", "sniffio", "httpx", "httpcore", "h11", "anyio"),
        ("ms_swift", "ms_swift_reranker"),
    ),
    "nemo-automodel": (
        ("nemo-automodel==0.7.0", "transformers==5.18.0", "huggingface-hub>=1.3,<2", "pillow", "datasets==4.8.4", "torchdata", "megatron-fsdp==0.5.0", "flashoptim", "torchao", "httpx", "httpcore", "h11", "anyio", "sniffio"),
        ("nemo_automodel",),
    ),
    "open_clip_torch": (
        ("open_clip_torch==3.3.0", "torchvision==0.28.0", "timm", "ftfy", "wcwidth", "pillow"),
        ("open_clip", "webdataset"),
    ),
}  # fmt: skip
LINES = 4  # of an error, in the table


def install(folder: Path, wanted: tuple[str, ...]) -> tuple[Path, str]:
    """The environment's Python, and why it could not be made; empty where it was."""
    python = folder / "bin/python"
    if not (folder / "made").exists():
        venv.EnvBuilder(clear=True, with_pip=False).create(folder)
        places = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
        beneath = [place for place in sys.path if place.endswith("-packages")]
        Path(places["purelib"], "beneath.pth").write_text("\n".join(beneath) + "\n", "utf-8")
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
        done = subprocess.run([*pip, *wanted], capture_output=True, text=True, check=False)
        if done.returncode:
            return python, next((line for line in done.stderr.split("\n") if "ERROR" in line), "pip failed")
        (folder / "made").touch()
    return python, ""


def compare(python: Path, target: str, folder: Path) -> str:
    """What became of one target: its rows as the trainer reads them, against those of the triplets."""
    member: Any = build("exporters", target, {})
    pictured = hasattr(member, "takes")
    inputs = pictured_world.world("pppppp", "ttt", pictured_world.TO_IMAGE) if pictured else world(ROWS)
    more = {name: inputs[name] for name in inputs if name == "pictures"}
    member.write(inputs["triplets"], Texts.read(inputs["queries"], inputs["corpus"], more), folder)
    done = subprocess.run([python, ROWS_PY, target, folder], capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode:
        return "failed: " + " ".join(done.stderr.strip().split("\n")[-LINES:])[-300:]
    rows = [json.loads(line)[1:] for line in done.stdout.split("\n") if line.startswith('["row"')]
    wanted = pairs() if pictured else tuples()
    return f"{len(rows)} rows equal" if rows == wanted else f"failed: {rows[:1]!r} is not {wanted[:1]!r}"


def tuples() -> list[list[Any]]:
    """Query, positives and negatives of each row."""
    return [
        [f"text of query {q}", [f"text of document {6 * q}"], [f"text of document {6 * q + n}" for n in range(1, 6)]]
        for q in range(4)
    ]


def pairs() -> list[list[Any]]:
    """Caption and pixels of each pair."""
    found = []
    for query, positive in dict.fromkeys((q, p) for q, p, _ in pictured_world.TO_IMAGE):
        with Image.open(io.BytesIO(pictured_world.IMAGES[positive])) as image:
            pixels = image.convert("RGB").tobytes()
        found.append([f"caption q{query}", hashlib.sha256(pixels).hexdigest()])
    return found


def main() -> None:
    """Prints the table; exit status 1 where a trainer read other rows, or could not read."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--folder", type=Path, default=Path(".venv-exports"), help="where the environments are kept")
    asked.add_argument("only", nargs="*", help="packages; default: all")
    given = asked.parse_args()
    wrong = False
    print("| Trainer | Target | Result |\n|---|---|---|")
    for package, (wanted, targets) in ENVIRONMENTS.items():
        if given.only and package not in given.only:
            continue
        python, why = install(given.folder.absolute() / package, wanted)
        for target in targets:
            with tempfile.TemporaryDirectory() as made:
                says = f"skipped: {why}" if why else compare(python, target, Path(made) / target)
            wrong |= says.startswith("failed")
            print(f"| {wanted[0]} | `{target}` | {says} |", flush=True)
    sys.exit(wrong)


if __name__ == "__main__":
    main()
