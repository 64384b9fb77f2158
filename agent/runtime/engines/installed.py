"""Where a Python package lies and which version it has, without importing it: importlib.metadata alone takes 4 MB."""

import sys
from pathlib import Path


def folder_of(package: str) -> Path:
    """The package's folder, as an import would find it. Raises ImportError."""
    for entry in sys.path:
        folder = Path(entry or ".") / package
        if (folder / "__init__.py").is_file():
            return folder
    raise ImportError(f"{package} is not installed")


def version_of(package: str) -> str:
    """As the folder of its metadata beside it is named. Raises ImportError."""
    folder = folder_of(package)
    found = sorted(folder.parent.glob(f"{package}-*.dist-info"))
    if not found:
        raise ImportError(f"{folder} has no metadata beside it")
    return found[-1].name.removeprefix(f"{package}-").removesuffix(".dist-info")
