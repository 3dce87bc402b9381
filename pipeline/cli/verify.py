"""`hardrock verify`: is every file of a workspace as it was written."""

from __future__ import annotations

import json
from typing import Any

import click

from pipeline.cli import options
from pipeline.cli.place import configuration_path, workspace_path
from pipeline.store import Workspace
from pipeline.verify import Fault, faults
from stages.errors import ArtefactError


@click.command()
@options
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def verify(as_json: bool, **given: Any) -> None:
    """Read every file of every result and compare it with its manifest. Ends with 5 when one is not as it was written.

    It needs no model and no data set, and changes nothing.
    """
    workspace = Workspace(workspace_path(given["workspace"], configuration_path(given["config"])))
    results, files, found = faults(workspace)
    if not results:
        raise ArtefactError("there is nothing in this workspace yet", where=str(workspace.root), try_="hardrock run")
    if as_json:
        click.echo(json.dumps({"results": results, "files": files, "faults": [fault.as_json() for fault in found]}))
    else:
        for fault in found:
            click.echo(_line(fault))
        click.echo(
            f"{results} results, {files} files: {f'{len(found)} faults' if found else 'all as they were written'}"
        )
    if found:
        raise click.exceptions.Exit(5)


def _line(fault: Fault) -> str:
    return f"{fault.path}\n  got:   {fault.what}\n  try:   {fault.mend}"
