"""The tests panel, for pages of an application that must not import this one."""

from __future__ import annotations

from typing import Any

from django import template

from environments.models import Deployment
from environments.selectors import Tally
from testruns import selectors
from testruns.models import Finding

register = template.Library()


@register.inclusion_tag("testruns/panel.html")
def tests_of(deployment: Deployment | None, tally: Tally, tests: str) -> dict[str, Any]:
    panel = selectors.tests_panel(deployment) if deployment else None
    return {"panel": panel, "deployment": deployment, "tally": tally, "tests": tests}


@register.filter
def verdict_word(finding: Finding) -> str:
    """`application bug`, after a person's overrule if there is one."""
    return str(Finding.Verdict(finding.final_verdict).label)


@register.filter
def percent(share: float) -> str:
    return f"{100 * share:.0f} %"
