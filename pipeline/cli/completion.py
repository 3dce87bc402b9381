"""`hardrock completion`: what click knows of completing commands and options."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete commands and options.

    bash: add `eval "$(hardrock completion bash)"` to ~/.bashrc. zsh: the same with zsh, in ~/.zshrc. fish:
    `hardrock completion fish > ~/.config/fish/completions/hardrock.fish`.
    """
    from click.shell_completion import BashComplete, FishComplete, ZshComplete

    from pipeline.cli import cli

    kinds = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
    click.echo(kinds[shell](cli, {}, "hardrock", "_HARDROCK_COMPLETE").source())
