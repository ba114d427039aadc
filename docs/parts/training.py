"""How the networks are trained: recipes, what the shipped files say of their own training, and what was measured."""

from __future__ import annotations

from parts.common import NO_WEIGHTS, NONE, called, missing, stored, table, trained
from safelight.checkpoints import weights_file, weights_manifest
from safelight.core.training import Recipe
from safelight.evaluation import bench
from safelight.evaluation.bench.records import label


def recipes() -> str:
    """What every recipe prescribes and promises."""
    rows: list[list[str]] = []
    for card, method in trained():
        recipe = method.training.recipe
        after = "" if recipe.steps_after_start is None else f" (then {recipe.steps_after_start:,})"
        start = NONE if recipe.start is None else f"x{recipe.start}"
        crops = f"{recipe.batch} of {recipe.patch}x{recipe.patch}"
        steps = f"{recipe.steps:,}{after}"
        rows.append([called(card), ", ".join(recipe.data), steps, crops, f"{recipe.lr:g}", start, promised(recipe)])
    heads = [
        "method",
        "pictures",
        "steps",
        "crops a step",
        "peak learning rate",
        "others start from",
        "promised (floor)",
    ]
    return table(heads, rows)


def promised(recipe: Recipe) -> str:
    """A recipe's promises in a cell: by options and set, each level with its number and floor."""
    groups: dict[tuple[str, str], list[str]] = {}
    for promise in recipe.promises:
        options = label("", promise.options).strip()
        number = f"{bench.find(promise.task).label(promise.level)} {promise.value:.2f} ({promise.floor:.2f})"
        groups.setdefault((options, promise.data), []).append(number)
    return "; ".join(
        f"{f'{options}: ' if options else ''}{data} {', '.join(n)}" for (options, data), n in groups.items()
    )


def throughput() -> str:
    """How each shipped file was trained, by its own header."""
    rows: list[list[str]] = []
    for card, _ in trained():
        for weights in weights_manifest.shipped_weights(card.id):
            header = weights_file.read_header(weights_manifest.SHIPPED / weights.file)
            crops = header.steps * int(header.recipe.get("batch", 0))
            speed = f"{crops / header.seconds:,.0f}" if crops and header.seconds else NONE
            patch = header.recipe.get("patch", "?")
            zooms = " ".join(f"x{scale}" for scale in weights.scales if scale > 1)
            rows.append(
                [
                    " ".join([called(card), *map(str, weights.options.values())]), zooms or NONE,
                    ", ".join(header.trained_on), f"{header.steps:,}",
                    f"{header.recipe.get('batch', '?')} of {patch}x{patch}",
                    f"{header.seconds:,.0f}", speed, header.device, header.commit or NONE,
                ]
            )  # fmt: skip
    if not rows:
        return NO_WEIGHTS
    heads = ["method", "scales", "trained on", "steps", "crops a step", "seconds", "crops a second", "device", "commit"]
    return table(heads, rows, right=(3, 5, 6))


def training_speed() -> str:
    """The loop against the plain one and against the machine."""
    found = stored("training.json")
    if found is None:
        return missing("training.json", "python tools/measure_training.py --data DIR")
    rows = [
        [
            f"{label(row['method'], {})} x{row['scale']}", f"{row['batch']} of {row['patch']}x{row['patch']}",
            f"{row['plain_crops_per_second']:,.0f}", f"{row['crops_per_second']:,.0f}", f"{row['times_plain']:.2f}",
            f"{row['recipe_crops_per_second']:,.0f}", f"{row['recipe_times_plain']:.2f}",
            f"{row['plain_of_limit']:.0%}", f"{row['of_limit']:.0%}",
            *(f"{row['shares'][part]:.0%}" for part in ("network", "crops", "optimiser", "average")),
        ]
        for row in found["rows"]
    ]  # fmt: skip
    heads = [
        "method",
        "crops a step",
        "plain, crops a second",
        "here",
        "times plain",
        "over the recipe",
        "this, times plain",
    ]
    heads += ["plain, of its limit"]
    heads += ["here, of its limit", "network", "crops", "optimiser", "average"]
    limits = found["limits"]
    return (
        f"{table(heads, rows, right=range(2, len(heads)))}\n\n{found['processor']}, {found['device']}, torch "
        f"{found['torch']}. The limits are {limits['float32']:.0f} GFLOP/s in float32 and {limits['bfloat16']:.0f} in "
        f"bfloat16. The last four columns are shares of a step here."
    )


def training_curves() -> str:
    """PSNR against wall time, of both loops."""
    found = stored("training.json")
    if found is None:
        return missing("training.json", "python tools/measure_training.py --data DIR")
    rows: list[list[str]] = []
    points = 0
    for row in found["rows"]:
        for loop, name in (("plain", "plain"), ("ours", "here")):
            curve = row.get("curves", {}).get(loop, [])
            points = max(points, len(curve))
            if curve:
                rows.append(
                    [f"{label(row['method'], {})} x{row['scale']}", name]
                    + [f"{psnr:.2f} ({seconds:.0f} s)" for seconds, psnr in curve]
                )
    heads = ["method", "loop", *(f"{n} of {points}" for n in range(1, points + 1))]
    return table(heads, [[*row, *[NONE] * (len(heads) - len(row))] for row in rows], right=range(2, len(heads)))


def compared() -> str:
    """What the recipes' choices are worth."""
    found = stored("recipes.json")
    if found is None:
        return missing("recipes.json", "python tools/compare_recipes.py --data DIR")
    rows = [
        [
            group,
            name,
            f"{row['parameters']:,}",
            f"{row['steps']:,}",
            f"{row['seconds']:.0f}",
            f"{row['validation_psnr']:.2f}",
        ]
        for group, variants in found["groups"].items()
        for name, row in variants.items()
    ]
    heads = ["method", "variant", "parameters", "steps", "seconds", "validation dB"]
    return f"{table(heads, rows, right=(2, 3, 4, 5))}\n\n{found['what']}. {found['processor']}, torch {found['torch']}."
