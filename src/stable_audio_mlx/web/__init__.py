"""The studio: a local page to make sounds with, and the HTTP API behind it (docs/studio.md)."""
