// A guestbook: notes are kept in Postgres, visits are counted in Valkey.
import express from "express";
import { Redis } from "ioredis";
import pg from "pg";
import { page } from "./page.js";

const LONGEST = { name: 60, message: 500 };

const database = new pg.Pool({ connectionString: process.env.DATABASE_URL });
const valkey = new Redis(process.env.REDIS_URL);
// A connection that breaks while idle is replaced by the next query; without a listener it would end the program.
database.on("error", (error) => console.error(`Postgres: ${error.message}`));
valkey.on("error", (error) => console.error(`Valkey: ${error.message}`));

const app = express();
app.disable("x-powered-by");
app.use(express.static("public"));
app.use(express.urlencoded({ extended: false, limit: "16kb" }));

app.get("/", async (request, response) => {
  response.send(page({ notes: await newestNotes(), visits: await valkey.incr("visits") }));
});

app.post("/notes", async (request, response) => {
  const values = { name: trimmed(request.body?.name), message: trimmed(request.body?.message) };
  const errors = findErrors(values);
  if (Object.keys(errors).length > 0) {
    const visits = Number(await valkey.get("visits"));
    response.status(422).send(page({ notes: await newestNotes(), visits, values, errors }));
    return;
  }
  await database.query("INSERT INTO notes (name, message) VALUES ($1, $2)", [values.name, values.message]);
  response.redirect(303, "/");
});

app.get("/healthz", async (request, response) => {
  await Promise.all([database.query("SELECT 1"), valkey.ping()]);
  response.type("text").send("ok\n");
});

async function newestNotes() {
  const { rows } = await database.query("SELECT id, name, message FROM notes ORDER BY id DESC LIMIT 50");
  return rows;
}

function trimmed(value) {
  return typeof value === "string" ? value.trim().replaceAll("\0", "").replaceAll("\r\n", "\n") : "";
}

function findErrors(values) {
  const errors = {};
  if (!values.name) errors.name = "Enter your name.";
  if (!values.message) errors.message = "Write a message.";
  for (const [field, most] of Object.entries(LONGEST)) {
    // Counted as Postgres counts: by characters, not by UTF-16 units.
    if ([...values[field]].length > most) errors[field] = `Use at most ${most} characters.`;
  }
  return errors;
}

// Both servers answer before the port opens, so a visitor never meets a page that can't be shown yet.
await Promise.all([database.query("SELECT 1"), valkey.ping()]);
const port = Number(process.env.PORT ?? 3000);
const server = app.listen(port, "0.0.0.0", (error) => {
  if (error) throw error;
  console.log(`Guestbook listens on port ${port}`);
});

process.once("SIGTERM", () => {
  server.close(async () => {
    await database.end();
    valkey.disconnect();
  });
  server.closeIdleConnections();
});
