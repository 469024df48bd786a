# SPDX-License-Identifier: MIT
"""dmabuf-sync completion."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from .failure import PROGRAM
from .main import cli

VARIABLE = "_DMABUF_SYNC_COMPLETE"
"""What click looks at to tell a shell's question from a user's command."""


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print what makes a shell complete dmabuf-sync.

    \b
    bash   dmabuf-sync completion bash > ~/.local/share/bash-completion/completions/dmabuf-sync
    zsh    dmabuf-sync completion zsh > ~/.zfunc/_dmabuf-sync     (with ~/.zfunc in fpath)
    fish   dmabuf-sync completion fish > ~/.config/fish/completions/dmabuf-sync.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, PROGRAM, VARIABLE).source())
