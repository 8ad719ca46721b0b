"""Numbers and tables of results pages."""

from __future__ import annotations

from statistics import mean, stdev


def show(values: list[float], digits: int) -> str:
    """Mean and standard deviation."""
    if not values:
        return "-"
    return f"{mean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


def table(heads: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]
