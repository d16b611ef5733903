"""POST /webhooks/local: what the hook sends is understood; anything else is refused before it is parsed."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from django.conf import settings
from django.http import HttpResponse
from django.test import Client

from environments import webhooks, wishes
from environments.models import WebhookDelivery
from tests.fixtures_reconcile import World, world

__all__ = ["world"]

SECRET = "a secret of the hook"


@pytest.fixture(autouse=True)
def hook_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "HOOK_SECRET", SECRET)


def post(body: bytes, signature: str | None = None) -> HttpResponse:
    signed = webhooks.signature(body, SECRET) if signature is None else signature
    answer: Any = Client().post(
        "/webhooks/local", body, content_type="application/json", headers={webhooks.SIGNATURE: signed}
    )
    return answer


def delivery(repository: str, **payload: object) -> bytes:
    return json.dumps({"delivery": uuid.uuid4().hex, "event": "opened", "repository": repository, **payload}).encode()


def test_what_the_hook_says_becomes_a_wish(world: World) -> None:
    # Given a pull request in the repository, named as the hook names it: without an owner
    world.push(world.commit("one"), "feature")
    # When its delivery arrives
    answer = post(delivery(world.repository.name, number=1))
    # Then it is stored and answered, and once interpreted its environment is wished
    assert answer.status_code == 202
    stored = WebhookDelivery.objects.get()
    assert stored.interpreted_at is None
    wishes.interpret_delivery(stored.pk)
    assert world.environment(1).wanted_sha == world.commits[-1]


@pytest.mark.django_db
def test_a_delivery_is_stored_once() -> None:
    body = delivery("shop", number=1)
    assert [post(body).status_code for _ in range(3)] == [202, 200, 200]
    assert WebhookDelivery.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "signature", "status"),
    [
        (delivery("shop", number=1), "", 401),
        (delivery("shop", number=1), "sha256=0000", 401),
        (delivery("shop", number=1), webhooks.signature(b"another body", SECRET), 401),
        (b"not json", None, 400),
        (b"\xff\xfe", None, 400),
        (b"[]", None, 400),
        (b'{"event": "opened"}', None, 400),
        (b" " * (webhooks.LIMIT + 1), None, 413),
    ],
)
def test_what_is_no_delivery_is_refused(body: bytes, signature: str | None, status: int) -> None:
    assert post(body, signature).status_code == status
    assert not WebhookDelivery.objects.exists()


@pytest.mark.django_db
def test_without_a_secret_nothing_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "HOOK_SECRET", "")
    body = delivery("shop", number=1)
    assert post(body, webhooks.signature(body, "")).status_code == 401
