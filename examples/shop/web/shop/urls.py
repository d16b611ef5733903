"""Every address of the storefront."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from store import accounts, checkout, views

urlpatterns = [
    path("", views.catalogue, name="catalogue"),
    path("products/<slug:slug>/", views.product, name="product"),
    path("cart/", views.cart, name="cart"),
    path("cart/add/", views.add_to_cart, name="add_to_cart"),
    path("cart/change/", views.change_cart, name="change_cart"),
    path("checkout/", checkout.checkout, name="checkout"),
    path("orders/", checkout.orders, name="orders"),
    path("orders/<int:number>/", checkout.order, name="order"),
    path("orders/<int:number>/thanks/", checkout.thanks, name="thanks"),
    path("accounts/sign-up/", accounts.SignUp.as_view(), name="sign_up"),
    path("accounts/sign-in/", accounts.SignIn.as_view(), name="sign_in"),
    path("accounts/sign-out/", LogoutView.as_view(), name="sign_out"),
    path("healthz", views.healthz, name="healthz"),
]
