"""Postgres in a container: the official image of the wanted version, reached by commands within it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from environments.ports import SNAPSHOT_MISSING, RecipeContext, Workload
from environments.spec import Resources

DEFAULT_VERSION = "16"
USER_ID = 999
"""`postgres` in the official image."""
VOLUME = "/var/lib/postgresql/data"
SETTINGS = {
    "listen_addresses": "*",
    "shared_buffers": "32MB",
    "max_connections": "100",
    # Previews are rebuilt after a power cut; migrations and seeds don't wait for a disk.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}
PRELUDE = """
set -eu
sql() { psql -qtAX -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" "$@"; }
copy() {
  how=""
  if [ "$(sql -d postgres -c 'SHOW server_version_num')" -ge 150000 ]; then how="STRATEGY FILE_COPY"; fi
  sql -d postgres -c "CREATE DATABASE \\"$2\\" TEMPLATE \\"$1\\" $how"
}
kept() { echo "snapshot_$(printf '%s/%s' "$1" "$2" | md5sum | cut -c1-16)"; }
disconnect() {
  sql -d postgres -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '$1'" >/dev/null
}
drop() {
  disconnect "$1"
  sql -d postgres -c "DROP DATABASE IF EXISTS \\"$1\\""
}
refuse() { sql -d postgres -c "UPDATE pg_database SET datallowconn = $2 WHERE datname = '$1'"; }
"""
SNAPSHOT = """
for database in %(databases)s; do
  to=$(kept "$database" "$1")
  drop "${to}_new"
  refuse "$database" false
  trap 'refuse "$database" true' EXIT
  tries=0
  until disconnect "$database"; copy "$database" "${to}_new" 2>/tmp/copy; do
    tries=$((tries + 1))
    if [ "$tries" -ge 50 ]; then cat /tmp/copy; exit 1; fi
    sleep 0.1
  done
  refuse "$database" true
  trap - EXIT
  drop "$to"
  sql -d postgres -c "ALTER DATABASE \\"${to}_new\\" RENAME TO \\"$to\\""
done
"""
# The copy is complete before the data goes: who dies now is repeated, and finds the snapshot untouched.
RESTORE = """
for database in %(databases)s; do
  from=$(kept "$database" "$1")
  if [ -z "$(sql -d postgres -c "SELECT 1 FROM pg_database WHERE datname = '$from'")" ]; then exit %(missing)s; fi
done
for database in %(databases)s; do
  from=$(kept "$database" "$1")
  drop "${from}_back"
  copy "$from" "${from}_back"
  refuse "$database" false
  drop "$database"
  sql -d postgres -c "ALTER DATABASE \\"${from}_back\\" RENAME TO \\"$database\\""
done
"""
FINISH = """
for database in %(databases)s; do
  if [ -z "$(sql -d postgres -c "SELECT 1 FROM pg_database WHERE datname = '$database'")" ]; then
    sql -d postgres -c "CREATE DATABASE \\"$database\\""
  fi
  for extension in %(extensions)s; do
    sql -d "$database" -c "CREATE EXTENSION IF NOT EXISTS \\"$extension\\""
  done
done
"""


def workload(ctx: RecipeContext, user: str, databases: Sequence[str]) -> Workload:
    extensions: Sequence[str] = ctx.dependency.options.get("extensions", [])
    words = {
        "databases": shlex.join(databases),
        "extensions": shlex.join(extensions),
        "missing": SNAPSHOT_MISSING,
    }
    settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
    return Workload(
        image=f"postgres:{ctx.dependency.version or DEFAULT_VERSION}",
        args=("postgres", *settings),
        env={
            "POSTGRES_USER": user,
            "POSTGRES_DB": databases[0],
            # A volume's own root may hold lost+found, and initdb wants an empty directory.
            "PGDATA": f"{VOLUME}/pgdata",
            "POSTGRES_INITDB_ARGS": "--no-sync",
        },
        secret_env={"POSTGRES_PASSWORD": ctx.password},
        volume=VOLUME,
        scratch=("/var/run/postgresql", "/tmp"),
        user=USER_ID,
        resources=Resources(cpu=1.0, memory=512 * 1024 * 1024),
        # By TCP: the entry point's own first server listens on its socket only.
        has_bash=True,
        ready=("pg_isready", "-q", "-h", "127.0.0.1", "-U", user),
        finish=_script(FINISH % words),
        version=("postgres", "--version"),
        snapshot=_script(SNAPSHOT % words),
        restore=_script(RESTORE % words),
    )


def _script(body: str) -> tuple[str, ...]:
    """What follows it is `$1`."""
    return ("sh", "-c", PRELUDE + body, "postgres")
