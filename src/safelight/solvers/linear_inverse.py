"""The model y = H x + w in a basis where blurring is multiplying, for the solvers that invert it.

H = S B blurs a large picture and keeps one sample of each cell of ``scale`` x ``scale`` pixels. In a basis of waves,
B multiplies by its transfer function b, and S folds scale * scale frequencies of the large picture onto each frequency
of the small one: ``H = fold(b * X)`` and ``H' = conj(b) * unfold(Y)``. What is diagonal in that basis is then
inverted exactly, one frequency of the small picture at a time, by Woodbury's formula::

    (H'H + D)^-1 H' y = D^-1 H' (H D^-1 H' + 1)^-1 y        H D^-1 H' = fold_squared(|b|^2 / D), a diagonal

Two bases serve. Cosines (DCT-II) are the waves of a picture whose border is a mirror; they stay waves under every
kernel that is symmetric from left to right and from top to bottom. Under other kernels (a motion blur) complex
exponentials do, on a canvas that is larger than the picture and where its mirrored borders meet smoothly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor

from safelight.ops.resampling import CUBIC

ROUNDING = 1 / 255 / math.sqrt(12)
"""Standard deviation of the error that rounding to 8 bits makes: the least noise of a common picture."""

_MARGIN_STRENGTHS = tuple(
    10 ** (-2.5 * i / 29) for i in range(30)
)  # Tikhonov's strength, in each pass over a canvas's margin
_LARGEST = 1e8  # stands for 1 / 0 at the frequency 0, which no gradient sees


# --- cosines ----------------------------------------------------------------------------------------------------------


def dct(x: Tensor) -> Tensor:
    """The orthonormal cosine transform (DCT-II) of the last axis, by a real FFT of the same length (Makhoul 1980).

    Example:
        >>> idct(dct(torch.tensor([1.0, 4.0, 2.0]))).round(decimals=3)
        tensor([1., 4., 2.])
    """
    n = x.shape[-1]
    v = cast(Tensor, torch.fft.rfft(torch.cat((x[..., ::2], x[..., 1::2].flip(-1)), -1)))
    z = v * _turn(n, -1, x)
    out = torch.cat((z.real, -z.imag[..., 1 : (n + 1) // 2].flip(-1)), -1) * math.sqrt(2 / n)
    out[..., 0] *= math.sqrt(0.5)
    return out


def idct(c: Tensor) -> Tensor:
    """Undo ``dct``."""
    n = c.shape[-1]
    c = c * math.sqrt(n / 2)
    c[..., 0] *= math.sqrt(2)
    mirrored = torch.cat((torch.zeros_like(c[..., :1]), c[..., n - n // 2 :].flip(-1)), -1)
    v = cast(Tensor, torch.fft.irfft(torch.complex(c[..., : n // 2 + 1], -mirrored) * _turn(n, 1, c), n))
    out = torch.empty_like(c)
    out[..., ::2] = v[..., : (n + 1) // 2]
    out[..., 1::2] = v[..., (n + 1) // 2 :].flip(-1)
    return out


def _turn(n: int, sign: int, like: Tensor) -> Tensor:
    angle = sign * math.pi / (2 * n) * torch.arange(n // 2 + 1, dtype=torch.float64)
    return torch.polar(torch.ones_like(angle), angle).to(like.device, torch.complex(like[:0], like[:0]).dtype)


# --- one axis ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AliasedFrequencies:
    """Which frequencies of the large picture alias to one of the small picture, and with what weight, on one axis.

    ``index`` is (scale, n), of numbers below scale * n, each once; ``weight`` is alike. ``place`` is the inverse
    permutation of the flattened ``index``.
    """

    index: Tensor
    weight: Tensor
    place: Tensor

    def fold(self, z: Tensor, dim: int, power: int = 1) -> Tensor:
        """Sum over the frequencies that alias, (..., scale * n, ...) to (..., n, ...), by the weights to a power."""
        s, n = self.index.shape
        if s == 1:
            return z
        parts = cast(Tensor, z.index_select(dim, self.index.flatten()).unflatten(dim, (s, n)))
        weight = (self.weight**power).to(z.real.dtype)
        return (parts * (weight if dim == -1 else weight[..., None])).sum(dim - 1)

    def unfold(self, y: Tensor, dim: int) -> Tensor:
        """The transpose of ``fold``."""
        if len(self.index) == 1:
            return y
        weight = self.weight.to(y.real.dtype)
        parts = y.unsqueeze(dim - 1) * (weight if dim == -1 else weight[..., None])
        return parts.flatten(dim - 1, dim).index_select(dim, self.place)


def _aliased_frequencies(n: int, scale: int, mirrored: bool) -> AliasedFrequencies:
    blocks = torch.arange(scale)[:, None]
    m = torch.arange(n)[None]
    if mirrored:
        # cos(pi k u / N), seen at the middle of the cells, is that of 2 n j - k, but for a sign that alternates with j.
        odd = blocks % 2 == 1
        index = blocks * n + torch.where(odd, (n - m) % n, m)
        weight = torch.where(((blocks + 1) // 2) % 2 == 1, -1.0, 1.0) * torch.ones(scale, n, dtype=torch.float64)
        weight[:, 0] *= math.sqrt(2)  # of the frequency 0, whose wave has another norm ...
        weight[1::2, 0] = 0  # ... and of those that vanish in the middle of every cell
        weight[0, 0] = 1
    else:
        index = blocks * n + m
        weight = torch.ones(scale, n, dtype=torch.float64)
    return AliasedFrequencies(index, weight / math.sqrt(scale), index.flatten().argsort())


# --- the model --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum:
    """H in its basis, for small pictures of one size.

    Attributes:
        size: The small picture's (h, w).
        canvas: The (h, w) that the waves run over: ``size`` where the border is a mirror, and else larger.
        mirrored: Whether the waves are cosines.
        scale: The whole factor between the pictures.
        transfer: b, (H, W) of the large canvas; real for cosines. The sampling's offset is in it.
        rough: The eigenvalues of the negative Laplacian D'D, D the forward differences on that canvas, (H, W) float64.
    """

    size: tuple[int, int]
    canvas: tuple[int, int]
    mirrored: bool
    scale: int
    transfer: Tensor
    rough: Tensor
    rows: AliasedFrequencies
    columns: AliasedFrequencies

    def crop(self, x: Tensor) -> Tensor:
        """Cut a large canvas to the large picture."""
        return x[..., : self.size[0] * self.scale, : self.size[1] * self.scale]

    def analyse(self, x: Tensor) -> Tensor:
        """Transform a small or a large canvas (..., h, w) to its coefficients of the same shape."""
        if self.mirrored:
            return dct(dct(x).mT).mT.contiguous()
        return cast(Tensor, torch.fft.fft2(x, norm="ortho"))

    def synthesise(self, z: Tensor) -> Tensor:
        """Transform coefficients (..., h, w) back to pixels: the inverse of ``analyse``."""
        if self.mirrored:
            return idct(idct(z.mT).mT)
        return cast(Tensor, torch.fft.ifft2(z, norm="ortho")).real

    def forward(self, z: Tensor) -> Tensor:
        """Apply H: (..., H, W) coefficients to (..., h, w)."""
        return self.rows.fold(self.columns.fold(z * self._transfer(z), -1), -2)

    def adjoint(self, z: Tensor) -> Tensor:
        """Apply the adjoint H': (..., h, w) coefficients to (..., H, W)."""
        return self.columns.unfold(self.rows.unfold(z, -2), -1) * self._transfer(z).conj()

    def gram(self, d: Tensor | float) -> Tensor:
        """Compute the diagonal of H diag(d) H', (h, w) float64, of ``d`` (H, W) float64."""
        return self.rows.fold(self.columns.fold(self.transfer.abs().square() * d, -1, 2), -2, 2)

    def _transfer(self, z: Tensor) -> Tensor:
        return self.transfer.to(z.dtype)


