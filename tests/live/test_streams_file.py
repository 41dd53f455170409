"""Files that name streams: what they mean, what is said to mistakes, what a change touches."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.live_options import FOLDER, find_live_config, given_keys
from pipelines.presets import preset_names
from pipelines.streams_file import changes, load_process, load_streams, names_streams, only_stream
from streamsr.config import config_keys
from streamsr.errors import ConfigError
from streamsr.live_config import NamedStream, RestreamConfig

ROOT = Path(__file__).resolve().parents[2]

TWO = """
[defaults.upscale]
model = "lite"
scale = 3
[defaults.ingest]
stall_s = "5s"
[status]
interval_s = 60
[run]
debug = true
[[stream]]
name = "front"
source = "rtsp://10.0.0.5/1"
targets = ["hls:out/front", "record:rec/front.mp4"]
[stream.upscale]
scale = 2
[[stream]]
name = "yard"
source = "camera:0"
targets = ["udp://239.0.0.1:5000"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cameras.toml"


def loaded(file: Path, text: str) -> tuple[NamedStream, ...]:
    file.write_text(text)
    return load_streams(file)


def test_a_stream_wins_over_the_defaults_and_options_over_both(file: Path) -> None:
    front, yard = loaded(file, TWO)
    assert (front.name, front.source, front.targets) == (
        "front",
        "rtsp://10.0.0.5/1",
        ("hls:out/front", "record:rec/front.mp4"),
    )
    assert (front.settings.upscale.model, front.settings.upscale.scale, front.settings.ingest.stall_s) == ("lite", 2, 5)
    assert (yard.settings.upscale.scale, yard.settings.policy.drop) == (3, "newest-wins")
    overrides = given_keys(("ingest.stall_s=7s", "upscale.scale=4"), {"upscale__scale": 1.5, "status__listen": ":1"})
    assert overrides == {"ingest.stall_s": 7.0, "upscale.scale": 1.5, "status.listen": ":1"}
    assert [each.settings.upscale.scale for each in load_streams(file, overrides)] == [1.5, 1.5]
    assert [each.settings.ingest.stall_s for each in load_streams(file, overrides)] == [7.0, 7.0]
    process = load_process(file, overrides)
    assert (process.status.interval_s, process.status.listen, process.run.debug) == (60, ":1", True)


STREAM = '[[stream]]\nname = "a"\nsource = "camera:0"\ntargets = ["udp://h:1"]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (STREAM.replace("source", "sorce"), r"'sorce' \(.*cameras.toml, stream a\)\. Did you mean source\?"),
        (STREAM.replace("targets", "target"), "unknown key 'target' .* Did you mean targets?"),
        (STREAM + "stall_s = 3\n", "unknown key 'stall_s' .* Did you mean ingest.stall_s?"),
        (STREAM + "[stream.ingest]\nstal_s = 3\n", "'ingest.stal_s' .*stream a.* Did you mean ingest.stall_s?"),
        (STREAM + "[stream.ingset]\nstall_s = 3\n", "unknown key 'ingset' .* Did you mean ingest?"),
        (STREAM + "[stream.ingest]\nstall_s = -3\n", r"ingest.stall_s = -3 is wrong: .* greater than 0 \(.*stream a\)"),
        (STREAM + "[defaults.policy]\nstale = 3\n", r"unknown key 'policy.stale' \(.*\[defaults\]\)"),
        (STREAM + "[status]\nintervall_s = 3\n", "Did you mean status.interval_s?"),
        (STREAM.replace("[[stream]]", "[[streams]]"), r"unknown key 'streams' .* Did you mean stream\?"),
        (STREAM.replace("[[stream]]", "[stream]"), r"names no stream .* Write \[\[stream\]\]"),
        ("[defaults.ingest]\nstall_s = 3\n", "names no stream"),
        (STREAM.replace('name = "a"', 'name = "a b"'), r"no usable name \(.*stream a b\)"),
        (STREAM.replace('name = "a"\n', ""), r"no usable name \(.*stream number 1\)"),
        (STREAM.replace('["udp://h:1"]', '"udp://h:1"'), "has no targets"),
        (STREAM.replace('["udp://h:1"]', "[]"), "has no targets"),
        (STREAM.replace('"camera:0"', "0"), "has no source"),
        (STREAM.replace("camera:0", "gopher://u:geheim@h/"), r"gopher:// is no kind of source \(.*stream a, gopher://\*\*\*@h/"),
        (STREAM + STREAM, r"two streams are called 'a' \(.*cameras.toml\)"),
        (STREAM + STREAM.replace('"a"', '"b"'), "two targets of a and b would write to udp://h:1"),
        (STREAM.replace('"udp://h:1"', '"hls:x/y/", "hls:x/y"'), "two targets of a would write to hls:x/y"),
        (STREAM.replace('"udp://h:1"', '"hls:x", "x/live.m3u8"'), "two targets of a would write to hls:x/live.m3u8"),
        (STREAM.replace("camera:0", "rtsp://u:${NO_SUCH_NAME}@h/"), "environment has no NO_SUCH_NAME .*stream a"),
        ("[[stream]", "not valid TOML"),
    ],
)  # fmt: skip
def test_mistakes(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        _ = load_process(file), load_streams(file)
    assert "geheim" not in str(caught.value)


def test_streams_share_what_can_be_shared(file: Path) -> None:
    two = STREAM.replace("udp://h:1", "hls:1"), STREAM.replace("udp://h:1", "hls:2").replace('"a"', '"b"')
    assert len(loaded(file, "".join(two))) == 2  # one web server has both


def test_no_mistake_shows_an_address(file: Path) -> None:
    for text in (
        STREAM.replace("source = ", "soruce = ").replace("camera:0", "rtsp://u:geheim@h/"),
        STREAM.replace('["udp://h:1"]', '"rtsp://u:geheim@h/"'),
        STREAM.replace('["udp://h:1"]', '["rtsp://u:geheim@h/", 7]'),
        STREAM.replace('["udp://h:1"]', '["rtmp://h/app/geheim77", "rtmp://h/app/geheim77"]'),
        STREAM + '[stream.publish]\nlisten = ["rtsp://u:geheim@h/"]\n',
    ):
        file.write_text(text)
        with pytest.raises(ConfigError) as caught:
            load_streams(file)
        error: BaseException | None = caught.value
        while error is not None:  # a traceback, as of --debug, shows the causes too
            assert "geheim" not in f"{error} {error!r}", text
            error = None if error.__suppress_context__ else error.__context__


def test_the_environment_fills_addresses_in(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAM_PASSWORD", "gehe%40im")
    monkeypatch.setenv("KEY", "k-1")
    text = STREAM.replace("camera:0", "rtsp://me:${CAM_PASSWORD}@h/$x").replace("udp://h:1", "rtmp://h/app/${KEY}")
    (stream,) = loaded(file, text)
    assert (stream.source, stream.targets) == ("rtsp://me:gehe%40im@h/$x", ("rtmp://h/app/k-1",))
    stream, _ = only_stream("live", "rtsp://${KEY}/", ("hls:${KEY}",), None, {})
    assert (stream.source, stream.targets) == ("rtsp://k-1/", ("hls:k-1",))


def test_what_a_change_touches(file: Path) -> None:
    before = loaded(file, TWO)
    assert changes(before, loaded(file, TWO + "\n# another comment\n")) == ((), (), ())
    after = loaded(file, TWO.replace("scale = 2", "scale = 4").replace('"yard"', '"gate"'))
    added, removed, changed = changes(before, after)
    assert ([each.name for each in added], [each.name for each in removed]) == (["gate"], ["yard"])
    assert [(each.name, each.settings.upscale.scale) for each in changed] == [("front", 4)]
    assert [each.name for each in changes(before, loaded(file, TWO.replace("stall_s", "open_timeout_s")))[2]] == [
        "front",
        "yard",
    ]
    assert changes((), before)[0] == before


def test_the_stream_of_a_command_line(file: Path) -> None:
    file.write_text('[ingest]\nretry = "forever"\n[upscale]\nscale = 3\n[status]\ninterval_s = 1\n')
    assert not names_streams(file)
    stream, cfg = only_stream("live", "a.mp4", ("hls:out", "b.mkv"), file, {"upscale.scale": 2, "run.debug": True})
    assert (stream.name, stream.source, stream.targets) == ("live", "a.mp4", ("hls:out", "b.mkv"))
    assert (stream.settings.ingest.retry, stream.settings.upscale.scale) == ("forever", 2)
    assert (cfg.status.interval_s, cfg.run.debug) == (1, True)
    file.write_text("[ingset]\nretry = 3\n")
    with pytest.raises(ConfigError, match=r"unknown key 'ingset.* \(.*cameras.toml\)"):
        only_stream("live", "a.mp4", ("hls:out",), file, {})
    with pytest.raises(ConfigError, match=r"not a target \(the command line, nonsense\)"):
        only_stream("live", "a.mp4", ("nonsense",), None, {})


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for call in (load_streams, load_process, names_streams):
        with pytest.raises(ConfigError, match=r"cannot read the config file .*No such file"):
            call(tmp_path / "no.toml")


@pytest.mark.parametrize("name", sorted(preset_names(FOLDER)))
def test_presets_load(name: str) -> None:
    file = find_live_config(name)
    assert file is not None
    assert file.read_text().startswith("# "), "a preset says what it is for"
    if names_streams(file):
        assert len(load_streams(file)) == 2
        assert load_process(file).status.interval_s == 60
    else:
        assert only_stream("live", "camera:0", ("hls:out",), file, {})[1] != RestreamConfig()


def test_the_examples_of_the_manual_load(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRONT_PASSWORD", "x")
    pages = [(ROOT / "docs" / name).read_text("utf-8") for name in ("live.md", "config.md")]
    blocks = [block.partition("```")[0] for page in pages for block in page.split("```toml\n")[1:]]
    for block in blocks:
        file.write_text(block)
        if names_streams(file):
            assert len(load_streams(file)) == 2
            assert load_process(file).status.listen == "127.0.0.1:9180"
        elif "[policy]" in block:
            assert only_stream("live", "camera:0", ("hls:out",), file, {})[1].policy.adapt
    assert len(blocks) >= 3


def test_every_live_key_is_documented() -> None:
    page = (ROOT / "docs" / "config.md").read_text("utf-8")
    live = page.partition("\n# Live")[2]
    for key, words in config_keys(RestreamConfig).items():
        section, _, name = key.partition(".")
        assert words, f"{key} has no docstring"
        part = page if section in ("upscale", "run") else live.partition(f"\n## [{section}]")[2].partition("\n## ")[0]
        assert f"`{name}`" in part, f"docs/config.md does not mention {key}"
