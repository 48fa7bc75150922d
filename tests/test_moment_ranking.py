"""The order of shots by a model or by factors alone, which of them are kept, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ranked_moments import measured, moment
from scipy.stats import norm

from piqa.errors import InputError
from piqa.evaluation.statistics.preference import Preference
from piqa.evaluation.statistics.uncertainty import ScoreUncertainty
from piqa.moments import reasons
from piqa.moments.aspects import behind, factor_scores, is_cut
from piqa.moments.choosing import Choosing, choose
from piqa.moments.measuring import Measured
from piqa.moments.ranking import Ranker

FILES = ("a.jpg", "b.jpg", "c.jpg")


def by_scores(scores, preference=None, **more):
    return Ranker(lambda file: measured(), dict(zip(FILES, scores, strict=False)), {}, preference, **more)


def by_factors(**shots):
    return Ranker(lambda file: shots[file.removesuffix(".jpg")])


def files(picked):
    return [shot.shot.file for shot in picked.ranked]


def test_steps_behind_the_best_by_hand():
    shots = [measured(), measured(noise_steps=3), measured(noise_steps=1, blur_face_steps=4, edge_width_face_steps=2)]
    found = behind(shots)
    assert {name: np.round(value, 6).tolist() for name, value in found.items()} == {
        "face": [0, 0, 3],  # mean of 4 and 2
        "noise": [0, 1.5, 0.5],  # mean with the noise of colour, which is alike
    }
    assert factor_scores(shots) == pytest.approx([0, -1.5, -3.5])


def test_what_differs_by_less_than_a_step_tells_nothing_and_what_differs_by_many_counts_six():
    assert factor_scores([measured(), measured(motion_steps=0.9)]) == [0, 0]
    assert factor_scores([measured(), measured(motion_steps=60)]) == [0, -6]


def test_a_factor_without_a_reliable_value_in_every_shot_does_not_count():
    shots = [measured(motion_steps=5), measured(notes={"motion": "the face is too small"})]
    assert factor_scores(shots) == [0, 0]


def test_the_face_may_be_as_bright_as_skin_is_and_no_more():
    # From one stop below mid-grey to one above nothing is better; 0.8 stops beyond are two steps.
    stops = [measured(face_stops=value) for value in (-1.0, 0.9, -1.8, 1.8)]
    assert factor_scores(stops) == pytest.approx([0, 0, -2, -2])


def test_a_shot_without_a_face_comes_last_and_a_cut_face_counts_six_steps():
    cut, none, soft = measured(box=[0.0, 50.0, 90.0, 150.0]), measured(box=None), measured(motion_steps=5)
    assert is_cut(cut) and not is_cut(soft) and not is_cut(none)
    scores = factor_scores([none, cut, soft])
    assert np.argsort(scores).tolist() == [0, 1, 2]
    assert scores[1:] == pytest.approx([-6, -5])
    assert factor_scores([cut, cut]) == [0, 0]  # it tells nothing where all are
    assert factor_scores([none, measured(box=None, noise_steps=4)]) == pytest.approx([0, -2])


def test_factors_rank_and_give_no_probability():
    found = by_factors(a=measured(noise_steps=4), b=measured(), c=measured(blur_face_steps=4)).rank(moment(*FILES))
    assert files(found)[0] == "b.jpg"
    assert [shot.rank for shot in found.ranked] == [1, 2, 3]
    assert found.probability is None and not found.close
    assert all(shot.probability is None for shot in found.ranked)
    assert "than the second" in found.ranked[0].reason


def test_shots_that_a_viewer_cannot_tell_apart_are_too_close():
    found = by_factors(a=measured(), b=measured(noise_steps=0.5), c=measured(noise_steps=8)).rank(moment(*FILES))
    assert found.close
    assert found.ranked[0].reason.startswith("too close to call")
    assert found.ranked[1].reason.startswith("too close to call")
    assert "too close" not in found.ranked[2].reason


def test_a_model_ranks_and_its_preference_states_probabilities():
    found = by_scores([0.0, 2.0, 1.5], Preference(0.5)).rank(moment(*FILES))
    assert files(found) == ["b.jpg", "c.jpg", "a.jpg"]
    assert found.probability == pytest.approx(norm.cdf(1.0))
    assert [shot.probability for shot in found.ranked] == [
        pytest.approx(norm.cdf(1.0)),
        pytest.approx(norm.cdf(3.0)),
        None,
    ]
    assert [shot.behind_first for shot in found.ranked[1:]] == pytest.approx([norm.cdf(1.0), norm.cdf(4.0)])
    assert [shot.percentile for shot in found.ranked] == [100, 50, 0]
    assert (found.mean, found.std) == pytest.approx((np.mean([0, 2, 1.5]), np.std([0, 2, 1.5])))
    assert not found.close and not any(shot.pick for shot in found.ranked)


def test_below_the_threshold_it_is_too_close_to_call():
    near = by_scores([1.0, 1.1, 0.0], Preference(1.0), too_close=0.6).rank(moment(*FILES))
    assert near.close and near.probability == pytest.approx(norm.cdf(0.1))
    assert near.ranked[0].reason.startswith("too close to call (P 0.54 that the first is better)")
    assert near.ranked[1].reason.startswith("too close to call (P 0.54")
    assert "too close" not in near.ranked[2].reason
    assert not by_scores([1.0, 1.1, 0.0], Preference(1.0), too_close=0.5).rank(moment(*FILES)).close


def test_deviations_of_single_shots_make_the_probabilities():
    card = ScoreUncertainty(1.0, 0.0, 1.0, factor=1.0, scale=0.5)
    stds = {"a.jpg": 3.0, "b.jpg": 4.0, "c.jpg": 0.0}
    ranker = by_scores([0.0, 2.0, 1.5], Preference(9.0), stds=stds, uncertainty=card)
    found = ranker.rank(moment(*FILES))
    assert files(found) == ["b.jpg", "c.jpg", "a.jpg"]  # the order is that of the scores
    assert found.probability == pytest.approx(norm.cdf(0.5 / (0.5 * 4)))
    assert found.ranked[2].behind_first == pytest.approx(norm.cdf(2 / (0.5 * 5)))
    # Where one shot has none, the one scale counts; and without any in the card as well.
    partly = by_scores([0.0, 2.0, 1.5], Preference(9.0), stds={"b.jpg": 4.0}, uncertainty=card).rank(moment(*FILES))
    assert partly.probability == pytest.approx(norm.cdf(0.5 / 9))
    plain = by_scores([0.0, 2.0, 1.5], Preference(9.0), stds=stds).rank(moment(*FILES))
    assert plain.probability == pytest.approx(norm.cdf(0.5 / 9))


def test_a_model_without_a_preference_ranks_without_probabilities():
    found = by_scores([0.0, 2.0, 1.0]).rank(moment(*FILES))
    assert files(found) == ["b.jpg", "c.jpg", "a.jpg"]
    assert found.probability is None and not found.close
    assert by_scores([1.0, 1.0, 0.0]).rank(moment(*FILES)).close  # equal scores tell nothing


def test_equal_scores_share_their_percentile_and_follow_the_cameras_choice_then_time():
    found = by_scores([1.0, 1.0, 1.0], Preference(1.0)).rank(moment(*FILES, c={"cover": True}))
    assert files(found) == ["c.jpg", "a.jpg", "b.jpg"]
    assert [shot.percentile for shot in found.ranked] == [50, 50, 50]
    assert "the model scores both alike" in found.ranked[0].reason and "prefers" not in found.ranked[0].reason


def test_a_missing_face_is_a_reason_and_does_not_change_the_models_order():
    shots = {"a.jpg": measured(box=None), "b.jpg": measured()}
    found = Ranker(shots.__getitem__, {"a.jpg": 2.0, "b.jpg": 0.0}, {}, Preference(0.5)).rank(moment("a.jpg", "b.jpg"))
    assert files(found) == ["a.jpg", "b.jpg"]
    assert reasons.NO_FACE in found.ranked[0].reason and reasons.NO_FACE not in found.ranked[1].reason


def test_faults_are_told_of_the_shot_that_has_them():
    assert reasons.faults(measured(over_face=5.0)) == ["part of the face is white without detail"]
    assert reasons.faults(measured(box=[0.0, 50.0, 90.0, 150.0])) == [reasons.CUT]
    assert reasons.faults(measured()) == []


def test_the_reason_says_what_is_better_and_what_is_not():
    first = measured(noise_steps=3)
    text = reasons.first_reason(first, measured(blur_face_steps=4), "", by_model=True)
    assert text == "a sharper face than the second; but more noise"
    assert reasons.first_reason(first, measured(), "", by_model=True) == "the model prefers it; but more noise"
    assert reasons.first_reason(first, first, "", by_model=False) == reasons.NO_DIFFERENCE
    assert reasons.later_reason(measured(motion_steps=2), measured(), "") == "more smear of motion than the first"


def test_a_shot_that_failed_comes_last_with_its_reason():
    shots = {"a.jpg": Measured(error="a.jpg is damaged"), "b.jpg": measured(), "c.jpg": measured(noise_steps=4)}
    found = Ranker(shots.__getitem__).rank(moment(*FILES))
    assert files(found) == ["b.jpg", "c.jpg", "a.jpg"]
    assert (found.ranked[-1].rank, found.ranked[-1].reason) == (None, "a.jpg is damaged")
    alone = Ranker(shots.__getitem__).rank(moment("a.jpg", "b.jpg"))
    assert alone.ranked[0].pick and alone.ranked[0].reason == reasons.ONLY_READ


def test_a_single_shot_is_kept_and_a_bracket_whole():
    single = by_scores([1.0]).rank(moment("a.jpg", kind="single"))
    assert [(shot.rank, shot.pick, shot.percentile) for shot in single.ranked] == [(1, True, None)]
    bracket = by_scores([1.0, 3.0, 2.0], Preference(1.0)).rank(moment(*FILES, kind="bracket"))
    assert files(bracket) == [*FILES]
    assert {(shot.rank, shot.pick, shot.reason) for shot in bracket.ranked} == {(None, True, reasons.BRACKET)}
    assert bracket.probability is None


# --- which are kept ---


def picks(moments):
    return [[shot.shot.file for shot in one.ranked if shot.pick] for one in moments]


def ranked(scores, names, kind="burst", preference=None):
    own = dict(zip(names, scores, strict=True))
    return Ranker(lambda file: measured(), own, {}, preference or Preference(1.0)).rank(moment(*names, kind=kind))


def test_so_many_of_a_moment_are_kept():
    moments = [
        ranked([1, 3, 2], ["a", "b", "c"]),
        ranked([5], ["d"], "single"),
        ranked([1, 2, 3], ["e", "f", "g"], "bracket"),
    ]
    assert picks(choose(moments, Choosing(), True)) == [["b"], ["d"], ["e", "f", "g"]]
    assert picks(choose(moments, Choosing(keep=2), True)) == [["b", "c"], ["d"], ["e", "f", "g"]]


def test_a_share_has_no_second_of_a_moment_before_each_has_its_first():
    moments = [ranked([9, 8, 7, 6], ["a", "b", "c", "d"]), ranked([1, 2], ["e", "f"]), ranked([5, 4], ["g", "h"])]
    assert picks(choose(moments, Choosing(share=0.25), True)) == [["a"], [], ["g"]]  # two of eight, the best scores
    assert picks(choose(moments, Choosing(share=0.5), True)) == [["a"], ["f"], ["g"]]  # no second is asked for
    assert picks(choose(moments, Choosing(share=0.5, keep=2), True)) == [["a", "b"], ["f"], ["g"]]
    # Factors do not compare moments: those with the most shots come first.
    assert picks(choose(moments[::-1], Choosing(share=0.125), False)) == [[], [], ["a"]]


def test_a_bracket_counts_all_its_shots():
    moments = [ranked([9, 8, 7], ["a", "b", "c"], "bracket"), ranked([3], ["d"], "single"), ranked([2, 1], ["e", "f"])]
    assert picks(choose(moments, Choosing(share=0.7), True)) == [["a", "b", "c"], ["d"], []]


def test_unless_the_first_is_likely_enough_those_that_come_close_are_kept_too():
    one = ranked([1.0, 0.9, 0.2, -1.0], ["a", "b", "c", "d"])  # P 0.54, 0.79, 0.98
    assert picks(choose([one], Choosing(probability=0.7), True)) == [["a", "b"]]
    assert picks(choose([one], Choosing(probability=0.8), True)) == [["a", "b", "c"]]
    assert picks(choose([one], Choosing(probability=0.52), True)) == [["a"]]
    unsure = replace(one, ranked=tuple(replace(shot, behind_first=None) for shot in one.ranked))
    with pytest.raises(InputError, match="piqa evaluate"):
        choose([unsure], Choosing(probability=0.7), True)


@pytest.mark.parametrize(
    "bad", [{"keep": 0}, {"share": 0.0}, {"share": 1.5}, {"probability": 0.4}, {"probability": 1.0}]
)
def test_what_cannot_be_chosen_is_refused(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        Choosing(**bad)
