"""How the verbs of the command line behave: options under headings, made when needed; mistakes get the nearest word."""

from __future__ import annotations

import difflib
from typing import Any

import click


class ConfiguredCommand(click.Command):
    """A command that also takes the config options of the named `table` (pipelines/options.py), under headings.

    They are made at their first use: pydantic is the slowest import and `streamsr --help` does without."""

    def __init__(self, *args: Any, table: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._table = table
        self._headings: dict[str, list[click.Option]] | None = None

    def headings(self) -> dict[str, list[click.Option]]:
        """Heading -> config options below it."""
        if self._headings is None:
            from pipelines.options import click_options

            self._headings = click_options(self._table)
        return self._headings

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        own = super().get_params(ctx)
        return [*own[:-1], *(option for options in self.headings().values() for option in options), *own[-1:]]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = [option for option in super().get_params(ctx) if isinstance(option, click.Option)]
        for heading, options in (*self.headings().items(), ("Other", own)):
            records = [record for option in options if (record := option.get_help_record(ctx))]
            with formatter.section(heading):
                formatter.write_dl(records, col_max=34)


class VerbGroup(click.Group):
    """The verbs in the order of their definition, with the nearest one named after a mistake."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            near = difflib.get_close_matches(args[0], self.commands, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(self.commands)}."
            raise click.UsageError(f"no such command {args[0]!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)


def usage_line(error: click.UsageError) -> str:
    """A usage error as one line: what, where, what to do."""
    where = error.ctx.command_path if error.ctx else ""
    if isinstance(error, click.NoSuchOption):
        near = list(error.possibilities or ())
        if not near and error.ctx:
            flags = [
                flag
                for option in error.ctx.command.get_params(error.ctx)
                for flag in (*option.opts, *option.secondary_opts)
            ]
            near = difflib.get_close_matches(error.option_name, flags, n=2)
        hint = f" Did you mean {' or '.join(sorted(near))}?" if near else f" {where} --help lists all options."
        return f"no such option {error.option_name} ({where}).{hint}"
    message = " ".join(error.format_message().split())
    message = message if message.endswith((".", "?")) else f"{message}."
    return f"{message[:1].lower()}{message[1:]}"
