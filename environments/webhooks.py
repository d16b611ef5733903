"""POST /webhooks/local: check the signature, store the delivery, answer. Nothing slow, nothing lost."""

from __future__ import annotations

import hashlib
import hmac
import json

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from environments import services

SIGNATURE = "X-PreviewKit-Signature"
LIMIT = 1024 * 1024
"""Bytes of a body that are looked at."""


def signature(body: bytes, secret: str) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@csrf_exempt
@require_POST
def local(request: HttpRequest) -> JsonResponse:
    """202 stored, 200 known already, 401 wrong signature, 400 not a delivery, 413 too large."""
    if int(request.headers.get("Content-Length") or 0) > LIMIT:
        return JsonResponse({"error": "too large"}, status=413)
    given = request.headers.get(SIGNATURE, "").encode()
    secret = settings.HOOK_SECRET
    if not secret or not hmac.compare_digest(given, signature(request.body, secret).encode()):
        return JsonResponse({"error": "wrong or missing signature"}, status=401)
    try:
        payload = json.loads(request.body)
        delivery_id, event = str(payload["delivery"])[:100], str(payload["event"])[:60]
    except (ValueError, KeyError, TypeError):
        return JsonResponse({"error": "not a delivery"}, status=400)
    stored = services.receive_delivery("local", delivery_id, event, payload)
    return JsonResponse({"stored": stored}, status=202 if stored else 200)
