"""Static files under ASGI: WhiteNoise chooses what to send, and it is handed over whole.

WhiteNoise answers with an open file, which Django's ASGI server reads in one go anyway, with a warning for each.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import StaticFile


class StaticFiles(WhiteNoiseMiddleware):
    @staticmethod
    def serve(static_file: StaticFile, request: HttpRequest) -> HttpResponse:
        chosen = static_file.get_response(request.method, request.META)
        content = b""
        if chosen.file is not None:
            with chosen.file:
                content = chosen.file.read()
        response = HttpResponse(content, status=int(chosen.status))
        del response.headers["Content-Type"]
        for name, value in chosen.headers:
            response.headers[name] = value
        return response
