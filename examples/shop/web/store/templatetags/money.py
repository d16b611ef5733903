"""Money as it is shown."""

from django import template

register = template.Library()


@register.filter
def euros(cents: int) -> str:
    """4200 → €42.00"""
    return f"€{cents // 100}.{cents % 100:02}"
