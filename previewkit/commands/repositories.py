"""previewkit repo, pr, secret."""

from __future__ import annotations

import sys

import click

from previewkit.commands import person, with_django


@click.group()
def repo() -> None:
    """Connect git repositories."""


@repo.command("add")
@click.argument("source", metavar="PATH|URL")
@click.option("--name", default="", help="What it is called here; the last part of the path unless stated.")
@with_django
def add(source: str, name: str) -> None:
    """Connect a git repository on this machine or at a URL; its default branch gets a preview at once."""
    from environments import services

    repository = services.add_repository(source, name)
    click.echo(f"{repository.name} is connected; its bare repository: {repository.url}")
    click.echo(f"Open a preview: previewkit pr open {repository.name} BRANCH")
    click.echo(f"Or push to it:  git push {repository.url} BRANCH")


@repo.command("list")
@with_django
def list_repositories() -> None:
    """The connected repositories."""
    from environments.models import Repository

    for repository in Repository.objects.filter(removed_at=None):
        click.echo(f"{repository.name}\t{repository.default_branch}\t{repository.url}")


@repo.command("remove")
@click.argument("name")
@with_django
def remove(name: str) -> None:
    """Close all of a repository's environments and forget it; its own files are not touched."""
    from environments import services

    services.remove_repository(services.repository_named(name), person())
    click.echo(f"{name} is removed; its environments are closing.")


@click.group()
def pr() -> None:
    """Open, close and reopen pull requests of local repositories."""


@pr.command("open")
@click.argument("repository")
@click.argument("branch")
@click.option("--title", default="", help="The newest commit's first line unless stated.")
@with_django
def open_pull(repository: str, branch: str, title: str) -> None:
    """Open a pull request from BRANCH to the default branch."""
    from environments import services

    state = services.LocalPulls(services.repository_named(repository)).open(branch, title)
    click.echo(f"{repository}#{state.number} {state.title}")
    click.echo(f"Watch it: previewkit wait '{repository}#{state.number}'")


@pr.command("close")
@click.argument("repository")
@click.argument("number", type=int)
@with_django
def close_pull(repository: str, number: int) -> None:
    """Close a pull request: its environment is deleted."""
    from environments import services

    services.LocalPulls(services.repository_named(repository)).close(number)
    click.echo(f"{repository}#{number} is closed; its environment goes.")


@pr.command("reopen")
@click.argument("repository")
@click.argument("number", type=int)
@with_django
def reopen_pull(repository: str, number: int) -> None:
    """Reopen a pull request: it gets a fresh environment."""
    from environments import services

    services.LocalPulls(services.repository_named(repository)).reopen(number)
    click.echo(f"{repository}#{number} is open again.")


@click.group()
def secret() -> None:
    """Values that services get and nobody sees."""


@secret.command("set")
@click.argument("repository")
@click.argument("name")
@with_django
def set_secret(repository: str, name: str) -> None:
    """Store a secret; the value is read from a prompt or from standard input."""
    from environments import secrets, services

    value = click.prompt("Value", hide_input=True) if sys.stdin.isatty() else sys.stdin.read().rstrip("\n")
    secrets.put(services.repository_named(repository), name, value)
    click.echo(f"{name} is stored; services get it at their next deployment.")


@secret.command("list")
@click.argument("repository")
@with_django
def list_secrets(repository: str) -> None:
    """Names only."""
    from environments import services

    for row in services.repository_named(repository).secrets.all():
        click.echo(f"{row.name}\tset {row.updated_at:%Y-%m-%d %H:%M}")


@secret.command("delete")
@click.argument("repository")
@click.argument("name")
@with_django
def delete_secret(repository: str, name: str) -> None:
    """Forget a secret."""
    from environments import services

    deleted, _ = services.repository_named(repository).secrets.filter(name=name).delete()
    click.echo(f"{name} is deleted." if deleted else f"{repository} has no secret {name}.")


COMMANDS = (repo, pr, secret)
