"""What a Dramatiq worker loads: Django, the broker of the settings, and every application's actors."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "previewkit.settings")
django.setup()

import dramatiq  # noqa: E402
from django.conf import settings  # noqa: E402
from django.utils.module_loading import autodiscover_modules  # noqa: E402

autodiscover_modules(*settings.DRAMATIQ_AUTODISCOVER_MODULES)
broker = dramatiq.get_broker()
