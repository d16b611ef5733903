"""What the storefront asks the API: stock and delivery."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import urlopen

from django.conf import settings

TIMEOUT_SECONDS = 3


class ApiUnavailable(Exception):
    """The API did not answer, or not with what was asked."""


@dataclass(frozen=True)
class DeliveryOption:
    id: str
    name: str
    days: int
    cents: int

    @property
    def when(self) -> str:
        return "next day" if self.days == 1 else f"in {self.days} days"


def stock(sku: str) -> int:
    return int(_get(f"/stock/{quote(sku)}")["available"])


def delivery_options(grams: int) -> list[DeliveryOption]:
    return [DeliveryOption(**option) for option in _get("/delivery?" + urlencode({"grams": grams}))["options"]]


def _get(path: str) -> dict[str, Any]:
    try:
        with urlopen(settings.API_URL + path, timeout=TIMEOUT_SECONDS) as answer:
            return json.load(answer)
    except HTTPError as error:
        error.close()
        raise ApiUnavailable(f"{path} answered {error.code}") from error
    except (OSError, ValueError) as error:
        raise ApiUnavailable(f"{path}: {error}") from error
