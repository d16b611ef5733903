"""The dashboard's pages and buttons: selectors read, services write, a view translates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.contrib import messages
from django.contrib.auth.decorators import login_required, user_passes_test
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from environments import fragments, selectors, services
from environments.models import Deployment, Environment
from environments.ports import PreviewError
from environments.roles import may_change


@dataclass(frozen=True)
class Button:
    press: Callable[[Environment, str], None]
    said: str


BUTTONS = {
    "retry": Button(services.retry, "Retry: the same commit is brought up again."),
    "rebuild": Button(services.rebuild, "Rebuild: a fresh namespace with fresh data is on its way."),
    "stop": Button(services.stop, "Stop: everything of this environment is being deleted."),
    "start": Button(services.start, "Start: the environment is on its way."),
}


def changer_required(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Signed in, and allowed to press buttons; else the sign-in page, or 403."""

    def check(user: object) -> bool:
        if not may_change(user):  # type: ignore[arg-type]
            raise PermissionDenied
        return True

    return login_required(user_passes_test(check)(view))


@require_safe
@login_required
def environment_list(request: HttpRequest) -> HttpResponse:
    listing = selectors.Listing.of(request.GET.dict())
    return render(request, "environments/list.html", {"list": selectors.environment_list(listing)})


@require_safe
@login_required
def environment(request: HttpRequest, environment_id: int, generation: int | None = None) -> HttpResponse:
    try:
        page = selectors.environment_page(environment_id, generation)
    except (Environment.DoesNotExist, Deployment.DoesNotExist) as missing:
        raise Http404(str(missing)) from missing
    return render(request, "environments/environment.html", fragments.context(page, request.user))


@require_POST
@changer_required
def press(request: HttpRequest, environment_id: int, button: str) -> HttpResponse:
    chosen = get_object_or_404(Environment, pk=environment_id)
    try:
        BUTTONS[button].press(chosen, request.user.get_username())
        messages.success(request, BUTTONS[button].said)
    except PreviewError as error:
        messages.error(request, f"{error.message} {error.hint}")
    if request.headers.get("HX-Request"):
        return render(request, "notices.html", {"oob": True})
    return redirect("environment", environment_id)


@require_safe
@login_required
def log(request: HttpRequest, environment_id: int, generation: int, layer: str) -> HttpResponse:
    """One layer's log: the panel, or with `before` the chunks before that one."""
    deployment = get_object_or_404(Deployment, environment=environment_id, generation=generation)
    before = request.GET.get("before", "")
    earlier = before.isascii() and before.isdigit() and len(before) < 19
    part = selectors.log_end(deployment, layer, int(before) if earlier else None)
    return render(request, "environments/log_earlier.html" if earlier else "environments/log.html", {"log": part})


@require_safe
@login_required
def log_text(request: HttpRequest, environment_id: int, generation: int, layer: str) -> HttpResponse:
    """The whole log, as it was printed."""
    deployment = get_object_or_404(Deployment, environment=environment_id, generation=generation)
    text = selectors.log_text(deployment, layer)
    return HttpResponse(text, content_type="text/plain; charset=utf-8")
