"""Products and orders. Money is in cents, weight in grams."""

import hashlib
import hmac

from django.conf import settings
from django.db import models


class Product(models.Model):
    sku = models.CharField(max_length=32, unique=True)
    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=80)
    description = models.TextField()
    picture = models.CharField(max_length=16)
    price_cents = models.PositiveIntegerField()
    grams = models.PositiveIntegerField()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    class Status(models.TextChoices):
        PAID = "paid"
        PACKED = "packed"

    customer = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="orders")
    full_name = models.CharField(max_length=80)
    street = models.CharField(max_length=120)
    postcode = models.CharField(max_length=12)
    city = models.CharField(max_length=80)
    delivery = models.CharField(max_length=32)
    delivery_cents = models.PositiveIntegerField()
    total_cents = models.PositiveIntegerField()
    status = models.CharField(max_length=8, choices=Status, default=Status.PAID)
    receipt = models.CharField(max_length=64, default="")
    placed_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"Order {self.number}"

    @property
    def number(self) -> int:
        return 1000 + self.pk

    def sign(self) -> None:
        self.receipt = self._signature()

    @property
    def is_signed(self) -> bool:
        return bool(settings.PAYMENT_KEY) and hmac.compare_digest(self.receipt, self._signature())

    def _signature(self) -> str:
        """The worker computes the same before it packs."""
        paid = f"{self.pk}:{self.total_cents}".encode()
        return hmac.new(settings.PAYMENT_KEY.encode(), paid, hashlib.sha256).hexdigest()


class OrderLine(models.Model):
    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, models.PROTECT)
    quantity = models.PositiveIntegerField()
    price_cents = models.PositiveIntegerField()

    class Meta:
        ordering = ["id"]

    @property
    def total_cents(self) -> int:
        return self.quantity * self.price_cents
