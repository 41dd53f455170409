"""The architecture of docs/architecture.md, asserted on the sources."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamsr.config import config_keys, load_config

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [
    ROOT / "run_stream.py",
    *sorted((ROOT / "pipelines").rglob("*.py")),
    *sorted((ROOT / "streamsr").rglob("*.py")),
]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
SCRIPTS = [*sorted((ROOT / "samples").glob("*.py")), *sorted((ROOT / "weights").glob("*.py"))]
EVERYTHING = [*SOURCES, *TESTS, *SCRIPTS]
PARTS = ("chunks", "degrade", "display", "live", "media", "models", "runtime", "train", "upscale")
MAX_FILE, MAX_FUNCTION, MIN_DOCUMENTED = 300, 62, 10
"""Lines."""
VALUES = {
    "streamsr",
    "streamsr.config",
    "streamsr.errors",
    "streamsr.frames",
    "streamsr.installed",
    "streamsr.listing",
    "streamsr.live_config",
    "streamsr.live_frames",
    "streamsr.report",
}

MAY_IMPORT = {
    "run_stream": {"pipelines", *PARTS},
    "pipelines": {"pipelines", *PARTS},
    "chunks": {"chunks", "runtime"},
    "degrade": {"degrade", "media"},
    "display": {"display"},
    "live": {"live", "runtime"},
    "media": {"live", "media", "runtime"},
    "models": {"models"},
    "runtime": {"runtime"},
    "train": {"train", "degrade", "media", "models", "runtime"},
    "upscale": {"live", "models", "runtime", "upscale"},
    "streamsr": set(),
}
"""The arrows: part -> parts of ours that it may import. The small values of VALUES are open to all."""

CLI_OPTIONS = {
    "upscale": (
        "--audio --batch --codec --config --debug --decoder --deinterlace --denoise --device --duration --encoder"
        " --help --model --no-deinterlace --overwrite --pix-fmt --precision --preset --progress --quality --report"
        " --scale --set --start --tile --to -dn -g -h -n -s -t"
    ),
    "chunked": (
        "--audio --batch --chunk --codec --config --debug --decoder --deinterlace --denoise --device --duration"
        " --encoder --fresh --gpus --help --model --no-deinterlace --overwrite --pix-fmt --plan-only --precision"
        " --preset --progress --quality --queue --ray --report --resume --scale --scenes --set --start --tile --to"
        " --transport --work-dir --workers-per-gpu -dn -g -h -n -s -t"
    ),
    "restream": (
        "--adapt --audio --bitrate --codec --config --debug --device --drop --encoder --gop --help --interval --listen"
        " --loop --model --precision --retry --rotate --scale --segment --set --slate --stale --stall --status-file"
        " --status-listen --to --transport -g -h -n -s"
    ),
    "preview": (
        "--debug --device --help --listen --loop --model --precision --rate --record --scale --size --snapshots --to"
        " --token --transport --web -g -h -n -s"
    ),
    "doctor": "--config --help --json --set -h",
    "bench": (
        "--batch --chunked --clip --codec --config --device --encoder --help --json --model --precision --preset"
        " --scale --seconds --set --tile --to -g -h -n -s -t"
    ),
    "degrade": "--debug --grid --help --overwrite --recipe --scale --seed --set --steps -h",
    "evaluate": (
        "--count --crop --debug --device --flicker --held-out --help --jpeg --max-side --niqe --out --pairs --pictures"
        " --recipe --scale --seed --smaller --teacher -h -i"
    ),
    "prepare": "--debug --help --part --scales --shortest-edge --step -h",
    "train": "--debug --fresh --help --out --resume --set -h",
    "models list": "--help --json -h",
    "models info": "--help -h",
    "models pull": "--help -h",
}
"""Scripts of users depend on these: nothing is removed or renamed without an entry in CHANGELOG.md."""


def part_of(path: Path) -> str:
    """run_stream, pipelines, a part of streamsr/, or streamsr for the values at its top."""
    place = path.relative_to(ROOT).parts
    if place[0] != "streamsr":
        return place[0].removesuffix(".py")
    return place[1] if len(place) > 2 else "streamsr"


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@functools.cache
def imports_of(path: Path) -> frozenset[str]:
    """Dotted names of all modules that the file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            # `from streamsr.media import encode` means the module streamsr.media.encode
            names |= {f"{node.module}.{alias.name}" for alias in node.names if (node.module or "").count(".") == 1}
    return frozenset(names)


