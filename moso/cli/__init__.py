"""The command `moso`: one entry point, its commands loaded only when they are called.

A command is an entry point of the group `moso.cli` that names a click command (`simulate = moso.cli.simulate:command`).
`moso --help` lists the names without importing what is behind them, so it answers at once although torch takes
seconds; that is also how pipelines/ adds its groups without moso importing pipelines.
"""

from __future__ import annotations

import difflib
import sys
from importlib.metadata import entry_points
from typing import Any

import click

from moso import __version__
from moso.allocator import keep_freed_memory
from moso.errors import MosoError

GROUP = "moso.cli"


class Commands(click.Group):
    """The entry points of `moso.cli` as commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(entry.name for entry in entry_points(group=GROUP))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        entry = self._entry(name)
        return entry.load() if entry else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not self._entry(name):
            near = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(self.list_commands(ctx))}"
            raise click.UsageError(f"no such command {name!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # click's own would import every command for its one line of help.
        with formatter.section("Commands"):
            formatter.write_text(", ".join(self.list_commands(ctx)))
            formatter.write_text("`moso COMMAND --help` describes one.")

    @staticmethod
    def _entry(name: str) -> Any:
        # An EntryPoint or None; of which module's class depends on who was imported before: the backport
        # importlib_metadata (MLflow brings it) puts its own in the place of the standard library's.
        return next(iter(entry_points(group=GROUP, name=name)), None)


@click.group(cls=Commands)
@click.version_option(__version__, prog_name="moso")
def command() -> None:
    """MOSO: predict video by decomposing it into motion, scene and object."""


def main() -> None:
    """Run the command line; a MosoError is one line and exit status 1, a bug keeps its traceback."""
    keep_freed_memory()
    try:
        command(prog_name="moso")
    except MosoError as error:
        print(f"moso: {error}", file=sys.stderr)
        sys.exit(1)
