"""What others have written, run beside ours on the same input, in an environment of its own.

``make originals`` sets the environment up beside the project's own, whose torch it shares. Each program here runs in a
process of that environment and prints one JSON object; `run` starts it. Nothing of the product needs any of this.
"""
