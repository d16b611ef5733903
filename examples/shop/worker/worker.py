"""Packs paid orders: takes their ids from a Valkey list and marks them as packed in Postgres."""

import hashlib
import hmac
import os
import time

import psycopg
import redis

PAID = "orders:paid"
WAIT_SECONDS = 30


def receipt(order_id: int, total_cents: int) -> str:
    """The storefront signs what was paid with the same key."""
    return hmac.new(os.environ["PAYMENT_KEY"].encode(), f"{order_id}:{total_cents}".encode(), hashlib.sha256).hexdigest()


def connect() -> psycopg.Connection:
    return psycopg.connect(os.environ["DATABASE_URL"])


def requeue(valkey: redis.Redis) -> None:
    """Orders whose place in the list was lost, with the list or with a worker that had just taken them."""
    with connect() as database:
        paid = database.execute("SELECT id FROM store_order WHERE status = 'paid' ORDER BY id").fetchall()
    for (order_id,) in paid:
        valkey.lpush(PAID, order_id)


def pack(order_id: int) -> None:
    """One transaction, and nothing where the order is packed already: it may be in the list twice."""
    with connect() as database:
        order = database.execute(
            "SELECT total_cents, receipt FROM store_order WHERE id = %s AND status = 'paid' FOR UPDATE", [order_id]
        ).fetchone()
        if order is None:
            return
        total_cents, signature = order
        if not hmac.compare_digest(signature, receipt(order_id, total_cents)):
            print(f"Order {1000 + order_id} is not packed: its receipt is not signed with our key", flush=True)
            return
        database.execute(
            "UPDATE stock SET available = greatest(available - line.quantity, 0)"
            " FROM store_orderline line JOIN store_product product ON product.id = line.product_id"
            " WHERE line.order_id = %s AND stock.sku = product.sku",
            [order_id],
        )
        database.execute("UPDATE store_order SET status = 'packed' WHERE id = %s", [order_id])
    print(f"Packed order {1000 + order_id}", flush=True)


def work() -> None:
    # The socket has to be more patient than the wait for the next order.
    valkey = redis.Redis.from_url(
        os.environ["REDIS_URL"], decode_responses=True, socket_timeout=WAIT_SECONDS + 10
    )
    requeue(valkey)
    print("Waiting for paid orders", flush=True)
    while True:
        taken = valkey.brpop([PAID], timeout=WAIT_SECONDS)
        if taken:
            pack(int(taken[1]))


if __name__ == "__main__":
    while True:
        try:
            work()
        except (psycopg.OperationalError, redis.ConnectionError, redis.TimeoutError) as error:
            print(f"Connecting again in a second: {error}", flush=True)
            time.sleep(1)
