"""Becomes the supervisord of one environment: a daemon of its own session to which orphans come back.

Run as `python supervise.py CONFIGURATION JOIN…` (JOIN: files of control groups); prints the daemon's process id.
"""

import ctypes
import os
import sys

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def main(configuration: str, groups: list[str]) -> None:
    child = os.fork()
    if child:
        print(child, flush=True)
        os._exit(0)
    os.setsid()
    leave_standard_streams()
    for group in groups:
        join(group)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    from supervisor import supervisord  # here: it takes 0.1 s, and the caller need not wait for it

    supervisord.main(["-c", configuration])


def join(group: str) -> None:
    try:
        with open(group, "w", encoding="ascii") as file:
            file.write(str(os.getpid()))
    except OSError as error:
        print(f"not in its control group: {group}: {error.strerror}", file=sys.stderr, flush=True)


def leave_standard_streams() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    errors = os.open("logs/supervisord.err", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(errors, 2)
    os.close(nowhere)
    os.close(errors)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
