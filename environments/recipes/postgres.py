"""postgres: a Postgres server of the environment's own, from the newest matching binaries on this machine.

Tuned for previews: little memory, and no fsync. After a power cut the data may be broken, and the environment
is rebuilt; in exchange migrations and seeds don't wait for a disk. A killed server loses nothing: what was
committed is with the operating system.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal
from urllib.parse import quote

import psycopg
from psycopg import errors, pq, sql

from environments.ports import PlatformError, Program, RecipeContext, Workload
from environments.recipes import checks, postgres_container
from environments.recipes.postgres_binaries import Installation, installation
from environments.spec import Dependency

USER = "preview"
DATABASE = "preview"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "16MB",
    "max_connections": "50",
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "min_wal_size": "8MB",
    "max_wal_size": "256MB",
    "max_logical_replication_workers": "0",
    "jit": "off",
    # In the data directory instead of /dev/shm: goes with it, and a small /dev/shm is enough.
    "dynamic_shared_memory_type": "mmap",
}


class Postgres:
    name = "postgres"
    port_names: tuple[str, ...] = ("postgres",)
    option_names: tuple[str, ...] = ("database", "databases", "extensions")
    snapshots: Literal["live", "stopped", "none"] = "live"

    def check(self, dependency: Dependency) -> None:
        checks.check_version(dependency, [str(major) for major in range(12, 19)], "Postgres")
        checks.check_options(dependency, self.option_names)
        for option in ("databases", "extensions"):
            value = dependency.options.get(option, [])
            if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
                raise checks.refuse_option(dependency, option, "is not a list of names", f"Write `{option}: [name]`.")
        for database in databases(dependency):
            _check_database(dependency, database)

    def fields(self, ctx: RecipeContext) -> dict[str, str]:
        port, database = str(ctx.ports["postgres"]), databases(ctx.dependency)[0]
        return {
            "url": f"postgresql://{USER}:{quote(ctx.password)}@{ctx.host}:{port}/{database}",
            "host": ctx.host,
            "port": port,
            "user": USER,
            "password": ctx.password,
            "database": database,
        }

    def variables(self, ctx: RecipeContext) -> dict[str, str]:
        fields = self.fields(ctx)
        return checks.conventional(
            ctx.dependency,
            {
                "DATABASE_URL": fields["url"],
                "PGHOST": fields["host"],
                "PGPORT": fields["port"],
                "PGUSER": fields["user"],
                "PGPASSWORD": fields["password"],
                "PGDATABASE": fields["database"],
            },
        )

    # ── embedded ────────────────────────────────────────────────────────────────────────────

    def embedded_version(self, dependency: Dependency) -> tuple[str, str]:
        found = installation(dependency.version)
        available = found.extensions()
        for extension in dependency.options.get("extensions", []):
            if extension not in available:
                raise checks.refuse_option(
                    dependency,
                    "extensions",
                    f"{extension} is not installed with Postgres {found.version} on this machine",
                    f"Use one of {', '.join(available)}; or an operator installs the Debian package "
                    f"postgresql-{dependency.version or found.major}, which brings more.",
                )
        return found.version, checks.note(dependency, found.version, "Postgres")

    def embedded_template(self, dependency: Dependency) -> str:
        return f"postgres-{installation(dependency.version).version}"

    def embedded_prepare(self, ctx: RecipeContext) -> list[Program]:
        found, data = installation(ctx.dependency.version), shlex.quote(str(ctx.data))
        script = (
            f'printf %s "$TEMPLATE_PASSWORD" | {found.quoted("initdb")} -D {data} -U {USER} --pwfile=/dev/stdin '
            "--auth=scram-sha-256 -E UTF8 --locale=C.UTF-8 --no-sync --wal-segsize=1 && "
            f"echo 'CREATE DATABASE {DATABASE}' | {found.quoted('postgres')} --single -D {data} "
            f"-c fsync=off template1"
        )
        return [Program(("sh", "-ec", script), env={"TEMPLATE_PASSWORD": ctx.password}, drop_root=True)]

    def embedded_program(self, ctx: RecipeContext) -> Program:
        found = self._installation(ctx)
        settings = {**SETTINGS, "port": str(ctx.ports["postgres"])}
        if found.major >= 18:
            settings["io_method"] = "sync"  # no processes of their own for reading
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return Program(
            (str(found.bin / "postgres"), "-D", str(ctx.data), *words),
            drop_root=True,
            stop_signal="INT",  # disconnects clients; TERM would wait for them
            quit_signal="QUIT",
        )

    def embedded_files(self, ctx: RecipeContext) -> dict[str, str]:
        return {}

    def embedded_finish(self, ctx: RecipeContext, template_password: str) -> None:
        with self._first_connection(ctx, template_password) as connection:
            _run(connection, "ALTER DATABASE {} WITH ALLOW_CONNECTIONS true", DATABASE)
            for database in databases(ctx.dependency):
                try:
                    _run(connection, "CREATE DATABASE {}", database)
                except (errors.DuplicateDatabase, errors.UniqueViolation):
                    continue
            connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(USER), ctx.password))
        for database in databases(ctx.dependency):
            self._create_extensions(ctx, database)

    def ready(self, ctx: RecipeContext) -> bool:
        # libpq's own question, which needs no password: the template's is still in force at the first start.
        address = f"host={ctx.host} port={ctx.ports['postgres']} connect_timeout=2"
        return pq.PGconn.ping(address.encode()) == pq.Ping.OK

    # ── kubernetes ──────────────────────────────────────────────────────────────────────────

    def container_ports(self, dependency: Dependency) -> Mapping[str, int]:
        return {"postgres": 5432}

    def workload(self, ctx: RecipeContext) -> Workload:
        return postgres_container.workload(ctx, USER, databases(ctx.dependency))

    # ── snapshots ───────────────────────────────────────────────────────────────────────────

    def snapshot(self, ctx: RecipeContext, name: str) -> None:
        with self._connection(ctx, "postgres") as connection:
            for database in databases(ctx.dependency):
                kept = _kept(database, name)
                _run(connection, "DROP DATABASE IF EXISTS {}", f"{kept}_new")
                with _nobody_connected(connection, database):
                    self._copy(ctx, connection, database, f"{kept}_new")
                _run(connection, "DROP DATABASE IF EXISTS {}", kept)
                _run(connection, "ALTER DATABASE {} RENAME TO {}", f"{kept}_new", kept)

    def restore(self, ctx: RecipeContext, name: str) -> None:
        with self._connection(ctx, "postgres") as connection:
            for database in databases(ctx.dependency):
                kept = _kept(database, name)
                if not _exists(connection, kept):
                    raise PlatformError(
                        "snapshot_missing", f"{ctx.dependency.name} has no snapshot {name!r} of {database}."
                    )
                _run(connection, "DROP DATABASE IF EXISTS {} WITH (FORCE)", f"{kept}_back")
                self._copy(ctx, connection, kept, f"{kept}_back")
                # The copy is complete: a worker that dies now is repeated, and finds the snapshot untouched.
                _run(connection, "DROP DATABASE IF EXISTS {} WITH (FORCE)", database)
                _run(connection, "ALTER DATABASE {} RENAME TO {}", f"{kept}_back", database)

    def _copy(self, ctx: RecipeContext, connection: psycopg.Connection[Any], source: str, target: str) -> None:
        # A copy of files is faster than one through the log, which Postgres prefers since 15.
        how = " STRATEGY FILE_COPY" if self._installation(ctx).major >= 15 else ""
        _run(connection, "CREATE DATABASE {} TEMPLATE {}" + how, target, source)

    # ── connections ─────────────────────────────────────────────────────────────────────────

    def _connection(self, ctx: RecipeContext, database: str) -> psycopg.Connection[Any]:
        return _connect(ctx, database, ctx.password)

    def _first_connection(self, ctx: RecipeContext, template_password: str) -> psycopg.Connection[Any]:
        """With the template's password, or with its own where that was set by a worker that went on or died."""
        if template_password:
            try:
                return _connect(ctx, "postgres", template_password)
            except psycopg.OperationalError:
                return self._connection(ctx, "postgres")
        return self._connection(ctx, "postgres")

    def _create_extensions(self, ctx: RecipeContext, database: str) -> None:
        wanted = ctx.dependency.options.get("extensions", [])
        if not wanted:
            return
        with self._connection(ctx, database) as connection:
            for extension in wanted:
                try:
                    _run(connection, "CREATE EXTENSION IF NOT EXISTS {}", extension)
                except (errors.DuplicateObject, errors.UniqueViolation):
                    continue  # another worker did so at the same moment

    @staticmethod
    def _installation(ctx: RecipeContext) -> Installation:
        """By the data that is there: binaries of another major version can't read it."""
        file = ctx.data / "PG_VERSION" if ctx.data else None
        if file and file.exists():
            return installation(file.read_text().strip())
        return installation(ctx.dependency.version)


