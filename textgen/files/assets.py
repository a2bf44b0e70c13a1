"""Files that come with textgen: the demo model and the registry of corpora.

>>> shipped(Path("checkpoints"), "demo.safetensors")
"""

from __future__ import annotations

from pathlib import Path


def shipped(folder: Path, name: str) -> Path | None:
    """Return the path of a file that comes with textgen, None if it is missing.

    The one in `folder` of the current folder if there is one; else the one that was installed;
    else, where textgen runs from a checkout, the one in that folder of the checkout.

    Args:
        folder: where a checkout keeps the file.
        name: of the file.
    """
    package = Path(__file__).parent.parent
    candidates = (folder / name, package / "assets" / name, package.parent / folder / name)
    return next((path for path in candidates if path.is_file()), None)
