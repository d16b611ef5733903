// What the warehouse knows, as JSON: how much is in stock, and what delivery costs.
import express from "express";
import pg from "pg";
import { deliveryOptions } from "./delivery.js";

const database = new pg.Pool({ connectionString: process.env.DATABASE_URL });
// A connection that breaks while idle is replaced by the next query; without a listener it would end the program.
database.on("error", (error) => console.error(`Postgres: ${error.message}`));

const app = express();
app.disable("x-powered-by");

app.get("/stock", async (request, response) => {
  const { rows } = await database.query("SELECT sku, available FROM stock ORDER BY sku");
  response.json({ stock: rows });
});

app.get("/stock/:sku", async (request, response) => {
  const { rows } = await database.query("SELECT sku, available FROM stock WHERE sku = $1", [request.params.sku]);
  if (rows.length === 0) {
    response.status(404).json({ error: `There is no product ${request.params.sku}.` });
    return;
  }
  response.json(rows[0]);
});

app.get("/delivery", (request, response) => {
  const grams = Number(request.query.grams);
  if (!Number.isInteger(grams) || grams < 1 || grams > 1_000_000) {
    response.status(422).json({ error: "`grams` is a whole number from 1 to 1000000." });
    return;
  }
  response.json({ options: deliveryOptions(grams) });
});

app.get("/healthz", async (request, response) => {
  await database.query("SELECT 1");
  response.type("text").send("ok\n");
});

app.use((request, response) => {
  response.status(404).json({ error: `There is nothing at ${request.path}.` });
});

app.use((error, request, response, next) => {
  console.error(error);
  response.status(error.status ?? 500).json({ error: "This failed on our side." });
});

const port = Number(process.env.PORT ?? 4000);
const server = app.listen(port, "0.0.0.0", (error) => {
  if (error) throw error;
  console.log(`API listens on port ${port}`);
});

process.once("SIGTERM", () => {
  server.close(() => database.end());
  server.closeIdleConnections();
});
