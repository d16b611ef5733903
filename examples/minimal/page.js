// The guestbook's one page, as HTML.

const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escape = (text) => text.replace(/[&<>"]/g, (character) => ENTITIES[character]);

function complaint(field, errors) {
  return errors[field] ? `<p class="error" id="${field}-error">${errors[field]}</p>` : "";
}

function described(field, errors) {
  return errors[field] ? ` aria-invalid="true" aria-describedby="${field}-error"` : "";
}

function noteItem(note) {
  return `
      <li>
        <p class="message">${escape(note.message)}</p>
        <p class="from">${escape(note.name)}</p>
      </li>`;
}

export function page({ notes, visits, values = { name: "", message: "" }, errors = {} }) {
  const failed = Object.keys(errors).length > 0;
  return `<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>${failed ? "Error: " : ""}Guestbook</title>
  <link rel="icon" href="data:,">
  <link rel="stylesheet" href="/style.css">
</head>
<body>
  <header>
    <h1>Guestbook</h1>
    <p>${visits === 1 ? "1 visit" : `${visits} visits`} so far. Leave a note before you go.</p>
  </header>
  <main>
    <form action="/notes" method="post" novalidate>
      <h2>Sign the book</h2>
      <label for="name">Your name</label>
      ${complaint("name", errors)}
      <input id="name" name="name" autocomplete="name" maxlength="60" value="${escape(values.name)}"${described("name", errors)}>
      <label for="message">Message</label>
      ${complaint("message", errors)}
      <textarea id="message" name="message" rows="4" maxlength="500"${described("message", errors)}>${escape(values.message)}</textarea>
      <button type="submit">Leave a note</button>
    </form>
    <section aria-labelledby="notes">
      <h2 id="notes">${notes.length === 1 ? "1 note" : `${notes.length} notes`}</h2>
      <ul>${notes.map(noteItem).join("")}
      </ul>
    </section>
  </main>
</body>
</html>
`;
}
