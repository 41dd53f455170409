"""`degrade` as people call it: pictures, folders, clips, grids, and what must not happen."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from pipelines.verb_degrade import degrade
from streamsr.degrade.pictures import read_picture, to_rgb
from streamsr.degrade.process import degrade as degrade_tensor
from streamsr.degrade.recipe import load_recipe
from streamsr.errors import ConfigError, SinkError, SomeFailed, SourceError
from streamsr.media.playable import write_clip
from streamsr.media.stills import clip_length, read_clip


def run(*words: object) -> Result:
    return CliRunner().invoke(degrade, [str(word) for word in words])


def succeed(*words: object) -> Result:
    result = run(*words)
    assert result.exception is None, result.exception
    assert result.exit_code == 0
    return result


def array(height: int = 80, width: int = 120, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return path


def load(path: Path) -> np.ndarray:
    pixels = cv2.imread(str(path))
    assert pixels is not None
    return pixels[..., ::-1]


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_picture(tmp_path: Path) -> None:
    source = save(tmp_path / "photo.png", array())
    result = succeed(source, tmp_path / "small.png", "--seed", 7, "--steps")
    assert load(tmp_path / "small.png").shape == (20, 30, 3)
    done = degrade_tensor(read_picture(source)[None], load_recipe("x4plus"), 4, 7)
    np.testing.assert_array_equal(load(tmp_path / "small.png"), to_rgb(done.lr_T3hw[0]))
    for step in done.steps:
        assert step.name in result.stdout
    assert "photo.png: x4plus, scale 4, seed 7" in result.stdout
    assert files_of(tmp_path) == ["photo.png", "small.png"]


def test_the_same_seed_gives_the_same_file_and_another_does_not(tmp_path: Path) -> None:
    source = save(tmp_path / "photo.png", array())
    for name, seed in (("a.png", 3), ("b.png", 3), ("c.png", 4)):
        succeed(source, tmp_path / name, "--seed", seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in ("a.png", "b.png", "c.png"))
    assert a == b
    assert a != c


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff", ".bmp"])
def test_every_type_keeps_every_bit(tmp_path: Path, suffix: str) -> None:
    source = save(tmp_path / "photo.png", array())
    succeed(source, tmp_path / "ref.png")
    succeed(source, tmp_path / f"small{suffix}")
    np.testing.assert_array_equal(load(tmp_path / f"small{suffix}"), load(tmp_path / "ref.png"))


def test_scale_recipe_and_set(tmp_path: Path) -> None:
    source = save(tmp_path / "photo.png", array())
    quiet = ("--set", "first.noise_prob=0", "--set", "first.jpeg_prob=0", "--set", "first.blur_prob=0")
    shares = ("--set", 'first.resize_modes=["area"]')
    succeed(source, tmp_path / "small.png", "--recipe", "classical", "--scale", 2, *quiet, *shares)
    expected = cv2.resize(array(), (60, 40), interpolation=cv2.INTER_AREA)[..., ::-1]
    np.testing.assert_allclose(load(tmp_path / "small.png").astype(int), expected.astype(int), atol=1)


def test_sides_that_are_no_multiples_are_cropped_and_said(tmp_path: Path) -> None:
    source = save(tmp_path / "photo.png", array(88, 120)[:83, :118])
    result = succeed(source, tmp_path / "small.png")
    assert load(tmp_path / "small.png").shape == (20, 29, 3)
    assert "116x80 of 118x83" in result.stderr


def test_the_grid(tmp_path: Path) -> None:
    source = save(tmp_path / "photo.png", array())
    succeed(source, tmp_path / "grid.png", "--grid", "--seed", 7)
    assert load(tmp_path / "grid.png").shape[0] > 1000


def test_nothing_is_overwritten_unless_asked(tmp_path: Path) -> None:
    source = save(tmp_path / "photo.png", array())
    (tmp_path / "small.png").write_bytes(b"precious")
    result = run(source, tmp_path / "small.png")
    assert isinstance(result.exception, SinkError)
    assert "--overwrite" in str(result.exception)
    assert (tmp_path / "small.png").read_bytes() == b"precious"
    succeed(source, tmp_path / "small.png", "--overwrite")
    assert load(tmp_path / "small.png").shape == (20, 30, 3)
    before = source.read_bytes()
    assert isinstance(run(source, source, "--overwrite").exception, ConfigError)
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (("nowhere.png", "out.png"), SourceError, "nowhere.png"),
        (("photo.png", "out.jpg"), ConfigError, "out.png"),
        (("photo.png", "out.mkv"), ConfigError, "out.png"),
        (("photo.png", "out.png", "--recipe", "x4plu"), ConfigError, "x4plus"),
        (("photo.png", "out.png", "--set", "first.jpg=1"), ConfigError, "first.jpeg_prob"),
        (("broken.png", "out.png"), SourceError, "broken.png"),
        (("empty.png", "out.png"), SourceError, "empty.png"),
        (("tiny.png", "out.png"), SourceError, "3x40"),
        (("nothing", "out"), SourceError, "nothing"),
        (("photo.png", "photo.png/out.png"), SinkError, "photo.png"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: Sequence[str], error: type[Exception], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = save(tmp_path / "photo.png", array()).read_bytes()
    (tmp_path / "broken.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").touch()
    (tmp_path / "nothing").mkdir()
    save(tmp_path / "tiny.png", array()[:40, :3])
    before = files_of(tmp_path)
    result = run(*words)
    assert isinstance(result.exception, error), result.exception
    assert says in str(result.exception)
    assert "\n" not in str(result.exception)
    assert files_of(tmp_path) == before


def test_a_folder(tmp_path: Path) -> None:
    whole = save(tmp_path / "in" / "a.png", array()).read_bytes()
    save(tmp_path / "in" / "sub" / "b.jpg", array(seed=2))
    save(tmp_path / "in" / "c.png", array())
    (tmp_path / "in" / "broken.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in" / "notes.txt").write_text("not a picture", "utf-8")
    result = run(tmp_path / "in", tmp_path / "out", "--seed", 5)
    assert result.exit_code == SomeFailed.exit_code
    assert files_of(tmp_path / "out") == ["a.png", "c.png", "sub/b.png"]
    assert "broken.png" in result.stderr
    assert "3 degraded, 0 skipped, 1 failed of 4 files" in result.stderr
    assert (tmp_path / "out" / "a.png").read_bytes() != (tmp_path / "out" / "c.png").read_bytes(), "a seed for each"
    first = (tmp_path / "out" / "a.png").read_bytes()

    (tmp_path / "in" / "broken.png").unlink()
    save(tmp_path / "in" / "aa.png", array())
    result = succeed(tmp_path / "in", tmp_path / "out", "--seed", 5)
    assert "1 degraded, 3 skipped, 0 failed of 4 files" in result.stderr
    succeed(tmp_path / "in", tmp_path / "again", "--seed", 5)
    assert (tmp_path / "again" / "a.png").read_bytes() == first, "another file beside it changes nothing"


def test_the_seed_in_the_table_makes_a_file_of_a_folder_again(tmp_path: Path) -> None:
    source = save(tmp_path / "in" / "a.png", array())
    table = succeed(tmp_path / "in", tmp_path / "out", "--seed", 5, "--steps").stdout
    seed = table.split("seed ")[1].split()[0]
    succeed(source, tmp_path / "one.png", "--seed", seed)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "out" / "a.png").read_bytes()


@pytest.mark.parametrize("where", ["in", "in/out"])
def test_a_folder_is_not_written_into_itself(tmp_path: Path, where: str) -> None:
    save(tmp_path / "in" / "a.png", array())
    assert isinstance(run(tmp_path / "in", tmp_path / where).exception, ConfigError)
    assert files_of(tmp_path) == ["in/a.png"]


def test_two_files_that_would_become_one(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png", array())
    save(tmp_path / "in" / "a.jpg", array())
    result = run(tmp_path / "in", tmp_path / "out")
    assert isinstance(result.exception, ConfigError)
    assert "a.jpg" in str(result.exception)


def make_clip(path: Path, count: int, size: tuple[int, int] = (64, 96)) -> Path:
    still = array(size[0] + 16, size[1])
    write_clip(path, (np.ascontiguousarray(still[at % 16 : at % 16 + size[0]]) for at in range(count)), Fraction(30))
    return path


def test_a_clip_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.degrade.MOST_PIECE", 8)
    clip = make_clip(tmp_path / "film.mkv", 19)
    result = succeed(clip, tmp_path / "small.mkv", "--seed", 4, "--steps", "--set", "second.noise_prob=0")
    assert clip_length(tmp_path / "small.mkv") == 19
    pictures = read_clip(tmp_path / "small.mkv", 0, 19)
    assert pictures[0].shape == (16, 24, 3)
    assert "19 of 19 pictures" in result.stderr
    assert result.stdout.count("first noise") == 1
    # 16 pictures on, the same picture comes again, in another piece: all is equal but the noise.
    assert not np.array_equal(pictures[0], pictures[16])
    quiet = ("--set", "first.noise_prob=0", "--set", "second.noise_prob=0")
    succeed(clip, tmp_path / "quiet.mkv", "--seed", 4, *quiet)
    still = read_clip(tmp_path / "quiet.mkv", 0, 19)
    np.testing.assert_array_equal(still[0], still[16])
    assert not np.array_equal(still[0], still[1])


def test_a_clip_under_a_video_recipe_and_its_grid(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "film.mkv", 5, (128, 128))
    succeed(clip, tmp_path / "small.mp4", "--recipe", "animevideo", "--seed", 2)
    assert clip_length(tmp_path / "small.mp4") == 5
    result = succeed(clip, tmp_path / "grid.png", "--recipe", "animevideo", "--seed", 2, "--grid", "--steps")
    assert "video" in result.stdout
    assert load(tmp_path / "grid.png").shape[0] > 1000
    assert isinstance(run(clip, tmp_path / "small.png").exception, ConfigError)


def test_a_real_clip(tmp_path: Path, media_dir: Path) -> None:
    clip = media_dir / "clips" / "bbb-176x144-mpeg4.mp4"
    succeed(clip, tmp_path / "small.mkv", "--recipe", "lite", "--scale", 2)
    assert clip_length(tmp_path / "small.mkv") == clip_length(clip)


def test_real_pictures(tmp_path: Path, media_dir: Path, train_dir: Path) -> None:
    """Gray, transparent, 16 bit, CMYK, AVIF, one pixel."""
    odd = ("fate-12bpp.jpg", "realesrgan-tree_alpha_16bit.png", "zune-cymk.jpg", "ax-white-1x1.jpg")
    for name in odd:
        scale = 1 if name.startswith("ax") else 4
        succeed(media_dir / "odd" / name, tmp_path / f"{name}.png", "--scale", scale, "--recipe", "classical")
    shapes = [load(tmp_path / f"{name}.png").shape[:2] for name in odd]
    assert shapes == [(749 // 4, 999 // 4), (64, 85), (99, 150), (1, 1)]
    still = read_picture(train_dir / "cartoon" / "avif-bbb_4k.avif")
    assert still.shape == (3, 2160, 3840)


def test_help_teaches() -> None:
    words = succeed("--help").stdout
    for text in ("--recipe", "--grid", "streamsr degrade photo.png small.png --seed 7 --steps", "docs/degrade.md"):
        assert text in words
