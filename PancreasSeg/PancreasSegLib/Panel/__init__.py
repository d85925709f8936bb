"""The panel: one file a section, a plain Situation that says what is possible, and a Session that they share."""
