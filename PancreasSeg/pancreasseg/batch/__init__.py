"""Many CTs, each by itself: which they are, one of them to its folder, what a result was made from, a process apart.

`case.run_case` is one CT and knows nothing of the others, so that whatever goes through many of them (the loop in
`loop`, another engine) can call it; `record` says whether an earlier result still stands for a CT and its settings.
"""
