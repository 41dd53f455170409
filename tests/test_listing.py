"""Files of a folder, through links, each once."""

from __future__ import annotations

from pathlib import Path

from streamsr.listing import files_under


def test_subfolders_and_links_in_order(tmp_path: Path) -> None:
    far = tmp_path / "far"
    (far / "deep").mkdir(parents=True)
    (far / "deep" / "c.PNG").touch()
    (far / "b.jpg").touch()
    here = tmp_path / "here"
    here.mkdir()
    (here / "a.png").touch()
    (here / "z.txt").touch()
    (here / "linked").symlink_to(far)
    (here / "file.png").symlink_to(far / "b.jpg")
    (here / "gone.png").symlink_to(far / "nothing")
    names = ["a.png", "file.png", "linked/b.jpg", "linked/deep/c.PNG", "z.txt"]
    assert [str(path.relative_to(here)) for path in files_under(here)] == names
    pictures = files_under(here, {".png", ".jpg"})
    assert [str(path.relative_to(here)) for path in pictures] == names[:-1]


def test_a_link_to_a_folder_above_ends(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.png").touch()
    (tmp_path / "one" / "up").symlink_to(tmp_path)
    (tmp_path / "two").symlink_to(tmp_path / "one")
    assert files_under(tmp_path) == [tmp_path / "one" / "a.png"]
