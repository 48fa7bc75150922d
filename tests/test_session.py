"""What a rater of a study sees next: training, pairs, hidden repeats and gold, breaks, the end, undo."""

from collections import Counter

import pytest

from piqa.errors import InputError
from piqa.judgement.answered import CompactAnswers
from piqa.judgement.answers import answers_table
from piqa.judgement.ratings import ratings_table
from piqa.judgement.session import (
    BreakStep,
    EndStep,
    PairStep,
    RatingStep,
    feedback,
    last_answer,
    next_step,
    step_again,
)
from piqa.judgement.study import KnownPair, KnownRating, StudySettings

SCENES = {"hall": [f"h{number}" for number in range(7)], "lake": ["l0", "l1", "l2", "l3"], "alone": ["one"]}
KNOWN = (KnownPair("hall", "h0", "h1", "a", "h0 is sharper"), KnownPair("lake", "l0", "l1", "b"))
PLAIN = StudySettings(repeat_fraction=0, gold_fraction=0, break_every=0, choice="random")


def answer_of(step, rater, winner="a"):
    row = {"scene": step.scene, "rater": rater, "kind": step.kind}
    if isinstance(step, RatingStep):
        return row | {"image": step.image, "rating": 3}
    row |= {"image_a": step.image_a, "image_b": step.image_b, "winner": winner}
    return row | {"left": step.left, "expected": step.expected}


def run(settings, rater="kim", rows=None, most=500, scenes=SCENES):
    """Answer until the end; return the steps and the rows."""
    table = ratings_table if settings.mode == "ratings" else answers_table
    rows, steps, breaks = list(rows or ()), [], 0
    for _ in range(most):
        steps.append(next_step(settings, scenes, table(rows), rater, breaks))
        if isinstance(steps[-1], EndStep):
            break
        if isinstance(steps[-1], BreakStep):
            breaks += 1
        else:
            rows.append(answer_of(steps[-1], rater))
    return steps, rows


@pytest.mark.parametrize("choice", ["random", "active"])
def test_each_pair_of_each_scene_is_asked_once_and_then_it_ends(choice):
    steps, _ = run(StudySettings(repeat_fraction=0, gold_fraction=0, break_every=0, choice=choice))
    pairs = [(step.scene, *sorted((step.image_a, step.image_b))) for step in steps[:-1]]
    assert len(pairs) == len(set(pairs)) == 7 * 6 // 2 + 4 * 3 // 2 == steps[0].of
    assert all(pair[1] in SCENES[pair[0]] and pair[2] in SCENES[pair[0]] for pair in pairs)
    assert steps[-1] == EndStep(27, 27)


def test_sides_are_mirrored_at_random():
    steps, _ = run(PLAIN)
    sides = Counter(step.left for step in steps[:-1])
    assert min(sides.values()) >= 7
    in_order = Counter(step.image_a < step.image_b for step in steps[:-1])
    assert min(in_order.values()) >= 7


def test_training_comes_first_in_its_order_and_tells_what_was_right():
    steps, _ = run(StudySettings(training=KNOWN, answers_per_rater=3, break_every=0))
    assert [step.kind for step in steps[:-1]] == ["training", "training", "new", "new", "new"]
    assert [step.answered for step in steps] == [0, 0, 0, 1, 2, 3]
    assert (steps[0].image_a, steps[0].expected) == ("h0", "a")
    told = feedback(steps[0], "b")
    assert (told.right, told.expected, told.words) == (False, "a", "h0 is sharper")
    assert feedback(steps[1], "b").right


def test_hidden_repeats_are_far_apart_mirrored_and_never_twice():
    steps, _ = run(StudySettings(repeat_fraction=0.25, gold_fraction=0, break_every=0, answers_per_rater=30))
    steps, seen = steps[:-1], {}
    repeats = [place for place, step in enumerate(steps) if step.kind == "repeat"]
    for place, step in enumerate(steps):
        key = (step.scene, step.image_a, step.image_b)
        if step.kind == "repeat":
            assert place - seen[key][0] >= 10
            assert step.left != seen[key][1]
        else:
            assert key not in seen
            seen[key] = place, step.left
    assert repeats == [11, 15, 19, 23, 27]  # every fourth question, once ten others lie between
    assert len({(steps[place].image_a, steps[place].image_b) for place in repeats}) == len(repeats)


def test_gold_pairs_are_asked_once_to_each_rater_and_look_like_others():
    settings = StudySettings(gold=KNOWN, gold_fraction=0.2, repeat_fraction=0, break_every=0)
    steps, rows = run(settings)
    gold = [step for step in steps[:-1] if step.kind == "gold"]
    assert [(step.image_a, step.expected, step.words) for step in gold] == [("h0", "a", ""), ("l0", "b", "")]
    assert {step.kind for step in steps[:-1] if {step.image_a, step.image_b} == {"h0", "h1"}} == {"gold"}
    other, _ = run(settings, "lee", rows)
    assert sum(step.kind == "gold" for step in other[:-1]) == 2


def test_a_break_is_due_after_so_many_answers_and_not_at_the_end():
    steps, _ = run(StudySettings(break_every=10, answers_per_rater=20))
    assert [place for place, step in enumerate(steps) if isinstance(step, BreakStep)] == [10]
    assert steps[10] == BreakStep(10, 20)


