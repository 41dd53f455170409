"""Where the files that come with streamsr lie: weights/ and configs/. Standard library only."""

from __future__ import annotations

import site
import sysconfig
from pathlib import Path


def installed_dir() -> Path:
    """The folder with weights/ and configs/: of the source checkout, or where pip puts data files."""
    checkout = Path(__file__).parents[1]
    if (checkout / "pyproject.toml").is_file():
        return checkout
    roots = [sysconfig.get_path("data"), site.getuserbase()]  # pip install, pip install --user
    shares = [Path(root) / "share" / "streamsr" for root in roots]
    return next((share for share in shares if share.is_dir()), shares[0])
