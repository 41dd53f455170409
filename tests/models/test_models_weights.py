"""Checkpoints of every make, sound and hostile, through the door users come by."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from streamsr.errors import ConfigError, WeightsError
from streamsr.models.rrdb import RRDB
from streamsr.models.srvgg import SRVGG
from streamsr.models.weights import describe, load_network, read_state


def saved(state: object, **options: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


STATE = {key: value.detach() for key, value in SRVGG(3, 3, 8, 2, 2).state_dict().items()}
CHECKPOINT = saved({"params": STATE})
OLD_CHECKPOINT = saved({"params": STATE}, _use_new_zipfile_serialization=False)


HUGE_HEADER = b'{"a":{"dtype":"F32","shape":[9999999999],"data_offsets":[0,8]}}'
HUGE_CLAIM = len(HUGE_HEADER).to_bytes(8, "little") + HUGE_HEADER + bytes(8)


def checkpoint(folder: Path, content: object, name: str = "net.pth") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else saved(content))
    return path


def home(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Only `folder` holds weights, as $STREAMSR_WEIGHTS; the cache is empty."""
    monkeypatch.setenv("STREAMSR_WEIGHTS", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    return folder


@pytest.mark.parametrize(
    "content", [CHECKPOINT, OLD_CHECKPOINT, saved(STATE), saved({"params_ema": STATE, "epoch": 3})]
)
@pytest.mark.parametrize("name", ["net.pth", "net.pt", "NET.PTH"])
def test_torch_files(tmp_path: Path, content: bytes, name: str) -> None:
    path = checkpoint(tmp_path, content, name)
    network = load_network(str(path))
    assert (network.family, network.scale, network.receptive_radius, network.align) == ("srvgg", 2, 4, 1)
    assert (network.name, network.path) == (path.stem, path)
    assert network.sha256 == hashlib.sha256(content).hexdigest()
    assert not network.module.training
    for key, value in network.module.state_dict().items():
        assert torch.equal(value, STATE[key])
        assert not value.requires_grad
    assert network.module(torch.rand(1, 3, 5, 4)).shape == (1, 3, 10, 8)


def test_safetensors(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, safetensors.torch.save(STATE), "net.safetensors")
    network = load_network(path)
    assert all(torch.equal(value, STATE[key]) for key, value in network.module.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_fp32(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {key: value.to(dtype) for key, value in STATE.items()}
    path = checkpoint(tmp_path, state)
    assert read_state(path)["body.0.weight"].dtype == dtype
    for key, value in load_network(path).module.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, state[key].float())


def test_rrdb_by_its_old_names(tmp_path: Path) -> None:
    state = RRDB(3, 3, 2, 8, 1, 4).state_dict()
    words = {
        "conv_body": "trunk_conv",
        "body.": "RRDB_trunk.",
        ".rdb": ".RDB",
        "conv_up": "upconv",
        "conv_hr": "HRconv",
    }
    old = {}
    for key, value in state.items():
        for ours, theirs in words.items():
            key = key.replace(ours, theirs)
        old[key] = value
    network = load_network(checkpoint(tmp_path, old))
    assert (network.family, network.scale, network.align) == ("rrdb", 2, 2)
    assert (network.receptive_radius, network.tile_overlap) == (38, 32)


class Payload:
    """A pickle of this runs a command when it is loaded by the wrong means."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, zipped: bool) -> None:
    mark = tmp_path / "was_run"
    content = saved({"params": STATE, "note": Payload(mark)}, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="could run code"):
        load_network(checkpoint(tmp_path, content))
    with pytest.raises(WeightsError):
        load_network(checkpoint(tmp_path, pickle.dumps(Payload(mark)), "raw.pth"))
    assert not mark.exists()
    torch.load(io.BytesIO(content), weights_only=False)  # the trap does work
    assert mark.exists()


def test_damaged_files(tmp_path: Path) -> None:
    other_zip = io.BytesIO()
    with zipfile.ZipFile(other_zip, "w") as archive:
        archive.writestr("readme.txt", "not a network")
    for name, content, message in [
        ("cut.pth", CHECKPOINT[: len(CHECKPOINT) // 2], "damaged"),
        ("cut-old.pth", OLD_CHECKPOINT[: len(OLD_CHECKPOINT) // 2], "damaged"),
        ("empty.pth", b"", "empty"),
        ("empty.safetensors", b"", "empty"),
        ("page.pth", b"\n<!DOCTYPE html><html><body>404</body></html>", "web page"),
        ("noise.pth", bytes(range(256)) * 40, "damaged"),
        ("noise.safetensors", bytes(range(256)) * 40, "damaged"),
        ("other.pth", other_zip.getvalue(), "damaged"),
        ("list.pth", saved([1, 2, 3]), "holds a list"),
        ("cut.safetensors", safetensors.torch.save(STATE)[:-40], "damaged"),
        ("huge.safetensors", HUGE_CLAIM, "damaged"),
        ("numbers.pth", saved({"params": {"lr": 0.1}}), "entry 'lr' is a float"),
        ("classifier.pth", saved({"fc.weight": torch.zeros(2, 2)}), r"unknown architecture.*fc\.weight"),
    ]:  # fmt: skip
        path = checkpoint(tmp_path, content, name)
        with pytest.raises(WeightsError, match=message) as caught:
            load_network(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_values_that_are_not_finite(tmp_path: Path, value: float) -> None:
    state = {key: tensor.double() for key, tensor in STATE.items()}
    state["body.2.weight"] = torch.full_like(state["body.2.weight"], value)
    with pytest.raises(WeightsError, match=r"body\.2\.weight holds values that are not finite"):
        load_network(checkpoint(tmp_path, state))


def test_huge_shapes_of_a_few_bytes(tmp_path: Path) -> None:
    state = {"body.0.weight": torch.zeros(()).expand(2**30, 3, 3, 3), "body.2.weight": torch.zeros(48, 1)}
    path = checkpoint(tmp_path, state)
    assert path.stat().st_size < 10_000
    with pytest.raises(WeightsError):
        load_network(path)


def test_a_small_file_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bomb:
        bomb.writestr("archive/version", "3")
        bomb.writestr("archive/data/0", bytes(1_000_000))
    content = path.read_bytes()
    claimed = content.replace((1_000_000).to_bytes(4, "little"), (2**31 - 1).to_bytes(4, "little"))
    with pytest.raises(WeightsError, match="unpacks to more than a gigabyte"):
        load_network(checkpoint(tmp_path, claimed))


def test_networks_of_other_channels(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="maps 1 channels to 1"):
        load_network(checkpoint(tmp_path, SRVGG(1, 1, 8, 1, 2).state_dict()))


@given(st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_is_one_clear_error(tmp_path: Path, data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([CHECKPOINT, OLD_CHECKPOINT, safetensors.torch.save(STATE)]))
    content = bytearray(whole[: data.draw(st.integers(1, len(whole)))])
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, min(len(content), 3000) - 1))] = data.draw(st.integers(0, 255))
    path = checkpoint(tmp_path, bytes(content), data.draw(st.sampled_from(["net.pth", "net.safetensors"])))
    with contextlib.suppress(WeightsError):
        state = read_state(path)
        assert {key: value.shape for key, value in state.items()} == {key: value.shape for key, value in STATE.items()}


def test_folder_and_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is a folder"):
        load_network(tmp_path)
    with pytest.raises(WeightsError, match="is a folder"):
        read_state(tmp_path)
    with pytest.raises(WeightsError, match="cannot read the checkpoint"):
        read_state(tmp_path / "nothing.pth")


def _general(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    strong, weak = (SRVGG(3, 3, 8, 1, 4).state_dict() for _ in range(2))
    checkpoint(folder, {"params": strong}, "realesr-general-x4v3.pth")
    checkpoint(folder, {"params": weak}, "realesr-general-wdn-x4v3.pth")
    return strong, weak


def test_denoise_mixes_as_upstream_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strong, weak = _general(home(monkeypatch, tmp_path))
    for strength in (0.0, 0.3, 1.0, None):
        network = load_network("general-x4v3", denoise=strength)
        share = 1.0 if strength is None else strength
        assert (network.name, network.denoise) == ("general-x4v3", strength)
        assert ("+" in network.sha256) == (strength not in (1.0, None))
        for key, value in network.module.state_dict().items():
            assert torch.equal(value, share * strong[key] + (1 - share) * weak[key])


def test_denoise_needs_its_model_and_both_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _general(home(monkeypatch, tmp_path))
    path = checkpoint(tmp_path, CHECKPOINT)
    for reference in (path, "general-wdn-x4v3"):
        with pytest.raises(ConfigError, match=r"--denoise does not go with .*general-x4v3"):
            load_network(reference, denoise=0.5)
    with pytest.raises(ConfigError, match=r"denoise = 1\.5 is wrong"):
        load_network("general-x4v3", denoise=1.5)
    checkpoint(tmp_path, CHECKPOINT, "realesr-general-wdn-x4v3.pth")
    with pytest.raises(WeightsError, match="cannot be mixed"):
        load_network("general-x4v3", denoise=0.5)
    (tmp_path / "realesr-general-wdn-x4v3.pth").unlink()
    with pytest.raises(WeightsError, match="models pull general-wdn-x4v3"):
        load_network("general-x4v3", denoise=0.5)


def test_describe(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, {key: value.half() for key, value in STATE.items()})
    facts = describe(path)
    assert facts["architecture"] == "SRVGG x2, 8 features, 2 convolutions"
    assert facts["parameters"] == sum(value.numel() for value in STATE.values())
    assert facts["dtype"] == "float16"
    assert facts["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (facts["scale"], facts["receptive_radius_px"], facts["published_as"]) == (2, 4, None)


def test_the_printed_network_shows_no_tensors(tmp_path: Path) -> None:
    assert len(repr(load_network(checkpoint(tmp_path, CHECKPOINT)))) < 600
