from moso.training.history import Means, record, write_history


def test_means_are_over_the_steps_that_gave_a_figure():
    means = Means()
    means.add({"loss": 1.0, "psnr": 20.0})
    means.add({"loss": 3.0})
    assert means.take() == {"loss": 2.0, "psnr": 20.0}
    assert means.take() == {}


def test_means_go_on_from_their_sums():
    means = Means()
    means.add({"loss": 0.1})
    resumed = Means(means.sums)
    for each in (means, resumed):
        each.add({"loss": 0.2})
    assert means.take() == resumed.take()


def test_figures_of_one_step_share_a_row_and_missing_ones_are_empty(tmp_path):
    history = []
    record(history, 2, {"loss": 0.5})
    record(history, 2, {"validation_psnr": 20.0})
    record(history, 4, {"loss": 0.25})
    write_history(history, tmp_path / "history.csv")
    assert (tmp_path / "history.csv").read_text() == "step,loss,validation_psnr\n2,0.5,20.0\n4,0.25,\n"
