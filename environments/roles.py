"""Who may press which button."""

from __future__ import annotations

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, PermissionsMixin


def may_change(user: AbstractBaseUser | AnonymousUser) -> bool:
    """Retry, rebuild, stop, start. Everyone who is signed in may look."""
    if not isinstance(user, PermissionsMixin) or not user.is_active:
        return False
    return user.has_perm("environments.change_environment") or bool(getattr(user, "is_staff", False))
