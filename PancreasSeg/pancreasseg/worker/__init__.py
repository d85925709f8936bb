"""The worker: one warm process that runs the pipelines for Slicer, and the client that talks to it.

`pancreasseg.worker.client` and `pancreasseg.worker.protocol` import no torch; only the process itself does.
"""
