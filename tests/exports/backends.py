"""`make test-backends`: models through OpenVINO, in an environment of its own on top of the packages that are installed here.

optimum-intel wants an older transformers than is pinned here. There is none for ONNX Runtime: see docs/embedding.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tests.exports.__main__ import install

ROOT = Path(__file__).parents[2]
WANTED = (
    "optimum-intel==2.2.0", "optimum==2.3.0", "openvino==2026.4.1", "openvino-tokenizers==2026.4.1.0", "openvino-telemetry==2025.2.0", "nncf==3.4.0",
    "transformers==5.5.4", "tokenizers==0.22.2", "huggingface-hub==1.21.0", "datasets==4.8.4", "httpx==0.28.1", "httpcore==1.0.9", "h11", "anyio", "sniffio",
    "tabulate", "natsort", "pydot", "pyparsing",
)  # fmt: skip


def main() -> None:
    """Installs, and runs the tests of backends there; exit status of these, 1 where the packages cannot be had."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--folder", type=Path, default=Path(".venv-exports"), help="where the environment is kept")
    given = asked.parse_args()
    python, why = install(given.folder.absolute() / "openvino", WANTED)
    if why:
        sys.exit(f"the packages cannot be installed: {why}")
    command = [str(python), "-m", "pytest", "-rs", "tests/stages/encoders/test_backends.py"]
    sys.exit(subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False).returncode)


if __name__ == "__main__":
    main()
