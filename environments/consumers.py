"""Live updates to browsers, through Channels: HTML that htmx puts in place, and only what changed.

A browser says what it shows (which part of the list, which log and how far); the answer is everything that may
differ from it. It says so each time it connects, so a connection that was cut has missed nothing.
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal, cast

import structlog
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.http import QueryDict
from django.urls import path
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from environments import fragments, selectors
from environments.fragments import Fragments
from environments.models import LAYERS, Deployment, Environment
from environments.selectors import ALL_LAYERS, LOG_CHUNKS, Listing

GATHER = 0.1
"""Seconds in which changes are gathered into one push."""
NOT_SIGNED_IN = 4401
NOT_UNDERSTOOD = 4400
NOT_FOUND = 4404
BROKEN = 1011
"""The browser connects again after it, and not after the others."""

log = structlog.get_logger()


class Watch(BaseModel):
    """The log panel: what it shows, and the last chunk that it has."""

    model_config = ConfigDict(extra="forbid")

    deployment: int = Field(ge=0, lt=2**63)
    layer: str = Field(pattern=f"^({'|'.join((*LAYERS, ALL_LAYERS))})$")
    after: int = Field(ge=0, lt=2**63)


class Shows(BaseModel):
    """What a browser says."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["page", "log"]
    """page: everything may be old; log: only the log panel is another one."""
    query: str = Field(default="", max_length=1000)
    """The address's query: which part of the list."""
    watch: Watch | None = None


class LiveConsumer(AsyncWebsocketConsumer):
    """Signed-in browsers only; gathers changes, renders in a thread, sends what differs from what was sent."""

    async def connect(self) -> None:
        self._sent: dict[str, int] = {}
        self._due = False
        self._pushing: asyncio.Task[None] | None = None
        await self.accept()
        if not await database_sync_to_async(self._is_signed_in)():
            await self.close(NOT_SIGNED_IN)
            return
        await self.channel_layer.group_add(self.group(), self.channel_name)

    async def disconnect(self, code: int) -> None:
        if self._pushing:
            self._pushing.cancel()
        await self.channel_layer.group_discard(self.group(), self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            shows = Shows.model_validate_json(text_data or "")
        except ValidationError:
            await self.close(NOT_UNDERSTOOD)
            return
        if shows.kind == "page":
            self._sent.clear()
        self.shows(shows)
        self.push_soon()

    def push_soon(self) -> None:
        self._due = True
        if self._pushing is None or self._pushing.done():
            self._pushing = asyncio.create_task(self._push())

    async def _push(self) -> None:
        try:
            while self._due:
                await asyncio.sleep(GATHER)
                self._due = False
                if not await database_sync_to_async(self._is_signed_in)():
                    await self.close(NOT_SIGNED_IN)
                    return
                for html in await database_sync_to_async(self.changes)():
                    await self.send(html)
        except Environment.DoesNotExist:
            await self.close(NOT_FOUND)
        except Exception:
            log.exception("push failed", group=self.group())
            await self.close(BROKEN)

    def _is_signed_in(self) -> bool:
        """Asked each time: a person who signs out elsewhere sees no more."""
        key = self.scope["session"].session_key
        if not self.user.is_authenticated or key is None or not self.scope["session"].exists(key):
            return False
        return get_user_model().objects.filter(pk=self.user.pk, is_active=True).exists()

    @property
    def user(self) -> AbstractBaseUser | AnonymousUser:
        return cast("AbstractBaseUser | AnonymousUser", self.scope["user"])

    def unsent(self, rendered: Fragments) -> list[str]:
        """Those that differ from what this browser has."""
        changed = {name: html for name, html in rendered.items() if self._sent.get(name) != hash(html)}
        self._sent.update({name: hash(html) for name, html in changed.items()})
        return ["".join(changed.values())] if changed else []

    def group(self) -> str:
        raise NotImplementedError

    def shows(self, shows: Shows) -> None:
        """Remember what the browser shows."""
        raise NotImplementedError

    def changes(self) -> list[str]:
        """What to send, by now. Runs in a thread; reads the database."""
        raise NotImplementedError


class ListConsumer(LiveConsumer):
    """The list: the rows that changed, or all of it when others belong into it."""

    async def connect(self) -> None:
        self._listing = Listing()
        self._listed: tuple[int, ...] | None = None
        self._changed: set[int] = set()
        await super().connect()

    def group(self) -> str:
        return "environments"

    def shows(self, shows: Shows) -> None:
        self._listing = Listing.of(QueryDict(shows.query.removeprefix("?")).dict())
        self._listed = None

    async def environment_changed(self, event: dict[str, Any]) -> None:
        self._changed.add(event["environment_id"])
        self.push_soon()

    def changes(self) -> list[str]:
        changed, self._changed = self._changed, set()
        listed = selectors.listed_ids(self._listing)
        if listed == self._listed:
            return self.unsent(fragments.of_rows(selectors.rows(changed.intersection(listed))))
        self._listed = listed
        self._sent.clear()
        return self.unsent(fragments.of_list(self._listing))


class EnvironmentConsumer(LiveConsumer):
    """One environment's page, and the log that it watches."""

    async def connect(self) -> None:
        self._watch: Watch | None = None
        self._page_due = True
        await super().connect()

    @property
    def _environment_id(self) -> int:
        found: int = self.scope["url_route"]["kwargs"]["environment_id"]
        return found

    def group(self) -> str:
        return f"environment-{self._environment_id}"

    def shows(self, shows: Shows) -> None:
        self._watch = shows.watch
        self._page_due = self._page_due or shows.kind == "page"

    async def environment_changed(self, event: dict[str, Any]) -> None:
        self._page_due = True
        self.push_soon()

    async def log_added(self, event: dict[str, Any]) -> None:
        if self._watch and self._watch.layer in (event["layer"], ALL_LAYERS):
            self.push_soon()

    def changes(self) -> list[str]:
        watch = self._watch
        page_due, self._page_due = self._page_due, False
        return [*(self._page() if page_due else ()), *(self._log(watch) if watch else ())]

    def _page(self) -> list[str]:
        generation = self.scope["url_route"]["kwargs"].get("generation")
        try:
            page = selectors.environment_page(self._environment_id, generation)
        except Deployment.DoesNotExist as missing:
            raise Environment.DoesNotExist(str(missing)) from missing
        changed = self.unsent(fragments.of_page(page, self.user))
        shown = page.deployment.pk if page.deployment else 0
        watched = self._watch.deployment if self._watch else 0
        if shown != watched:
            # The browser answers with what it watches now.
            changed.append(fragments.log_of_page(page))
            self._watch = None
        return changed

    def _log(self, watch: Watch) -> list[str]:
        found: list[str] = []
        while watch is self._watch:
            chunks = selectors.log_after(self._environment_id, watch.deployment, watch.layer, watch.after)
            if not chunks:
                break
            found.append(fragments.of_log(watch.deployment, watch.layer, chunks))
            watch.after = chunks[-1].pk
            if len(chunks) < LOG_CHUNKS:
                break
        return found


websocket_urlpatterns: list[Any] = [
    path("ws/environments/", cast(Any, ListConsumer.as_asgi())),
    path("ws/environments/<int:environment_id>/", cast(Any, EnvironmentConsumer.as_asgi())),
    path(
        "ws/environments/<int:environment_id>/deployments/<int:generation>/", cast(Any, EnvironmentConsumer.as_asgi())
    ),
]
"""ASGI applications where Django's own types expect views."""
