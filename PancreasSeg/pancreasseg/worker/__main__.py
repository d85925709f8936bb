"""``python -m pancreasseg.worker``: the worker process."""

from pancreasseg.worker.server import serve

if __name__ == "__main__":
    serve()
