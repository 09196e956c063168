"""What goes together under a limit, evenly. Numbers only; it knows no tokens."""

from collections.abc import Sequence


def balanced(sizes: Sequence[int], most: int) -> list[list[int]]:
    """Indices in bins of at most `most` together (a larger one stands alone), few bins of about the same size.

    As many bins as first-fit of the largest first needs; then each goes, the largest first, where least is, where that
    stays within the limit. The bin of most comes first, indices rise in each.
    """
    largest = sorted(range(len(sizes)), key=lambda index: (-sizes[index], index))
    fitted = _first_fit(sizes, largest, most)
    limit = max([most, *sizes])
    even: list[list[int]] = [[] for _ in fitted]
    totals = [0] * len(fitted)
    for index in largest:
        place = totals.index(min(totals))
        even[place].append(index)
        totals[place] += sizes[index]
    found = even if all(total <= most or len(bin_) == 1 for total, bin_ in zip(totals, even)) else fitted
    assert all(sum(sizes[index] for index in bin_) <= limit for bin_ in found)
    return sorted(map(sorted, found), key=lambda bin_: (-sum(sizes[index] for index in bin_), bin_[0]))


def _first_fit(sizes: Sequence[int], order: Sequence[int], most: int) -> list[list[int]]:
    bins: list[list[int]] = []
    totals: list[int] = []
    for index in order:
        place = next((at for at, total in enumerate(totals) if total + sizes[index] <= most), None)
        if place is None:
            bins.append([])
            totals.append(0)
            place = len(bins) - 1
        bins[place].append(index)
        totals[place] += sizes[index]
    return bins
