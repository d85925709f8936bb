"""Many CTs, each by itself: which they are, one of them to its folder, what a result was made from, and who runs them.

`case.run_case` is one CT and knows nothing of the others. `loop` runs one after the other in a process `apart`,
`cluster` many at once on Dask workers (`clusters`, `on_worker`). `record` says whether an earlier result still stands
for a CT and its settings, whoever made it; `table` and `page` are what comes of all of them.
"""
