"""From exceptions and signals to messages and exit codes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import click

from stages.errors import HardrockError


class Terminated(BaseException):
    """SIGTERM has come."""


def guarded(command: Callable[[], Any]) -> int:
    """Runs a command and returns its exit code; a person sees a message, never a traceback for a fault of theirs."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        command()
    except HardrockError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except (click.exceptions.Exit, click.ClickException) as error:
        if isinstance(error, click.ClickException):
            error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort, Terminated) as stop:
        how, code = ("terminated", 143) if isinstance(stop, Terminated) else ("interrupted", 130)
        again = " ".join(["hardrock", *sys.argv[1:]])
        click.echo(f"{how}: what was finished is kept. Go on with: {again}", err=True)
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0
