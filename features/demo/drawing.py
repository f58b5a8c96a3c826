"""Drawings of skin lesions for the demo: what a lesion looks like, and one photograph-like view of it.

Colour is made the way skin makes it. Pigments lie on pale tissue as densities, and light is absorbed by the
Beer-Lambert law, ``colour = TISSUE * exp(-sum(density * absorption))``: shallow melanin is brown, deep
melanin is blue-grey, blood is red, keratin is yellow. The drawings teach nothing about real skin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

DRAWING_VERSION = 1  # to be raised with every change that moves a pixel
CLASSES = ("nv", "bkl", "mel", "bcc", "akiec", "vasc", "df")

TISSUE = np.float32([1.0, 0.95, 0.92])
WHITE = np.float32([0.97, 0.90, 0.86])
# Absorption of red, green and blue light by one unit of melanin, blood, deep melanin and keratin.
ABSORPTION = np.float32([[0.60, 0.95, 1.22], [0.14, 0.95, 0.72], [1.20, 0.88, 0.48], [0.06, 0.26, 0.85]])
HAIR = np.float32([0.14, 0.09, 0.07])

ANGLES = 512
NOISE_CELLS = 48
NOISE_SPAN = 1.6  # image widths that the noise covers, so that a turned view stays inside
MELANIN, BLOOD, DEEP, BORDER, SCALE = range(5)  # channels of a lesion's noise
NOISE_SIGMAS = (2.6, 2.2, 2.6, 1.1, 1.0)  # their smoothness, in cells
NETWORK_PERIOD = 0.046  # image widths
# Expected number of each element where its amount in the style is one.
COUNTS = {"globules": 60, "nests": 9, "lacunae": 12, "cysts": 22, "vessels": 5, "streaks": 26}


@dataclass(frozen=True)
class Style:
    """How a lesion looks, in amounts that are never negative; lengths are in image widths."""

    radius: float
    stretch: float  # ratio of the two axes
    lobes: float  # slow waves of the border
    ragged: float  # fast waves of the border
    soft: float  # width of the edge
    melanin: float
    blotch: float  # unevenness of the melanin
    tilt: float  # melanin on one side more than on the other
    blood: float
    deep: float  # blue-grey veil
    keratin: float
    network: float
    globules: float
    streaks: float
    nests: float  # blue-grey ovoid nests
    vessels: float
    strawberry: float  # a red net around pale follicles
    lacunae: float
    cysts: float
    scale: float
    scar: float  # white centre


# fmt: off
# The middle of each class, in hundredths, in the order of Style's fields.
TYPICAL = {
    #        rad  str lob rag sof  mel blo til  blo dee ker net glo str nes ves stb lac cys sca scr
    "nv":    (22, 118,  4,  2,  3,  85, 16, 14,  18,  2,  5, 40, 40,  2,  0,  0,  0,  0,  2,  0,  2),
    "bkl":   (24, 128,  9,  9,  1,  72, 26, 16,  14,  5, 55, 10, 25,  0,  0,  3,  0,  0, 70, 15,  2),
    "mel":   (28, 132, 12,  7,  2, 140, 48, 48,  32, 42,  8, 40, 30, 50,  2,  5,  2,  0,  3,  3, 18),
    "bcc":   (23, 122,  7,  4,  3,  12, 35, 20,  48, 10, 10,  0,  3,  0, 60, 75,  2,  0,  5, 12, 25),
    "akiec": (26, 130,  9,  7,  5,  25, 35, 20,  58,  2, 28,  2,  5,  0,  2, 12, 65,  0,  8, 65,  3),
    "vasc":  (18, 112,  6,  3,  1,   8, 25, 10, 125, 35,  0,  0,  0,  0,  2,  2,  0, 80,  0,  5,  4),
    "df":    (20, 112,  5,  4,  6,  52, 14, 10,  34,  2,  8, 42,  5,  0,  0,  5,  2,  0,  2,  5, 75),
}
# The spread between lesions of one class: the standard deviation of the logarithm, in hundredths.
SPREAD =     (24,  10, 35, 35, 35,  30, 35, 45,  35, 60, 50, 60, 70, 60, 60, 50, 50, 50, 60, 60, 50)
# fmt: on

# What a lesion of each class is mistaken for, and how far it leans to that: the mean of a beta variable.
LOOKALIKE = {
    "nv": (("mel", "bkl", "df"), 0.17),
    "bkl": (("nv", "mel", "akiec"), 0.28),
    "mel": (("nv", "nv", "bkl"), 0.28),
    "bcc": (("akiec", "bkl", "nv"), 0.26),
    "akiec": (("bcc", "bkl", "bkl"), 0.28),
    "vasc": (("bcc", "mel", "nv"), 0.18),
    "df": (("nv", "nv", "bcc"), 0.26),
}


@dataclass(frozen=True)
class Lesion:
    """Everything about one lesion that stays the same when it is photographed again.

    Positions are in image widths, with the lesion's centre at the origin.
    """

    style: Style
    outline: np.ndarray  # (ANGLES,) distance of the border from the centre
    noise: np.ndarray  # (5, NOISE_CELLS, NOISE_CELLS) with unit variance
    heavy_side: np.ndarray  # (2,) unit vector to the darker side
    globules: np.ndarray  # (n, 3) x, y, radius; so are the next three
    nests: np.ndarray
    lacunae: np.ndarray
    cysts: np.ndarray
    vessels: list[np.ndarray]  # each (points, 2)
    streaks: list[np.ndarray]  # each (4, 2)
    skin: np.ndarray  # (2,) melanin and blood of the skin around
    freckles: np.ndarray  # (n, 3)
    hairs: float  # mean number of hairs in a view


def make_lesion(dx: str, rng: np.random.Generator) -> Lesion:
    """Draw the lasting traits of one lesion.

    Parameters
    ----------
    dx : str
        One of `CLASSES`.
    rng : numpy.random.Generator
        The lesion's own generator.
    """
    style = _style(dx, rng)
    outline = _outline(style, rng)
    noise = np.stack([_unit_noise(sigma, rng) for sigma in NOISE_SIGMAS])
    side = rng.uniform(0, 2 * np.pi)
    many = {name: rng.poisson(getattr(style, name) * n) for name, n in COUNTS.items()}
    return Lesion(
        style=style,
        outline=outline,
        noise=noise,
        heavy_side=np.array([np.cos(side), np.sin(side)]),
        globules=_dots(outline, many["globules"], (0.006, 0.014), 0.95, rng),
        nests=_dots(outline, many["nests"], (0.018, 0.045), 0.80, rng),
        lacunae=_dots(outline, many["lacunae"], (0.025, 0.055), 0.75, rng),
        cysts=_dots(outline, many["cysts"], (0.005, 0.012), 0.85, rng),
        vessels=[line for _ in range(many["vessels"]) for line in _vessel(outline, rng)],
        streaks=[_streak(outline, rng) for _ in range(many["streaks"])],
        skin=np.array([rng.gamma(3.0, 0.05), rng.uniform(0.07, 0.34)]),
        freckles=_freckles(rng),
        hairs=rng.choice([0.0, 3.0, 12.0], p=[0.55, 0.33, 0.12]),
    )


def draw(lesion: Lesion, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Photograph a lesion: turned, shifted, zoomed, lit and covered with hair at random.

    Parameters
    ----------
    lesion : Lesion
    size : int
        Width and height of the picture in pixels.
    rng : numpy.random.Generator
        The view's own generator.

    Returns
    -------
    pixels : ndarray, shape (size, size, 3), uint8
        RGB.
    mask : ndarray, shape (size, size), bool
        True inside the border of the lesion.
    """
    view = _View.sample(lesion, size, rng)
    inside, mask, depth = _inside(view)
    densities = _skin(view, rng) + _pigments(view, inside)
    colour = np.exp(densities.reshape(-1, 4) @ -ABSORPTION).reshape(size, size, 3) * TISSUE
    colour += _white(view, inside, depth)[..., None] * (WHITE - colour)
    colour += 0.8 * _hair(lesion.hairs, size, rng)[..., None] * (HAIR - colour)
    colour *= _light(size, rng)
    colour += 0.008 * rng.standard_normal((size, size, 1), np.float32)
    return (np.clip(colour, 0, 1) * 255).astype(np.uint8), mask


