"""Broken files of every format, made from good ones: cut, flipped, spliced, misnamed, empty, and bombs.

All of it comes from a seed and is the same each time. A mutated file may still be a picture that reads: a flipped bit
in a comment harms nobody.
"""

import io
import random
import struct
import zlib

import numpy as np
from PIL import Image

from safelight.media import image
from safelight.media.image import Picture


def smooth(height=48, width=64):
    """Waves with a little grain, (height, width, 3): no codec makes nothing of it, so that damage shows."""
    y, x = np.mgrid[:height, :width]
    grain = np.random.default_rng(0).normal(0, 6, (height, width, 3))
    waves = np.stack([x * 3 % 256, y * 4 % 256, (x + y) * 2 % 256], 2)
    return np.clip(waves + grain, 0, 255).astype(np.uint8)


def pil_bytes(img, kind, **options):
    """The file that Pillow writes."""
    buffer = io.BytesIO()
    img.save(buffer, kind, **options)
    return buffer.getvalue()


# --- good files -------------------------------------------------------------------------------------------------


def samples(height=48, width=64):
    """Good files: name -> (format, bytes); every format, in the forms that its decoder treats differently."""
    pixels = smooth(height, width)
    picture = Picture(pixels=pixels)
    deep = image.to_depth(picture, "16-bit")
    clear = Picture(pixels=pixels, alpha=pixels[..., 1])
    img = Image.fromarray(pixels)
    turned = Image.Exif()
    turned[0x0112] = 6
    frames = [Image.fromarray(np.roll(pixels, 5 * i, 1)) for i in range(3)]
    found = {kind: (kind, image.encode(picture, kind)) for kind in image.FORMATS}
    found |= {
        "gray jpeg": ("jpeg", pil_bytes(img.convert("L"), "jpeg")),
        "progressive jpeg": ("jpeg", pil_bytes(img, "jpeg", progressive=True)),
        "restarting jpeg": ("jpeg", pil_bytes(img, "jpeg", restart_marker_blocks=4)),
        "cmyk jpeg": ("jpeg", pil_bytes(img.convert("CMYK"), "jpeg")),
        "turned jpeg": ("jpeg", pil_bytes(img, "jpeg", exif=turned)),
        "deep png": ("png", image.encode(deep, "png")),
        "clear png": ("png", image.encode(clear, "png")),
        "palette png": ("png", pil_bytes(img.quantize(64), "png")),
        "bilevel png": ("png", pil_bytes(img.convert("1"), "png")),
        "lossless webp": ("webp", image.encode(picture, "webp", quality=100)),
        "clear webp": ("webp", image.encode(clear, "webp")),
        "moving webp": ("webp", pil_bytes(frames[0], "webp", save_all=True, append_images=frames[1:])),
        "raw tiff": ("tiff", pil_bytes(img, "tiff", compression="raw")),
        "lzw tiff": ("tiff", pil_bytes(img, "tiff", compression="tiff_lzw")),
        "jpeg tiff": ("tiff", pil_bytes(img, "tiff", compression="jpeg")),
        "fax tiff": ("tiff", pil_bytes(img.convert("1"), "tiff", compression="group4")),
        "float tiff": ("tiff", image.encode(image.to_depth(picture, "float"), "tiff")),
        "deep avif": ("avif", image.encode(deep, "avif")),
        "clear avif": ("avif", image.encode(clear, "avif")),
        "moving gif": ("gif", pil_bytes(frames[0], "gif", save_all=True, append_images=frames[1:])),
        "interlaced gif": ("gif", pil_bytes(img, "gif", interlace=1)),
    }
    return found


# --- damage -----------------------------------------------------------------------------------------------------


def cut(data, rng, others):
    """Break off at any place."""
    return data[: rng.randrange(1, len(data))]


def flip(data, rng, others):
    """Turn one to twenty bits over."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def spoil(data, rng, others):
    """Put random bytes into one to eight places."""
    out = bytearray(data)
    for _ in range(rng.randrange(1, 9)):
        out[rng.randrange(len(out))] = rng.randrange(256)
    return bytes(out)


def splice(data, rng, others):
    """Put a piece of the file over or between another place of it."""
    a, b, n = rng.randrange(len(data)), rng.randrange(len(data)), rng.randrange(1, 400)
    return data[:a] + data[b : b + n] + data[a + rng.choice((0, n)) :]


def graft(data, rng, others):
    """Go on with another file's bytes from any place."""
    other = rng.choice(others)
    return data[: rng.randrange(12, len(data))] + other[rng.randrange(len(other)) :]


def blank(data, rng, others):
    """Zero a run of bytes, as a lost block of a disk does."""
    a, n = rng.randrange(len(data)), rng.randrange(1, 600)
    return data[:a] + bytes(len(data[a : a + n])) + data[a + n :]


