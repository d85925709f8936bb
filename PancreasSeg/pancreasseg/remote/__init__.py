"""The worker on another machine: the same protocol over HTTP instead of a pipe.

On the workstation ``python -m pancreasseg.remote URL`` is a worker process for `pancreasseg.worker.client` that
computes nothing: it relays requests, arrays and events (`bridge`). On the strong machine ``pancreasseg serve`` answers
it (`app`) with one worker process that all sessions share (`device`). `wire` says what crosses.

The bridge needs numpy and the standard library alone; the server starlette and uvicorn.
"""