def _style(dx: str, rng: np.random.Generator) -> Style:
    others, lean = LOOKALIKE[dx]
    other = others[rng.integers(len(others))]
    weight = rng.beta(4 * lean, 4 * (1 - lean))
    middle = (1 - weight) * np.array(TYPICAL[dx]) + weight * np.array(TYPICAL[other])
    amounts = 0.01 * middle * np.exp(0.01 * np.array(SPREAD) * rng.standard_normal(len(SPREAD)))
    style = Style(*amounts.tolist())
    return replace(style, radius=min(style.radius, 0.36), stretch=max(style.stretch, 1.0))


def _outline(style: Style, rng: np.random.Generator) -> np.ndarray:
    """Distance of the border for each angle t: an ellipse times ``1 + sum(a_k cos(k t + phase_k))``."""
    angle = np.arange(ANGLES) * (2 * np.pi / ANGLES)
    k = np.arange(2, 14)
    amplitude = np.where(k < 6, style.lobes, style.ragged) / k**0.5 * rng.standard_normal(len(k))
    waves = np.cos(angle[:, None] * k + rng.uniform(0, 2 * np.pi, len(k))) @ amplitude
    ellipse = np.hypot(np.cos(angle) / style.stretch**0.5, np.sin(angle) * style.stretch**0.5)
    return np.minimum(style.radius / ellipse * np.clip(1 + waves, 0.5, 1.5), 0.44)


