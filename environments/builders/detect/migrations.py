"""Migrations that the code has, by tool, with the sign by which each was recognised."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from environments.builders.detect.node_start import script
from environments.builders.detect.python import dependencies
from environments.builders.detect.python_start import flask_application
from environments.builders.detect.sources import Sources, string, table
from environments.ports import FoundCommand


def find_migration(sources: Sources, language: str) -> FoundCommand | None:
    if language == "python":
        return next(_python(sources), None)
    if language == "node":
        return next(_node(sources), None)
    return next(_rails(sources), None)


def _python(sources: Sources) -> Iterator[FoundCommand]:
    if sources.has("manage.py"):
        yield FoundCommand(("python", "manage.py", "migrate", "--noinput"), "manage.py: Django's migrations.")
    if "flask-migrate" in dependencies(sources) and sources.has("migrations/env.py"):
        app = flask_application(sources)
        named = ("--app", app) if app else ()
        yield FoundCommand(
            ("flask", *named, "db", "upgrade"),
            "Flask-Migrate is among the packages, and migrations/ is there.",
        )
    if sources.has("alembic.ini"):
        yield FoundCommand(("alembic", "upgrade", "head"), "alembic.ini: Alembic's migrations.")


def _node(sources: Sources) -> Iterator[FoundCommand]:
    package = sources.json("package.json")
    packages = table(package, "dependencies") | table(package, "devDependencies")
    if "prisma" in packages and sources.has_dir("prisma/migrations"):
        yield FoundCommand(("prisma", "migrate", "deploy"), "prisma/migrations: Prisma's migrations.")
    elif "prisma" in packages and sources.has("prisma/schema.prisma"):
        yield FoundCommand(
            ("prisma", "db", "push", "--skip-generate"),
            "prisma/schema.prisma: a Prisma schema without migrations; it is pushed to the database.",
        )
    knexfile = sources.first("knexfile.js", "knexfile.cjs", "knexfile.mjs", "knexfile.ts")
    if "knex" in packages and knexfile:
        yield FoundCommand(("knex", "migrate:latest", "--knexfile", knexfile), f"{knexfile}: Knex's migrations.")
    drizzle = sources.first("drizzle.config.ts", "drizzle.config.js", "drizzle.config.mjs", "drizzle.config.json")
    if "drizzle-kit" in packages and drizzle:
        yield FoundCommand(("drizzle-kit", "migrate"), f"{drizzle}: Drizzle's migrations.")
    if "sequelize-cli" in packages and sources.has(".sequelizerc"):
        yield FoundCommand(("sequelize-cli", "db:migrate"), ".sequelizerc: Sequelize's migrations.")
    yield from _node_scripts(package)
    yield from _rails(sources)


def _node_scripts(package: dict[str, Any]) -> Iterator[FoundCommand]:
    scripts = table(package, "scripts")
    for name in ("migrate", "db:migrate", "migrate:deploy"):
        # `prisma migrate dev` and the like ask questions; they are for people.
        if string(scripts, name) and " dev" not in string(scripts, name):
            yield FoundCommand(script(scripts, name), f"package.json has a `{name}` script.")


def _rails(sources: Sources) -> Iterator[FoundCommand]:
    if sources.has("bin/rails") and sources.has_dir("db/migrate"):
        yield FoundCommand(("bin/rails", "db:migrate"), "bin/rails and db/migrate: Rails' migrations.")
