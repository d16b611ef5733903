"""A small shop over the standard library, with faults that can be switched on: what the four agents are tried on.

Server-rendered pages, a search, a cart in a cookie's session, accounts and a checkout. Knows nothing of PreviewKit.
"""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

PRODUCTS = {1: ("Blue mug", 12.0), 2: ("Tea kettle", 30.0), 3: ("Oat biscuits", 4.5)}


@dataclass
class Shop:
    """Its data and its faults; `reset` is what restoring a snapshot is to a real environment."""

    faults: set[str] = field(default_factory=set)
    carts: dict[str, dict[int, int]] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict)
    orders: int = 0
    resets: int = 0
    hits: Iterator[int] = field(default_factory=itertools.count)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reset(self) -> None:
        with self.lock:
            self.carts.clear()
            self.users.clear()
            self.orders = 0
            self.resets += 1

    def total(self, cart: dict[int, int]) -> float:
        if "wrong_total" in self.faults:
            return sum(PRODUCTS[number][1] for number in cart)
        return sum(PRODUCTS[number][1] * many for number, many in cart.items())


@dataclass(frozen=True)
class Answer:
    body: str = ""
    status: int = 200
    location: str = ""


class Handler(BaseHTTPRequestHandler):
    shop: Shop
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(dict(parse_qsl(urlsplit(self.path).query)))

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self._answer(dict(parse_qsl(self.rfile.read(length).decode(), keep_blank_values=True)))

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def _answer(self, sent: dict[str, str]) -> None:
        cookie = SimpleCookie(self.headers.get("Cookie", ""))
        self.visitor = cookie["visitor"].value if "visitor" in cookie else secrets.token_hex(8)
        if "slow" in self.shop.faults and self.path == "/about":
            # Longer than any limit that the tests set; released when the server stops.
            self.server.stopped.wait(60)  # type: ignore[attr-defined]
        with self.shop.lock:
            answer = self._route(self.command, urlsplit(self.path).path, sent)
        body = answer.body.encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Set-Cookie", f"visitor={self.visitor}; Path=/")
        if answer.location:
            self.send_header("Location", answer.location)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _route(self, method: str, path: str, sent: dict[str, str]) -> Answer:
        faults = self.shop.faults
        cart = self.shop.carts.setdefault(self.visitor, {})
        parts = path.strip("/").split("/")
        match method, parts:
            case "GET", [""]:
                return self._page("Corner shop", _list(PRODUCTS))
            case "GET", ["products", number] if number.isdigit() and int(number) in PRODUCTS:
                return self._page(*self._product(int(number)))
            case "GET", ["search"]:
                wanted = sent.get("q", "").lower()
                found = {n: p for n, p in PRODUCTS.items() if wanted in p[0].lower()}
                return self._page("Search", f"<p>{len(found)} results</p>{_list(found)}")
            case "POST", ["cart", "add"]:
                number = int(sent.get("product") or 0)
                if not sent.get("quantity", "").isdigit() or number not in PRODUCTS:
                    return self._page("Corner shop", "<p role=alert>How many do you want?</p>", 400)
                cart[number] = cart.get(number, 0) + int(sent["quantity"])
                return Answer(status=303, location="/cart")
            case "GET", ["cart"]:
                if "cart_500" in faults:
                    return self._page("Server error", "<p>It broke.</p>", 500)
                return self._page(*self._cart(cart))
            case "GET", ["checkout"]:
                return self._page("Checkout", CHECKOUT)
            case "POST", ["checkout"]:
                if not sent.get("address"):
                    return self._page("Checkout", f"<p role=alert>An address is needed.</p>{CHECKOUT}", 422)
                self.shop.orders += 1
                total = self.shop.total(cart)
                cart.clear()
                said = f"<p role=status>Order {self.shop.orders} is placed. You pay ${total:.2f}</p>"
                return self._page("Thank you", said)
            case "GET", ["join"]:
                return self._page("Join", JOIN)
            case "POST", ["join"]:
                if not sent.get("email") or sent["email"] in self.shop.users:
                    return self._page("Join", f"<p role=alert>That address is empty or taken.</p>{JOIN}", 422)
                self.shop.users[sent["email"]] = sent.get("password", "")
                return self._page("Welcome", f"<p role=status>Welcome, {escape(sent['email'])}</p>{SIGN_OUT}")
            case "POST", ["logout"]:
                return Answer(status=303, location="/")
            case "GET", ["about"]:
                return self._about()
        return self._page("Not found", "<p>No such page.</p>", 404)

    def _about(self) -> Answer:
        faults = self.shop.faults
        if "redirect_loop" in faults:
            return Answer(status=302, location="/about")
        script = "<script>document.querySelector('#gone').focus()</script>" if "page_error" in faults else ""
        if "restless" in faults:
            script = "<b id=b></b><script>setInterval(() => b.textContent = performance.now(), 10)</script>"
        if "hang" in faults:
            script = "<script>onload = () => setTimeout(() => { for (;;); }, 0)</script>"
        volatile = f"<p>Visit number {next(self.shop.hits)} of today: $1</p>" if "flaky_text" in faults else ""
        if "flaky_text_sometimes" in faults and next(self.shop.hits) % 2:
            return self._page("About us", "<p>Since 1999, with $0 debts.</p>")
        return self._page("About us", f"<p>Since 1987, with $0 debts.</p>{volatile}{script}")

    def _product(self, number: int) -> tuple[str, str]:
        name, price = PRODUCTS[number]
        button = "Add to basket" if "renamed_button" in self.shop.faults else "Add to cart"
        button = "" if "no_button" in self.shop.faults else f"<button>{button}</button>"
        form = (
            f"<p>${price:.2f}</p><form method=post action=/cart/add>"
            f"<input type=hidden name=product value={number}>"
            f"<label>Quantity <input type=number name=quantity value=1 min=1 required></label>{button}</form>"
        )
        return name, form

    def _cart(self, cart: dict[int, int]) -> tuple[str, str]:
        rows = "".join(
            f"<tr><td>{PRODUCTS[n][0]}</td><td>{many}</td><td>${PRODUCTS[n][1] * many:.2f}</td></tr>"
            for n, many in cart.items()
        )
        delivery = 7.0 if "dearer_delivery" in self.shop.faults else 5.0
        total = self.shop.total(cart)
        return "Your cart", (
            f"<table><tbody>{rows}</tbody></table><p>Delivery ${delivery:.2f}</p>"
            f"<p>Total <strong>${total + delivery:.2f}</strong></p><a href=/checkout>Check out</a>"
        )

    def _page(self, heading: str, body: str, status: int = 200) -> Answer:
        faults = self.shop.faults
        about = "Our story" if "new_copy" in faults else "About us"
        heading = about if heading == "About us" else heading
        nav = f"<a href=/>Home</a> <a href=/cart>Cart</a> <a href=/join>Join</a> <a href=/about>{about}</a>"
        if "restyled" in faults:
            nav, body = f"<ul class=fresh><li>{nav}</li></ul>", f"<section class=card><div>{body}</div></section>"
        search = "<form action=/search><input type=search name=q aria-label=Search><button>Search</button></form>"
        return Answer(
            f"<!doctype html><title>{heading} - Corner shop</title><nav>{nav}</nav>{search}"
            f"<main><h1>{heading}</h1>{body}</main>",
            status,
        )


CHECKOUT = (
    "<form method=post action=/checkout><label>Address <input name=address required></label>"
    "<button>Place order</button></form>"
)
JOIN = (
    "<form method=post action=/join><label>E-mail <input type=email name=email required></label>"
    "<label>Password <input type=password name=password required></label><button>Join</button></form>"
)
SIGN_OUT = "<form method=post action=/logout><button>Sign out</button></form>"


def _list(products: dict[int, tuple[str, float]]) -> str:
    items = "".join(f"<li><a href=/products/{n}>{name}</a> ${price:.2f}</li>" for n, (name, price) in products.items())
    return f"<ul>{items}</ul>"


class Server(ThreadingHTTPServer):
    daemon_threads = True
    stopped: threading.Event


@contextmanager
def serving(shop: Shop) -> Iterator[str]:
    """Its address, e.g. `http://127.0.0.1:40123`, while the block runs."""
    server = Server(("127.0.0.1", 0), type("ShopHandler", (Handler,), {"shop": shop}))
    server.stopped = threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
