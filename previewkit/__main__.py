"""`python -m previewkit`: the same as the `previewkit` command."""

from previewkit.cli import main

main()
