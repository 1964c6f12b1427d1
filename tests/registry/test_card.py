from pathlib import Path

import pytest

from moso.errors import FormatError
from moso.registry import card

ROOT = Path(__file__).parents[2]


def the_values() -> dict:
    return card.values(
        name="moso-sim_push",
        dataset="sim_push",
        model={"given_frames": 2, "clip_frames": 12, "height": 64, "width": 64, "steps": 16},
        candidate={
            "model_digest": "m" * 64,
            "protocol_digest": "p" * 64,
            "protocol": {"clips": 256, "episodes": 128},
            "metrics": {"prediction.psnr": 22.004, "prediction.ssim": 0.81294, "repeat_last.psnr": 19.78},
        },
        protocol_name="sim_push/default",
        provenance={
            "data_digest": "d" * 64,
            "config_digest": "c" * 64,
            "code_digest": "e" * 64,
            "git_commit": "f" * 40,
            "package_version": "0.1.0",
            "seed": 0,
            "image": "moso-serve:0.1.0",
            "parent_version": "models:/moso-sim_push/3",
        },
    )


def test_the_template_that_a_user_edits_is_the_one_that_the_package_ships():
    assert (ROOT / "mlflow" / "model_card.md").resolve() == card.TEMPLATE.resolve()


def test_the_template_is_filled_without_holes():
    text = card.fill(card.TEMPLATE.read_text(), the_values())
    assert "$" not in text
    assert "next 10 frames of a video from 2 given ones, 64 x 64 pixels" in text
    assert "| **prediction** | 22.00 | 0.8129 |" in text
    assert "256 clips of 128 episodes" in text
    assert f"protocol sim_push/default, `{'p' * 64}`" in text
    assert "| fine-tuned from | models:/moso-sim_push/3 |" in text


def test_a_figure_that_was_not_computed_is_said_and_a_method_that_was_not_is_left_out():
    table = card.results_table({"prediction.psnr": 22.0, "repeat_last.psnr": 19.0, "repeat_last.ssim": 0.77})
    assert "| **prediction** | 22.00 | not computed |" in table
    assert "ceiling" not in table


def test_every_metric_that_was_computed_has_a_column_and_no_other():
    metrics = {"prediction.fvd": 123.44, "prediction.lpips_alex": 0.0511, "repeat_last.lpips_alex": 0.0999}
    assert card.results_table(metrics).splitlines() == [
        "| | LPIPS (alex) | FVD |",
        "|---|---|---|",
        "| **prediction** | 0.0511 | 123.4 |",
        "| repeat the last given frame | 0.0999 | not computed |",
    ]
    assert card.results_table({"margins.over_hedge.psnr.mean": 1.0}) == "No figure was computed."


@pytest.mark.parametrize(("template", "message"), [("$unknown", r"asks for \$unknown"), ("costs $ 5", "template")])
def test_a_template_that_cannot_be_filled_is_refused(template, message):
    with pytest.raises(FormatError, match=message):
        card.fill(template, the_values())