def databases(dependency: Dependency) -> list[str]:
    """The first one is the one of DATABASE_URL."""
    more = list(dependency.options.get("databases", []))
    first = dependency.options.get("database") or (more[0] if more else DATABASE)
    return list(dict.fromkeys([str(first), *more]))


def _check_database(dependency: Dependency, database: str) -> None:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,59}", database) or database in (
        "postgres", "template0", "template1",
    ):  # fmt: skip
        raise checks.refuse_option(
            dependency,
            "database",
            f"{database!r} can't be a database's name here",
            "Use letters, digits, `_` and `-`, at most 60, beginning with a letter.",
        )


def _connect(ctx: RecipeContext, database: str, password: str) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host=ctx.host,
        port=ctx.ports["postgres"],
        user=USER,
        password=password,
        dbname=database,
        autocommit=True,
        connect_timeout=10,
    )


def _run(connection: psycopg.Connection[Any], statement: str, *names: str) -> None:
    connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _exists(connection: psycopg.Connection[Any], database: str) -> bool:
    return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone() is not None


def _kept(database: str, snapshot: str) -> str:
    """The database that holds a snapshot; names are at most 63 bytes long."""
    return "snapshot_" + hashlib.sha256(f"{database}/{snapshot}".encode()).hexdigest()[:16]


@contextmanager
def _nobody_connected(connection: psycopg.Connection[Any], database: str) -> Iterator[None]:
    """A database is copied only while no one is connected to it; services connect again by themselves."""
    _run(connection, "ALTER DATABASE {} WITH ALLOW_CONNECTIONS false", database)
    try:
        deadline = time.monotonic() + 10
        while _disconnect(connection, database) and time.monotonic() < deadline:
            time.sleep(0.005)
        yield
    finally:
        _run(connection, "ALTER DATABASE {} WITH ALLOW_CONNECTIONS true", database)


def _disconnect(connection: psycopg.Connection[Any], database: str) -> int:
    """How many connections there were, all of which were told to end."""
    query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s"
    row = connection.execute(query, [database]).fetchone()
    return int(row[0]) if row else 0
