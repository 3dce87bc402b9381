"""Finds the files of a model and tells what they hold. Importing this file imports neither torch nor transformers."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from stages.errors import ArtefactError, ConfigError, ResourceError

PACKAGE = "package:"
SUFFIXES = (".safetensors", ".json", ".txt", ".model", ".jinja", ".tiktoken", ".bpe")
"""Files that can change an embedding: weights, configurations, tokenizers, chat templates."""
_MISSING = re.compile(r"^\s*(\S+)\s*\|.*MISSING")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_TRAINING = {"trainer_state.json", "train_results.json", "all_results.json"}
_SETTLED = 2_000_000_000  # nanoseconds


def locate(reference: str, revision: str | None = None) -> Path:
    """The file or folder that `reference` names.

    `package:NAME/PATH` is a path inside an installed package, which is found without being imported. Anything else is a
    local path or, where none exists, a hub id: its cached snapshot is taken, and downloaded when there is none.
    Raises ResourceError.
    """
    if reference.startswith(PACKAGE):
        return _in_package(reference)
    path = Path(reference).expanduser()
    if path.exists():
        return path
    if _HUB_ID.fullmatch(reference):
        return _snapshot(reference, revision)
    raise ResourceError("the model is not there", where=str(path), try_="a folder, package:NAME/PATH or a hub id")


def _in_package(reference: str) -> Path:
    name, _, rest = reference.removeprefix(PACKAGE).partition("/")
    if not name.isidentifier():
        raise ConfigError(f"{reference!r} names no package", try_="package:NAME/PATH, where NAME is what one imports")
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ResourceError(
            f"the package {name!r} is not installed", where=reference, try_="pip install 'hardrock[examples]'"
        )
    for root in spec.submodule_search_locations or ():
        if (Path(root) / rest).exists():
            return Path(root) / rest
    raise ResourceError(f"the package {name!r} has no {rest!r}", where=reference, try_="look at the package's version")


def _snapshot(repository: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    wanted: dict[str, Any] = {
        "revision": revision,
        "allow_patterns": [f"*{suffix}" for suffix in SUFFIXES],
        "ignore_patterns": ["onnx/*", "openvino/*"],
    }
    try:
        cached = Path(snapshot_download(repository, local_files_only=True, **wanted))
        if any(cached.rglob("*.safetensors")):
            return cached
        missing = str(cached / "model.safetensors")
    except LocalEntryNotFoundError:
        missing = f"{repository} at revision {revision or 'main'}: model.safetensors"
    try:
        return Path(snapshot_download(repository, **wanted))
    except Exception as error:  # the client raises what its transport raises
        raise ResourceError(
            "the model is neither a folder nor in the hub's cache, and it cannot be downloaded",
            where=missing,
            got=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            try_=f"hf download {repository}{f' --revision {revision}' if revision else ''}, or the path of a local folder",
        ) from None


def model_files(folder: Path) -> dict[str, Path]:
    """The files of a model folder that can change an embedding, by their path in it, in order.

    Raises ResourceError for a folder without safetensors: pickled weights are never loaded.
    """
    if not folder.is_dir():
        raise ResourceError(
            "the model is not a folder", where=str(folder), try_="the folder with config.json or modules.json"
        )
    found = {p.name: p for p in folder.iterdir() if p.suffix in SUFFIXES and p.is_file() and p.name not in _TRAINING}
    folders = [folder]
    for module in _modules(folder):
        inside = folder / module
        folders += [inside, *(p for p in inside.rglob("*") if p.is_dir())]
        found |= {
            p.relative_to(folder).as_posix(): p for p in inside.rglob("*") if p.suffix in SUFFIXES and p.is_file()
        }
    for place in folders:
        if not any(place.glob("*.safetensors")) and (pickles := sorted(place.glob("pytorch_model*.bin"))):
            raise ResourceError(
                "the weights are pickled, which is never loaded because a pickle can run code",
                where=str(pickles[0]),
                try_="load it once where you trust it and save it again: model.save_pretrained(folder) writes model.safetensors",
            )
    if not any(name.endswith(".safetensors") for name in found):
        raise ResourceError(
            "the model has no weights", where=str(folder / "model.safetensors"), try_="a folder with model.safetensors"
        )
    return dict(sorted(found.items()))


EXPORTED = {"onnx": "onnx/model.onnx", "openvino": "openvino/openvino_model.xml"}
"""Where sentence-transformers puts an exported model, by backend."""


def exported_files(folder: Path, backend: str, file: str | None) -> dict[str, Path]:
    """The files of an exported model by their path in its folder: the graph, and what lies beside it under its name.

    Raises ResourceError when it has not been exported.
    """
    name = file or EXPORTED[backend]
    path = folder / name
    if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        raise ResourceError(
            f"the model has no file for the backend {backend}",
            where=str(path),
            try_=f'export it once: SentenceTransformer(folder, backend="{backend}").save_pretrained(folder)',
        )
    beside = sorted(p for p in path.parent.glob(f"{path.stem}*") if p.is_file() and p.suffix != ".safetensors")
    return {p.relative_to(folder).as_posix(): p for p in beside}


def _modules(folder: Path) -> list[str]:
    """The subfolders of a sentence-transformers model that hold its modules."""
    listing = folder / "modules.json"
    if not listing.is_file():
        return []
    try:
        paths = [str(module["path"]) for module in json.loads(listing.read_text(encoding="utf-8"))]
    except (ValueError, TypeError, KeyError) as error:
        raise ArtefactError("the list of the model's modules cannot be read", where=str(listing), got=error) from None
    return [path for path in paths if path and (folder / path).is_dir()]


def digest(path: Path) -> str:
    """sha256 of a file, computed once for the same file in one process."""
    state = path.stat()
    if (
        time.time_ns() - state.st_mtime_ns < _SETTLED
    ):  # a file system's clock may not tell two writes within a moment apart
        return _digest.__wrapped__(str(path), state.st_size, state.st_mtime_ns)
    return _digest(str(path), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=64)
def _digest(path: str, size: int, changed: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(path: Path, expected: str | None) -> None:
    """Raises ArtefactError when a file does not have the sha256 that the configuration gives."""
    if expected is None:
        return
    if not path.is_file():
        raise ResourceError(
            "the file whose sha256 is given is not there", where=str(path), try_="remove sha256, or mend the model"
        )
    if (found := digest(path)) != expected.lower():
        raise ArtefactError(
            "the weights are not the ones that the configuration names",
            where=str(path),
            got=f"sha256 {found}, expected {expected}",
            try_="install the right version, or set sha256 to what was found if you trust it",
        )


def fingerprint(files: Mapping[str, Path], settings: Mapping[str, Any]) -> str:
    """sha256 over the names and bytes of files and over settings that are JSON values."""
    listing = {"files": {name: digest(path) for name, path in files.items()}, "settings": dict(settings)}
    return hashlib.sha256(json.dumps(listing, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


@contextmanager
def loader_report() -> Iterator[list[str]]:
    """Keeps the transformers loader's bar and report off the terminal.

    Hands over a list that holds, once the block is left, the names of the parameters that the weights lack.
    """
    from transformers.utils import logging as transformers_logging

    missing: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines = _COLOUR.sub("", record.getMessage()).splitlines()
            missing.extend(found[1] for line in lines if (found := _MISSING.match(line)))

    keep, bar = Keep(), transformers_logging.is_progress_bar_enabled()
    logger = logging.getLogger("transformers")
    handlers, propagate = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [keep], False
    transformers_logging.disable_progress_bar()
    try:
        yield missing
    finally:
        logger.handlers, logger.propagate = handlers, propagate
        if bar:
            transformers_logging.enable_progress_bar()


def refuse_missing(missing: Sequence[str], folder: Path, unused: Sequence[str] = ()) -> None:
    """Raises ArtefactError when parameters are missing, but for those with one of the `unused` words in their names."""
    needed = [name for name in missing if not any(word in name for word in unused)]
    if needed:
        raise ArtefactError(
            "the weights lack parameters, which would be random", where=str(folder), got=", ".join(needed[:5])
        )


@contextmanager
def loading(folder: Path, what: str = "model", unused: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """Gives what any model is loaded with: safetensors only, no remote code, no network, float32.

    Raises ResourceError when loading fails, and ArtefactError when parameters are missing, but for `unused` ones.
    """
    import torch

    with loader_report() as missing:
        try:
            yield {
                "trust_remote_code": False,
                "local_files_only": True,
                "model_kwargs": {"use_safetensors": True, "dtype": torch.float32},
            }
        except MemoryError:
            raise
        except Exception as error:  # a damaged folder makes the libraries raise what their parsers raise
            raise ResourceError(
                f"the {what} cannot be loaded", where=str(folder), got=(str(error).splitlines() or [""])[0]
            ) from error
    refuse_missing(missing, folder, unused=unused)
