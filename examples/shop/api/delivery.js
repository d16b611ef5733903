// What it costs to deliver a parcel, by its weight. Money is in cents.

const CARRIERS = [
  { id: "standard", name: "Standard", days: 3, base: 390, perKilogram: 60 },
  { id: "express", name: "Express", days: 1, base: 890, perKilogram: 140 },
];

export function deliveryOptions(grams) {
  const kilograms = Math.ceil(grams / 1000);
  return CARRIERS.map(({ id, name, days, base, perKilogram }) => ({
    id,
    name,
    days,
    cents: base + kilograms * perKilogram,
  }));
}
