"""Temporal's development server in a container.

Its state is one file, and what it holds in memory would contradict a file that was changed: so a loop starts
it, and a snapshot or its return is a wish in a file, fulfilled while the server is stopped.
"""

from __future__ import annotations

from environments.ports import SNAPSHOT_MISSING, RecipeContext, Workload
from environments.spec import Resources

VOLUME = "/data"
USER_ID = 1000
"""`temporal` in the official image."""
LOOP = """
cd /data
stop() { kill -TERM "$server" 2>/dev/null; wait "$server"; exit 0; }
trap stop TERM INT
while true; do
  if [ -f wish ]; then
    read -r what name < wish
    if [ "$what" = snapshot ]; then
      rm -rf "snapshot-$name.new" && mkdir "snapshot-$name.new" &&
        for file in temporal.db*; do cp "$file" "snapshot-$name.new/"; done
      rm -rf "snapshot-$name" && mv "snapshot-$name.new" "snapshot-$name"
    else
      rm -f temporal.db* && cp "snapshot-$name"/* .
    fi
    rm -f wish
  fi
  "$@" & server=$!
  echo "$server" > /tmp/server
  wait "$server"
  code=$?
  [ -f wish ] || exit "$code"
done
"""
WISH = """
set -eu
cd /data
%(check)s
printf '%%s %%s\\n' %(what)s "$1" > wish.new
mv wish.new wish
kill -TERM "$(cat /tmp/server)"
while [ -f wish ]; do sleep 0.05; done
until temporal operator namespace describe %(namespace)s --address 127.0.0.1:%(port)s >/dev/null 2>&1; do
  sleep 0.2
done
"""
CHECK = f'[ -d "snapshot-$1" ] || exit {SNAPSHOT_MISSING}'


def workload(ctx: RecipeContext, namespace: str) -> Workload:
    ports, version = ctx.ports, ctx.dependency.version
    server = (
        "temporal", "server", "start-dev", "--headless",
        "--ip", "0.0.0.0",
        "--port", str(ports["grpc"]),
        "--http-port", str(ports["http"]),
        "--metrics-port", str(ports["metrics"]),
        "--db-filename", f"{VOLUME}/temporal.db",
        "--namespace", namespace,
        "--log-level", "warn",
    )  # fmt: skip
    words = {"namespace": namespace, "port": ports["grpc"]}
    return Workload(
        # Its image's versions are those of the command-line program, which has the server in it.
        image=f"temporalio/temporal:{version if version and '.' in version else 'latest'}",
        command=("sh", "-c", LOOP, "temporal", *server),
        env={"HOME": "/tmp"},
        volume=VOLUME,
        scratch=("/tmp",),
        user=USER_ID,
        resources=Resources(cpu=1.0, memory=512 * 1024 * 1024),
        ready_path=f"/api/v1/namespaces/{namespace}",
        version=("sh", "-c", "temporal --version | grep -o 'Server [0-9.]*'"),
        snapshot=("sh", "-c", WISH % {**words, "what": "snapshot", "check": ""}, "temporal"),
        restore=("sh", "-c", WISH % {**words, "what": "restore", "check": CHECK}, "temporal"),
    )
