"""The parts of a page that change by themselves: rendered the same for a request and for a push."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from environments import comment, selectors
from environments.markdown import to_html
from environments.models import LogChunk
from environments.roles import may_change
from environments.selectors import EnvironmentPage, Listing, Row

PARTS = (
    "heading",
    "failure",
    "layers",
    "tests",
    "comment",
    "addresses",
    "services",
    "dependencies",
    "deployments",
    "history",
)
"""Each is a template in environments/page/, whose outermost element has the same id."""

Fragments = dict[str, str]
"""By the id of the element: HTML that htmx puts in its place."""


def context(page: EnvironmentPage, user: AbstractBaseUser | AnonymousUser) -> dict[str, Any]:
    """What the page's templates read."""
    return {
        "page": page,
        "environment": page.environment,
        "deployment": page.deployment,
        "may_change": may_change(user),
        "comment": _comment(page),
        "log": log_panel(page),
    }


def _comment(page: EnvironmentPage) -> SafeString | None:
    """Environments of branches have no comment; an older deployment's is gone."""
    if page.environment.pull is None or not page.is_present:
        return None
    return to_html(comment.render(page.environment))


def log_panel(page: EnvironmentPage) -> selectors.LogPart | None:
    if page.deployment is None:
        return None
    return selectors.log_end(page.deployment, selectors.first_log(page))


def of_page(page: EnvironmentPage, user: AbstractBaseUser | AnonymousUser) -> Fragments:
    shown = {**context(page, user), "oob": True}
    return {part: render_to_string(f"environments/page/{part}.html", shown) for part in PARTS}


def log_of_page(page: EnvironmentPage) -> str:
    """The whole log panel: sent when another deployment is shown than before."""
    return render_to_string("environments/log.html", {"log": log_panel(page), "oob": True})


def of_list(listing: Listing) -> Fragments:
    shown = {"list": selectors.environment_list(listing), "oob": True}
    return {"list": render_to_string("environments/list_rows.html", shown)}


def of_rows(rows: list[Row]) -> Fragments:
    return {
        f"environment-{row.environment.pk}": render_to_string("environments/row.html", {"row": row, "oob": True})
        for row in rows
    }


def of_log(deployment_id: int, layer: str, chunks: tuple[LogChunk, ...]) -> str:
    shown = {"deployment_id": deployment_id, "layer": layer, "chunks": chunks}
    return render_to_string("environments/log_added.html", shown)
