"""What a fresh machine runs first: bin/bootstrap, the lock files, the Makefile."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from previewkit.home import CHECKOUT

PINNED = re.compile(r"[a-z0-9][a-z0-9._-]*==[^\s;]+( ; .+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
REMARK = re.compile(r"    #( +via)?( +[a-z0-9._-]+)?( \(pyproject\.toml\))?", re.I)


def test_an_old_python_can_read_the_bootstrap_and_so_be_told_that_it_is_too_old() -> None:
    source = (CHECKOUT / "bin" / "bootstrap").read_text()
    ast.parse(source, feature_version=(3, 6))


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_lock_files_name_packages_and_hashes_only(lock: str) -> None:
    lines = (CHECKOUT / lock).read_text().splitlines()
    odd = [line for line in lines if not (PINNED.fullmatch(line) or HASH.fullmatch(line) or REMARK.fullmatch(line))]
    assert odd == []


def test_both_locks_pin_the_same_versions() -> None:
    def pins(lock: str) -> dict[str, str]:
        lines = (CHECKOUT / lock).read_text().splitlines()
        return dict(line.split(" ")[0].split("==") for line in lines if PINNED.fullmatch(line))

    runtime, dev = pins("requirements.lock"), pins("requirements-dev.lock")
    assert {name: dev.get(name) for name in runtime} == runtime


def test_wrong_usage_is_said_in_one_line(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, str(CHECKOUT / "bin" / "bootstrap"), "everything"], capture_output=True, text=True
    )
    assert (answer.returncode, answer.stderr) == (1, "usage: bin/bootstrap runtime|dev\n")


def test_every_target_of_the_makefile_says_what_it_does() -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.M)
    assert phony
    explained = re.findall(r"^([a-z-]+):.*## .+$", makefile, re.M)
    assert sorted(phony[1].split()) == sorted(explained)
