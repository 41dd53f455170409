"""Crops: which places are cut, that they follow from their number alone, and what happens to damaged files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from streamsr.errors import ConfigError, SourceError
from streamsr.train.crops import LIVELY_SHARE, CropSource, draw_crop, liveliness, open_crops
from streamsr.train.pictures import BEHIND, PictureCache, read_still, resize_area, turned_picture
from streamsr.train.sources import find_sources, read_held_out
from tests.train.data_pictures import data, gradient, smooth, some_pictures, write


def no_notice(line: str) -> None:
    raise AssertionError(line)


def test_a_crop_follows_from_seed_and_number_alone(tmp_path: Path) -> None:
    cfg = data(some_pictures(tmp_path), candidates=3, zoom=2.0)
    one, other = open_crops(cfg, 5, no_notice), open_crops(cfg, 5, no_notice)
    forward = {number: one.crop(number).frames_T3HW for number in range(12)}
    for number in reversed(range(12)):
        assert torch.equal(other.crop(number).frames_T3HW, forward[number])
    another = open_crops(cfg, 6, no_notice)
    assert any(not torch.equal(another.crop(number).frames_T3HW, forward[number]) for number in range(12))


def test_crops_are_pieces_of_the_picture_turned_and_mirrored(tmp_path: Path) -> None:
    picture = gradient(96, 128)
    write(tmp_path / "gradient.png", picture)
    cfg = data(tmp_path)
    source, groups = open_crops(cfg, 1, no_notice), find_sources(cfg, no_notice)
    corners: set[tuple[int, int]] = set()
    turns: Counter[tuple[int, bool]] = Counter()
    for number in range(200):
        crop, draw = source.crop(number), draw_crop(groups, cfg, 1, number)
        top, left, side = draw.places[0].square(96, 128, 32)
        assert side == 32
        cut = picture[top : top + 32, left : left + 32]
        wanted = np.rot90(cut[:, ::-1] if draw.mirror else cut, draw.turn)
        assert np.array_equal(crop.frames_T3HW[0].permute(1, 2, 0).numpy(), wanted)
        corners.add((top, left))
        turns[draw.turn, draw.mirror] += 1
    assert len(turns) == 8
    assert min(turns.values()) > 8
    tops, lefts = zip(*corners, strict=True)
    assert (min(tops), max(tops)) <= (3, 64)
    assert max(tops) >= 61
    assert min(lefts) <= 3
    assert max(lefts) >= 93


def test_groups_are_as_likely_as_their_shares_say(tmp_path: Path) -> None:
    some_pictures(tmp_path / "many", 9)
    some_pictures(tmp_path / "few", 1)
    cfg = data(tmp_path, pictures=(str(tmp_path / "many"), str(tmp_path / "few")))
    for shares, wanted in (({}, 0.5), ({"few": 3.0}, 0.75), ({str(tmp_path / "many"): 0.0}, 1.0)):
        weighted = cfg.model_copy(update={"shares": shares})
        groups = find_sources(weighted, no_notice)
        drawn = [draw_crop(groups, weighted, 2, n).places[0].item.path.parent.name for n in range(600)]
        assert drawn.count("few") / 600 == pytest.approx(wanted, abs=0.06)


def test_the_liveliest_candidate_is_usually_taken(tmp_path: Path) -> None:
    write(tmp_path / "flat.png", np.full((64, 64, 3), 90, np.uint8))
    write(tmp_path / "lively.png", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    names = Counter(open_crops(data(tmp_path, candidates=3), 3, no_notice).crop(n).name for n in range(300))
    # One candidate in a fifth of the crops: flat half of the time; else only if all three are flat.
    wanted = (1 - LIVELY_SHARE) / 2 + LIVELY_SHARE / 8
    assert names["flat.png"] / 300 == pytest.approx(wanted, abs=0.06)
    assert liveliness(np.full((8, 8, 3), 9, np.uint8)) == 0


def test_zoomed_crops_are_reduced_by_area(tmp_path: Path) -> None:
    picture = smooth(200, 300, 1)
    write(tmp_path / "one.png", picture)
    cfg = data(tmp_path, zoom=3.0)
    source, groups, sides = open_crops(cfg, 4, no_notice), find_sources(cfg, no_notice), set()
    for number in range(40):
        draw = draw_crop(groups, cfg, 4, number)
        top, left, side = draw.places[0].square(200, 300, 32)
        cut = resize_area(picture[top : top + side, left : left + side], 32, 32)
        made = source.crop(number).frames_T3HW[0].permute(1, 2, 0).numpy()
        assert np.array_equal(made, turned_picture(cut, draw.turn, draw.mirror))
        sides.add(side)
    assert 32 in sides
    assert max(sides) > 85
    assert not {33, 34, 35, 36} & sides, "hardly larger crops are cut at their own size"


def test_small_pictures_are_mirrored_at_the_border(tmp_path: Path) -> None:
    write(tmp_path / "small.png", smooth(20, 50, 1))
    crop = open_crops(data(tmp_path), 1, no_notice).crop(0)
    assert crop.frames_T3HW.shape == (1, 3, 32, 32)


def test_damaged_pictures_are_named_and_skipped(tmp_path: Path) -> None:
    some_pictures(tmp_path, 2)
    whole = cv2.imencode(".jpg", smooth(64, 64, 3))[1].tobytes()
    (tmp_path / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.webp").write_bytes(b"this is no picture")
    (tmp_path / "half.png").write_bytes((tmp_path / "picture-0.png").read_bytes()[:3000])
    source = open_crops(data(tmp_path), 1, no_notice)
    crops = [source.crop(number) for number in range(60)]
    assert {crop.name for crop in crops} == {"picture-0.png", "picture-1.png"}
    told = [line for crop in crops for line in crop.skipped]
    assert len(told) == 4, "each file is told once"
    for name in ("truncated.jpg", "empty.png", "text.webp", "half.png"):
        assert any(f"skipped {name}: " in line for line in told)


def test_only_damaged_pictures_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_bytes(b"this is no picture")
    with pytest.raises(SourceError, match="damaged"):
        open_crops(data(tmp_path), 1, no_notice).crop(0)


def test_the_cache_keeps_to_its_limit_and_reads_once(tmp_path: Path) -> None:
    made: list[int] = []

    def make(number: int) -> np.ndarray:
        made.append(number)
        return np.zeros((1, 10, 10, 3), np.uint8)

    cache = PictureCache(1000)
    for number in (0, 1, 2, 1, 0, 3, 1, 0):
        cache.get(number, lambda number=number: make(number))  # type: ignore[misc]
        assert cache.num_bytes <= 1000
    assert made == [0, 1, 2, 3], "the longest unused one goes"
    big = PictureCache(100)
    big.get("big", lambda: make(9))
    assert big.num_bytes == 0


def test_pictures_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = data(some_pictures(tmp_path, 3))
    reads: list[Path] = []

    def counted(path: Path) -> np.ndarray:
        reads.append(path)
        return read_still(path)

    monkeypatch.setattr("streamsr.train.crops.read_still", counted)
    source = open_crops(cfg, 1, no_notice)
    for number in range(50):
        source.crop(number)
    assert len(reads) == 3


def test_depth_gray_and_transparency(tmp_path: Path) -> None:
    deep = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    read = read_still(tmp_path / "deep.png")
    assert read.shape == (64, 64, 3)
    assert np.array_equal(read[..., 1], np.rint(deep / 257).astype(np.uint8))
    rgba = np.zeros((16, 16, 4), np.uint8)
    rgba[:8] = (10, 20, 30, 255)
    cv2.imwrite(str(tmp_path / "clear.png"), rgba)
    read = read_still(tmp_path / "clear.png")
    assert tuple(read[0, 0]) == (30, 20, 10)
    assert tuple(read[15, 15]) == (BEHIND,) * 3


def test_large_pictures_are_reduced_lossy_ones_more(tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg"):
        write(tmp_path / name, smooth(100, 200, 1))
    cfg = data(tmp_path, max_side=100, max_side_lossy=80)
    source = CropSource(find_sources(cfg, no_notice), cfg, 1, 2**20)
    shapes = {item.name: source._frames(item).shape for group in source.groups for item in group.items}
    assert shapes == {"a.png": (1, 50, 100, 3), "b.jpg": (1, 40, 80, 3)}


def test_paired_halves_stay_together(tmp_path: Path) -> None:
    large = gradient(80, 120)
    write(tmp_path / "hr" / "one.png", large)
    write(tmp_path / "lr" / "one.png", large[::4, ::4])
    source = open_crops(data(tmp_path / "hr", lr=str(tmp_path / "lr")), 1, no_notice)
    for number in range(30):
        crop = source.crop(number)
        assert crop.lr_T3hw is not None
        small, big = crop.lr_T3hw[0], crop.frames_T3HW[0]
        assert small.shape == (3, 8, 8)
        # Of each 4x4 block the pixel in one corner was kept; which one depends on the turn.
        assert any(torch.equal(small, big[:, y::4, x::4]) for y in (0, 3) for x in (0, 3))


def test_pairs_that_do_not_fit_are_named(tmp_path: Path) -> None:
    write(tmp_path / "hr" / "one.png", gradient(80, 120))
    write(tmp_path / "lr" / "other.png", gradient(20, 30))
    cfg = data(tmp_path / "hr", lr=str(tmp_path / "lr"))
    with pytest.raises(ConfigError, match="no low-resolution picture for one"):
        open_crops(cfg, 1, no_notice)
    write(tmp_path / "lr" / "one.png", gradient(21, 30))
    with pytest.raises(SourceError, match="damaged"):
        open_crops(cfg, 1, no_notice).crop(0)


def test_held_out_files_are_not_seen(tmp_path: Path) -> None:
    some_pictures(tmp_path / "pictures", 3)
    listed = tmp_path / "held.toml"
    listed.write_text('names = ["picture-0", "picture-2.png"]\n[clips]\n"film.mp4" = [3]\n')
    groups = find_sources(data(tmp_path / "pictures", held_out=str(listed)), no_notice)
    assert [item.name for item in groups[0].items] == ["picture-1.png"]
    assert read_held_out(str(listed)).has(Path("x/film.mp4"))
    listed.write_text('names = "picture-0"')
    with pytest.raises(ConfigError, match="not a hold-out list"):
        read_held_out(str(listed))


def test_mistakes_in_places_are_named(tmp_path: Path) -> None:
    some_pictures(tmp_path / "cartoon", 1)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ConfigError, match="no such folder"):
        find_sources(data(tmp_path / "carton"), no_notice)
    with pytest.raises(ConfigError, match="nothing here"):
        find_sources(data(tmp_path / "nothing"), no_notice)
    with pytest.raises(ConfigError, match="Did you mean cartoon"):
        find_sources(data(tmp_path / "cartoon", shares={"carton": 2.0}), no_notice)


def test_clips_give_successive_pictures(media_dir: Path) -> None:
    from streamsr.media.stills import clip_length, read_clip

    clip = media_dir / "clips" / "bbb-176x144-mpeg4.mp4"
    told: list[str] = []
    cfg = data(clip, pictures=(), clips=(str(clip),), clip_frames=3, clip_every=7, crop=64)
    groups = find_sources(cfg, told.append)
    assert [item.start for item in groups[0].items] == list(range(0, clip_length(clip) - 2, 7))
    source = open_crops(cfg, 1, told.append)
    crop, draw = source.crop(0), draw_crop(groups, cfg, 1, 0)
    start = draw.places[0].item.start
    assert start is not None
    assert crop.name == f"{clip.name} #{start}"
    frames = np.stack(read_clip(clip, start, 3, 1))
    top, left, side = draw.places[0].square(frames.shape[1], frames.shape[2], 64)
    for frame, made in zip(frames, crop.frames_T3HW, strict=True):
        cut = turned_picture(frame[top : top + side, left : left + side], draw.turn, draw.mirror)
        assert np.array_equal(made.permute(1, 2, 0).numpy(), cut)
    assert not told


def test_a_clip_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    some_pictures(tmp_path / "pictures", 1)
    (tmp_path / "film.mkv").write_bytes(b"this is no film")
    told: list[str] = []
    cfg = data(tmp_path / "pictures", clips=(str(tmp_path / "film.mkv"),))
    with pytest.raises(ConfigError, match="nothing here"):
        find_sources(cfg, told.append)
    assert told[0].startswith("skipped film.mkv: ")
