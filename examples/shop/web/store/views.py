"""Looking around and filling the cart."""

from django.db import connection
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from store import api
from store.cart import Cart, total_cents, valkey
from store.forms import CartLineForm
from store.models import Product


@require_safe
def catalogue(request: HttpRequest) -> HttpResponse:
    query = request.GET.get("q", "").replace("\0", "").strip()[:100]
    products = Product.objects.filter(Q(name__icontains=query) | Q(description__icontains=query))
    return render(request, "store/catalogue.html", {"products": products, "query": query})


@require_safe
def product(request: HttpRequest, slug: str) -> HttpResponse:
    product = get_object_or_404(Product, slug=slug)
    try:
        available = api.stock(product.sku)
    except api.ApiUnavailable:
        available = None
    form = CartLineForm(initial={"product": product})
    return render(request, "store/product.html", {"product": product, "available": available, "form": form})


@require_safe
def cart(request: HttpRequest) -> HttpResponse:
    lines = Cart(request).lines
    return render(request, "store/cart.html", {"lines": lines, "total_cents": total_cents(lines)})


@require_POST
def add_to_cart(request: HttpRequest) -> HttpResponse:
    form = CartLineForm(request.POST)
    if not form.is_valid():
        return render(request, "store/invalid.html", {"form": form}, status=422)
    Cart(request).add(form.cleaned_data["product"], form.cleaned_data["quantity"])
    return redirect("cart")


@require_POST
def change_cart(request: HttpRequest) -> HttpResponse:
    form = CartLineForm(request.POST)
    if not form.is_valid():
        return render(request, "store/invalid.html", {"form": form}, status=422)
    Cart(request).set(form.cleaned_data["product"], form.cleaned_data["quantity"])
    return redirect("cart")


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    valkey.ping()
    return HttpResponse("ok\n", content_type="text/plain")
