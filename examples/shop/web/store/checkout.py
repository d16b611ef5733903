"""Ordering what is in the cart, and looking at one's orders."""

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from store import api
from store.cart import Cart, CartLine, total_cents, valkey
from store.forms import CheckoutForm
from store.models import Order, OrderLine


@login_required
@require_http_methods(["GET", "POST"])
def checkout(request: HttpRequest) -> HttpResponse:
    cart = Cart(request)
    lines = cart.lines
    if not lines:
        return redirect("cart")
    try:
        options = api.delivery_options(sum(line.product.grams * line.quantity for line in lines))
        shortages = find_shortages(lines)
    except api.ApiUnavailable:
        return render(request, "store/unavailable.html", status=503)
    form = CheckoutForm(options, request.POST or None)
    can_pay = bool(settings.PAYMENT_KEY) and not shortages
    if can_pay and form.is_valid():
        order = place(request, form, lines)
        cart.clear()
        return redirect("thanks", order.number)
    context = {"form": form, "lines": lines, "total_cents": total_cents(lines), "shortages": shortages}
    return render(
        request,
        "store/checkout.html",
        {**context, "can_pay": can_pay, "payment_is_set": bool(settings.PAYMENT_KEY)},
        status=422 if request.method == "POST" else 200,
    )


def find_shortages(lines: list[CartLine]) -> list[str]:
    found = []
    for line in lines:
        available = api.stock(line.product.sku)
        if available == 0:
            found.append(f"{line.product} is sold out.")
        elif available < line.quantity:
            found.append(f"Only {available} × {line.product} left.")
    return found


@transaction.atomic
def place(request: HttpRequest, form: CheckoutForm, lines: list[CartLine]) -> Order:
    delivery = form.options[form.cleaned_data["delivery"]]
    order = form.save(commit=False)
    order.customer = request.user
    order.delivery = delivery.name
    order.delivery_cents = delivery.cents
    order.total_cents = total_cents(lines) + delivery.cents
    order.save()
    order.sign()  # It signs the order's id, which it has only now.
    order.save(update_fields=["receipt"])
    OrderLine.objects.bulk_create(
        OrderLine(order=order, product=line.product, quantity=line.quantity, price_cents=line.product.price_cents)
        for line in lines
    )
    transaction.on_commit(lambda: valkey.lpush("orders:paid", order.pk))
    return order


@login_required
@require_safe
def thanks(request: HttpRequest, number: int) -> HttpResponse:
    return render(request, "store/thanks.html", {"order": find_order(request, number)})


@login_required
@require_safe
def orders(request: HttpRequest) -> HttpResponse:
    return render(request, "store/orders.html", {"orders": request.user.orders.all()})


@login_required
@require_safe
def order(request: HttpRequest, number: int) -> HttpResponse:
    return render(request, "store/order.html", {"order": find_order(request, number)})


def find_order(request: HttpRequest, number: int) -> Order:
    """Only one's own; another's is not there."""
    return get_object_or_404(request.user.orders, pk=number - 1000)
