"""Architectures read back from names and shapes; what does not fit is refused with a clear line."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from streamsr.errors import WeightsError
from streamsr.models.keys import parameters_of
from streamsr.models.registry import Architecture, identify
from streamsr.models.rrdb import RRDB
from streamsr.models.srvgg import SRVGG
from tests.models.upstream import RRDBNet, SRVGGNetCompact

TINY = Architecture("rrdb", 4, 3, 3, 8, 2, growth=4)


def old_names(state: Mapping[str, Tensor], blocks: int, doublings: int) -> dict[str, Tensor]:
    """As ESRGAN's repository wrote them in 2018."""
    tail = {f"conv_up{number + 1}": 3 + 3 * number for number in range(doublings)}
    after = 3 * doublings + 2
    tail |= {"conv_hr": after, "conv_last": after + 2}
    renamed = {}
    for key, value in state.items():
        layer, _, rest = key.partition(".")
        if layer == "body":
            block, rdb, conv, kind = rest.split(".")
            renamed[f"model.1.sub.{block}.{rdb.upper()}.{conv}.0.{kind}"] = value
        elif layer == "conv_first":
            renamed[f"model.0.{rest}"] = value
        elif layer == "conv_body":
            renamed[f"model.1.sub.{blocks}.{rest}"] = value
        else:
            renamed[f"model.{tail[layer]}.{rest}"] = value
    return renamed


