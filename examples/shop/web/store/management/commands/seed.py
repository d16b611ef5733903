"""The demo's products and its one customer. Run again, it changes nothing."""

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand
from django.db import transaction

from store.models import Order, Product

# sku, name, picture, price in cents, grams, description
PRODUCTS = [
    ("MUG-ENAMEL", "Enamel mug", "mug", 1400, 180, "Light, hard to break, at home by the fire."),
    ("MUG-STONEWARE", "Stoneware mug", "mug", 2200, 420, "Heavy in the hand and slow to cool."),
    ("MUG-TRAVEL", "Travel mug", "mug", 2600, 310, "Closes tight. Fits under most coffee machines."),
    ("TEAPOT-ROUND", "Round teapot", "teapot", 5400, 900, "Holds a litre and pours without a drip."),
    ("JUG-MILK", "Milk jug", "jug", 1900, 380, "For the breakfast table, or a few wild flowers."),
    ("BOWL-CEREAL", "Cereal bowl", "bowl", 1600, 450, "Deep enough for soup, wide enough for pasta."),
    ("BOWL-SERVING", "Serving bowl", "bowl", 3800, 1200, "A salad for six."),
    ("PLATE-DINNER", "Dinner plate", "plate", 2100, 640, "Twenty-six centimetres, with a raised rim."),
    ("PLATE-SIDE", "Side plate", "plate", 1500, 360, "For bread, cake and everything in between."),
    ("VASE-BUD", "Bud vase", "vase", 1700, 260, "For a single stem."),
    ("VASE-TALL", "Tall vase", "vase", 4600, 1100, "Thrown in two parts, no two quite alike."),
    ("CANDLE-HOLDER", "Candle holder", "candle", 1200, 220, "Takes a standard candle and catches the wax."),
]
CUSTOMER = "ada@example.com"
PASSWORD = "preview-me-please"


class Command(BaseCommand):
    help = __doc__

    @transaction.atomic
    def handle(self, *args: object, **options: object) -> None:
        for sku, name, picture, price_cents, grams, description in PRODUCTS:
            Product.objects.get_or_create(
                sku=sku,
                defaults={
                    "slug": name.lower().replace(" ", "-"),
                    "name": name,
                    "picture": picture,
                    "price_cents": price_cents,
                    "grams": grams,
                    "description": description,
                },
            )
        customer, created = User.objects.get_or_create(username=CUSTOMER)
        if created:
            customer.set_password(PASSWORD)
            customer.save()
            self.add_order(customer)
        self.stdout.write(f"{Product.objects.count()} products, sign in as {CUSTOMER} with {PASSWORD}")

    def add_order(self, customer: User) -> None:
        plates = Product.objects.get(sku="PLATE-DINNER")
        order = Order.objects.create(
            customer=customer,
            full_name="Ada Field",
            street="4 Kiln Lane",
            postcode="10115",
            city="Berlin",
            delivery="Standard",
            delivery_cents=570,
            total_cents=4 * plates.price_cents + 570,
            status=Order.Status.PACKED,
        )
        order.sign()
        order.save()
        order.lines.create(product=plates, quantity=4, price_cents=plates.price_cents)
