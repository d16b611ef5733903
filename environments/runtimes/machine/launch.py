"""Becomes a program of an environment: joins its control group, takes its limits, waits for its dependencies.

Run by the supervisor as `python -I -S launch.py FILE`, standard library only, so that it takes 15 ms; FILE is
JSON written by `launches.py`. It keeps credentials out of command lines and out of the supervisor's
configuration. The program replaces this process: process id, signals and exit code are its own.
"""

import json
import os
import resource
import socket
import sys
import time


def main(file: str) -> None:
    with open(file, encoding="utf-8") as opened:
        launch = json.load(opened)
    if launch.get("starts"):
        with open(launch["starts"], "a", encoding="ascii") as starts:
            starts.write(f"{os.getpid()} {time.time():.3f}\n")
    join(launch["join"])
    if launch.get("data_limit"):
        resource.setrlimit(resource.RLIMIT_DATA, (launch["data_limit"], launch["data_limit"]))
    if launch.get("nice"):
        os.nice(launch["nice"])
    wait_for(launch["after"])
    os.chdir(launch["directory"])
    try:
        os.execvpe(launch["argv"][0], launch["argv"], launch["env"])
    except OSError as error:
        sys.exit(f"{launch['argv'][0]}: {error.strerror}")


def join(files: list) -> None:
    for file in files:
        try:
            with open(file, "w", encoding="ascii") as group:
                group.write(str(os.getpid()))
        except OSError as error:
            print(f"PreviewKit: runs without its limits: {file}: {error.strerror}", file=sys.stderr, flush=True)


def wait_for(ports: list, seconds: float = 20.0) -> None:
    """Waits until each port takes connections: after a wake everything starts at once."""
    deadline = time.monotonic() + seconds
    for port in ports:
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.02)


if __name__ == "__main__":
    main(sys.argv[1])
