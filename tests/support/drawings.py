"""Drawings of digits, as people make them: strokes of a round pen, in several styles."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Points = list[tuple[float, float]]

STROKES: dict[int, list[Points]] = {
    1: [[(0.48, 0.15), (0.5, 0.85)]],
    3: [
        [
            *(
                (0.32, 0.2),
                (0.42, 0.13),
                (0.58, 0.13),
                (0.67, 0.22),
                (0.66, 0.36),
                (0.56, 0.45),
                (0.44, 0.48),
            ),
            *((0.58, 0.5), (0.68, 0.6), (0.69, 0.73), (0.58, 0.85), (0.42, 0.87), (0.3, 0.79)),
        ]
    ],
    4: [[(0.35, 0.15), (0.3, 0.5), (0.7, 0.5)], [(0.62, 0.15), (0.6, 0.88)]],
    7: [[(0.28, 0.18), (0.7, 0.18), (0.45, 0.88)]],
}
"""The strokes of some digits, each as points from 0 to 1 from the upper left corner."""


def draw(
    strokes: Iterable[Points], *, side: int = 280, ink: int = 255, paper: int = 0, width: float = 0.07
) -> Image.Image:
    """Return strokes as a grey image, with edges as soft as a canvas has."""
    scale = 4
    image = Image.new("L", (side * scale, side * scale), paper)
    pen = ImageDraw.Draw(image)
    for points in strokes:
        places = [(x * side * scale, y * side * scale) for x, y in points]
        pen.line(places, fill=ink, width=round(width * side * scale), joint="curve")
    return image.resize((side, side), Image.Resampling.BOX)


def make_drawing(side: int = 280, *, ink: int = 0, paper: int = 255) -> NDArray[np.uint8]:
    """A greyscale drawing, (side, side), of a thick vertical stroke off the centre."""
    drawing = np.full((side, side), paper, np.uint8)
    drawing[side // 8 : side * 5 // 8, side // 8 : side // 4] = ink
    return drawing


def make_drawings() -> dict[str, Image.Image]:
    """Drawings in many styles, by name: sizes, colours, transparency, grain, blank ones."""
    three = draw(STROKES[3])
    random = np.random.default_rng(1)
    grain = random.integers(0, 20, (280, 280)).astype(np.uint8)
    alpha = Image.merge("RGBA", [Image.new("L", three.size, 30)] * 3 + [three])
    light = Image.merge("RGBA", [Image.new("L", three.size, 230)] * 3 + [three])
    return {
        **{f"the digit {digit}": draw(strokes) for digit, strokes in STROKES.items()},
        **{f"{side} pixels a side": draw(STROKES[3], side=side) for side in (28, 20, 57, 401, 1000)},
        "black on white": draw(STROKES[3], ink=0, paper=255),
        "faint": draw(STROKES[4], ink=150, paper=110),
        "coloured": Image.merge(
            "RGB", [three, three.point(lambda value: value // 3), Image.new("L", three.size, 90)]
        ),
        "on transparency": alpha,
        "light, on transparency": light,
        "wide": draw(STROKES[7]).resize((280, 90)),
        "tall": draw(STROKES[1]).resize((61, 283)),
        "blurred": three.filter(ImageFilter.GaussianBlur(6)),
        "grainy": Image.fromarray(np.maximum(np.asarray(three), grain)),
        "cut off": three.crop((90, 0, 190, 150)),
        "noise": Image.fromarray(random.integers(0, 256, (64, 48)).astype(np.uint8)),
        "one pixel": Image.fromarray(np.eye(1, 784, 400, dtype=np.uint8).reshape(28, 28) * 255),
        "two far pixels": Image.fromarray(np.pad(np.full((1, 1), 255, np.uint8), ((0, 900), (0, 3))) + 0),
        "blank": Image.new("L", (280, 280), 77),
        "nearly blank": draw(STROKES[3], ink=131, paper=100),
    }