def inverse_laplacian(spectrum: Spectrum) -> Tensor:
    """Return 1 / ``rough``, the Laplacian's inverse eigenvalues, (H, W); 1e8 stands for 1 / 0 at the frequency 0."""
    return torch.where(spectrum.rough > 0, 1 / spectrum.rough, _LARGEST)


def spectrum(size: tuple[int, int], scale: int, blur: Tensor | None, device: torch.device) -> Spectrum:
    """Diagonalise H for small pictures of one size.

    Args:
        size: The small picture's (h, w).
        scale: The whole factor, 1 where the size stays.
        blur: The kernel, as in ``degrade.forward_model``.
        device: Where the pictures are.
    """
    kernel = point_spread(scale, blur)
    mirrored = all(torch.allclose(kernel, kernel.flip(dim), rtol=0, atol=1e-9) for dim in (0, 1))
    margin = (0, 0)  # lies after the picture, up to its next repetition
    if not mirrored:
        margin = (2 * math.ceil(kernel.shape[0] / scale) + 16, 2 * math.ceil(kernel.shape[1] / scale) + 16)
    canvas = (size[0] + margin[0], size[1] + margin[1])
    waves: list[Tensor] = []
    rough: list[Tensor] = []
    for n, taps in zip(canvas, kernel.shape, strict=True):
        large = n * scale
        offset = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2
        f = torch.arange(large, dtype=torch.float64)[:, None] * math.pi / large
        if mirrored:
            waves.append(torch.cos(f * offset))
            rough.append((2 * torch.sin(f[:, 0] / 2)).square())
        else:
            phase = 2 * f * ((scale - 1) / 2 - offset)
            waves.append(torch.polar(torch.ones_like(phase), phase))
            rough.append((2 * torch.sin(f[:, 0])).square())
    transfer = waves[0] @ kernel.to(waves[0].dtype) @ waves[1].T
    rows, columns = (_aliased_frequencies(n, scale, mirrored) for n in canvas)
    return Spectrum(
        size=size, canvas=canvas, mirrored=mirrored, scale=scale, transfer=transfer.to(device),
        rough=(rough[0][:, None] + rough[1]).to(device), rows=_on(rows, device), columns=_on(columns, device),
    )  # fmt: skip


