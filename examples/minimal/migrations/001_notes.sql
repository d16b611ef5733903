CREATE TABLE notes (
  id serial PRIMARY KEY,
  name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 60),
  message text NOT NULL CHECK (char_length(message) BETWEEN 1 AND 500)
);

INSERT INTO notes (name, message) VALUES
  ('Maren', 'First page, first note. Welcome to the guestbook!');
