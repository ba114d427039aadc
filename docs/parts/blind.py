"""How well blind networks clean photographs of unknown noise and JPEG quality."""

from __future__ import annotations

from parts.common import missing, stored, table

SECONDS = "seconds_per_megapixel"


def blind() -> str:
    """PSNR of each method by noise and quality, its mean, and its time."""
    results = stored("blind.json")
    if results is None:
        return missing("blind.json", "python tools/measure_blind.py --data DIR")
    rows = results["rows"]
    clean, *spoilt = rows["as it is"]["psnr"]
    columns = [
        (f"{row['mean']:.2f}", *(f"{row['psnr'][cell]:.2f}" for cell in (*spoilt, clean)), f"{row[SECONDS]:.2g}")
        for row in rows.values()
    ]
    heads = ("mean", *spoilt, f"{clean}, not in the mean", "seconds a megapixel")
    lines = [(head, *values) for head, *values in zip(heads, *columns, strict=True)]
    said = f"{results['set']}; {results['processor']}, {results['threads']} threads."
    return table(("PSNR in dB", *rows), lines, right=range(1, 1 + len(rows))) + f"\n\n{said}"
