"""`make bench`: a control plane of its own, every figure with its comparison, exit code 1 when one misses."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path


def main() -> int:
    root = Path(tempfile.mkdtemp(prefix="previewkit-bench-"))
    os.environ["PREVIEWKIT_HOME"] = str(root)
    os.environ["DJANGO_SETTINGS_MODULE"] = "previewkit.settings"
    from previewkit.control_plane import lifecycle
    from previewkit.home import Home

    home = Home.of_environment()
    try:
        lifecycle.up(home, lambda line, seconds: print(line, file=sys.stderr))
        return _report()
    finally:
        lifecycle.down(home)
        shutil.rmtree(root)


def _report() -> int:
    import django

    django.setup()
    from rich.console import Console
    from rich.table import Table

    from benchmarks import main_job

    table = Table(box=None, pad_edge=False)
    for heading in ("figure", "measured", "beside", "target", ""):
        table.add_column(heading)
    figures = main_job.measure()
    for figure in figures:
        table.add_row(figure.what, figure.value, figure.beside, figure.target, "ok" if figure.within else "MISSED")
    Console(width=160).print(table)
    return 0 if all(figure.within for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
