"""The WSGI application, for servers that know no ASGI. No live updates there."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "previewkit.settings")
application = get_wsgi_application()
