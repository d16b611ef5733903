"""Brings one managed dependency of an environment up: its data, its program, its first questions."""

from __future__ import annotations

import secrets
import time
import uuid
from dataclasses import dataclass

from environments.ports import DependencyHandle, Fence, OnLine, PlatformError, Recipe, RecipeContext
from environments.recipes import recipe_for
from environments.runtimes.machine import launches, processes
from environments.runtimes.machine.files import remove_tree, take_place, write_whole
from environments.runtimes.machine.launches import Launch
from environments.runtimes.machine.leases import PortLeases, accepts
from environments.runtimes.machine.limits import Limits
from environments.runtimes.machine.logtail import LogTail
from environments.runtimes.machine.place import (
    DependencyRecord,
    EnvironmentRecord,
    Place,
    dependency_program,
)
from environments.runtimes.machine.supervision import Supervisor
from environments.runtimes.machine.templates import Templates
from environments.runtimes.unprivileged import as_unprivileged
from environments.spec import Dependency

TIMEOUT = 60.0
STEP = 0.01
FENCE_EVERY = 0.5


@dataclass(frozen=True)
class Dependencies:
    """The managed dependencies of one environment."""

    place: Place
    leases: PortLeases
    limits: Limits
    templates: Templates

    # ── what is wanted ──────────────────────────────────────────────────────────────────────

    def register(self, record: EnvironmentRecord, dependency: Dependency) -> DependencyRecord:
        """Its ports and password, the same as before where its data can be kept. Under the environment's lock."""
        recipe = recipe_for(dependency.recipe)
        recipe.check(dependency)
        version, note = recipe.embedded_version(dependency)
        known = record.dependencies.get(dependency.name)
        if known and (known.dependency.recipe, known.version) != (dependency.recipe, version):
            self.forget(record, dependency.name)  # another program can't read its data
            known = None
        if known is None:
            record.dependencies[dependency.name] = DependencyRecord(
                dependency=dependency,
                version=version,
                note=note,
                ports=self._ports(dependency.name, recipe),
                password=secrets.token_urlsafe(24),
            )
        elif known.dependency != dependency:
            changed = {"dependency": dependency, "note": note, "finished": False}
            record.dependencies[dependency.name] = known.model_copy(update=changed)
        return record.dependencies[dependency.name]

    def forget(self, record: EnvironmentRecord, name: str) -> None:
        Supervisor(self.place).remove(dependency_program(name))
        remove_tree(self.place.data(name))
        for port_name in record.dependencies[name].ports:
            self.leases.drop(self.place.namespace, f"dependency/{name}/{port_name}")
        del record.dependencies[name]

    def context(self, record: EnvironmentRecord, name: str, revision: int | None = None) -> RecipeContext:
        known = record.dependencies.get(name)
        if known is None:
            raise PlatformError("runtime_unavailable", f"{self.place.namespace} has no dependency {name!r}.")
        revision = record.routed_revision if revision is None else revision
        return RecipeContext(
            dependency=known.dependency,
            host="127.0.0.1",
            ports=known.ports,
            password=known.password,
            data=self.place.data(name),
            services=record.endpoints(revision),
            revision=revision,
        )

    def handle(self, record: EnvironmentRecord, name: str, fresh: bool) -> DependencyHandle:
        known, ctx = record.dependencies[name], self.context(record, name)
        recipe = recipe_for(known.dependency.recipe)
        return DependencyHandle(
            name=name,
            recipe=recipe.name,
            version_wanted=known.dependency.version,
            version=known.version,
            fields=recipe.fields(ctx),
            variables=recipe.variables(ctx),
            note=known.note,
            fresh=fresh,
        )

    # ── data ────────────────────────────────────────────────────────────────────────────────

    def prepare(self, ctx: RecipeContext) -> bool:
        """Its data directory, complete or not there at all. True: made by this call."""
        if ctx.directory.exists():
            return False
        draft = ctx.directory.with_name(f".{ctx.dependency.name}.{uuid.uuid4().hex[:8]}")
        recipe = recipe_for(ctx.dependency.recipe)
        try:
            template = recipe.embedded_template(ctx.dependency)
            if template:
                self.templates.copy(recipe, ctx, template, draft)
            else:
                draft.mkdir(mode=0o700)
            return take_place(draft, ctx.directory)
        except BaseException:
            remove_tree(draft)
            raise

    def template_password(self, ctx: RecipeContext) -> str:
        """What the copied data directory was made with, until `embedded_finish` replaces it."""
        return self.templates.password(recipe_for(ctx.dependency.recipe).embedded_template(ctx.dependency))

    def write_files(self, ctx: RecipeContext) -> None:
        for name, text in recipe_for(ctx.dependency.recipe).embedded_files(ctx).items():
            file = ctx.directory / name
            if not file.exists() or file.read_text() != text:
                write_whole(file, text)

    # ── program ─────────────────────────────────────────────────────────────────────────────

    def start(self, record: EnvironmentRecord, ctx: RecipeContext) -> None:
        """Gives its program to the supervisor. Under the environment's lock."""
        name = dependency_program(ctx.dependency.name)
        program = recipe_for(ctx.dependency.recipe).embedded_program(ctx)
        known = record.dependencies[ctx.dependency.name]
        known.stop_signal, known.quit_signal = program.stop_signal, program.quit_signal
        limit = self.limits.open(self.place.namespace, name, None)
        Launch(
            argv=tuple(as_unprivileged(program.argv)) if program.drop_root else program.argv,
            env={**launches.base_env(self.place), **program.env},
            directory=str(ctx.directory),
            join=limit.join,
            starts=str(self.place.starts(name)),
        ).write(self.place.launch(name))
        Supervisor(self.place).add(name, stop_signal=program.stop_signal, stop_seconds=10, as_group=False)

    def wait(self, ctx: RecipeContext, on_line: OnLine, fence: Fence, timeout: float = TIMEOUT) -> None:
        """Until the server itself says that it is ready. Raises PlatformError(dependency_not_ready | port_in_use)."""
        program = dependency_program(ctx.dependency.name)
        recipe, log = recipe_for(ctx.dependency.recipe), LogTail(self.place.log(program), on_line)
        began = fenced = time.monotonic()
        port = ctx.ports[recipe.port_names[0]]
        while True:
            log.poll()
            if accepts(port) and recipe.ready(ctx):
                break
            now = time.monotonic()
            if now - fenced > FENCE_EVERY:
                fence()
                self.place.read()
                fenced = now
                self._check_alive(ctx, program, log)
            if now - began > timeout:
                raise PlatformError(
                    "dependency_not_ready",
                    f"{ctx.dependency.name} did not answer on port {port} within {timeout:.0f} s.",
                    "It is tried again.",
                    log_tail=log.last(),
                )
            time.sleep(STEP)
        self._check_ours(ctx, program)
        log.last()

    def _check_alive(self, ctx: RecipeContext, program: str, log: LogTail) -> None:
        state = Supervisor(self.place).state(program)
        if state is None or state.state in ("STARTING", "RUNNING", "STOPPED"):
            return
        self._check_ours(ctx, program)
        if self.place.start_count(program) >= 3 or state.state == "FATAL":
            how = Supervisor(self.place).last_exit(program)
            raise PlatformError(
                "dependency_not_ready", f"{ctx.dependency.name} ended at its start ({how}).",
                "It is tried again.", log_tail=log.last(),
            )  # fmt: skip

    def _check_ours(self, ctx: RecipeContext, program: str) -> None:
        """Whether another program listens on one of its ports; then it gets new ones the next time."""
        state = Supervisor(self.place).state(program)
        pid = state.pid if state else 0
        taken = [port for port in ctx.ports.values() if accepts(port) and not processes.has_listener(pid, port)]
        if not taken:
            return
        name = ctx.dependency.name
        with self.place.edit() as record:
            if name in record.dependencies and dict(record.dependencies[name].ports) == dict(ctx.ports):
                Supervisor(self.place).remove(program)
                recipe = recipe_for(ctx.dependency.recipe)
                # The busy ports are not free, so the new leases are others.
                for port_name in ctx.ports:
                    self.leases.drop(self.place.namespace, f"dependency/{name}/{port_name}")
                ports = self._ports(name, recipe)
                record.dependencies[name] = record.dependencies[name].model_copy(update={"ports": ports})
        raise PlatformError(
            "port_in_use",
            f"Another program took port {taken[0]}, which was leased to {name}.",
            "It is tried again with another port.",
        )

    def _ports(self, name: str, recipe: Recipe) -> dict[str, int]:
        return {
            port_name: self.leases.take(self.place.namespace, f"dependency/{name}/{port_name}")
            for port_name in recipe.port_names
        }
