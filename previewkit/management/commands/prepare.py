"""`manage.py prepare`: the database migrated, and the installation's own operator there. May run again."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand

from previewkit.control_plane.configuration import Configuration
from previewkit.home import Home

OPERATOR = "admin"


class Command(BaseCommand):
    help = "Migrates the database and makes the operator `admin`, whose password is in control-plane.env."

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", interactive=False, verbosity=0)
        configuration = Configuration.load(Home.of_environment())
        users = get_user_model()._default_manager
        if configuration and not users.filter(username=OPERATOR).exists():
            get_user_model().objects.create_superuser(OPERATOR, password=configuration.admin_password)
