"""Every address of the dashboard, the API and the webhooks."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from environments import webhooks


def healthz(request: HttpRequest) -> HttpResponse:
    """Answers when the web program is up; it asks no other server."""
    return HttpResponse("ok\n", content_type="text/plain")


urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("admin/", admin.site.urls),
    path("webhooks/local", webhooks.local, name="webhook-local"),
    path("", include("testruns.urls")),
    path("", include("environments.urls")),
]
