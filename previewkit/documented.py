"""The parts of the documentation that are made from the code: errors, phases, commands.

`python -m previewkit.documented` writes them (`make docs`); tests/test_docs.py fails when they are behind.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import click

from environments.errors import CODES
from previewkit.home import CHECKOUT

ERRORS = CHECKOUT / "docs" / "errors.md"
COMMANDS = CHECKOUT / "docs" / "cli.md"
ARCHITECTURE = CHECKOUT / "ARCHITECTURE.md"
FAMILIES = {"user": "the author", "platform": "an operator"}


def errors() -> str:
    """docs/errors.md: one table of every code."""
    rows = [
        f"| `{code.code}` | {code.meaning} | {FAMILIES[code.family]} | {code.way_out} |"
        for code in sorted(CODES.values(), key=lambda code: (code.family, code.code))
    ]
    return "\n".join(
        [
            "# Errors",
            "",
            "Made from `environments/errors.py` by `make docs`. An author's error is shown in the comment and not",
            "retried. An operator's is retried with growing waits, and shown when it stays.",
            "",
            "| code | what happened | who can mend it | way out |",
            "| --- | --- | --- | --- |",
            *[row.replace("\n", " ") for row in rows],
            "",
        ]
    )


def phases() -> str:
    """The diagram in ARCHITECTURE.md, drawn from the table of allowed moves."""
    from environments.transitions import COMES_FROM

    everywhere = len(COMES_FROM) - 2
    lines = ["stateDiagram-v2", "    [*] --> queued"]
    for target, sources in COMES_FROM.items():
        if len(sources) >= everywhere:
            lines.append(f"    any --> {target}")
            continue
        lines += [f"    {source} --> {target}" for source in sorted(sources) if source != target]
    return "\n".join([*lines, "    gone --> [*]"])


def with_phases(text: str) -> str:
    return re.sub(r"```mermaid\n.*?```", f"```mermaid\n{phases()}\n```", text, flags=re.DOTALL)


def commands() -> str:
    """docs/cli.md: the help of every command."""
    from previewkit.cli import registered

    parts = [
        "# The command line",
        "",
        "Made from the commands' own help by `make docs`. `ENV` is an environment's id, its namespace,",
        "`repository#number` or `repository@branch`.",
        "",
    ]
    for path, command in sorted(_leaves(registered(), "previewkit")):
        context = click.Context(command, info_name=path, max_content_width=100, terminal_width=100)
        parts += [f"## {path}", "", "```text", command.get_help(context), "```", ""]
    return "\n".join(parts)


def _leaves(command: click.Command, path: str) -> list[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        return [leaf for name, child in command.commands.items() for leaf in _leaves(child, f"{path} {name}")]
    return [(path, command)]


def made() -> dict[Path, str]:
    """Every file that is made, or holds a part that is, as it should be."""
    return {
        ERRORS: errors(),
        COMMANDS: commands(),
        ARCHITECTURE: with_phases(ARCHITECTURE.read_text()),
    }


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "previewkit.settings")
    import django

    django.setup()
    for path, text in made().items():
        path.write_text(text)
        sys.stdout.write(f"{path.relative_to(CHECKOUT)}\n")


if __name__ == "__main__":
    main()
