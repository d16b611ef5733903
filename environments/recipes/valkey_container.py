"""Valkey and Redis in a container: the official image of the wanted version."""

from __future__ import annotations

from collections.abc import Mapping

from environments.ports import SNAPSHOT_MISSING, RecipeContext, Workload
from environments.spec import Resources

VOLUME = "/data"
USER_ID = 999
"""`valkey` and `redis` in the official images."""
MEMORY = 256 * 1024 * 1024
PRELUDE = """
set -eu
cli() { %(cli)s -p %(port)s --no-auth-warning "$@"; }
quiet() {
  cli CONFIG SET save "" >/dev/null
  trap 'cli CONFIG SET save "%(save)s" >/dev/null' EXIT
  while cli INFO persistence | grep -q rdb_bgsave_in_progress:1; do sleep 0.05; done
}
"""
SNAPSHOT = """
quiet
cli SAVE | grep -q OK
cp dump.rdb "snapshot-$1.draft"
mv "snapshot-$1.draft" "snapshot-$1.rdb"
"""
RESTORE = """
[ -f "snapshot-$1.rdb" ] || exit %(missing)s
quiet
cp "snapshot-$1.rdb" restored.draft
mv restored.draft dump.rdb
cli DEBUG RELOAD NOSAVE | grep -q OK
"""


def workload(
    ctx: RecipeContext, name: str, image: str, default: str, save: str, settings: Mapping[str, str]
) -> Workload:
    """`name`: that of the programs, `valkey` or `redis`."""
    major = int((ctx.dependency.version or default).split(".")[0])
    port = ctx.ports["valkey"]
    lines = [
        f"port {port}",
        "bind 0.0.0.0",
        f"dir {VOLUME}",
        f"requirepass {ctx.password}",
        f"save {save}",
        "appendonly no",
        *(f"{setting} {value}" for setting, value in settings.items()),
    ]
    if major >= 7:  # before, it was always there
        lines.append("enable-debug-command local")  # DEBUG RELOAD: how a snapshot is restored without a restart
    words = {"cli": f"{name}-cli", "port": port, "save": save, "missing": SNAPSHOT_MISSING}
    return Workload(
        image=f"{image}:{ctx.dependency.version or default}",
        args=(f"{name}-server", f"/etc/{name}.conf"),
        files={f"/etc/{name}.conf": "\n".join(lines) + "\n"},
        secret_env={"REDISCLI_AUTH": ctx.password},
        volume=VOLUME,
        storage="1Gi",
        user=USER_ID,
        resources=Resources(cpu=0.5, memory=MEMORY),
        has_bash=True,
        ready=("sh", "-c", f"{name}-cli -p {port} ping | grep -q PONG"),
        version=(f"{name}-server", "--version"),
        snapshot=_script(words, SNAPSHOT),
        restore=_script(words, RESTORE),
    )


def _script(words: Mapping[str, object], body: str) -> tuple[str, ...]:
    """In the data directory; what follows it is `$1`."""
    text = (PRELUDE + body) % words
    return ("sh", "-c", f"cd {VOLUME}\n{text}", "valkey")
