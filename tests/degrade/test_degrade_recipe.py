"""Recipes: the published figures, and mistakes."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from streamsr.config import config_keys
from streamsr.degrade.recipe import Recipe, load_recipe, recipe_names
from streamsr.errors import ConfigError

# options/train_realesrgan_x4plus.yml of xinntao/Real-ESRGAN; train_realesrgan_x2plus.yml has the same figures.
PUBLISHED: dict[str, dict[str, Any]] = {
    "first": {
        "resize_prob": [0.2, 0.7, 0.1],
        "resize_range": [0.15, 1.5],
        "gaussian_noise_prob": 0.5,
        "noise_range": [1, 30],
        "poisson_scale_range": [0.05, 3],
        "gray_noise_prob": 0.4,
        "jpeg_range": [30, 95],
        "kernel_list": ["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"],
        "kernel_prob": [0.45, 0.25, 0.12, 0.03, 0.12, 0.03],
        "sinc_prob": 0.1,
        "blur_sigma": [0.2, 3],
        "betag_range": [0.5, 4],
        "betap_range": [1, 2],
        "blur_prob": 1.0,
    },
    "second": {
        "resize_prob": [0.3, 0.4, 0.3],
        "resize_range": [0.3, 1.2],
        "gaussian_noise_prob": 0.5,
        "noise_range": [1, 25],
        "poisson_scale_range": [0.05, 2.5],
        "gray_noise_prob": 0.4,
        "kernel_list": ["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"],
        "kernel_prob": [0.45, 0.25, 0.12, 0.03, 0.12, 0.03],
        "sinc_prob": 0.1,
        "blur_sigma": [0.2, 1.5],
        "betag_range": [0.5, 4],
        "betap_range": [1, 2],
        "blur_prob": 0.8,
    },
}


@pytest.mark.parametrize("name", ["x4plus", "x2plus"])
def test_the_published_figures(name: str) -> None:
    recipe = load_recipe(name)
    for stage, figures in PUBLISHED.items():
        order = getattr(recipe, stage)
        kinds = dict(order.kernel_prob)
        assert list(kinds) == figures["kernel_list"]
        assert list(kinds.values()) == figures["kernel_prob"]
        assert [order.resize_prob.up, order.resize_prob.down, order.resize_prob.keep] == figures["resize_prob"]
        for key, value in figures.items():
            if key not in ("kernel_list", "kernel_prob", "resize_prob"):
                held = getattr(order, key)
                assert (list(held) if isinstance(value, list) else held) == value, key
        assert order.kernel_sizes == (7, 21)
        assert order.resize_modes == ("area", "bilinear", "bicubic")
        assert order.noise_prob == 1
    assert recipe.second is not None
    assert (recipe.first.jpeg_prob, recipe.second.jpeg_prob) == (1, 0), "the second JPEG is that of the final stage"
    assert (recipe.first.resize_from, recipe.second.resize_from) == ("picture", "target")
    final = recipe.final
    assert (final.sinc_prob, final.jpeg_prob, final.jpeg_last_prob, final.jpeg_range) == (0.8, 1, 0.5, (30, 95))
    assert recipe.sharpen is not None
    assert (recipe.sharpen.weight, recipe.sharpen.kernel_size, recipe.sharpen.threshold) == (0.5, 51, 10)
    assert recipe.video is None


def test_classical_is_of_first_order() -> None:
    recipe = load_recipe("classical")
    assert recipe.second is None
    assert recipe.sharpen is None
    assert recipe.first.resize_from == "target"


@pytest.mark.parametrize("name", sorted(recipe_names()))
def test_every_recipe_loads_and_says_what_it_is_for(name: str) -> None:
    assert isinstance(load_recipe(name), Recipe)
    assert recipe_names()[name].read_text("utf-8").startswith("# ")


def test_every_key_is_documented_and_recipes_are_frozen() -> None:
    assert not [key for key, words in config_keys(Recipe).items() if not words]
    recipe = load_recipe("x4plus")
    with pytest.raises(ValidationError):
        recipe.first.sinc_prob = 0.5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("first.jpeg_rang=[30, 95]", "jpeg_range"),
        ("first.sinc_prob=1.5", "first.sinc_prob"),
        ("first.jpeg_range=[95, 30]", "smaller"),
        ("first.jpeg_range=[0, 30]", "first.jpeg_range"),
        ("first.kernel_sizes=[8, 21]", "odd"),
        ("first.resize_range=[0.15, 0.9]", "contain 1"),
        ("first.resize_prob={up = 0, down = 0, keep = 0}", "every share is 0"),
        ("first.kernel_prob.round=1", "round"),
        ("sharpen.kernel_size=50", "odd"),
        ("first.resize_modes=[]", "first.resize_modes"),
        ('first.resize_modes=["lanczos"]', "first.resize_modes"),
        ("first.noise_range=[nan, 3]", "first.noise_range"),
    ],
)
def test_mistakes_are_named(assignment: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe("x4plus", (assignment,))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_and_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean x4plus"):
        load_recipe("x4pluss")
    with pytest.raises(ConfigError, match="cannot read"):
        load_recipe(str(tmp_path / "none.toml"))
    own = tmp_path / "own.toml"
    own.write_text("[final]\n", "utf-8")
    with pytest.raises(ConfigError, match="first"):
        load_recipe(str(own))
    own.write_text(recipe_names()["classical"].read_text("utf-8"), "utf-8")
    assert load_recipe(str(own)) == load_recipe("classical")
    assert load_recipe(str(own), ("first.jpeg_prob=0",)).first.jpeg_prob == 0


def test_what_a_file_leaves_out_is_as_published(tmp_path: Path) -> None:
    """The defaults of the fields are the first order of x4plus."""
    bare = tmp_path / "bare.toml"
    full = tomllib.loads(recipe_names()["x4plus"].read_text("utf-8"))
    lines = ["[sharpen]", "[final]"]
    for table in ("kernel_prob", "resize_prob"):
        lines += [f"[first.{table}]", *(f"{key} = {value}" for key, value in full["first"][table].items())]
    bare.write_text("\n".join(lines), "utf-8")
    assert load_recipe(str(bare)) == load_recipe("x4plus").model_copy(update={"second": None})
