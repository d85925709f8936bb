"""The desktop run: the real panel beside real slice and 3D views, driven with a real mouse.

A window of PySide6 (on an X server, normally a private Xvfb) holds the panel with its real `.ui` file on one side and,
on the other, slice views and a 3D view made of Slicer's displayable managers. `python -m Testing.desktop` drives it
like a person would and writes the pictures of README and tutorial; `test_desktop.py` checks what the scene holds
afterwards. It runs against stand-ins of the application's widgets, not inside the Slicer application.
"""
