import io

import numpy as np
import pandas as pd
import pytest
from made_up_games import write_games

from strathack.analysis import plots
from strathack.analysis.palette import colour_of
from strathack.analysis.steps import counts_by, counts_by_game, read_steps, shares_of, transitions_of
from strathack.dataset import Dataset


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plots") / "data"
    write_games(folder, [700, 40, 2000])
    return list(read_steps(Dataset(folder)))


def rendered(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=40)
    return len(buffer.getvalue())


def widths_by_row(axes):
    widths = {}
    for bar in axes.patches:
        widths.setdefault(round(bar.get_y() + bar.get_height() / 2), []).append(bar.get_width())
    return widths


def test_bars_are_the_shares_in_their_colours(games):
    counts = counts_by(games, "depth")
    figure = plots.draw_shares(counts, "depth")
    axes = figure.axes[0]
    shares = shares_of(counts)
    for row, widths in widths_by_row(axes).items():
        assert widths == pytest.approx(shares.iloc[row].tolist())
        assert sum(widths) == pytest.approx(1)
    first = axes.patches[0].get_facecolor()
    assert tuple(round(255 * part) for part in first[:3]) == plots.rgb(colour_of(counts.columns[0]))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(counts.columns)


def test_strips_and_shares_stand_in_one_picture(games):
    figure = plots.draw_strategies(games, counts_by_game(games, "role"), 2)
    strips, shares = figure.axes
    assert len(strips.images) == 2
    assert [label.get_text() for label in strips.get_yticklabels()] == ["Val 0", "Val 1"]
    assert [label.get_text() for label in shares.get_yticklabels()] == ["Val (3)", "all (3)"]
    assert rendered(figure)


def test_a_matrix_has_the_share_of_each_row_in_its_cells():
    counts = pd.DataFrame([[0, 9, 1], [5, 0, 0], [0, 0, 0]], index=list("abc"), columns=list("abc"))
    figure = plots.draw_transitions(counts)
    assert {text.get_text() for text in figure.axes[0].texts} == {"90%", "10%", "100%"}
    drawn = figure.axes[0].collections[0].get_array()
    assert np.ma.getmaskarray(drawn).reshape(3, 3).tolist() == [[True, False, False], [False, True, True], [True] * 3]


def test_every_picture_of_strategies_can_be_drawn(games):
    durations = {"fight": np.array([1, 2, 3]), "explore": np.array([100])}
    dying = pd.DataFrame({"fight": [3, 1], "explore": [0, 2]})
    for figure in (
        plots.draw_timelines(games),
        plots.draw_transitions(transitions_of(games)),
        plots.draw_durations(durations),
        plots.draw_before_death(dying, pd.Series([0.1, 0.5])),
        plots.draw_before_death(dying, pd.Series([np.nan, np.nan])),
        plots.draw_confusion(pd.DataFrame([[10, 0]], index=["explore"], columns=["fight", "explore"])),
    ):
        assert rendered(figure) > 500


def test_what_precedes_a_death_adds_up(games):
    figure = plots.draw_before_death(pd.DataFrame({"fight": [3, 1], "explore": [0, 2]}), pd.Series([0.1, 0.5]))
    top = figure.axes[0].collections[-1].get_paths()[0].vertices[:, 1].max()
    assert top == pytest.approx(1)


def test_a_profile_is_the_share_of_games_above_each_value():
    figure = plots.draw_profiles({"a": np.array([1.0, 2.0, 2.0, 8.0])}, "score")
    x, y = figure.axes[0].lines[0].get_data()
    for value, share in ((0.5, 1.0), (1.0, 0.75), (1.9, 0.75), (2.0, 0.25), (7.9, 0.25), (8.0, 0.0)):
        assert y[np.flatnonzero(x <= value)[-1]] == pytest.approx(share)


def test_an_axis_is_logarithmic_where_a_few_values_are_far_larger_than_those_above_zero():
    def axis(*values):
        return plots.draw_distributions({"a": np.array(values, float)}, "score").axes[0].xaxis

    assert axis(0, 0, 0, 0.01, 0.02, 0.3).get_scale() == "linear"
    assert axis(0, 0, 0).get_scale() == "linear"
    far = axis(0, 0, 0, 0.01, 0.02, 3)
    assert far.get_scale() == "symlog"
    assert far.get_transform().linthresh == 0.02


def test_ends_by_depth_are_shares_of_a_players_games():
    table = pd.DataFrame({"max_depth": [1, 1, 4, 4], "end": ["death", "abort", "death", "death"]})
    unknown = table[:2].assign(max_depth=np.nan)
    plots.draw_ends({"nothing": unknown}).draw_without_rendering()
    figure = plots.draw_ends({"a": pd.concat([table, unknown]), "b": table[:2]})
    bars = figure.axes[0].patches
    assert [bar.get_height() for bar in bars[:5]] == [0, 0.25, 0, 0, 0.5]
    assert [bar.get_height() for bar in bars[5:]] == [0, 0.25, 0, 0, 0]
    assert figure.axes[1].get_title(loc="left") == "b (2 games)"


def test_curves_leave_out_what_a_run_does_not_tell():
    runs = {
        "flat": pd.DataFrame({"step": [1, 2, 3], "loss": [3.0, np.nan, 1.0]}),
        "other": pd.DataFrame({"step": [1, 2]}),
    }
    figure = plots.draw_curves(runs, "step", "loss", smooth=2)
    lines = {line.get_label(): line.get_data() for line in figure.axes[0].lines if not line.get_label().startswith("_")}
    assert lines["flat"][0].tolist() == [1, 3]
    assert lines["flat"][1].tolist() == [3.0, 2.0]
    assert len(lines["other"][0]) == 0


def test_bars_by_strategy_and_beliefs():
    values = pd.DataFrame({"flat": [0.5, np.nan], "hierarchical": [1.0, 0.25]}, index=["explore", "fight"])
    assert [bar.get_width() for bar in plots.draw_by_strategy(values, "accuracy").axes[0].patches] == [0.5, 0, 1, 0.25]
    beliefs = pd.DataFrame({"explore": [0.9, 0.2], "fight": [0.1, 0.8], "init": [0.0, 0.0]}, index=[100, 101])
    figure = plots.draw_beliefs(beliefs, ["explore", "fight"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["explore", "fight"]
    assert rendered(figure)
