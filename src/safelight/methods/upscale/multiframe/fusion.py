"""The joint observation of several frames in the Fourier domain, and the inverse problem that it poses.

The large picture x lives on a periodic canvas, somewhat larger than the reference frame. Frame k is A_k x = S B W_k x:
shifted by a part of a pixel, blurred, and sampled at every s-th pixel. W and B multiply the spectrum, and S folds it:
a frequency of the frame is the mean of s * s frequencies of x. So the normal equations fall into one small system of
s * s unknowns for each frequency, and each is solved exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from safelight import ops
from safelight.solvers.linear_inverse import point_spread

_CHUNK = 1 << 18  # numbers of small systems that are inverted at once


def smooth_size(least: int) -> int:
    """Find the next length whose only factors are 2, 3 and 5: the fast ones of the Fourier transform."""
    n = max(1, least)
    while True:
        rest = n
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 1


def frequencies(n: int) -> Tensor:
    """The angular frequency of each bin of a transform of ``n`` samples, in (-pi, pi], float64."""
    return 2 * math.pi * torch.fft.fftfreq(n, dtype=torch.float64)


def shift_spectrum(n: int, by: Tensor) -> Tensor:
    """The transfer of x(t) -> x(t + by), (K, n) complex128 for (K,) shifts in samples of an axis of ``n``.

    The frequency that is its own negative, where n is even, gets the real part: pictures stay real, and the adjoint
    is the conjugate.
    """
    spectrum = torch.exp(1j * frequencies(n) * by.double()[:, None])
    if n % 2 == 0:
        spectrum[:, n // 2] = spectrum[:, n // 2].real.to(spectrum.dtype)
    return spectrum


def blur_spectrum(size: tuple[int, int], scale: int, blur: Tensor | None) -> Tensor:
    """The transfer of the blur before every ``scale``-th pixel is taken, of the canvas (H, W): complex128."""
    kernel = point_spread(scale, blur)
    waves: list[Tensor] = []
    for n, taps in zip(size, kernel.shape, strict=True):
        place = (scale - 1) / 2 - (torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2)
        waves.append(torch.exp(1j * frequencies(n)[:, None] * place))
    return waves[0] @ kernel.to(torch.complex128) @ waves[1].T


class Joint:
    """All frames' observations of one large picture on a periodic canvas.

    Spectra of real pictures are kept by half, as ``torch.fft.rfft2`` gives them; *folded* ones are (..., s, m, s, q)
    with q = n // 2 + 1: the s * s frequencies of the large canvas that look alike to an (m, n) frame.

    Args:
        size: (m, n) of the canvas in pixels of a frame.
        scale: The zoom s.
        blur: The kernel, as in ``Problem``.
        shifts: (K, 2) in pixels of a frame, down and right: pixel i of frame k sees the place i + shift of the
            reference.
        device: Where to compute.
    """

    def __init__(
        self, size: tuple[int, int], scale: int, blur: Tensor | None, shifts: Tensor, device: torch.device
    ) -> None:
        self.size, self.scale, self.device = size, scale, device
        self.large = (size[0] * scale, size[1] * scale)
        spectrum = blur_spectrum(self.large, scale, blur)
        self._columns(self.large[1])
        half = spectrum[:, : self.large[1] // 2 + 1].to(device, torch.complex64)
        self.blur = self.unfold(half)
        slope = [2 - 2 * torch.cos(frequencies(n)) for n in self.large]
        laplacian = (slope[0][:, None] + slope[1])[:, : self.large[1] // 2 + 1]
        self.laplacian = self.unfold(laplacian.to(device, torch.complex64)).real.contiguous()
        self.move(shifts)

    def move(self, shifts: Tensor) -> None:
        """Change the frames' shifts."""
        (m, n), s = self.size, self.scale
        self.shifts = shifts.double().cpu()
        self.vertical = shift_spectrum(m * s, self.shifts[:, 0] * s).view(-1, s, m).to(self.device, torch.complex64)
        full = shift_spectrum(n * s, self.shifts[:, 1] * s).view(-1, s, n)
        self.horizontal = full[..., : n // 2 + 1].to(self.device, torch.complex64).contiguous()

    # --- folding ----------------------------------------------------------------------------------------------------

    def _columns(self, width: int) -> None:
        """Find where the columns of the full spectrum are in the halves."""
        n, s, half = self.size[1], self.scale, self.size[1] // 2 + 1
        wanted = (torch.arange(half) + n * torch.arange(s)[:, None]).flatten()
        mirrored = wanted > width // 2
        self._unfolding = torch.where(mirrored, width - wanted, wanted).to(self.device), mirrored.to(self.device)
        have = torch.arange(width // 2 + 1)
        mirrored = have % n >= half
        source = torch.where(mirrored, width - have, have)
        self._folding = (source // n * half + source % n).to(self.device), mirrored.to(self.device)

    def unfold(self, spectrum: Tensor) -> Tensor:
        """Sort a half spectrum, (..., M, N // 2 + 1), into (..., s, m, s, q)."""
        column, mirrored = self._unfolding
        negative = spectrum.flip(-2).roll(1, -2).conj()
        full = torch.where(mirrored, negative[..., column], spectrum[..., column])
        (m, n), s = self.size, self.scale
        return full.view(*spectrum.shape[:-2], s, m, s, n // 2 + 1)

    def fold(self, folded: Tensor) -> Tensor:
        """Undo ``unfold``."""
        column, mirrored = self._folding
        full = folded.flatten(-2).flatten(-3, -2)  # (..., M, s * q)
        direct = full[..., column]
        negative = full.flip(-2).roll(1, -2).conj()[..., column]
        return torch.where(mirrored, negative, direct)

    def spectrum(self, x: Tensor) -> Tensor:
        """Transform a large canvas, (C, M, N), to its folded spectrum."""
        return self.unfold(torch.fft.rfft2(x))

    def picture(self, folded: Tensor) -> Tensor:
        """Transform a folded spectrum back to (C, M, N)."""
        return torch.fft.irfft2(self.fold(folded), s=self.large)

    # --- observing --------------------------------------------------------------------------------------------------

    def observe(self, folded: Tensor) -> Iterator[Tensor]:
        """Give the canvas of each frame, (C, m, n), from the folded spectrum of the large picture."""
        blurred = self.blur * folded
        for vertical, horizontal in zip(self.vertical, self.horizontal, strict=True):
            yield self._sample(blurred, vertical, horizontal)

    def _sample(self, blurred: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
        across = (blurred * horizontal).sum(-2)
        down = (across * vertical[..., None]).sum(-3)
        return torch.fft.irfft2(down / self.scale**2, s=self.size)

    def slopes(self, folded: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Give the canvas of frame k and its derivatives by the shift down and right: (C, m, n) each."""
        blurred = self.blur * folded
        (m, n), s = self.size, self.scale
        v, h = self.vertical[k], self.horizontal[k]
        rows = (1j * frequencies(m * s) * s).view(s, m).to(v)
        columns = (1j * frequencies(n * s) * s).view(s, n)[:, : n // 2 + 1].to(v)
        return (
            self._sample(blurred, v, h),
            self._sample(blurred, v * rows, h),
            self._sample(blurred, v, h * columns),
        )

    def gather(self, frames: Iterator[Tensor]) -> Tensor:
        """Apply the adjoint: canvases of all frames, (C, m, n) each, to the folded spectrum of their sum."""
        total: Tensor | None = None
        for frame, vertical, horizontal in zip(frames, self.vertical, self.horizontal, strict=True):
            spread = torch.fft.rfft2(frame)[..., None, :, None, :]
            part = spread * vertical.conj()[..., None, None] * horizontal.conj()
            total = part if total is None else total.add_(part)
        assert total is not None
        return total * self.blur.conj()

    # --- solving ----------------------------------------------------------------------------------------------------

    def normal(self, rows: slice) -> Tensor:
        """The sum of A_k' A_k, for some rows of the frame's spectrum: (r, q, s * s, s * s)."""
        s = self.scale
        v, h = self.vertical[..., rows], self.horizontal
        b = self.blur[:, rows].permute(1, 3, 0, 2).flatten(-2)  # (r, q, s * s)
        outer_v = (v.conj()[:, :, None] * v[:, None]).flatten(1, 2)  # (K, s * s, r)
        outer_h = (h.conj()[:, :, None] * h[:, None]).flatten(1, 2)
        both = torch.einsum("kxp,kyq->pqxy", outer_v, outer_h) / s**2
        both = both.view(*both.shape[:2], s, s, s, s).transpose(3, 4).reshape(*both.shape[:2], s * s, s * s)
        return b.conj()[..., :, None] * both * b[..., None, :]

    def inverse(self, smoothness: float) -> Tensor:
        """Invert sum_k A_k' A_k + smoothness * (gradient' gradient), for each frequency: (m, q, s * s, s * s).

        Args:
            smoothness: Above 0.
        """
        (m, n), s = self.size, self.scale
        step = max(1, _CHUNK // ((n // 2 + 1) * s**2))
        parts: list[Tensor] = []
        for start, stop in ops.chunk_ranges(m, step):
            rows = slice(start, stop)
            matrix = self.normal(rows)
            slope = self.laplacian[:, rows].permute(1, 3, 0, 2).flatten(-2)
            matrix.diagonal(dim1=-2, dim2=-1).add_(smoothness * slope + 1e-7 * len(self.shifts))
            parts.append(torch.linalg.inv(matrix))
        return torch.cat(parts)

    def apply(self, inverse: Tensor, folded: Tensor) -> Tensor:
        """Multiply a folded spectrum, (C, s, m, s, q), by the small matrices."""
        c, s, m, _, q = folded.shape
        vectors = folded.permute(2, 4, 1, 3, 0).reshape(m, q, s * s, c)
        made = inverse @ vectors
        return made.view(m, q, s, s, c).permute(4, 2, 0, 3, 1)

    def fit(self, inverse: Tensor, folded: Tensor, placed: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Solve for the picture whose frames are ``placed``, (canvas, mask) each; where the mask is 0, x tells them."""
        return self.apply(inverse, self.gather(self.filled(folded, placed)))

    def filled(self, folded: Tensor, placed: Sequence[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
        """Give each frame's canvas, completed by what the picture says of the places that the frame did not see."""
        for made, (canvas, mask) in zip(self.observe(folded), placed, strict=True):
            yield made + mask * (canvas - made)

    def freedom(self, inverse: Tensor, smoothness: float) -> float:
        """The trace of the matrix that maps all frames to their fit: how many numbers the picture may choose."""
        (_, n), s = self.size, self.scale
        slope = self.laplacian.permute(1, 3, 0, 2).flatten(-2)
        diagonal = inverse.diagonal(dim1=-2, dim2=-1).real
        each = s * s - smoothness * (diagonal * slope).sum(-1)
        twice = torch.full((n // 2 + 1,), 2.0, device=each.device)
        twice[0] = 1
        if n % 2 == 0:
            twice[-1] = 1
        return float((each * twice).double().sum())
