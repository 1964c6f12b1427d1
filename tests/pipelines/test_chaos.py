"""The pure parts of `make chaos`; the whole is run by the command itself."""

import pytest

from pipelines.chaos import Kill, Seen, Span, due, moments, place, row, spans_of

SPANS = [
    Span("dvc", 0.0, None, 4.0),
    Span("ingest", 4.0, None, 10.0),
    Span("train_vqvae", 10.0, 15.0, 35.0),
    Span("promote", 35.0, None, 40.0),
]


def test_the_output_tells_stages_their_loops_and_where_they_went_on():
    seen = Seen.of()
    lines = [
        "Running stage 'ingest':",
        "> python -m components.ingest.step",
        "Running stage 'train_vqvae':",
        "train_vqvae: goes on from step 8 of 16",
        "train_vqvae: precision float32 (of a CPU)",
        "train_vqvae: stopped",
    ]
    for now, line in enumerate(lines):
        seen.read(line, float(now))
    assert seen == Seen({"ingest": 0.0, "train_vqvae": 2.0}, {"train_vqvae": 4.0}, {"train_vqvae": (8, 16)})
    assert seen.running == "train_vqvae"
    assert Seen.of().running == "dvc"


def test_the_stages_of_a_run_have_no_gaps():
    seen = Seen({"ingest": 4.0, "train_vqvae": 10.0, "promote": 35.0}, {"train_vqvae": 15.0}, {})
    assert spans_of(seen, 40.0) == SPANS


def test_moments_are_random_and_one_falls_into_each_twentieth_of_the_run():
    drawn = moments(3, 20, 100.0)
    assert [int(moment // 5) for moment in drawn] == list(range(20))
    assert drawn == moments(3, 20, 100.0)
    assert drawn != moments(4, 20, 100.0)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (1.0, Kill(1.0, "dvc", 1.0, False)),
        (4.0, Kill(4.0, "ingest", 0.0, False)),
        (14.0, Kill(14.0, "train_vqvae", 4.0, False)),  # it still imports
        (25.0, Kill(25.0, "train_vqvae", 10.0, True)),
        (39.0, Kill(39.0, "promote", 4.0, False)),
    ],
)
def test_a_moment_has_its_place_in_a_stage(moment, expected):
    assert place(moment, SPANS) == expected


def test_a_kill_is_due_at_its_point_of_the_training_however_much_of_it_was_done_before():
    kill = place(30.0, SPANS)  # 15 of the loop's 20 s
    assert due(kill, Seen({"ingest": 2.0}, {}, {}), SPANS) is None
    assert due(kill, Seen({"train_vqvae": 3.0}, {}, {}), SPANS) is None
    assert due(kill, Seen({"train_vqvae": 3.0}, {"train_vqvae": 7.0}, {}), SPANS) == 22.0
    # half of it need not be done again: 10 s less
    assert due(kill, Seen({"train_vqvae": 3.0}, {"train_vqvae": 7.0}, {"train_vqvae": (8, 16)}), SPANS) == 12.0
    assert due(kill, Seen({"train_vqvae": 3.0}, {"train_vqvae": 7.0}, {"train_vqvae": (16, 16)}), SPANS) == 7.0


def test_a_kill_whose_stage_is_over_is_due_at_once_and_others_count_from_their_stage():
    assert due(place(12.0, SPANS), Seen({"promote": 3.0}, {}, {}), SPANS) == 0.0
    assert due(place(12.0, SPANS), Seen({"train_vqvae": 3.0}, {}, {}), SPANS) == 5.0
    assert due(place(3.0, SPANS), Seen.of(), SPANS) == 3.0


def test_a_row_says_what_the_next_start_went_on_from():
    kill = place(30.0, SPANS)
    resumed = Seen({"train_vqvae": 3.0}, {}, {"train_vqvae": (8, 16)})
    assert row(4, kill, 12.34, "train_vqvae", resumed) == "| 4 | 30.0 | 12.3 | train_vqvae | step 8 of 16 |"
    assert row(5, kill, 1.0, "ingest", Seen({"ingest": 2.0}, {}, {})).endswith("| its start |")
    assert row(6, kill, 1.0, "ingest", resumed).endswith("| its output: it was whole |")
