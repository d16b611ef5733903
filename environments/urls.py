"""Addresses of environments' pages and API."""

from django.conf import settings
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import URLPattern, URLResolver, path, register_converter
from django.urls.converters import StringConverter
from django.views.generic import RedirectView

from environments import views
from environments.models import LAYERS
from environments.selectors import ALL_LAYERS


class LayerConverter(StringConverter):
    regex = "|".join((*LAYERS, ALL_LAYERS))


class ButtonConverter(StringConverter):
    regex = "|".join(views.BUTTONS)


register_converter(LayerConverter, "layer")
register_converter(ButtonConverter, "button")

urlpatterns: list[URLPattern | URLResolver] = [
    path("sign-in/", LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("sign-out/", LogoutView.as_view(), name="logout"),
    # Where no page names the picture (/admin, plain text), browsers ask here.
    path("favicon.ico", RedirectView.as_view(url=f"{settings.STATIC_URL}favicon.svg")),
    path("", views.environment_list, name="environments"),
    path("environments/<int:environment_id>/", views.environment, name="environment"),
    path("environments/<int:environment_id>/deployments/<int:generation>/", views.environment, name="deployment"),
    path(
        "environments/<int:environment_id>/deployments/<int:generation>/log/<layer:layer>/",
        views.log,
        name="log",
    ),
    path(
        "environments/<int:environment_id>/deployments/<int:generation>/log/<layer:layer>.txt",
        views.log_text,
        name="log_text",
    ),
    path("environments/<int:environment_id>/<button:button>/", views.press, name="press"),
]
