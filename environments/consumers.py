"""Live updates to browsers, through Channels."""

from django.urls import URLPattern

websocket_urlpatterns: list[URLPattern] = []
