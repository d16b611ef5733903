"""mysql: a MySQL server in a container, the official image of the wanted version."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from urllib.parse import quote

from environments.ports import SNAPSHOT_MISSING, RecipeContext, Workload
from environments.recipes import checks
from environments.recipes.container_only import ContainerOnly
from environments.spec import Dependency, Resources

USER = "preview"
DATABASE = "preview"
DEFAULT_VERSION = "8.4"
VOLUME = "/data"
PRELUDE = """
set -eu
export MYSQL_PWD="$MYSQL_ROOT_PASSWORD"
sql() { mysql -h 127.0.0.1 -uroot -N "$@"; }
"""
FINISH = """
sql -e "GRANT ALL ON *.* TO '$MYSQL_USER'@'%%'"
for database in %(databases)s; do
  sql -e "CREATE DATABASE IF NOT EXISTS \\`$database\\` CHARACTER SET utf8mb4"
done
"""
SNAPSHOT = """
mysqldump -h 127.0.0.1 -uroot --single-transaction --routines --triggers --events --no-tablespaces \\
  --add-drop-database --databases %(databases)s > "/data/snapshot-$1.draft"
mv "/data/snapshot-$1.draft" "/data/snapshot-$1.sql"
"""
RESTORE = """
[ -f "/data/snapshot-$1.sql" ] || exit %(missing)s
sql < "/data/snapshot-$1.sql"
"""


class MySQL(ContainerOnly):
    name = "mysql"
    port_names: tuple[str, ...] = ("mysql",)
    option_names: tuple[str, ...] = ("database", "databases")

    def container_ports(self, dependency: Dependency) -> Mapping[str, int]:
        return {"mysql": 3306}

    def check(self, dependency: Dependency) -> None:
        checks.check_version(dependency, ("8", "9"), "MySQL")
        checks.check_options(dependency, self.option_names)
        value = dependency.options.get("databases", [])
        if not isinstance(value, list | tuple):
            raise checks.refuse_option(dependency, "databases", "is not a list of names", "Write `databases: [name]`.")
        for database in _databases(dependency):
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,59}", database) or database in ("mysql", "sys"):
                raise checks.refuse_option(
                    dependency,
                    "database",
                    f"{database!r} can't be a database's name here",
                    "Use letters, digits, `_` and `-`, at most 60, beginning with a letter.",
                )

    def fields(self, ctx: RecipeContext) -> dict[str, str]:
        port, database = str(ctx.ports["mysql"]), _databases(ctx.dependency)[0]
        return {
            "url": f"mysql://{USER}:{quote(ctx.password)}@{ctx.host}:{port}/{database}",
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
                "MYSQL_HOST": fields["host"],
                "MYSQL_PORT": fields["port"],
                "MYSQL_USER": fields["user"],
                "MYSQL_PASSWORD": fields["password"],
                "MYSQL_DATABASE": fields["database"],
            },
        )

    def workload(self, ctx: RecipeContext) -> Workload:
        words = {"databases": shlex.join(_databases(ctx.dependency)), "missing": SNAPSHOT_MISSING}
        return Workload(
            image=f"mysql:{ctx.dependency.version or DEFAULT_VERSION}",
            args=(
                "mysqld",
                f"--datadir={VOLUME}/mysql",
                "--innodb-flush-log-at-trx-commit=0",  # previews are rebuilt after a power cut
                "--sync-binlog=0",
                "--skip-log-bin",
                "--innodb-buffer-pool-size=64M",
                "--performance-schema=OFF",
            ),
            env={"MYSQL_USER": USER, "MYSQL_DATABASE": _databases(ctx.dependency)[0]},
            secret_env={"MYSQL_PASSWORD": ctx.password, "MYSQL_ROOT_PASSWORD": ctx.password},
            volume=VOLUME,
            scratch=("/var/run/mysqld", "/tmp"),
            user=999,
            resources=Resources(cpu=1.0, memory=768 * 1024 * 1024),
            # By TCP: the entry point's own first server listens on its socket only.
            ready=("sh", "-c", 'MYSQL_PWD="$MYSQL_PASSWORD" mysqladmin ping -h 127.0.0.1 -u "$MYSQL_USER" --silent'),
            has_bash=True,
            finish=_script(FINISH % words),
            version=("mysqld", "--version"),
            snapshot=_script(SNAPSHOT % words),
            restore=_script(RESTORE % words),
        )


def _databases(dependency: Dependency) -> list[str]:
    """The first one is the one of DATABASE_URL."""
    more = [str(each) for each in dependency.options.get("databases", [])]
    first = dependency.options.get("database") or (more[0] if more else DATABASE)
    return list(dict.fromkeys([str(first), *more]))


def _script(body: str) -> tuple[str, ...]:
    """What follows it is `$1`."""
    return ("sh", "-c", PRELUDE + body, "mysql")
