"""From the text of a .preview.yaml to its Spec, or to everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from environments.spec import written as w
from environments.spec.checks import NamedService, check, names_of, start_order
from environments.spec.documents import SIZE_LIMIT, At, Node, read
from environments.spec.models import Build, Dependency, Health, Previews, Resources, Service, Spec, Tests
from environments.spec.problems import Problems, SpecError, SpecProblem, listed, shown

FILENAME = ".preview.yaml"


def parse(text: str | bytes, *, filename: str = FILENAME) -> Spec:
    """Raises SpecError (a UserError: spec_invalid, spec_cycle, recipe_unknown …) with all problems at once."""
    problems = Problems(filename)
    root = read(text, problems)
    written = _shape(root, problems) if root else None
    order: list[str] = []
    names = None
    if root:
        names = names_of(root, problems)
        check(root, names, problems)
        order = start_order(names.services, problems) if len(names.services) <= w.SERVICES_LIMIT else []
    problems.raise_if_any()
    assert written is not None and names is not None
    return _meaning(written, names.services, order)


def load(root: Path) -> Spec:
    """The file of a checked-out commit. Raises SpecError, also where there is none (spec_missing)."""
    path = root / FILENAME
    if not path.resolve().is_relative_to(root.resolve()):
        # A commit of a stranger must not show other files of this machine in its error messages.
        _refuse(FILENAME, "spec_invalid", "found a link out of the repository, allowed: a file")
    return parse(_content(path, FILENAME), filename=FILENAME)


def lint_file(path: Path) -> tuple[Spec | None, list[SpecProblem]]:
    """What the file means, or all that is wrong with it."""
    try:
        return parse(_content(path, str(path)), filename=str(path)), []
    except SpecError as error:
        return None, list(error.problems)


def _content(path: Path, filename: str) -> bytes:
    if not path.is_file():
        other = next((name for name in (".preview.yml", "preview.yaml") if (path.parent / name).is_file()), None)
        hint = f"rename {other}" if other else "add one; the smallest has six lines"
        code = "spec_invalid" if path.exists() else "spec_missing"
        _refuse(filename, code, "found no such file" if code == "spec_missing" else "found no file", hint)
    try:
        with path.open("rb") as file:
            return file.read(SIZE_LIMIT + 1)
    except OSError as error:
        _refuse(filename, "spec_invalid", f"can't be read: {error.strerror}")
        raise AssertionError from error  # not reached


def _refuse(filename: str, code: str, message: str, hint: str = "") -> None:
    raise SpecError([SpecProblem(1, 1, "", message, hint, code, filename)])


# ── the shape ───────────────────────────────────────────────────────────────────────────────

FORMS: dict[str, type[w.Written]] = {
    "": w.WrittenSpec,
    "services.*": w.WrittenService,
    "services.*.build.<dockerfile>": w.DockerfileForm,
    "services.*.build.<image>": w.ImageForm,
    "services.*.health": w.WrittenHealth,
    "services.*.resources": w.WrittenResources,
    "dependencies.*.<form>": w.DependencyForm,
    "previews": w.WrittenPreviews,
    "tests": w.WrittenTests,
}
"""Which keys a mapping may have, by its place."""


def _shape(root: Node, problems: Problems) -> w.WrittenSpec | None:
    try:
        return w.WrittenSpec.model_validate(root.plain())
    except ValidationError as error:
        for each in error.errors(include_url=False):
            _report(each, root, problems)
        return None


def _report(error: Any, root: Node, problems: Problems) -> None:
    loc, context, found = error["loc"], error.get("ctx", {}), error["input"]
    at, path = _place(root, loc, on_key=error["type"] == "extra_forbidden")
    match error["type"]:
        case "leaf":
            problems.add(
                at,
                path,
                f"found {context['found']}, allowed: {context['allowed']}",
                context["hint"],
                code=context["code"],
            )
        case "no_form":
            problems.add(at, path, f"found {shown(found)}, allowed: {context['allowed']}", _no_value(found))
        case "extra_forbidden":
            keys = list(_form(loc[:-1]).model_fields)
            problems.add(
                at,
                path,
                f"found the unknown key {shown(loc[-1])}, allowed: {listed(keys)}",
                "" if loc[-1] != "<<" else "merge keys are not part of YAML 1.2; aliases are",
                word=str(loc[-1]),
                words=keys,
            )
        case "missing":
            problems.add(at, path, f"found no key `{loc[-1]}`, which is needed")
        case "list_type":
            hint = f"write [{found}]" if isinstance(found, str) and len(found) < 40 else _no_value(found)
            problems.add(at, path, f"found {shown(found)}, allowed: a list", hint)
        case "too_short":
            problems.add(at, path, "found none, allowed: at least one")
        case "too_long":
            problems.add(at, path, f"found {len(found)}, allowed: at most {context['max_length']}")
        case _:  # model_type, dict_type
            problems.add(at, path, f"found {shown(found)}, allowed: a mapping", _no_value(found))


def _no_value(found: object) -> str:
    return "remove the key, or give it a value" if found is None else ""


def _form(loc: tuple[int | str, ...]) -> type[w.Written]:
    parts = [
        "*" if isinstance(part, int) or (index == 1 and loc[0] == "services") else part
        for index, part in enumerate(loc)
    ]
    return FORMS[".".join(str(part) for part in parts)]


def _place(root: Node, loc: tuple[int | str, ...], *, on_key: bool) -> tuple[At, str]:
    """Where the document says what pydantic calls `loc`, and its path as a person writes it."""
    node, at, path = root, root.at, ""
    for part in loc:
        if isinstance(part, int):
            node = node.items()[part]
            at, path = node.at, f"{path}[{part}]"
        elif part in node.entries():
            entry = node.entries()[part]
            node = entry.node
            at = entry.at if (on_key and part == loc[-1]) or node.value is None else node.at
            path = f"{path}.{part}" if path else part
            if loc[-1] == "[key]":
                at = entry.at
        # Else a tag of a form (`<image>`), a missing key, or the mark of a key (`[key]`): no step in the document.
    return at, path if len(path) <= 120 else path[:119] + "…"


# ── the meaning ─────────────────────────────────────────────────────────────────────────────


def _meaning(written: w.WrittenSpec, named: dict[str, NamedService], order: list[str]) -> Spec:
    return Spec(
        services={name: _service(named[name], written.services[name], order) for name in order},
        dependencies=tuple(_dependency(each) for each in written.dependencies or ()),
        previews=Previews(**_given(written.previews)),
        tests=Tests(**_given(written.tests)),
        **{key: value for key, value in _given(written).items() if key in ("version", "isolation")},
    )


def _service(named: NamedService, written: w.WrittenService, order: list[str]) -> Service:
    given = _given(written)
    return Service(
        name=named.name,
        public=named.public,
        depends_on=tuple(name for name in order if name in named.after),
        build=_build(given.pop("build", "railpack")),
        health=Health(**_given(given.pop("health", None))),
        resources=Resources(**_given(given.pop("resources", None))),
        secrets=tuple(dict.fromkeys(given.pop("secrets", ()))),
        **{key: value for key, value in given.items() if key not in ("public", "depends_on")},
    )


def _build(written: str | w.DockerfileForm | w.ImageForm) -> Build:
    if isinstance(written, w.ImageForm):
        return Build(kind="image", image=written.image)
    if isinstance(written, w.DockerfileForm):
        return Build(kind="dockerfile", **_given(written))
    return Build(kind="dockerfile", dockerfile="Dockerfile") if written == "dockerfile" else Build()


def _dependency(written: dict[str, str] | w.DependencyForm) -> Dependency:
    given = _given(written) if isinstance(written, w.DependencyForm) else dict(written)
    return Dependency(**{"name": given["recipe"], **given})


def _given(written: w.Written | None) -> dict[str, Any]:
    """The keys that are in the file, with what they mean."""
    return {key: getattr(written, key) for key in written.model_fields_set} if written else {}