def names_of_2020(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    words = {
        "conv_body": "trunk_conv",
        "body.": "RRDB_trunk.",
        ".rdb": ".RDB",
        "conv_up": "upconv",
        "conv_hr": "HRconv",
    }
    renamed = {}
    for key, value in state.items():
        for ours, theirs in words.items():
            key = key.replace(ours, theirs)
        renamed[key] = value
    return renamed


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize(("features", "convs"), [(64, 16), (64, 32), (24, 8)])
def test_srvgg_of_upstream(features: int, convs: int, scale: int) -> None:
    with torch.device("meta"):
        state = SRVGGNetCompact(3, 3, features, convs, scale).state_dict()
    assert identify(state) == Architecture("srvgg", scale, 3, 3, features, convs)


@pytest.mark.parametrize(("scale", "unshuffle"), [(4, 1), (2, 2), (1, 4)])
@pytest.mark.parametrize("blocks", [6, 23])
def test_rrdb_of_upstream(blocks: int, scale: int, unshuffle: int) -> None:
    state = RRDBNet(3, 3, scale, 8, blocks, 4).state_dict()
    assert identify(state) == Architecture("rrdb", scale, 3, 3, 8, blocks, growth=4, unshuffle=unshuffle)


@given(
    st.sampled_from([1, 2, 3, 4]), st.sampled_from([1, 3, 4]), st.integers(1, 70), st.integers(0, 40)
)  # fmt: skip
@settings(deadline=None, max_examples=15)
def test_every_srvgg_is_recognised(scale: int, channels: int, features: int, convs: int) -> None:
    with torch.device("meta"):
        network = SRVGG(channels, channels, features, convs, scale)
    assert identify(network.state_dict()) == Architecture("srvgg", scale, channels, channels, features, convs)


@given(
    st.sampled_from([(1, 1), (2, 1), (4, 1), (8, 1), (1, 2), (2, 2), (4, 2), (1, 4), (2, 4)]),
    st.integers(1, 70), st.integers(1, 4), st.integers(1, 40),
)  # fmt: skip
@settings(deadline=None, max_examples=15)
def test_every_rrdb_is_recognised(sizes: tuple[int, int], features: int, blocks: int, growth: int) -> None:
    scale, unshuffle = sizes
    with torch.device("meta"):
        network = RRDB(3, 3, scale, features, blocks, growth, unshuffle)
    assert identify(network.state_dict()) == Architecture("rrdb", scale, 3, 3, features, blocks, growth, unshuffle)


@pytest.mark.parametrize(("scale", "doublings"), [(1, 0), (2, 1), (4, 2), (8, 3)])
def test_old_names_load_into_the_same_network(scale: int, doublings: int) -> None:
    network = RRDB(3, 3, scale, 8, 2, 4, unshuffle=1).eval()
    renamed = old_names(network.state_dict(), blocks=2, doublings=doublings)
    assert identify(renamed) == Architecture("rrdb", scale, 3, 3, 8, 2, growth=4)
    twin = identify(renamed).build().eval()
    twin.load_state_dict(parameters_of(renamed), strict=True)
    lr_N3HW = torch.rand(1, 3, 6, 5)
    assert torch.equal(twin(lr_N3HW), network(lr_N3HW))


def test_official_old_names_are_these() -> None:
    renamed = old_names(TINY.build().state_dict(), blocks=2, doublings=2)
    for key in ("model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight", "model.1.sub.2.bias", "model.3.weight"):
        assert key in renamed
    assert {"model.6.weight", "model.8.weight", "model.10.bias"} <= renamed.keys()


def test_names_of_2020_and_prefixes() -> None:
    state = TINY.build().state_dict()
    assert "RRDB_trunk.1.RDB3.conv5.bias" in names_of_2020(state)
    assert identify(names_of_2020(state)) == TINY
    assert identify({f"module.{key}": value for key, value in state.items()}) == TINY
    assert identify({f"_orig_mod.module.{key}": value for key, value in state.items()}) == TINY


def test_averaged_weights_are_preferred() -> None:
    plain, averaged = SRVGG(3, 3, 8, 1, 2).state_dict(), SRVGG(3, 3, 8, 2, 2).state_dict()
    assert identify({"params": plain, "params_ema": averaged}).depth == 2
    assert identify({"params": plain, "epoch": 7}).depth == 1
    chosen = parameters_of({"params": plain, "params_ema": averaged})
    assert torch.equal(chosen["body.0.weight"], averaged["body.0.weight"])


def test_unknown_architecture_shows_its_first_keys() -> None:
    with pytest.raises(WeightsError, match=r"unknown architecture.*layer1\.weight \[5, 4\]"):
        identify({"layer1.weight": torch.zeros(5, 4), "layer2.weight": torch.zeros(1)})


def _without(state: dict[str, Tensor], key: str) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if name != key}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: _without(state, "body.1.rdb2.conv3.bias"), r"lacks 1 parameters, first body\.1\.rdb2\."),
        (lambda state: _without(state, "conv_up1.weight"), "lacks"),
        (lambda state: _without(state, "conv_last.weight"), "neither SRVGG nor RRDB"),
        (lambda state: state | {"extra": torch.zeros(1)}, "1 unknown parameters, first extra"),
        (lambda state: state | {"conv_hr.weight": torch.zeros(8, 8, 1, 1)}, r"conv_hr\.weight is \[8, 8, 1, 1\]"),
        (lambda state: state | {"conv_first.weight": torch.zeros(8)}, "neither SRVGG nor RRDB"),
        (lambda state: state | {"conv_first.weight": torch.zeros(0, 3, 3, 3)}, "neither SRVGG nor RRDB"),
        (lambda state: state | {"conv_first.weight": torch.zeros(8, 13, 3, 3)}, r"is \[8, 13, .* not \[8, 12, "),
        (lambda state: state | {"conv_hr.bias": torch.zeros(8, dtype=torch.int64)}, "floating-point"),
        (lambda state: state | {"conv_hr.bias": torch.zeros(8).to_sparse()}, "plain tensor"),
        (lambda state: state | {"conv_hr.bias": 3}, "entry 'conv_hr.bias' is a int"),
        (lambda state: state | {17: torch.zeros(1)}, "entry '17'"),
        (lambda state: {}, "0 entries"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(change: object, message: str) -> None:
    state = TINY.build().state_dict()
    assert callable(change)
    with pytest.raises(WeightsError, match=message):
        identify(change(dict(state)))


@pytest.mark.parametrize(
    "claim",
    [
        {"body.0.weight": (64, 3, 3, 3), "body.999999999.weight": (48, 64, 3, 3)},
        {"body.0.weight": (2**31, 3, 3, 3), "body.2.weight": (48, 2**31, 3, 3)},
        {"body.0.weight": (64, 3, 3, 3), "body.2.weight": (3 * 2**40, 64, 3, 3)},
        {"conv_first.weight": (64, 3, 3, 3), "conv_last.weight": (3, 64, 3, 3), "body.0.rdb1.conv1.weight": (2**31, 1)},
        {"conv_first.weight": (512, 3, 3, 3), "conv_last.weight": (3, 9), "body.60.rdb1.conv1.weight": (9,),
         "body.0.rdb1.conv1.weight": (512, 512)},
        {"conv_first.weight": (64, 3, 3, 3), "conv_last.weight": (3, 64, 3, 3), "conv_up999999.weight": (1,),
         "body.0.rdb1.conv1.weight": (32, 64, 3, 3)},
    ],
)  # fmt: skip
def test_huge_claims_cost_nothing(claim: dict[str, tuple[int, ...]]) -> None:
    state = {key: torch.zeros(()).expand(shape) for key, shape in claim.items()}
    with pytest.raises(WeightsError):
        identify(state)


def test_too_many_entries() -> None:
    with pytest.raises(WeightsError, match="30000 entries"):
        identify(dict.fromkeys(map(str, range(30_000)), torch.zeros(())))


@pytest.mark.parametrize(
    "sizes",
    [("srvgg", 0, 3, 3, 8, 1), ("srvgg", 4, 3, 3, 8, 1, 5), ("rrdb", 4, 3, 3, 8, 1), ("srvgg", 4, 3, 3, 4096, 1)],
)
def test_architecture_checks_itself(sizes: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match="not a network"):
        Architecture(*sizes)  # type: ignore[arg-type]
