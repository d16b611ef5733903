"""What all recipes check and name alike: versions, options, conventional variables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from environments.ports import UserError
from environments.spec import Dependency


def check_version(dependency: Dependency, allowed: Iterable[str], what: str) -> None:
    """`allowed` are major versions; `16` and `16.3` are both a 16."""
    majors = list(allowed)
    version = dependency.version
    if version is None:
        return
    if not re.fullmatch(r"\d{1,3}(\.\d{1,4}){0,2}", version) or version.split(".")[0] not in majors:
        raise UserError(
            "recipe_version",
            f"{dependency.name}: {what} has no version {version!r}.",
            f"Use one of {', '.join(majors)}.",
        )


def check_options(dependency: Dependency, allowed: Iterable[str]) -> None:
    known = sorted(allowed)
    for name in dependency.options:
        if name not in known:
            hint = f"Use one of {', '.join(known)}." if known else "It has none; remove `options`."
            raise UserError(
                "recipe_option", f"{dependency.name}: recipe {dependency.recipe} has no option {name!r}.", hint
            )


def refuse_option(dependency: Dependency, option: str, why: str, hint: str) -> UserError:
    return UserError("recipe_option", f"{dependency.name}: option {option}: {why}.", hint)


def is_version(wanted: str | None, runs: str) -> bool:
    """`16` is honoured by 16.14; `16.3` is not."""
    return wanted is None or runs == wanted or runs.startswith(f"{wanted}.")


def note(dependency: Dependency, runs: str, what: str) -> str:
    """The sentence for the page and the comment where another version runs than was wanted."""
    if is_version(dependency.version, runs):
        return ""
    return f"{dependency.recipe} {dependency.version} was asked for; {what} {runs} runs here."


def conventional(dependency: Dependency, variables: Mapping[str, str]) -> dict[str, str]:
    """As they are for a dependency that has its recipe's name; else prefixed: `analytics` → ANALYTICS_…"""
    if dependency.name == dependency.recipe:
        return dict(variables)
    prefix = re.sub(r"[^A-Za-z0-9]", "_", dependency.name).upper()
    return {f"{prefix}_{name}": value for name, value in variables.items()}
