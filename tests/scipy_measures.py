"""The measures of one scene with scipy's own functions, one prediction at a time: what piqa's measures must equal."""

import numpy as np
from scipy import stats


def srocc(x, y):
    return stats.spearmanr(x, y).statistic


def krocc(x, y):
    return stats.kendalltau(x, y, variant="b").statistic


def plcc(x, y):
    return stats.pearsonr(x, y).statistic


def mae(x, y):
    return np.mean(np.abs(np.subtract(x, y)))


def rmse(x, y):
    return np.sqrt(np.mean(np.square(np.subtract(x, y))))


def pair_accuracy(x, y):
    """Every pair of two different scores, counted one by one."""
    found = [
        (1 + np.sign(x[a] - x[b]) * np.sign(y[a] - y[b])) / 2 for a in range(len(x)) for b in range(a) if x[a] != x[b]
    ]
    return np.mean(found) if found else np.nan
