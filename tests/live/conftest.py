"""What the live tests share. They run against real servers (servers.py), which .ci/install-live.sh installs.

STREAMSR_LIVE_NODE   the folder of the npm packages; what needs them is skipped without it
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.clips import clip_with_audio


@pytest.fixture(scope="session")
def sound_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of 160x90 at 24 pictures a second, with sound: see tests/live/clips.py."""
    return clip_with_audio(tmp_path_factory.mktemp("clip"), seconds=4, width=160, height=90)