def _unit_noise(sigma: float, rng: np.random.Generator) -> np.ndarray:
    smooth = gaussian_filter(rng.standard_normal((NOISE_CELLS, NOISE_CELLS), np.float32), sigma, mode="wrap")
    return smooth / smooth.std()


def _place(outline: np.ndarray, angle: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Positions at a share `reach` of the way from the centre to the border, shape (n, 2)."""
    distance = reach * outline[(angle / (2 * np.pi) * ANGLES).astype(int) % ANGLES]
    return np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=-1)


def _dots(outline, count: int, radii: tuple[float, float], reach: float, rng) -> np.ndarray:
    places = _place(outline, rng.uniform(0, 2 * np.pi, count), reach * np.sqrt(rng.uniform(0, 1, count)))
    return np.column_stack([places, rng.uniform(*radii, count)])


def _freckles(rng: np.random.Generator) -> np.ndarray:
    count = rng.poisson(rng.choice([0, 4, 14], p=[0.5, 0.3, 0.2]))
    return np.column_stack([rng.uniform(-0.7, 0.7, (count, 2)), rng.gamma(4, 0.0022, count)])


def _walk(start: np.ndarray, heading: float, steps: int, stride: float, rng) -> np.ndarray:
    """A wandering line, shape (steps + 1, 2)."""
    headings = heading + np.cumsum(rng.normal(0, 0.28, steps))
    path = np.cumsum(stride * np.stack([np.cos(headings), np.sin(headings)], axis=-1), axis=0)
    return np.vstack([start, start + path])


def _vessel(outline: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """A tree-like vessel from the border inwards: a trunk and two branches."""
    angle = rng.uniform(0, 2 * np.pi)
    trunk = _walk(_place(outline, np.array(angle), np.array(1.0)), angle + np.pi, 14, 0.018, rng)
    forks = rng.integers(3, 11, 2)
    turns = angle + np.pi + rng.choice([-1, 1], 2) * rng.uniform(0.5, 1.0, 2)
    return [trunk, *(_walk(trunk[f], t, 8, 0.013, rng) for f, t in zip(forks, turns, strict=True))]


def _streak(outline: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A finger that points outwards over the border, shape (4, 2)."""
    angle = rng.normal(rng.choice([0.0, 2.2]), 0.9)
    half = rng.uniform(0.05, 0.10)
    angles = angle + half * np.array([-1, -0.25, 0.25, 1])
    tip = rng.uniform(1.05, 1.22)
    return _place(outline, angles, np.array([0.85, tip, tip, 0.85]))


@dataclass(frozen=True)
class _View:
    """A lesion before the camera: position in the image = 0.5 + shift + matrix @ position on the lesion."""

    lesion: Lesion
    size: int
    matrix: np.ndarray
    shift: np.ndarray

    @classmethod
    def sample(cls, lesion: Lesion, size: int, rng: np.random.Generator) -> _View:
        turn, zoom = rng.uniform(0, 2 * np.pi), np.exp(rng.normal(0, 0.09))
        matrix = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        shift = np.clip(rng.normal(0, 0.035, 2), -0.08, 0.08)
        return cls(lesion, size, matrix * [rng.choice([-1, 1]), 1], shift)

    def to_canvas(self, points: np.ndarray) -> np.ndarray:
        """Positions on the lesion, shape (n, 2), as pixels of `_paint`'s canvas."""
        return (0.5 + self.shift + points @ self.matrix.T) * (2 * self.size)

    @cached_property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """The place on the lesion of every pixel: x and y, each of shape (size, size)."""
        x, y = _grid(self.size)
        (a, b), (c, d) = np.linalg.inv(self.matrix).astype(np.float32)
        x, y = x - np.float32(self.shift[0]), y - np.float32(self.shift[1])
        return a * x + b * y, c * x + d * y

    @cached_property
    def noise(self) -> list[np.ndarray]:
        """The lesion's noise as it is seen, each channel of shape (size, size)."""
        scale = NOISE_CELLS / NOISE_SPAN
        turn = scale * np.linalg.inv(self.matrix)
        move = NOISE_CELLS / 2 - turn @ (0.5 + self.shift)
        (a, b), (c, d) = turn / self.size
        how = ((self.size, self.size), Image.Transform.AFFINE, (a, b, move[0], c, d, move[1]))
        cells = (Image.fromarray(channel) for channel in self.lesion.noise)
        return [np.asarray(channel.transform(*how, Image.Resampling.BICUBIC)) for channel in cells]

    def dots(self, dots: np.ndarray, blur: float = 0.0) -> np.ndarray:
        """Coverage by discs from 0 to 1, shape (size, size); `blur` in image widths."""
        middles, radii = self.to_canvas(dots[:, :2]), dots[:, 2:] * (2 * self.size)
        boxes = np.hstack([middles - radii, middles + radii]).tolist()
        return _paint(self.size, lambda pen: [pen.ellipse(box, fill=255) for box in boxes], blur)

    def wedges(self, shapes: list[np.ndarray], blur: float) -> np.ndarray:
        """Coverage by filled polygons from 0 to 1, shape (size, size)."""
        paths = [self.to_canvas(shape).ravel().tolist() for shape in shapes]
        return _paint(self.size, lambda pen: [pen.polygon(path, fill=255) for path in paths], blur)


@lru_cache(maxsize=4)
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres from -0.5 to 0.5: x of shape (1, size) and y of shape (size, 1)."""
    ramp = ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32)
    return ramp[None, :], ramp[:, None]


def _paint(size: int, strokes: Callable[[ImageDraw.ImageDraw], object], blur: float = 0.0) -> np.ndarray:
    """Let `strokes` draw on a canvas of twice the size, and halve it, which smooths the edges."""
    canvas = Image.new("L", (2 * size, 2 * size))
    strokes(ImageDraw.Draw(canvas))
    coverage = np.asarray(canvas.reduce(2), np.float32) / 255
    return gaussian_filter(coverage, blur * size, truncate=3) if blur else coverage


def _lines(size: int, lines: list[np.ndarray], width: float) -> np.ndarray:
    """Coverage by lines, each (points, 2) in pixels of the canvas; `width` in image widths."""
    pixels = max(1, round(width * 2 * size))
    paths = [line.ravel().tolist() for line in lines]
    return _paint(size, lambda pen: [pen.line(path, fill=255, width=pixels, joint="curve") for path in paths])


def _cloud(size: int, cells: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of this view alone, with `cells` bumps across, shape (size, size)."""
    noise = Image.fromarray(rng.standard_normal((cells, cells), np.float32))
    return np.asarray(noise.resize((size, size), Image.Resampling.BICUBIC))


def _inside(view: _View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Soft coverage by the lesion, its mask, and the depth: 1 in the centre, 0 on the border."""
    lesion, (x, y) = view.lesion, view.places
    angle = np.arctan2(y, x) * np.float32(ANGLES / (2 * np.pi))
    border = lesion.outline.astype(np.float32)[angle.astype(np.int32) % ANGLES]
    border = border * (1 + 0.7 * lesion.style.ragged * view.noise[BORDER])
    distance = np.hypot(x, y)
    coverage = 1 / (1 + np.exp(np.clip((distance - border) * (4 / lesion.style.soft), -30, 30)))
    return coverage, distance < border, 1 - distance / border


def _net(view: _View, period: float) -> np.ndarray:
    """A net, 1 on its lines and 0 in its holes: three plane waves at 60 degrees, bent and faded by noise."""
    x, y = view.places
    k = np.float32(2 * np.pi / period)
    u, v = k * x + 1.7 * view.noise[MELANIN], 0.866 * (k * y + 2.0 * view.noise[DEEP])
    waves = np.cos(u) + np.cos(v - 0.5 * u) + np.cos(v + 0.5 * u)
    return (1 - np.clip((waves + 1.3) / 2.6, 0, 1)) * np.clip(0.75 + 0.35 * view.noise[BLOOD], 0.2, 1.2)


def _skin(view: _View, rng: np.random.Generator) -> np.ndarray:
    """Densities of the skin around the lesion, shape (size, size, 4)."""
    lesion, size = view.lesion, view.size
    densities = np.zeros((size, size, 4), np.float32)
    densities[..., 0] = lesion.skin[0] * np.exp(0.10 * _cloud(size, 7, rng) + 0.13 * _cloud(size, 34, rng))
    densities[..., 1] = lesion.skin[1] * np.exp(0.14 * _cloud(size, 12, rng) + 0.10 * _cloud(size, 40, rng))
    if len(lesion.freckles):
        densities[..., 0] += 0.35 * view.dots(lesion.freckles, blur=0.009)
    return densities


def _pigments(view: _View, inside: np.ndarray) -> np.ndarray:
    """Densities that the lesion adds to the skin, shape (size, size, 4)."""
    lesion, style, (x, y) = view.lesion, view.lesion.style, view.places
    side = (lesion.heavy_side[0] * x + lesion.heavy_side[1] * y) / np.float32(style.radius)
    veil = np.clip(0.5 + 0.9 * view.noise[DEEP] + 0.5 * side, 0, 1.5)
    added = np.empty((*inside.shape, 4), np.float32)
    added[..., 0] = _melanin(view, side)
    added[..., 1] = style.blood * np.exp(np.clip(0.35 * view.noise[BLOOD], -1, 1))
    added[..., 2] = style.deep * veil
    added[..., 3] = style.keratin * (1 + 0.25 * view.noise[SCALE])
    if style.strawberry > 0.05:
        added[..., 1] += 0.5 * min(style.strawberry, 1.3) * (_net(view, 1.5 * NETWORK_PERIOD) - 0.4)
    if len(lesion.lacunae):
        lacunae = view.dots(lesion.lacunae, blur=0.007)
        added[..., 1] += 0.7 * lacunae
        added[..., 2] += 1.3 * style.deep * lacunae
    if len(lesion.nests):
        added[..., 2] += 0.75 * view.dots(lesion.nests, blur=0.014)
    added *= inside[..., None]
    # Streaks and vessels cross the border, so they come after the lesion has been cut out.
    if lesion.streaks:
        added[..., 0] += 0.6 * style.melanin * view.wedges(lesion.streaks, blur=0.006)
    if lesion.vessels:
        added[..., 1] += 0.85 * _lines(view.size, [view.to_canvas(line) for line in lesion.vessels], width=0.008)
    return np.maximum(added, 0, out=added)


def _melanin(view: _View, side: np.ndarray) -> np.ndarray:
    """Melanin of the lesion with its unevenness, network and globules, shape (size, size)."""
    style = view.lesion.style
    uneven = np.clip(style.blotch * view.noise[MELANIN] + style.tilt * side, -1.6, 1.1)
    melanin = style.melanin * np.exp(uneven)
    if style.network > 0.05:
        melanin *= 1 + 1.2 * min(style.network, 1.0) * (_net(view, NETWORK_PERIOD) - 0.55)
    if len(view.lesion.globules):
        melanin += 0.75 * (0.3 + style.melanin) * view.dots(view.lesion.globules, blur=0.004)
    return melanin


def _white(view: _View, inside: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Opacity of what hides the pigment: a scar in the centre, scale and cysts, shape (size, size)."""
    style = view.lesion.style
    white = 0.8 * style.scar * np.clip(1.5 * depth - 0.45 + 0.25 * view.noise[DEEP], 0, 1)
    white += 0.9 * style.scale * np.clip(view.noise[SCALE] - 0.7, 0, 1)
    if len(view.lesion.cysts):
        white += 0.6 * view.dots(view.lesion.cysts)
    return np.clip(white * inside, 0, 0.85)


def _hair(expected: float, size: int, rng: np.random.Generator) -> np.ndarray:
    """Coverage by hair, shape (size, size): arcs that run roughly the same way."""
    count, lie = rng.poisson(expected), rng.uniform(0, np.pi)
    starts, headings = rng.uniform(-0.1, 1.1, (count, 1, 2)), rng.normal(lie, 0.5, (count, 1))
    bends, lengths = rng.normal(0, 0.9, (count, 1)), rng.uniform(0.3, 0.9, (count, 1))
    turns = headings + bends * np.linspace(0, 1, 12)
    strides = lengths[..., None] / 12 * np.stack([np.cos(turns), np.sin(turns)], axis=-1)
    return _lines(size, list((starts + np.cumsum(strides, axis=1)) * (2 * size)), 0.006)


def _light(size: int, rng: np.random.Generator) -> np.ndarray:
    """Brightness and tint, shape (size, size, 3): light from one side, a vignette, at times a round field."""
    x, y = _grid(size)
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.16)
    far = 2 * (x * x + y * y)
    light = rng.uniform(0.93, 1.03) + slope * (np.cos(angle) * x + np.sin(angle) * y) - rng.uniform(0, 0.22) * far
    if rng.random() < 0.12:
        light = light / (1 + np.exp(np.clip((np.sqrt(far) - rng.uniform(0.76, 0.86)) * 45, -30, 30)))
    tint = 1 + np.array([1, -0.4, -0.6]) * rng.normal(0, 0.02) + np.array([0, -0.5, 1]) * rng.normal(0, 0.03)
    return (light[..., None] * tint).astype(np.float32)
