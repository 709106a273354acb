"""`rotation completion`: what a shell reads so that it completes commands and options."""

from typing import Final

import click
from click.shell_completion import get_completion_class

SHELLS: Final = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print SHELL's completion: `source <(rotation completion bash)`, or `rotation completion fish | source`."""
    from ops.cli import main  # noqa: PLC0415 - that module names this one

    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - click has the three
    click.echo(found(main, {}, "rotation", "_ROTATION_COMPLETE").source())