def extreme(data, rng, others):
    """Put the greatest or the least number into a field near the start, where sizes and counts stand."""
    out = bytearray(data)
    a = rng.randrange(4, min(len(out) - 4, 400))
    word = rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\1", b"\xff\xff", b"\0\0"))
    out[a : a + len(word)] = word
    return bytes(out)


DAMAGES = (cut, flip, spoil, splice, graft, blank, extreme)


def mutants(count, seed, good=None):
    """Yield (name, suffix, bytes) of ``count`` damaged files, made from `samples` or others of that form."""
    rng = random.Random(seed)
    good = list((good or samples()).items())
    others = [data for _, (_, data) in good]
    for i in range(count):
        name, (kind, data) = good[i % len(good)]
        damage = rng.choice(DAMAGES)
        yield f"{damage.__name__} {name}", image.FORMATS[kind][0], damage(data, rng, others)


# --- what is no picture -----------------------------------------------------------------------------------------

FOREIGN = (
    b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    b"%PDF-1.7\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF",
    b"%!PS-Adobe-3.0 EPSF-3.0\n(%pipe%id) (r) file",
    b"push graphic-context\nviewbox 0 0 1 1\nimage over 0,0 0,0 'https://127.0.0.1/x'\npop graphic-context",
    b"<!DOCTYPE html><html><title>404</title></html>",
    b"PK\x03\x04" + bytes(200),
    b"\x7fELF" + bytes(200),
    b"BM" + bytes(100),
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
    b"just some text\n",
    bytes(5000),
    b"\xff",
)


# --- bombs ------------------------------------------------------------------------------------------------------


def chunk(name, body):
    """One PNG chunk."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width, height, before=b"", pixels=None):
    """A PNG file of the size that it claims, RGB; unless ``pixels`` are given, it breaks off at once."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = zlib.compress(bytes(1000) if pixels is None else pixels)
    return b"\x89PNG\r\n\x1a\n" + head + before + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def text(name, head, size, times):
    """PNG chunks that inflate to ``size`` bytes each."""
    return chunk(name, head + zlib.compress(b"a" * size, 9)) * times


def gif(frames, width=100, height=100, size=(1, 1)):
    """A GIF file of that many frames of the size given on a canvas; each frame holds one pixel."""
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, *size, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + frame * frames + b";"


def jpeg(width, height):
    """A JPEG file that claims a size and holds next to nothing."""
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, height, width, 3) + b"\1\x11\0\2\x11\0\3\x11\0"
    return b"\xff\xd8\xff\xfe\0\2" + frame + b"\xff\xda\0\x0c\3\1\0\2\0\3\0\0\x3f\0" + bytes(100) + b"\xff\xd9"


def tiff(width, height):
    """A TIFF file that claims a size, in one strip, and holds 100 bytes."""
    values = (width, height, 8, 1, 1, 8, 1, height, 100)
    tags = (256, 257, 258, 259, 262, 273, 277, 278, 279)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in zip(tags, values, strict=True))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(104)


def bombs():
    """Small files that would cost far more than their size: name -> (suffix, bytes). Each has to be refused."""
    return {
        "13k": (".png", png(13_000, 13_000)),
        "20k": (".png", png(20_000, 20_000)),
        "2g": (".png", png(2**31 - 1, 2**31 - 1)),
        "jpeg": (".jpg", jpeg(65_500, 65_500)),
        "tiff": (".tif", tiff(60_000, 60_000)),
        "wide gif": (".gif", gif(1, 65_535, 65_535, (65_535, 65_535))),
        "zTXt": (".png", png(10, 10, text(b"zTXt", b"k\0\0", 40_000_000, 20))),
        "iTXt": (".png", png(10, 10, text(b"iTXt", b"k\0\1\0\0\0", 4_000_000, 50))),
        "iCCP": (".png", png(10, 10, text(b"iCCP", b"k\0\0", 60_000_000, 1))),
        "chunks": (".png", png(10, 10, chunk(b"tEXt", b"k\0v") * 100_000)),
    }


# --- a folder of them -------------------------------------------------------------------------------------------


def corpus(folder, count, seed):
    """Write ``count`` broken files into a folder and return their paths.

    Of every twenty, one is empty, one no picture whatever its name says, one a bomb, and seventeen are good files
    with damage, of which every sixth has another format's suffix. Some of the damaged ones still read.
    """
    rng = random.Random(seed)
    charges = list(bombs().values())
    suffixes = sorted(image.SUFFIXES)
    paths = []
    for i, (name, suffix, data) in enumerate(mutants(count, seed)):
        if i % 20 == 0:
            name, data = "empty", b""
        elif i % 20 == 1:
            name, data = "foreign", FOREIGN[i // 20 % len(FOREIGN)]
        elif i % 20 == 2:
            name, (suffix, data) = "bomb", charges[i // 20 % len(charges)]
        elif i % 6 == 0:
            suffix = rng.choice(suffixes)
        path = folder / f"{i:05d} {name}{suffix}"
        path.write_bytes(data)
        paths.append(path)
    return paths
