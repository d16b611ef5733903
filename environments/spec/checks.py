"""What the shape of a file can't tell: that names exist and differ, that references mean something, the order.

Looks at the document itself and skips what is malformed, so that a mistake in one place hides none in another.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from environments.spec.documents import At, Node
from environments.spec.models import FRONT_NAMES
from environments.spec.problems import Problems, listed, nearest, shown
from environments.spec.references import (
    PR_FIELDS,
    PREVIEW_FIELDS,
    RECIPE_FIELDS,
    SERVICE_FIELDS,
    Malformed,
    Reference,
    scan,
)


@dataclass
class NamedService:
    name: str
    at: At
    node: Node
    port: bool
    public: bool = False
    after: dict[str, At] = field(default_factory=dict)
    """Services that start before it, each with the place that says so."""


@dataclass(frozen=True)
class NamedDependency:
    name: str
    at: At
    recipe: str


@dataclass
class Names:
    """Everything in a file that can be referred to."""

    services: dict[str, NamedService]
    dependencies: dict[str, NamedDependency]


def names_of(root: Node, problems: Problems) -> Names:
    """The file's names; two things of one name are a problem."""
    services: dict[str, NamedService] = {}
    at = root.get("services")
    for name, entry in (at.entries() if at else {}).items():
        services[name] = NamedService(name, entry.at, entry.node, port=entry.node.get("port") is not None)
    _decide_public(services)
    dependencies: dict[str, NamedDependency] = {}
    listing = root.get("dependencies")
    for index, node in enumerate(listing.items() if listing else []):
        dependency = _dependency(node)
        if dependency is None:
            continue
        path, shown_name = f"dependencies[{index}]", shown(dependency.name)
        if dependency.name in dependencies:
            line = dependencies[dependency.name].at[0]
            problems.add(
                dependency.at,
                path,
                f"found {shown_name} again (it is on line {line} too), allowed: names that differ",
                f"write {{recipe: {dependency.recipe}, name: …}}",
            )
        elif dependency.name in services:
            line = services[dependency.name].at[0]
            problems.add(
                dependency.at,
                path,
                f"found {shown_name}, which is a service too (line {line}), allowed: names that differ",
                f"write {{recipe: {dependency.recipe}, name: …}}, or rename the service",
            )
        dependencies.setdefault(dependency.name, dependency)
    return Names(services, dependencies)


def _decide_public(services: dict[str, NamedService]) -> None:
    """Public unless stated: the only service with a port, and each that is named like a front end."""
    with_port = [service for service in services.values() if service.port]
    for service in services.values():
        stated = service.node.get("public")
        if stated is not None:
            service.public = stated.value is True
        else:
            service.public = service.port and (len(with_port) == 1 or service.name in FRONT_NAMES)


def _dependency(node: Node) -> NamedDependency | None:
    if isinstance(node.value, str):
        short = node.value.partition("@")[0]
        return NamedDependency(short, node.at, short)
    recipe, name = node.get("recipe"), node.get("name")
    if recipe is None or not isinstance(recipe.value, str):
        return None
    named = name if name is not None and isinstance(name.value, str) else recipe
    return NamedDependency(named.value, named.at, recipe.value)


def check(root: Node, names: Names, problems: Problems) -> None:
    """Fills in each service's `after`, and adds what is wrong."""
    for service in names.services.values():
        _check_service(service, names, problems)
    listing = root.get("dependencies")
    for index, node in enumerate(listing.items() if listing else []):
        recipe = node.get("recipe")
        options = node.get("options")
        if recipe and options and recipe.value == "api-gateway":
            _check_routes(options, f"dependencies[{index}].options", names, problems)


def _check_service(service: NamedService, names: Names, problems: Problems) -> None:
    path = f"services.{service.name}"
    public = service.node.get("public")
    if public is not None and public.value is True and not service.port:
        problems.add(public.at, f"{path}.public", "found true without a port, allowed: true with `port`")
    stated = service.node.get("depends_on")
    for index, node in enumerate(stated.items() if stated else []):
        if not isinstance(node.value, str):
            continue
        if node.value in names.services:
            service.after.setdefault(node.value, node.at)
        elif node.value in names.dependencies:
            problems.add(
                node.at,
                f"{path}.depends_on[{index}]",
                f"found the dependency {shown(node.value)}, allowed: services",
                "remove it: all dependencies start before all services",
            )
        else:
            _unknown(node.at, f"{path}.depends_on[{index}]", node.value, list(names.services), problems)
    env = service.node.get("env")
    secrets = service.node.get("secrets")
    hidden = {node.value for node in (secrets.items() if secrets else []) if isinstance(node.value, str)}
    for key, entry in (env.entries() if env else {}).items():
        if key in hidden:
            problems.add(
                entry.at,
                f"{path}.env.{key}",
                f"found {shown(key)} in `env` and in `secrets`, allowed: one of them",
            )
        if isinstance(entry.node.value, str):
            _check_value(entry.node, f"{path}.env.{key}", service, names, problems)