def functions_of(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_imports_follow_the_arrows() -> None:
    wrong = []
    for path in SOURCES:
        allowed = MAY_IMPORT[part_of(path)]
        for name in sorted(imports_of(path)):
            top, *rest = name.split(".")
            if top == "streamsr":
                is_right = rest[0] in allowed if rest and rest[0] in PARTS else ".".join((top, *rest[:1])) in VALUES
                is_right |= name == "streamsr.__version__"
            else:
                is_right = top != "run_stream" and (top != "pipelines" or "pipelines" in allowed)
            wrong += [] if is_right else [f"{name_of(path)} imports {name}"]
    assert not wrong


def test_monopolies_on_libraries() -> None:
    wrong = []
    for path in SOURCES:
        tops = {name.partition(".")[0] for name in imports_of(path)}
        # The report of a job states PyAV's version, which needs the import but opens nothing.
        if "av" in tops and part_of(path) != "media":
            wrong.append(f"{name_of(path)} imports av")
        only_there = {
            "ray": ("streamsr/chunks/cluster",),
            "basicsr": ("streamsr/degrade/reference.py",),
            "aiortc": ("streamsr/media/rtc",),
            "aiohttp": ("streamsr/display/web/",),
        }
        wrong += [
            f"{name_of(path)} imports {top}"
            for top, places in only_there.items()
            if top in tops and not name_of(path).startswith(places)
        ]
        if part_of(path) == "runtime":
            wrong += [f"{name_of(path)} imports {top}" for top in tops - {*sys.stdlib_module_names, "streamsr"}]
        if "torch" in tops and part_of(path) in ("display", "run_stream", "streamsr"):
            wrong.append(f"{name_of(path)} imports torch")
    assert not wrong


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [
        ("streamsr.runtime.child_main", "torch av numpy pydantic rich"),
        ("streamsr.media.encode_worker, streamsr.media.trials", "torch pydantic rich"),
        ("streamsr.media.ingest_worker, streamsr.media.publish_worker", "torch cv2 rich"),
        ("streamsr.display.window_worker", "torch av pydantic rich"),
        ("run_stream", "torch av numpy pydantic rich"),
        ("pipelines.options, pipelines.presets, pipelines.files, streamsr.display.progress", "torch av numpy rich"),
    ],
)
def test_what_starts_often_starts_light(modules: str, unwanted: str) -> None:
    code = f"import sys, {modules}; sys.exit(' '.join(set(sys.modules) & set({unwanted.split()!r})) or 0)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{modules} imports {done.stderr}"


def test_only_the_command_line_prints() -> None:
    for path in (*SOURCES, *SCRIPTS):
        called = {ast.unparse(node.func) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)}
        assert "print" not in called, path
        assert "click.echo" not in called or path.name == "run_stream.py", path


def test_files_and_functions_stay_small() -> None:
    lengths = {name_of(path): len(path.read_text("utf-8").splitlines()) for path in EVERYTHING}
    for path in EVERYTHING:
        for function in functions_of(path):
            lines = (function.end_lineno or function.lineno) - function.lineno + 1
            lengths[f"{name_of(path)}: {function.name}"] = lines + MAX_FILE - MAX_FUNCTION
    assert not {name: length for name, length in lengths.items() if length > MAX_FILE}


def test_names_say_what_is_inside() -> None:
    empty_words = {"utils", "util", "helpers", "helper", "common", "misc", "types", "queue"}
    assert not [path for path in EVERYTHING if path.stem in empty_words]


def test_public_things_have_docstrings() -> None:
    """Every file says what it is; a public name at its top states its contract unless it is short. The sections
    of the config document their fields instead."""
    missing = [name_of(path) for path in SOURCES if path.name != "__init__.py" and not ast.get_docstring(tree_of(path))]
    for path in SOURCES:
        for node in tree_of(path).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                is_short = (node.end_lineno or 0) - node.lineno < MIN_DOCUMENTED
                is_short |= isinstance(node, ast.ClassDef) and "Section" in map(ast.unparse, node.bases)
                if not is_short and not ast.get_docstring(node):
                    missing.append(f"{name_of(path)}: {node.name}")
    assert not missing


def test_no_loose_ends() -> None:
    mark = re.compile("# ?(TO" + "DO|FIX" + "ME|X" + "XX|HA" + "CK)")
    assert not [path for path in EVERYTHING if mark.search(path.read_text("utf-8"))]


def test_no_private_places_in_the_project() -> None:
    """Paths of somebody's machine, in whatever a clone contains."""
    private = re.compile(r"(?<![\w.:/*])/(home|Users|root|work|mnt)/\w+")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, timeout=60, check=False)
    names = [name for name in listed.stdout.decode().split("\0") if name]
    if not names:
        pytest.skip("not a git checkout")
    texts = {".py", ".md", ".toml", ".txt", ".json", ".yml", ".css", ""}
    files = [ROOT / name for name in names if Path(name).suffix in texts and (ROOT / name).is_file()]
    assert not [file for file in files if private.search(file.read_text("utf-8", "replace"))]


def test_every_config_key_is_documented() -> None:
    page = (ROOT / "docs" / "config.md").read_text("utf-8")
    for key, words in config_keys().items():
        assert words, f"{key} has no docstring"
        assert f"`{key.partition('.')[2]}`" in page, f"docs/config.md does not mention {key}"


@pytest.mark.parametrize("preset", sorted((ROOT / "configs").glob("*.toml")), ids=name_of)
def test_presets_load(preset: Path) -> None:
    assert load_config(preset) != load_config()
    assert preset.read_text("utf-8").startswith("# "), "a preset says what it is for"


def test_the_options_of_the_command_line_are_frozen() -> None:
    import click

    import run_stream

    def options_of(words: str) -> str:
        command: click.Command = run_stream.cli
        ctx = click.Context(command)
        for word in words.split():
            assert isinstance(command, click.Group)
            command = command.commands[word]
            ctx = click.Context(command, parent=ctx)
        ctx.help_option_names = ["-h", "--help"]
        command._help_option = None  # click keeps that of the first call, which a test may have made without the group
        flags = {
            flag
            for option in command.get_params(ctx)
            if isinstance(option, click.Option)
            for flag in (*option.opts, *option.secondary_opts)
        }
        return " ".join(sorted(flags))

    assert {verb: options_of(verb) for verb in CLI_OPTIONS} == {
        verb: " ".join(sorted(flags.split())) for verb, flags in CLI_OPTIONS.items()
    }


def test_every_option_is_in_the_manual() -> None:
    page = (ROOT / "docs" / "upscale.md").read_text("utf-8")
    for flag in CLI_OPTIONS["upscale"].split():
        assert re.search(rf"`[^`]*(?<![\w-]){re.escape(flag)}(?![\w-])[^`]*`", page), flag