def point_spread(scale: int, blur: Tensor | None) -> Tensor:
    """Return the point spread function of one small pixel in the large picture: (kh, kw) float64 with sum 1.

    The sides are odd for an odd scale and even for an even one, where the centre lies between pixels.
    """
    if blur is None and scale > 1:  # the antialiased bicubic, stretched by the scale, at the distances of the pixels
        distance = torch.arange(4 * scale, dtype=torch.float64) - (4 * scale - 1) / 2
        if scale % 2:
            distance = torch.arange(-2 * scale, 2 * scale + 1, dtype=torch.float64)
        weight = CUBIC.weight(distance / scale)
        weight = weight / weight.sum()
        return torch.outer(weight, weight)
    kernel = torch.ones(1, 1, dtype=torch.float64) if blur is None else blur.cpu()
    if scale % 2:
        return kernel
    wide = torch.nn.functional.pad(kernel, (1, 1, 1, 1))
    wide = (wide[1:] + wide[:-1]) / 2  # the mean of the four pixels about the centre, as ``degrade.Decimate`` has it
    return (wide[:, 1:] + wide[:, :-1]) / 2


def _bridge_gap(y: Tensor, length: int, dim: int) -> Tensor:
    """Fill an axis up: from the mirrored end of the picture, smoothly, to the mirror of its beginning."""
    n = y.shape[dim]
    gap = length - n
    if gap == 0:
        return y
    t = torch.arange(gap, device=y.device)
    after, before = (_reflect(position, n) for position in (n + t, t - gap))
    share = (t + 0.5) / gap
    share = (share * share * (3 - 2 * share)).to(y.dtype)
    share = share if dim == -1 else share[:, None]
    filled = torch.lerp(y.index_select(dim, after), y.index_select(dim, before), share)
    return torch.cat((y, filled), dim)


def _reflect(position: Tensor, n: int) -> Tensor:
    position = position.remainder(2 * n)
    return torch.where(position < n, position, 2 * n - 1 - position)


def _on(folds: AliasedFrequencies, device: torch.device) -> AliasedFrequencies:
    return AliasedFrequencies(folds.index.to(device), folds.weight.to(device), folds.place.to(device))


# --- how strong -------------------------------------------------------------------------------------------------------

WEAKEST, STRONGEST = 1e-8, 1e6
"""The bounds of the strengths that are tried."""


def power_spectrum(y: Tensor) -> Tensor:
    """Sum |Y|^2 over the channels of coefficients: (1, C, h, w) to (h, w) float64."""
    return y.abs().double().square().sum(dim=(0, 1))


def gcv(energy: Tensor, gain: Tensor, strength: float) -> float:
    """Generalised cross-validation (Golub, Heath and Wahba 1979): n |y - A y|^2 / trace(1 - A)^2, least where best.

    A = H (H'H + strength D)^-1 H' maps the small picture to what the solution predicts for it. In the basis it is
    ``gain / (gain + strength)`` with ``gain`` the diagonal of H D^-1 H'.

    Args:
        energy: (h, w) from ``power_spectrum``.
        gain: (h, w) float64.
        strength: Above 0.
    """
    left = strength / (gain + strength)
    return float((energy * left.square()).sum() * left.numel() / left.sum().square())


