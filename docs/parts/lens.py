"""How well the lens ranks distortions."""

from __future__ import annotations

from parts.common import missing, stored, table

_COLUMNS = ("lens", "random weights", "psnr", "ssim")
_HEADS = ("over all pictures and strengths of", "lens", "random weights", "PSNR", "SSIM")


def ranks() -> str:
    """Spearman's correlations with the teacher, of the lens and of what stands beside it."""
    results = stored("lens.json")
    if results is None:
        return missing("lens.json", "python tools/measure_lens.py")
    means = {
        f"{kind['name']}{'' if kind['trained'] else ' *'}": kind["with_teacher_over_pictures"]
        for kind in results["kinds"]
    }
    for said, name in (("all kinds", "all_kinds"), ("kinds never trained", "unseen_kinds")):
        means[f"{said}, mean over the pictures"] = {column: results[name][column]["mean"] for column in _COLUMNS}
        means[f"{said}, the worst picture"] = {column: results[name][column]["least"] for column in _COLUMNS}
    means["all pictures and kinds together"] = results["all_together"]
    rows = [(said, *(f"{found[column]:.3f}" for column in _COLUMNS)) for said, found in means.items()]
    crop = results["crop"]
    taken = f"the middle {crop}x{crop} pixels of each" if crop else "whole"
    return table(_HEADS, rows, right=(1, 2, 3, 4)) + f"\n\nThe {results['pictures']} pictures of Set14, {taken}."
