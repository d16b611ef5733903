"""Static sites: which directory is served."""

from __future__ import annotations

import re

from environments.builders.detect.model import Plan, StaticSite
from environments.builders.detect.sources import Sources

ROOTS = ("public", "dist", "site", "www")


def detect(sources: Sources) -> Plan | None:
    stated = re.search(r"^root:\s*['\"]?([\w./-]+)", sources.text("Staticfile"), re.MULTILINE)
    if stated and sources.has_dir(stated[1]):
        return _plan(stated[1], f"The Staticfile names {stated[1]}")
    if sources.has("index.html"):
        return _plan(".", "index.html")
    for root in ROOTS:
        if sources.has(f"{root}/index.html"):
            return _plan(root, f"{root}/index.html")
    return None


def _plan(root: str, seen: str) -> Plan:
    return Plan(
        language="static",
        tool="none",
        why=(f"{seen}: a static site, its files are served as they are.",),
        site=StaticSite(root, single_page=False),
    )
