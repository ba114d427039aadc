"""What a million photographs cost on several machines."""

from __future__ import annotations

from parts.common import missing, stored, table

NO_SCALE = missing("scale.json", "python tools/measure_scale.py")
MILLION = 1_000_000  # pictures
CORES = 100
CORE_HOUR = 0.04  # dollars, for the worked example


def pictures() -> str:
    """What a photograph costs an actor of one core."""
    found = stored("scale.json")
    if found is None:
        return NO_SCALE
    rows: list[list[str]] = []
    for row in found["rows"]:
        seconds, decode, encode = row["seconds"], row["decode_seconds"], row["encode_seconds"]
        name = f"{row['method'].split('/')[1]} x{row['scale']}, {row['precision']}"
        shares = [f"{part:.2f} ({part / seconds:.1%})" for part in (decode, encode)]
        rows.append([name, f"{seconds:,.1f}", f"{1 / seconds:.4f}", *shares, f"{row['peak_bytes'] / 1e6:,.0f}"])
    heads = ["method", "seconds a picture", "pictures a second", "decoding, seconds", "encoding, seconds", "memory, MB"]
    written = table(heads, rows, right=range(1, len(heads)))
    return f"{written}\n\nMeasured: {found['what']}. {found['processor']}, torch {found['torch']}."


def traffic() -> str:
    """What the network and the storage carry."""
    found = stored("scale.json")
    if found is None:
        return NO_SCALE
    rows: list[list[str]] = []
    for row in found["rows"]:
        name = f"{row['method'].split('/')[1]} x{row['scale']}"
        cells = [f"{row[key] / 1e6:.1f}" for key in ("bytes_in", "bytes_out")]
        rates = [f"{row[key] / 1e6 * CORES / row['seconds']:.1f}" for key in ("bytes_in", "bytes_out")]
        rows.append([name, *cells, *rates])
    heads = ["method", "MB read a picture", "MB written a picture"]
    heads += [f"MB/s read by {CORES} cores", f"MB/s written by {CORES} cores"]
    return table(heads, rows, right=range(1, len(heads)))


def actors() -> str:
    """Two actors against one."""
    found = stored("scale.json")
    if found is None:
        return NO_SCALE
    actors = found["actors"]
    return (
        f"On {actors['pictures']} pictures by {actors['method']}, one actor of one thread did {actors['one']:.2f} "
        f"pictures a second and two did {actors['two']:.2f}: {actors['ratio']:.2f} times as many."
    )


def million() -> str:
    """A million photographs: hours, storage, and money under a stated price."""
    found = stored("scale.json")
    if found is None:
        return NO_SCALE
    rows: list[list[str]] = []
    for row in found["rows"]:
        hours = row["seconds"] * MILLION / 3600
        name = f"{row['method'].split('/')[1]} x{row['scale']}"
        volume = [f"{row[key] * MILLION / 1e12:.1f}" for key in ("bytes_in", "bytes_out")]
        rows.append([name, f"{hours:,.0f}", f"{hours / CORES / 24:,.1f}", *volume, f"{hours * CORE_HOUR:,.0f}"])
    heads = ["method", "core hours", f"days on {CORES} cores", "TB read", "TB written"]
    heads += [f"dollars at ${CORE_HOUR:.2f} a core hour"]
    return table(heads, rows, right=range(1, len(heads)))


def sizing() -> str:
    """All of it with its headings, where it was measured; else how to measure it."""
    if stored("scale.json") is None:
        return (
            "`python tools/measure_scale.py` measures on your machine what a photograph of 12 megapixels costs one "
            "core (seconds, memory, bytes read and written) and how much faster two workers are than one, and writes "
            "`results/scale.json`. It needs two idle cores for ten minutes."
        )
    return "\n\n".join(
        [
            "One core, the photograph of 12 megapixels enlarged and written as JPEG. Decoding happens beside the rest "
            "of the work, so its seconds are partly hidden:",
            pictures(),
            actors(),
            "What storage and network have to carry:",
            traffic(),
            "A million such photographs. The price is an assumption for the example: multiply the core hours by what "
            "yours cost. Storage, its requests and traffic out of a cloud come on top:",
            million(),
        ]
    )
