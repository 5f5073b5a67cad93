"""
Tables of linear regions
========================

The numbers of `regions.py` in words: lines, maps, noise and sizes.
"""

from typing import Any

import numpy as np
from runs import markdown

__all__ = ["report"]


def report(numbers: dict[str, Any]) -> str:
    """Markdown tables; means with standard errors over lines or images."""
    rows = []
    for name, lines in numbers["lines"].items():
        values = np.array(lines)
        errors = values.std(0, ddof=1) / len(values) ** 0.5
        cells = [f"{m:.1f} ± {e:.1f}" for m, e in zip(values.mean(0), errors, strict=True)]
        rows.append([name, *cells])
    text = [f"Accuracy {numbers['accuracy']:.3f}. Lines, means with standard errors:", ""]
    text += [markdown(["network, ends", "regions", "flips", "distance", "detour"], rows), ""]
    maps = numbers["maps"]
    rows = [
        [name, f"{m['first layer']}", f"{m['rank']}", f"{m['stable rank']:.2f}",
         f"{m['entropy rank']:.2f}", f"{m['residual of 20']['plain']:.3f}",
         f"{m['residual of 20']['orthogonal']:.3f}"]
        for name, m in maps.items()
    ]  # fmt: skip
    header = ["maps of class 0", "rank of the first layer", "rank", "stable", "entropy",
              "20 atoms, plain", "orthogonal"]  # fmt: skip
    text += [markdown(header, rows), ""]
    noise = numbers["noise"]
    rows = [
        [f"{s:g}", f"{a:.2f} ± {e:.2f}", f"{u:.3f}"]
        for s, a, e, u in zip(*(noise[key] for key in ("sigma", "angle", "error", "unchanged")),
                              strict=True)
    ]  # fmt: skip
    text += [markdown(["noise", "angle, degrees", "same pattern"], rows), ""]
    rows = [[k, *(f"{np.quantile(v, q):.3g}" for q in (0, 0.5, 1))]
            for k, v in numbers["sizes"].items()]  # fmt: skip
    text += [markdown(["size of a region", "least", "median", "largest"], rows), ""]
    text.append(f"Regions in the plane of three images: {numbers['plane']['regions']}.")
    return "\n".join(text) + "\n"
