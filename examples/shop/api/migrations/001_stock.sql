CREATE TABLE stock (
  sku text PRIMARY KEY,
  available integer NOT NULL CHECK (available >= 0)
);

INSERT INTO stock (sku, available) VALUES
  ('MUG-ENAMEL', 40),
  ('MUG-STONEWARE', 24),
  ('MUG-TRAVEL', 18),
  ('TEAPOT-ROUND', 9),
  ('JUG-MILK', 15),
  ('BOWL-CEREAL', 32),
  ('BOWL-SERVING', 11),
  ('PLATE-DINNER', 36),
  ('PLATE-SIDE', 36),
  ('VASE-BUD', 14),
  ('VASE-TALL', 3),
  ('CANDLE-HOLDER', 0);
