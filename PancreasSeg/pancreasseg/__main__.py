"""``python -m pancreasseg``: the command line."""

from pancreasseg.cli.main import program

if __name__ == "__main__":
    program()
