// Applies each file of migrations/ once, in the order of its name, each in its own transaction.
import { readdir, readFile } from "node:fs/promises";
import pg from "pg";

const folder = new URL("./migrations/", import.meta.url);
const database = new pg.Client({ connectionString: process.env.DATABASE_URL });

await database.connect();
await database.query("CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY)");
const { rows } = await database.query("SELECT name FROM migrations");
const applied = new Set(rows.map((row) => row.name));

for (const name of (await readdir(folder)).filter((file) => file.endsWith(".sql")).sort()) {
  if (applied.has(name)) continue;
  console.log(`Applying ${name}`);
  await database.query("BEGIN");
  await database.query(await readFile(new URL(name, folder), "utf8"));
  await database.query("INSERT INTO migrations (name) VALUES ($1)", [name]);
  await database.query("COMMIT");
}
await database.end();
