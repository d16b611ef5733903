"""How the dashboard writes times, lengths of time, shas and log lines."""

from __future__ import annotations

import re
from datetime import datetime

from django import template
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

register = template.Library()

_TERMINAL = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-Z\\-_]|[\x00-\x08\x0b-\x1f\x7f]"
)
"""Colours and cursor moves (ECMA-48), and control characters but tab and newline."""
_OVERWRITTEN = re.compile(r"^.*\r(?!$)", re.MULTILINE)
"""A progress bar's earlier states: what a terminal would have written over."""


@register.filter
def duration(seconds: float | None) -> str:
    """`0.42 s`, `12.3 s`, `3 min 05 s`, `2 h 10 min`; empty for None. The same steps as app.js."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _ago(seconds: float) -> str:
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "just now"


@register.simple_tag
def ago(when: datetime | None) -> SafeString | str:
    """How long ago; app.js keeps it true while the page is open."""
    if when is None:
        return ""
    return format_html(
        '<time datetime="{}" title="{}" data-ago>{}</time>',
        when.isoformat(timespec="seconds"),
        f"{when.astimezone(timezone.get_current_timezone()):%Y-%m-%d %H:%M:%S %Z}",
        _ago((timezone.now() - when).total_seconds()),
    )


@register.filter
def sha(value: str) -> str:
    return value[:8]


@register.filter
def plain(text: str) -> str:
    """A program's output as a terminal would show it in the end, without colours."""
    return _TERMINAL.sub("", _OVERWRITTEN.sub("", text.replace("\r\n", "\n")))


@register.filter
def prose(text: str) -> SafeString:
    """A message with `commands` in backticks, as errors are written."""
    parts = re.split(r"`([^`\n]+)`", text)
    return format_html_join(
        "", "{}", ((part if i % 2 == 0 else format_html("<code>{}</code>", part),) for i, part in enumerate(parts))
    )


@register.filter
def command(value: object) -> str:
    """A found command, however it was stored: words, or one line."""
    return " ".join(str(word) for word in value) if isinstance(value, list | tuple) else str(value)