def minimise_over_strengths(cost: Callable[[float], float]) -> float:
    """Find the strength of least cost between ``WEAKEST`` and ``STRONGEST``.

    A grid of two values a decade is searched first, then the interval around its best value by golden sections.
    """
    grid = [math.log(WEAKEST) + math.log(10) / 2 * i for i in range(29)]
    costs = [cost(math.exp(t)) for t in grid]
    at = min(range(len(grid)), key=costs.__getitem__)
    low, high = grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)]
    golden = (math.sqrt(5) - 1) / 2
    while high - low > 1e-3:
        left, right = high - golden * (high - low), low + golden * (high - low)
        if cost(math.exp(left)) < cost(math.exp(right)):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def discrepancy_strength(energy: Tensor, gain: Tensor, noise: float) -> float:
    """Find the strength whose residual has the noise's expected energy: |H x - y|^2 = sigma^2 trace(1 - A).

    This is the discrepancy principle of Morozov (1966), with the residual's degrees of freedom in the place of the
    number of samples n. His n counts noise that the solution has fitted, as any does where H leaves little redundancy,
    and then smooths too much: half a decibel on the pictures that this was tried on.

    One of the bounds where it is beyond them: ``STRONGEST`` if the picture varies less than the noise.

    Args:
        energy: (h, w) from ``power_spectrum``.
        gain: (h, w), as in ``gcv``.
        noise: The noise's variance in one coefficient, summed over the channels.
    """

    def too_much(strength: float) -> bool:
        left = strength / (gain + strength)
        return float((energy * left.square()).sum()) > noise * float(left.sum())

    step = math.log(10) / 2
    low, high = math.log(WEAKEST), math.log(STRONGEST)
    while high > low and too_much(math.exp(high)):  # from above: noise may cross it again where nothing is smoothed
        high -= step
    low, high = max(low, high), min(high + step, math.log(STRONGEST))
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if too_much(math.exp(middle)) else (middle, high)
    return math.exp(low)


def tikhonov(model: Spectrum, y: Tensor, strength: float) -> Tensor:
    """Minimise 1/2 |H x - y|^2 + strength/2 |D x|^2: coefficients (1, C, h, w) to (1, C, H, W)."""
    weight = inverse_laplacian(model)
    return model.adjoint(y / (model.gram(weight) + strength).to(y.real.dtype)) * weight.to(y.real.dtype)


def extrapolate_margin(model: Spectrum, y: Tensor) -> Tensor:
    """Extend a small picture without its mean, (1, C, h, w), to the canvas by filling the margin.

    Where the border is a mirror, the canvas is the picture. Where it is not, what was beyond the border is unknown, and
    any guess that H cannot make would ring through the whole result. So the margin starts as the mirrored borders, and
    becomes, pass by pass, what the solution of the pass before predicts for it (expectation maximisation). The
    passes go from smooth to sharp: a sharp first pass would fit the guess itself.
    """
    if model.mirrored:
        return y
    canvas = _bridge_gap(_bridge_gap(y, model.canvas[0], -2), model.canvas[1], -1)
    for strength in _MARGIN_STRENGTHS:
        solution = tikhonov(model, model.analyse(canvas), strength)
        canvas = model.synthesise(model.forward(solution))
        canvas[..., : model.size[0], : model.size[1]] = y
    return canvas


@dataclass(frozen=True, slots=True)
class SpectrumFit:
    """A strength that was chosen automatically for Tikhonov's solution, and its residual, for use by other penalties.

    Attributes:
        strength: Weight of the squared gradient, between ``WEAKEST`` and ``STRONGEST``.
        residual: |H x - y|^2 of that solution: a solution under another penalty explains y as well.
        why: How the strength was found, in words for a note to the user.
    """

    strength: float
    residual: float
    why: str


def fit(model: Spectrum, y: Tensor, sigma: float | None, least: float = 0.0) -> SpectrumFit:
    """Choose the strength: by the discrepancy principle where the noise is given, else by cross-validation.

    Args:
        model: The model.
        y: (1, C, h, w) coefficients of the small picture without its mean.
        sigma: The noise's standard deviation, in units of [0, 1].
        least: The smallest noise that is assumed, also where less is given or estimated, in units of [0, 1].
            The estimate is |y - A y|^2 / trace(1 - A) at the strength of least cross-validation
            (Wahba, Annals of Statistics 1983).
    """
    energy, gain = power_spectrum(y), model.gram(inverse_laplacian(model))
    channels = y.shape[1]
    if sigma is None:
        strength = minimise_over_strengths(partial(gcv, energy, gain))
        left = strength / (gain + strength)
        residual, freedom = float((energy * left.square()).sum()), float(left.sum())
        noise = math.sqrt(residual / freedom / channels)
        why = f"by generalised cross-validation, which estimates a noise of {255 * noise:.2g}"
        if noise >= least:
            return SpectrumFit(strength, residual, why)
    noise = max(least, 0.0 if sigma is None else sigma)
    strength = discrepancy_strength(energy, gain, channels * noise**2)
    left = strength / (gain + strength)
    why = f"by the discrepancy principle for a noise of {255 * noise:.2g}"
    return SpectrumFit(strength, float((energy * left.square()).sum()), why)
