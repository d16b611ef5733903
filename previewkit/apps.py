"""The control plane as a Django application: its management commands and checks."""

from django.apps import AppConfig


class PreviewKitConfig(AppConfig):
    name = "previewkit"
