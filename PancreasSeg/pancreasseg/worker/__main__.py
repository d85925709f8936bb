"""``python -m pancreasseg.worker``: the worker process."""

from pancreasseg.worker.server import serve

serve()