def _check_value(node: Node, path: str, service: NamedService, names: Names, problems: Problems) -> None:
    for found in scan(node.value):
        if problems.full:
            return
        if isinstance(found, Malformed):
            allowed = "{{services.NAME.FIELD}} or {{DEPENDENCY.FIELD}}"
            hint = "" if found.closed else "close it with }}"
            problems.add(node.at, path, f"found {shown(found.text)}, allowed: references such as {allowed}", hint)
            continue
        _check_reference(found, node.at, path, names, problems)
        if found.service in names.services:
            service.after.setdefault(found.service, node.at)


def _check_reference(reference: Reference, at: At, path: str, names: Names, problems: Problems) -> None:
    head, *rest = reference.parts
    if head == "services":
        _check_service_reference(rest, at, path, names, problems)
    elif head == "pr":
        _check_field(head, rest, PR_FIELDS, at, path, problems)
    elif head == "preview":
        _check_field(head, rest, PREVIEW_FIELDS, at, path, problems)
    elif head in names.dependencies:
        fields = RECIPE_FIELDS.get(names.dependencies[head].recipe)
        if fields is not None:  # else the unknown recipe is the problem, and is reported as that
            _check_field(head, rest, fields, at, path, problems)
    else:
        words = [*names.dependencies, "services", "pr", "preview"]
        hint = f'did you mean "{{{{services.{reference.name}}}}}"?' if head in names.services else ""
        if head in RECIPE_FIELDS:
            hint = f"add {head} to `dependencies`"
        problems.add(
            at,
            path,
            f"found the unknown name {shown(head)} in {{{{{reference.name[:80]}}}}}, allowed: {listed(words)}",
            hint,
            word=head,
            words=words,
        )


def _check_service_reference(rest: list[str], at: At, path: str, names: Names, problems: Problems) -> None:
    name = rest[0]
    target = names.services.get(name)
    if target is None:
        _unknown(at, path, name, list(names.services), problems, what="service")
        return
    if not _check_field(f"services.{name}", rest[1:], SERVICE_FIELDS, at, path, problems):
        return
    if rest[1] == "public_url":
        if not target.public:
            problems.add(
                at, path, f"found the public_url of {name}, which is not public", f"set `public: true` on {name}"
            )
    elif not target.port:
        problems.add(at, path, f"found the {rest[1]} of {name}, which has no port", f"set `port` on {name}")


def _check_field(owner: str, rest: list[str], fields: tuple[str, ...], at: At, path: str, problems: Problems) -> bool:
    if len(rest) == 1 and rest[0] in fields:
        return True
    wanted = ".".join(rest)
    near = nearest(wanted, fields)
    problems.add(
        at,
        path,
        f"found the unknown field {shown(wanted)} of {owner}, allowed: {listed(fields)}",
        f'did you mean "{{{{{owner}.{near}}}}}"?' if near else "",
    )
    return False


def _check_routes(options: Node, path: str, names: Names, problems: Problems) -> None:
    """What an api-gateway routes to; the rest of its options is the recipe's to check."""
    routes = options.get("routes")
    with_port = [f"services.{service.name}" for service in names.services.values() if service.port]
    for index, route in enumerate(routes.items() if routes else []):
        to = route.get("to")
        if to is None or to.value in with_port:
            continue
        head, _, name = to.value.partition(".") if isinstance(to.value, str) else ("", "", "")
        hint = ""
        if head == "services" and name in names.services:
            hint = f"{name} has no port: set `port`"
        elif head in names.services:
            hint = f'did you mean "services.{head}"?'
        problems.add(
            to.at,
            f"{path}.routes[{index}].to",
            f"found {shown(to.value)}, allowed: {listed(with_port)}",
            hint,
            word=to.value if isinstance(to.value, str) else None,
            words=with_port,
        )


def _unknown(at: At, path: str, name: str, words: list[str], problems: Problems, *, what: str = "name") -> None:
    problems.add(at, path, f"found the unknown {what} {shown(name)}, allowed: {listed(words)}", word=name, words=words)


def start_order(services: dict[str, NamedService], problems: Problems) -> list[str]:
    """Each service after all it depends on, otherwise as in the file; a circle is printed as it runs."""
    order: list[str] = []
    trail: list[str] = []

    def visit(name: str) -> None:
        if name in order:
            return
        if name in trail:
            circle = [*trail[trail.index(name) :], name]
            problems.add(
                services[trail[-1]].after[name],
                f"services.{trail[-1]}",
                f"found a circle, {' → '.join(circle)}, allowed: services that start one after another",
                "remove one of these; a `public_url` may be referred to in a circle"
                if len(circle) > 2
                else "a service can't start after itself; its `public_url` it may refer to",
                code="spec_cycle",
            )
            return
        trail.append(name)
        for before in sorted(services[name].after, key=list(services).index):
            visit(before)
        trail.pop()
        order.append(name)

    for name in services:
        visit(name)
    return order
