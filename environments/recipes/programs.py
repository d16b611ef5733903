"""Where the server programs are that come as Python packages."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from environments.ports import PlatformError


def beside_python(name: str) -> str:
    """A program that a wheel put beside this interpreter, or else in PATH."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise PlatformError(
            "runtime_unavailable",
            f"The program `{name}` is not installed here.",
            "Install PreviewKit with its dependencies.",
        )
    return found