def test_a_session_goes_on_where_it_stood_and_is_the_same_each_time():
    _, rows = run(PLAIN)
    resumed, again = run(PLAIN, rows=rows[:9])
    assert again == rows
    assert resumed[0] == next_step(PLAIN, SCENES, answers_table(rows[:9]), "kim")
    other, _ = run(StudySettings(repeat_fraction=0, gold_fraction=0, break_every=0, choice="random", seed=1))
    assert [answer_of(step, "kim") for step in other[:-1]] != rows


def test_undo_removes_the_last_answer_of_the_rater_alone_and_asks_it_again():
    _, rows = run(PLAIN, most=6)
    _, rows = run(PLAIN, "lee", rows, most=1)
    answers = answers_table(rows)
    last = last_answer(answers, "kim")
    assert last == 6
    removed = answers.loc[last]
    left = answers.drop(index=last)
    step = step_again(PLAIN, SCENES, left, removed)
    assert answer_of(step, "kim") == rows[5]
    assert step.answered == 5
    assert last_answer(left, "nobody") is None
    training = StudySettings(training=KNOWN)
    (first,), rows = run(training, most=1)
    assert step_again(training, SCENES, answers_table([]), answers_table(rows).loc[1]) == first


def test_raters_at_once_see_different_pairs_and_share_the_work():
    shown = []
    for rater in ("kim", "lee", "ann", "bob"):
        step = next_step(PLAIN, SCENES, answers_table([]), rater, shown=shown)
        shown.append((step.scene, step.image_a, step.image_b))
    assert len({(scene, *sorted(pair)) for scene, *pair in shown}) == 4
    rows, settings = [], StudySettings(repeat_fraction=0, gold_fraction=0, break_every=0, answers_per_rater=6)
    for turn in range(24):
        rater = ("kim", "lee", "ann", "bob")[turn % 4]
        rows.append(answer_of(next_step(settings, SCENES, answers_table(rows), rater), rater))
    counts = Counter(row["scene"] for row in rows)
    assert counts["hall"] / counts["lake"] == pytest.approx(6 / 3, rel=0.35)  # as many answers an image in each


def test_one_pair_is_shown_though_another_rater_sees_it():
    scenes = {"hall": ["x", "y"]}
    step = next_step(PLAIN, scenes, answers_table([]), "kim", shown=[("hall", "y", "x")])
    assert isinstance(step, PairStep)


def test_ratings_show_each_image_once_those_seldom_rated_first():
    settings = StudySettings(mode="ratings", repeat_fraction=0, break_every=0, training=(KnownRating("hall", "h0", 5),))
    steps, rows = run(settings)
    assert steps[0] == RatingStep("hall", "h0", "training", 0, 12, 5)
    assert feedback(steps[0], 4).right and not feedback(steps[0], 3).right
    assert sorted(step.image for step in steps[1:-1]) == sorted(image for images in SCENES.values() for image in images)
    half = rows[: len(rows) // 2]
    done = {row["image"] for row in half if row["kind"] == "new"}
    others, _ = run(settings, "lee", half, most=4)
    assert not {step.image for step in others[1:]} & done
    removed = ratings_table(rows).iloc[-1]
    assert step_again(settings, SCENES, ratings_table(rows[:-1]), removed).image == rows[-1]["image"]


@pytest.mark.parametrize("mode", ["pairs", "ratings"])
def test_answers_as_small_numbers_lead_to_the_same_steps_as_their_table(mode):
    training = KNOWN if mode == "pairs" else (KnownRating("hall", "h0", 5),)
    settings = StudySettings(mode=mode, repeat_fraction=0.2, break_every=0, training=training, gold_fraction=0)
    make, rows = (answers_table if mode == "pairs" else ratings_table), []
    compact = CompactAnswers.of({image: scene for scene, images in SCENES.items() for image in images})
    for turn, winner in enumerate(("a", "same", "b", "b", "a") * 5):
        rater = "kim" if turn % 5 else "lee"
        step = next_step(settings, SCENES, compact, rater)
        if turn % 4 == 0:
            assert next_step(settings, SCENES, make(rows), rater) == step
        if isinstance(step, EndStep):
            continue
        rows.append(answer_of(step, rater, winner))
        names = ("image_a" if mode == "pairs" else "image", "image_b", "kind", "left", "winner")
        compact = compact.plus(rater, [tuple(rows[-1].get(name) for name in names)])
    removed = make(rows).iloc[-1]
    left = compact.without_last(removed["rater"])
    assert step_again(settings, SCENES, left, removed) == step_again(settings, SCENES, make(rows[:-1]), removed)
    assert len(compact) == len(rows) > 15 and (mode == "ratings" or "repeat" in {row["kind"] for row in rows})
    assert compact.among(dict.fromkeys(SCENES["hall"])).in_scenes() == {"hall": compact.in_scenes()["hall"]}


def test_a_study_without_pairs_ends_at_once():
    assert next_step(PLAIN, {"alone": ["one"]}, answers_table([]), "kim") == EndStep(0, 0)


def test_settings_are_checked_and_survive_json():
    settings = StudySettings(training=KNOWN, gold=KNOWN[:1], same_allowed=True)
    assert StudySettings.from_dict(settings.to_dict()) == settings
    for wrong in (
        {"question": " "},
        {"mode": "stars"},
        {"choice": "best"},
        {"repeat_fraction": 0.9},
        {"break_every": -1},
        {"answers_per_rater": 0},
        {"rating_low": 5},
        {"mode": "ratings", "gold": [{"scene": "s", "image_a": "x", "image_b": "y", "winner": "a"}]},
        {"colour": "red"},
    ):
        with pytest.raises(InputError):
            StudySettings.from_dict(wrong)
