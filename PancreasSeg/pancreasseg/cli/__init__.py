"""The command line: `main` and one file a command. Importing it is light; each command imports what it needs."""
