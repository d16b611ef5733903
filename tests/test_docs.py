"""The documentation says what is: every error, command, phase and setting in it exists, and none is missing."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from environments.errors import CODES
from previewkit import documented

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGES = ("environments", "testruns", "previewkit")
RAISED = {"UserError", "PlatformError", "SpecError"}


@pytest.mark.parametrize(
    "path", [documented.ERRORS, documented.COMMANDS, documented.ARCHITECTURE], ids=lambda p: p.name
)
def test_what_is_made_from_the_code_is_up_to_date(path: Path) -> None:
    assert path.read_text() == documented.made()[path], "run `make docs`"


def test_every_code_that_is_raised_is_explained() -> None:
    raised: dict[str, str] = {}
    for package in PACKAGES:
        for file in (CHECKOUT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RAISED:
                    first = node.args[0] if node.args else None
                    if isinstance(first, ast.Constant) and isinstance(first.value, str):
                        raised[first.value] = f"{file.relative_to(CHECKOUT)}:{node.lineno}"
    unexplained = {code: where for code, where in raised.items() if code not in CODES}
    assert raised
    assert not unexplained


def test_every_path_that_the_documents_link_to_exists() -> None:
    missing = []
    for document in [*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").glob("*.md"), *(CHECKOUT / "examples").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text()):
            if not target.startswith(("http:", "https:", "mailto:")) and not (document.parent / target).exists():
                missing.append(f"{document.name}: {target}")
    assert not missing


def test_every_make_target_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)`", (CHECKOUT / "README.md").read_text()))
    assert named
    assert named <= targets


def test_every_command_in_the_readme_exists() -> None:
    known = documented.commands()
    readme = (CHECKOUT / "README.md").read_text()
    named = set(re.findall(r"previewkit ((?:env|repo|pr|secret|browser) [a-z]+|[a-z][a-z-]*)", readme))
    missing = {name for name in named if f"## previewkit {name}" not in known}
    assert named
    assert not missing
