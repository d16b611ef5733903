#!/bin/sh
# What somebody does by hand for examples/minimal: a Postgres, a Valkey, the migration, the application.
# Prints nothing; returns when the application answers. Wants: PG_BIN VALKEY APP DIR PG_PORT VALKEY_PORT PORT NODE AS
# (AS: a prefix that runs Postgres as another user where this one is root; may be empty).
set -eu
mkdir -p "$DIR/valkey"
$AS "$PG_BIN/initdb" -D "$DIR/pg" -U app -A trust --no-sync -E UTF8 --no-locale >/dev/null 2>&1
$AS "$PG_BIN/postgres" -D "$DIR/pg" -p "$PG_PORT" -h 127.0.0.1 -k "" -c fsync=off >"$DIR/pg.log" 2>&1 &
echo $! >"$DIR/pids"
"$VALKEY" --port "$VALKEY_PORT" --bind 127.0.0.1 --dir "$DIR/valkey" --save "" >"$DIR/valkey.log" 2>&1 &
echo $! >>"$DIR/pids"
until "$PG_BIN/pg_isready" -q -h 127.0.0.1 -p "$PG_PORT"; do sleep 0.02; done
"$PG_BIN/createdb" -h 127.0.0.1 -p "$PG_PORT" -U app app
export DATABASE_URL="postgresql://app@127.0.0.1:$PG_PORT/app" REDIS_URL="redis://127.0.0.1:$VALKEY_PORT" PORT
cd "$APP"
"$NODE" migrate.js >"$DIR/migrate.log" 2>&1
"$NODE" server.js >"$DIR/app.log" 2>&1 &
echo $! >>"$DIR/pids"
until curl -fs -o /dev/null "http://127.0.0.1:$PORT/"; do sleep 0.02; done
