"""Draws what a mouse has learned: where it goes from each cell of the maze, for two places of the cat.

algodock train rl -p environment=algodock/CatAndMouse-v0 -p discount=0.97 -p episodes=40000 --output job
python examples/cat_and_mouse.py job mouse.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from containers.rl.artifact import read
from containers.rl.environments.cat_and_mouse import STEPS, CatAndMouse
from local.endpoints import unpacked

CELL, GAP = 72, 48
CATS = (14, 28)  # cells
FONT = ImageFont.load_default(28)


def drawn(maze: CatAndMouse, table: object, cat: int) -> Image.Image:
    """The maze with an arrow in each cell; the worse a cell, the darker."""
    image = Image.new("RGB", (maze.width * CELL, maze.height * CELL), "#20242b")
    draw = ImageDraw.Draw(image)
    cells = maze.width * maze.height
    for cell in maze.free:
        top, left = cell // maze.width * CELL, cell % maze.width * CELL
        values = table[cell * cells + cat]  # type: ignore[index]
        hope = 1.0 if cell == maze.cheese else min(max((float(values.max()) + 0.2) / 1.2, 0.0), 1.0)
        fill = tuple(
            round(dark + hope * (bright - dark)) for dark, bright in ((96, 255), (90, 246), (84, 214))
        )
        draw.rectangle((left + 1, top + 1, left + CELL - 2, top + CELL - 2), fill=fill)
        letter = {cat: "cat", maze.cheese: "cheese"}.get(cell)
        x, y = left + CELL / 2, top + CELL / 2
        if letter:
            colour = "#b3261e" if letter == "cat" else "#8a5a00"
            draw.text(
                (x, y), letter, colour, FONT if letter == "cat" else FONT.font_variant(size=20), anchor="mm"
            )
            continue
        down, right = STEPS[int(values.argmax())]
        tip = (x + right * 22, y + down * 22)
        draw.line((x - right * 20, y - down * 20, *tip), fill="#1b4f8f", width=5)
        side = 11
        draw.polygon(
            (
                tip,
                (tip[0] - right * 16 + down * side, tip[1] - down * 16 + right * side),
                (tip[0] - right * 16 - down * side, tip[1] - down * 16 - right * side),
            ),
            fill="#1b4f8f",
        )
    return image


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description="Draws what a mouse has learned.")
    parser.add_argument("model")
    parser.add_argument("picture", type=Path)
    chosen = parser.parse_args()
    maze = CatAndMouse()
    with unpacked(chosen.model, None) as (_, root):
        table, *_ = read(root / "model")
    pictures = [drawn(maze, table, cat) for cat in CATS]
    width, height = pictures[0].size
    sheet = Image.new("RGB", (2 * width + GAP, height), "#ffffff")
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (number * (width + GAP), 0))
    sheet.quantize(128).save(chosen.picture, optimize=True)


if __name__ == "__main__":
    main()
