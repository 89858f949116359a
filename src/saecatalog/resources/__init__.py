"""The files of the project that the program reads: page templates, the default settings, texts and their descriptions.

A path in the project flows in, a path on this machine flows out. In a checkout, the files are in the project's folder.
The wheel has a copy of them beside this module, which its build puts there (`setup.py`). They are in a package of their
own because files count in the keys of the stages that import their package, and no stage imports this one.
"""

from pathlib import Path

INSTALLED = Path(__file__).parent
CHECKOUT = INSTALLED.parent.parent.parent


def resource(path: str) -> Path:
    """A file or folder of the project, such as `templates`."""
    installed = INSTALLED / path
    return installed if installed.exists() else CHECKOUT / path
