"""Markdown of the comment as HTML that is safe to put on the page."""

from __future__ import annotations

import nh3
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

_PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
_TAGS = nh3.ALLOWED_TAGS | {"details", "summary"}
_ATTRIBUTES = {**nh3.ALLOWED_ATTRIBUTES, "a": {"href", "title"}, "img": {"src", "alt", "width", "height", "title"}}


def to_html(markdown: str) -> SafeString:
    """What GitHub shows of it, more or less: tables and <details>; no script, style, frame or comment."""
    unsafe = _PARSER.render(markdown)
    clean = nh3.clean(unsafe, tags=set(_TAGS), attributes=_ATTRIBUTES, link_rel="noopener nofollow")
    return mark_safe(clean)
