"""A visitor's cart: a Valkey hash of product id → quantity, forgotten after two weeks."""

import secrets
from dataclasses import dataclass

import redis
from django.conf import settings
from django.http import HttpRequest

from store.models import Product

MOST_OF_ONE = 20
KEPT_SECONDS = 14 * 24 * 3600

valkey = redis.Redis.from_url(settings.REDIS_URL, decode_responses=True)


@dataclass(frozen=True)
class CartLine:
    product: Product
    quantity: int

    @property
    def total_cents(self) -> int:
        return self.product.price_cents * self.quantity


class Cart:
    def __init__(self, request: HttpRequest) -> None:
        # The id stays when signing in gives the session a new key, so the cart does too.
        if "cart" not in request.session:
            request.session["cart"] = secrets.token_urlsafe(16)
        self._key = f"cart:{request.session['cart']}"

    def add(self, product: Product, quantity: int) -> None:
        self.set(product, int(valkey.hget(self._key, str(product.pk)) or 0) + quantity)

    def set(self, product: Product, quantity: int) -> None:
        """No more than MOST_OF_ONE; none removes the line."""
        if quantity <= 0:
            valkey.hdel(self._key, str(product.pk))
        else:
            valkey.hset(self._key, str(product.pk), min(quantity, MOST_OF_ONE))
            valkey.expire(self._key, KEPT_SECONDS)

    def clear(self) -> None:
        valkey.delete(self._key)

    @property
    def lines(self) -> list[CartLine]:
        quantities = {int(pk): int(quantity) for pk, quantity in valkey.hgetall(self._key).items()}
        return [CartLine(product, quantities[product.pk]) for product in Product.objects.filter(pk__in=quantities)]


def total_cents(lines: list[CartLine]) -> int:
    return sum(line.total_cents for line in lines)


def in_templates(request: HttpRequest) -> dict[str, int]:
    """How many things are in the cart, for the navigation of every page."""
    key = request.session.get("cart")
    return {"cart_count": sum(map(int, valkey.hvals(f"cart:{key}"))) if key else 0}
