"""Addresses of testruns' pages and API."""

from django.urls import URLPattern, URLResolver, path

from testruns import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("findings/<int:finding_id>/picture.png", views.finding_picture, name="finding_picture"),
]
