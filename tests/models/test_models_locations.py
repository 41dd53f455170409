"""Which file a name means, in which order folders are looked through, and what is said when nothing is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamsr import installed
from streamsr.errors import WeightsError
from streamsr.models import locations
from streamsr.models.catalog import CATALOG, known
from streamsr.models.locations import cache_dir, choose_model, embedded_dir, find, resolve, search_folders


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, ...]:
    """The three folders, empty: embedded, $STREAMSR_WEIGHTS, cache; the working directory beside them."""
    monkeypatch.setattr(locations, "embedded_dir", lambda: tmp_path / "embedded")
    monkeypatch.setenv("STREAMSR_WEIGHTS", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.platform", "linux")
    places = (tmp_path / "embedded", tmp_path / "own", tmp_path / "cache" / "streamsr" / "weights")
    for place in (*places, tmp_path / "work"):
        place.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    assert search_folders() == places
    return places


def test_first_folder_wins(folders: tuple[Path, ...]) -> None:
    assert find("x4plus") is None
    for folder in reversed(folders):
        (folder / "RealESRGAN_x4plus.pth").touch()
        assert find("x4plus") == folder / "RealESRGAN_x4plus.pth"


def test_without_the_variable(folders: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAMSR_WEIGHTS")
    assert search_folders() == (folders[0], folders[2])


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("RealESRGAN_x4plus", "x4plus"),
        ("RealESRGAN_x4plus.pth", "x4plus"),
        ("realesrgan-x4plus-anime-6B", "x4plus-anime-6b"),
        ("realesr-animevideov3", "animevideov3"),
        ("AnimeVideoV3", "animevideov3"),
        ("ESRGAN_SRx4_DF2KOST_official-ff704c30", "esrgan-x4"),
        ("RealESRGANv2-animevideo-xsx2", "animevideo-xsx2"),
    ],
)
def test_upstream_names(folders: tuple[Path, ...], spelling: str, name: str) -> None:
    entry = known(spelling)
    assert entry is not None
    assert entry.name == name
    (folders[1] / entry.file).touch()
    assert resolve(spelling) == (folders[1] / entry.file, entry)


def test_paths(folders: tuple[Path, ...]) -> None:
    own = folders[1] / "mine.pth"
    own.touch()
    assert resolve(own) == (own, None)
    assert resolve(str(own)) == (own, None)
    Path("here.safetensors").touch()
    Path("nosuffix").touch()
    assert resolve("here.safetensors") == (Path("here.safetensors"), None)
    assert resolve("nosuffix") == (Path("nosuffix"), None)


def test_a_file_beside_the_user_wins_only_by_its_whole_name(folders: tuple[Path, ...]) -> None:
    (folders[0] / "lite.safetensors").touch()
    Path("lite").mkdir()
    assert resolve("lite")[0] == folders[0] / "lite.safetensors"
    Path("lite.safetensors").touch()
    assert resolve("lite.safetensors") == (Path("lite.safetensors"), None)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("animvideov3", "no model is called 'animvideov3'. Did you mean animevideov3?"),
        ("qqqq", "Models: lite, animevideov3, general-x4v3"),
        ("x4plus", "not on this machine. Fetch them with `streamsr models pull x4plus`."),
        ("RealESRGAN_x4plus.pth", "not on this machine"),
        ("lite", "comes with streamsr, but lite.safetensors is missing"),
        ("nothing.pth", "there is no such checkpoint (nothing.pth)"),
        ("some/where", "there is no such checkpoint (some/where)"),
        (Path("x4plus"), "there is no such checkpoint (x4plus)"),
        ("..", "is a folder, not a checkpoint"),
    ],
)
def test_what_is_not_found(folders: tuple[Path, ...], reference: str | Path, message: str) -> None:
    with pytest.raises(WeightsError) as caught:
        resolve(reference)
    assert message in str(caught.value)


def test_unknown_name_cannot_be_found() -> None:
    with pytest.raises(WeightsError, match="no model is called"):
        find("nothing")


def test_auto(folders: tuple[Path, ...]) -> None:
    assert choose_model("cpu", can_pull=True)[0] == "lite"
    assert choose_model("cuda", can_pull=False)[0] == "lite"
    assert choose_model("cuda", can_pull=True)[0] == "animevideov3"
    (folders[2] / "realesr-animevideov3.pth").touch()
    name, reason = choose_model("mps", can_pull=False)
    assert name == "animevideov3"
    assert "at hand" in reason
    assert "\n" not in reason
    assert choose_model("cpu", can_pull=False)[0] == "lite"


def test_embedded_folder_of_a_checkout_and_of_an_installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert embedded_dir() == Path(__file__).parents[2] / "weights"
    monkeypatch.setattr(installed, "__file__", str(tmp_path / "site-packages" / "streamsr" / "installed.py"))
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path) if name == "data" else "")
    share = tmp_path / "share" / "streamsr"
    assert embedded_dir() == share / "weights"
    share.mkdir(parents=True)
    assert embedded_dir() == share / "weights"


def test_cache_folder_by_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("HOME", "USERPROFILE", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for platform, middle in (("linux", ".cache"), ("darwin", "Library/Caches"), ("win32", "")):
        monkeypatch.setattr("sys.platform", platform)
        assert cache_dir() == tmp_path / middle / "streamsr" / "weights"


def test_catalogue_is_sound() -> None:
    assert len({entry.name for entry in CATALOG}) == len(CATALOG) == len({entry.file for entry in CATALOG})
    for entry in CATALOG:
        assert entry.url is None or entry.url.endswith(f"/{entry.file}")
        assert entry.sha256 is None or set(entry.sha256) <= set("0123456789abcdef")
        assert entry.sha256 is None or len(entry.sha256) in (8, 64)
        assert entry.has_hash("00") is False
