"""Judgements at the edge of what can be scaled: one rater, two images, one resample."""

import numpy as np
import pandas as pd
import pytest

from piqa import CSVTable
from piqa.errors import InputError
from piqa.judgement.answers import answers_table
from piqa.judgement.raters import judge_raters
from piqa.judgement.ratings import ratings_table, scale_ratings
from piqa.judgement.results import results_of_ratings
from piqa.judgement.scaling import ScalingOptions, scale_pairs
from piqa.scale import scale


def ratings_of(rater, images, values, scene="hall"):
    return [
        {"image": image, "scene": scene, "rater": rater, "rating": value}
        for image, value in zip(images, values, strict=True)
    ]


def pair(winner, images="ab", rater="Ann", scene="hall"):
    return {"image_a": images[0], "image_b": images[1], "winner": winner, "scene": scene, "rater": rater}


def test_one_rater_alone_says_nothing_of_standard_errors():
    rows = ratings_of("Ann", "abc", (1, 3, 5))
    scaling = scale_ratings(ratings_table(rows))
    assert scaling.scores["score"].tolist() == [1, 3, 5]
    assert scaling.scores[["score_std", "low", "high"]].isna().all(axis=None)
    assert any("standard errors are not known" in note for note in scaling.notes)
    assert "standard error not known" in results_of_ratings(ratings_table(rows)).lines()[1]


def test_images_that_one_rater_saw_alone_have_the_noise_of_the_others():
    rng = np.random.default_rng(0)
    images = [f"{number}" for number in range(40)]
    rows = []
    for rater in ("Bob", "Cid", "Dan"):
        rows += ratings_of(rater, images, np.clip(np.arange(40) / 10 + 1 + rng.normal(0, 0.4, 40), 1, 5), "park")
    rows += ratings_of("Ann", "abc", (1, 3, 5))
    scores = scale_ratings(ratings_table(rows)).scores.set_index("image")
    assert (scores.loc[[*"abc"], "score_std"] > 0.3).all()  # about 0.4, of one rating each
    assert scores.loc[images, "score_std"].max() < 0.35  # of three


def test_scores_without_standard_errors_are_read_by_fit(tmp_path):
    pd.DataFrame(ratings_of("Ann", "abc", (1, 3, 5))).to_csv(tmp_path / "ratings.csv", index=False)
    scale(str(tmp_path / "ratings.csv"), str(tmp_path / "scores.csv"))
    table = CSVTable(tmp_path / "scores.csv", check_files=False, test_fraction=1).load()
    assert table["score"].tolist() == [1, 3, 5] and "score_std" not in table


def test_one_resample_is_no_bootstrap(tmp_path):
    pd.DataFrame([pair("a"), pair("b", rater="Bob")]).to_csv(tmp_path / "pairs.csv", index=False)
    with pytest.raises(InputError, match="2 resamples or more"):
        scale(str(tmp_path / "pairs.csv"), str(tmp_path / "scores.csv"), bootstrap=1)
    assert not (tmp_path / "scores.csv").exists()


def test_two_images_that_nobody_doubts_about_have_no_finite_scores_by_the_published_prior():
    answers = answers_table([pair("a"), pair("a", rater="Bob")])
    with pytest.raises(InputError, match="no finite scores with the prior `pwcmp`"):
        scale_pairs(answers, ScalingOptions(prior="pwcmp"))
    assert np.isfinite(scale_pairs(answers, ScalingOptions(prior="normal")).scores["score"]).all()


def test_raters_are_judged_by_the_published_prior_where_one_of_them_alone_saw_an_image():
    answers = answers_table(
        [*[pair(one) for one in "aab"], *[pair(one, rater="Bob") for one in "abb"], pair("a", "bc")]
    )
    found = judge_raters(answers, ScalingOptions(prior="pwcmp")).set_index("rater")
    assert found.loc["Ann", "answers"] == 4 and np.isfinite(found["likelihood"]).all()
