"""Prepared data directories: made once for each version, copied for each environment, one copy kept in stock."""

from __future__ import annotations

import os
import secrets
import subprocess
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path

from environments.ports import PlatformError, Program, Recipe, RecipeContext
from environments.runtimes.machine.faults import disk_full, says_full
from environments.runtimes.machine.files import remove_tree, take_place, write_whole
from environments.runtimes.machine.locks import exclusive
from environments.runtimes.unprivileged import as_unprivileged, give_to_unprivileged


@dataclass(frozen=True)
class Templates:
    """`<directory>/<name>/`: data/, password, and spares/ with complete copies of data/."""

    directory: Path
    spares: int = 1
    """Copies kept in stock for each template: a new environment takes one by renaming it."""

    def copy(self, recipe: Recipe, ctx: RecipeContext, name: str, target: Path) -> None:
        """A complete copy of the template at `target`, which is not there yet."""
        template = self._made(recipe, ctx, name)
        if not self._took_spare(template, target):
            _copy(template / "data", target)
        if self.spares:
            threading.Thread(target=self.restock, args=[template], daemon=True).start()

    def password(self, name: str) -> str:
        """What the data was made with; empty: there is no such template."""
        file = self.directory / name / "password"
        return file.read_text() if name and file.exists() else ""

    def restock(self, template: Path) -> None:
        stock = template / "spares"
        try:
            with exclusive(template / "spares.lock"):
                stock.mkdir(exist_ok=True)
                for draft in stock.glob(".*"):  # of a worker that died
                    remove_tree(draft)
                while len(list(stock.iterdir())) < self.spares:
                    draft = stock / f".{uuid.uuid4().hex[:8]}"
                    _copy(template / "data", draft, "nice", "-n", "19")
                    draft.rename(stock / draft.name[1:])
        except (OSError, PlatformError):
            return  # nobody's loss: the next environment copies for itself, and says what is wrong

    @staticmethod
    def _took_spare(template: Path, target: Path) -> bool:
        for spare in (template / "spares").glob("[!.]*"):
            try:
                spare.rename(target)
                return True
            except OSError:  # another worker took it, or it is on another file system
                continue
        return False

    def _made(self, recipe: Recipe, ctx: RecipeContext, name: str) -> Path:
        """Made once: initdb takes longer than everything else together."""
        template = self.directory / name
        if template.exists():
            return template
        with exclusive(self.directory / f".{name}.lock"):
            if template.exists():
                return template
            draft = self.directory / f".{name}.{uuid.uuid4().hex[:8]}"
            (draft / "data").mkdir(parents=True, mode=0o700)
            password = secrets.token_urlsafe(24)
            write_whole(draft / "password", password)
            inside = RecipeContext(ctx.dependency, ctx.host, ctx.ports, password, draft / "data")
            try:
                for program in recipe.embedded_prepare(inside):
                    if program.drop_root:
                        give_to_unprivileged(draft / "data")
                    _run(program)
                take_place(draft, template)
                return template
            except BaseException:
                remove_tree(draft)
                raise


def _copy(source: Path, target: Path, *before: str) -> None:
    # cp: a thousand small files in half of Python's time, and clones where the file system can.
    _run(Program((*before, "cp", "-a", str(source), str(target))))


def _run(program: Program) -> None:
    argv = as_unprivileged(program.argv) if program.drop_root else program.argv
    env = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", **program.env}
    ended = subprocess.run(argv, env=env, cwd="/", capture_output=True, text=True, check=False)
    if ended.returncode != 0 and says_full(ended.stderr):
        raise disk_full("a database")
    if ended.returncode != 0:
        raise PlatformError(
            "dependency_not_ready",
            f"A database could not be prepared: {program.argv[0]} ended with code {ended.returncode}.",
            "See the last lines.",
            log_tail=(ended.stdout + ended.stderr).splitlines()[-30:],
        )
