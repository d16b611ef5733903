"""Live updates to browsers, through Channels."""

from typing import Any

websocket_urlpatterns: list[Any] = []
"""What `django.urls.path` returns for a consumer is typed as a view; Channels types it otherwise."""
