"""What recipes share that run as containers only: on this machine there is no program of theirs."""

from __future__ import annotations

from typing import Literal, NoReturn

from environments.ports import Program, RecipeContext, UserError
from environments.spec import Dependency


class ContainerOnly:
    """Every `embedded_…` ends with UserError(recipe_unsupported)."""

    name: str
    snapshots: Literal["live", "stopped", "none"] = "none"

    def embedded_version(self, dependency: Dependency) -> tuple[str, str]:
        raise self._unsupported()

    def embedded_template(self, dependency: Dependency) -> str:
        raise self._unsupported()

    def embedded_prepare(self, ctx: RecipeContext) -> list[Program]:
        raise self._unsupported()

    def embedded_program(self, ctx: RecipeContext) -> Program:
        raise self._unsupported()

    def embedded_files(self, ctx: RecipeContext) -> dict[str, str]:
        raise self._unsupported()

    def embedded_finish(self, ctx: RecipeContext, template_password: str) -> None:
        raise self._unsupported()

    def ready(self, ctx: RecipeContext) -> bool:
        raise self._unsupported()

    def snapshot(self, ctx: RecipeContext, name: str) -> NoReturn:
        raise self._unsupported()

    def restore(self, ctx: RecipeContext, name: str) -> NoReturn:
        raise self._unsupported()

    def _unsupported(self) -> UserError:
        return UserError(
            "recipe_unsupported",
            f"The recipe {self.name} runs as a container, and this installation runs programs of this machine.",
            "Use another recipe, or an installation with RUNTIME=kubernetes.",
        )
