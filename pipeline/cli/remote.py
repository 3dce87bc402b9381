"""`hardrock push` and `hardrock pull`: the results of a workspace in an object store."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from pipeline.cli import ENDPOINT, options
from pipeline.cli.place import configuration_path, workspace_path
from pipeline.lock import locked, without_workers
from pipeline.objects import objects
from pipeline.progress import LOG, start_logging
from pipeline.remote import Moved, pull, push
from pipeline.room import human
from pipeline.store import Workspace


@click.command("push")
@click.argument("url", metavar="s3://BUCKET/PREFIX")
@options
@ENDPOINT
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output, once all is done.")
@click.option("--replace", is_flag=True, help="Although others have pushed results there that are not here.")
@click.option(
    "--anew", is_flag=True, help="Send files that are there already once more: it mends what is damaged there."
)
def push_(url: str, endpoint: str | None, replace: bool, anew: bool, **given: Any) -> None:
    """Publish the results of the workspace in an object store. Only what is not there yet is sent.

    All of it becomes visible at once, at the end: a push that is killed changes nothing, and the same command goes on. Credentials
    and region are those of AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and AWS_REGION.
    """
    _move(url, endpoint, given, "sent", lambda place, there: push(place, there, replace=replace, anew=anew))


@click.command("pull")
@click.argument("url", metavar="s3://BUCKET/PREFIX")
@options
@ENDPOINT
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output, once all is done.")
@click.option("--replace", is_flag=True, help="Although the workspace has other results of its own, which are lost.")
def pull_(url: str, endpoint: str | None, replace: bool, **given: Any) -> None:
    """Fetch the results that were pushed to an object store, and check every byte. Only what is not here yet is fetched.

    Each result is here whole or not at all; the same command goes on with a pull that was killed.
    """
    _move(url, endpoint, given, "fetched", lambda place, there: pull(place, there, replace=replace))


def _move(
    url: str, endpoint: str | None, given: dict[str, Any], did: str, work: Callable[[Workspace, Any], Moved]
) -> None:
    as_json = given.pop("as_json")
    there = objects(url, endpoint)
    workspace = Workspace(workspace_path(given["workspace"], configuration_path(given["config"]), given["limit"]))
    with locked(workspace.root):
        start_logging(workspace.root)
        with without_workers(workspace.root):
            workspace.recover()
            moved = work(workspace, there)
        LOG.info("%s: %d results, %d files %s, %s", there.place, moved.results, moved.files, did, human(moved.bytes))
    if as_json:
        counts = {"results": moved.results, "files": moved.files, "bytes": moved.bytes}
        click.echo(
            json.dumps({"workspace": str(workspace.root), "place": str(there.place), **counts}, ensure_ascii=False)
        )
