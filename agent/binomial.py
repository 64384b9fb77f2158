"""The binomial distribution, for tests that count."""

from math import comb


def tail(least: int, of: int, share: float) -> float:
    """Chance that at least `least` of `of` happen, where each does with the chance `share`."""
    return sum(comb(of, n) * share**n * (1 - share) ** (of - n) for n in range(max(least, 0), of + 1))


def limit(of: int, share: float, alpha: float) -> int:
    """The least count that happens by chance with at most `alpha`; `of` + 1 where none does."""
    below = 0.0
    for count in range(of + 1):
        if 1 - below <= alpha:
            return count
        below += comb(of, count) * share**count * (1 - share) ** (of - count)
    return of + 1
