"""Sum measurements up: ratios with their spread, exponents of growth, geometric means."""

import numpy as np
from scipy import stats

DIGITS = 4


def rounded(number: float, digits: int = DIGITS) -> float:
    """Return a number with few significant digits: the rest is noise."""
    return float(f"{number:.{digits}g}")


def ratio(ours: np.ndarray, theirs: np.ndarray) -> dict:
    """Return the median over the rounds of ours/theirs, and its 10 % and 90 % quantiles."""
    low, middle, high = np.quantile(np.asarray(ours) / np.asarray(theirs), [0.1, 0.5, 0.9])
    return {"ratio": rounded(middle), "low": rounded(low), "high": rounded(high)}


def ratio_records(row: str, sizes: dict, contestants: list, seconds: np.ndarray) -> list[dict]:
    """Return a record for each peer; ``seconds`` has a column for each contestant, ours first."""
    medians = np.median(seconds, axis=0) * 1e3
    return [
        {
            "row": row,
            "peer": peer.name,
            **sizes,
            **ratio(seconds[:, 0], seconds[:, k]),
            "ours_ms": rounded(medians[0]),
            "peer_ms": rounded(medians[k]),
            "compile_s": peer.compile_seconds and rounded(peer.compile_seconds),
            "rounds": len(seconds),
        }
        for k, peer in enumerate(contestants)
        if k > 0
    ]


def growth_exponent(sizes: np.ndarray, seconds: np.ndarray) -> float:
    """Return the exponent p of seconds = c sizes^p, by least squares of the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def growth(sizes: np.ndarray, seconds: np.ndarray, upper: int) -> dict:
    """Return the median exponent over rounds (rounds, sizes) of the largest ``upper`` sizes.

    The 10 % and 90 % quantiles over the rounds are its spread. The smallest sizes are left out
    since a call has a fixed part, which hides the growth.
    """
    upper_sizes = np.asarray(sizes, dtype=np.float64)[-upper:]
    exponents = [growth_exponent(upper_sizes, turn[-upper:]) for turn in np.asarray(seconds)]
    low, middle, high = np.quantile(exponents, [0.1, 0.5, 0.9])
    return {"exponent": rounded(middle), "low": rounded(low), "high": rounded(high)}


def geometric_mean(ratios: np.ndarray) -> dict:
    """Return the geometric mean of ratios with the 95 % t-interval of their mean logarithm."""
    logs = np.log(np.asarray(ratios, dtype=np.float64))
    centre, count = logs.mean(), len(logs)
    half = stats.t.ppf(0.975, count - 1) * logs.std(ddof=1) / np.sqrt(count)
    low, middle, high = np.exp([centre - half, centre, centre + half])
    return {"ratio": rounded(middle), "low": rounded(low), "high": rounded(high)}
