"""Pages of test runs: for now the pictures of findings."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from testruns import selectors


@require_safe
@login_required
@cache_control(private=True, max_age=86400, immutable=True)
def finding_picture(request: HttpRequest, finding_id: int) -> HttpResponse:
    picture = selectors.picture(finding_id)
    if picture is None:
        raise Http404("This finding has no picture.")
    return HttpResponse(picture, content_type="image/png", headers={"X-Content-Type-Options": "nosniff"})
