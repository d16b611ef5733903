"""image: any server that comes as a container image, for what has no recipe of its own.

    {recipe: image, name: search, options: {
      image: "getmeili/meilisearch:v1.11", port: 7700, volume: /meili_data, ready: {path: /health},
      env: {MEILI_ENV: development}, secret_env: {MEILI_MASTER_KEY: "{password}"},
      variables: {MEILI_URL: "http://{host}:{port}", MEILI_KEY: "{password}"}}}

`{host}`, `{port}` and `{password}` (made up, the same for the environment's life) can be written in `env`,
`secret_env`, `variables` and `command`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from environments.ports import RecipeContext, UserError, Workload
from environments.recipes import checks
from environments.recipes.container_only import ContainerOnly
from environments.spec import Dependency, Resources

REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
PATH = re.compile(r"/[A-Za-z0-9._/-]{1,200}")
SIZE = re.compile(r"\d{1,4}(Mi|Gi)")
UNITS = {"Mi": 2**20, "Gi": 2**30}
DEFAULT_PORT = 8080


class Image(ContainerOnly):
    name = "image"
    port_names: tuple[str, ...] = ("port",)
    option_names: tuple[str, ...] = (
        "command", "cpu", "env", "image", "memory", "port", "ready", "scratch", "secret_env", "storage", "user",
        "variables", "volume",
    )  # fmt: skip

    def check(self, dependency: Dependency) -> None:
        checks.check_options(dependency, self.option_names)
        if dependency.version is not None:
            raise UserError(
                "recipe_version", f"{dependency.name}: the image's tag says its version.", "Leave `version` out."
            )
        options = dependency.options
        _match(dependency, "image", REFERENCE, options.get("image"), "image: getmeili/meilisearch:v1.11")
        _number(dependency, "port", options.get("port", DEFAULT_PORT), 65535)
        _number(dependency, "user", options.get("user", 1000), 2**31)
        for option in ("env", "secret_env", "variables"):
            _check_variables(dependency, option, options.get(option, {}))
        for option, sample in (("volume", "/data"), ("storage", "2Gi"), ("memory", "512Mi")):
            pattern = PATH if option == "volume" else SIZE
            if option in options:
                _match(dependency, option, pattern, options[option], f"{option}: {sample}")
        for path in options.get("scratch", []):
            _match(dependency, "scratch", PATH, path, "scratch: [/tmp]")
        _check_ready(dependency, options.get("ready", {}))

    def container_ports(self, dependency: Dependency) -> Mapping[str, int]:
        return {"port": int(dependency.options.get("port", DEFAULT_PORT))}

    def fields(self, ctx: RecipeContext) -> dict[str, str]:
        return {"host": ctx.host, "port": str(ctx.ports["port"]), "password": ctx.password}

    def variables(self, ctx: RecipeContext) -> dict[str, str]:
        """As they are stated: whoever names them means those names."""
        return self._filled(ctx, "variables")

    def workload(self, ctx: RecipeContext) -> Workload:
        options = ctx.dependency.options
        ready: Mapping[str, Any] = options.get("ready", {})
        command = options.get("command", ())
        words = ("sh", "-c", command) if isinstance(command, str) else tuple(command)
        return Workload(
            image=options["image"],
            command=tuple(self._fill(ctx, word) for word in words),
            env=self._filled(ctx, "env"),
            secret_env=self._filled(ctx, "secret_env"),
            volume=options.get("volume", ""),
            storage=options.get("storage", "2Gi"),
            scratch=tuple(options.get("scratch", ())),
            user=int(options.get("user", 1000)),
            resources=Resources(cpu=float(options.get("cpu", 1.0)), memory=_bytes(options.get("memory", "512Mi"))),
            ready=tuple(ready.get("command", ())),
            ready_path=ready.get("path", ""),
        )

    def _filled(self, ctx: RecipeContext, option: str) -> dict[str, str]:
        return {name: self._fill(ctx, str(value)) for name, value in ctx.dependency.options.get(option, {}).items()}

    def _fill(self, ctx: RecipeContext, text: str) -> str:
        for name, value in self.fields(ctx).items():
            text = text.replace(f"{{{name}}}", value)
        return text


def _match(dependency: Dependency, option: str, pattern: re.Pattern[str], value: object, sample: str) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise checks.refuse_option(dependency, option, f"{value!r} can't be used", f"Write `{sample}`.")


def _number(dependency: Dependency, option: str, value: object, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most:
        raise checks.refuse_option(
            dependency, option, f"{value!r} is not a number from 1 to {most}", f"Write `{option}: 1000`."
        )


def _check_variables(dependency: Dependency, option: str, value: object) -> None:
    if not isinstance(value, Mapping) or not all(VARIABLE.fullmatch(str(name)) for name in value):
        raise checks.refuse_option(
            dependency, option, "is not a mapping of variables", f"Write `{option}: {{NAME: value}}`."
        )


def _check_ready(dependency: Dependency, value: object) -> None:
    hint = "Write `ready: {path: /health}` or `ready: {command: [program, word]}`; without, its port is asked."
    if not isinstance(value, Mapping) or not set(value) <= {"path", "command"} or len(value) > 1:
        raise checks.refuse_option(dependency, "ready", "is neither a path nor a command", hint)
    if "path" in value and not str(value["path"]).startswith("/"):
        raise checks.refuse_option(dependency, "ready", "its path has to begin with `/`", hint)
    if "command" in value and not isinstance(value["command"], list | tuple):
        raise checks.refuse_option(dependency, "ready", "its command is not a list of words", hint)


def _bytes(size: str) -> int:
    return int(size[:-2]) * UNITS[size[-2:]]
