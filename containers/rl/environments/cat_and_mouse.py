"""A mouse looks for the cheese in a maze where a cat strolls about."""

from __future__ import annotations

import gymnasium
import numpy as np

from containers.rl.environments.tables import Outcomes, Tabular

MAZE = (
    "M..#..",
    ".#...#",
    ".#.#..",
    "...#.#",
    ".#...C",
    "...#..",
)
STEPS = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left
_CAUGHT, _CHEESE, _STEP = -1.0, 1.0, -0.01


class CatAndMouse(Tabular):
    """Rows of ``maze``: ``M`` where the mouse begins, ``C`` the cheese, ``#`` walls, ``.`` ways.

    A state is the mouse's cell times the number of cells, plus the cat's. The four actions lead up, right,
    down and left; walls leave the mouse where it is. The cat then goes to a free cell beside it, or stays,
    each as likely; it begins anywhere that is at least three cells' distance from the mouse.
    """

    metadata = {"render_modes": ["ansi"]}  # noqa: RUF012 - as gymnasium.Env declares it

    def __init__(self, maze: tuple[str, ...] = MAZE, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.maze = tuple(maze)
        self.height, self.width = len(self.maze), len(self.maze[0])
        cells = self.height * self.width
        self.start, self.cheese = (self._find(letter) for letter in "MC")
        self.free = [cell for cell in range(cells) if self._at(cell) != "#"]
        self.observation_space = gymnasium.spaces.Discrete(cells * cells)
        self.action_space = gymnasium.spaces.Discrete(len(STEPS))
        self.P = {
            mouse * cells + cat: {
                action: self._outcomes(mouse, cat, action, cells) for action in range(len(STEPS))
            }
            for mouse in range(cells)
            for cat in range(cells)
        }
        far = [cat for cat in self.free if self._distance(cat, self.start) >= 3 and cat != self.cheese]
        self.initial_state_distrib = np.zeros(cells * cells)
        self.initial_state_distrib[[self.start * cells + cat for cat in far]] = 1 / len(far)

    def render(self) -> str:  # type: ignore[override]
        """The maze with the mouse (M), the cat (K) and the cheese (C)."""
        mouse, cat = divmod(self.state, self.height * self.width)
        letters = {cat: "K", mouse: "M"}
        rows = []
        for row in range(self.height):
            cells = range(row * self.width, (row + 1) * self.width)
            rows.append("".join(letters.get(cell, self._at(cell).replace("M", ".")) for cell in cells))
        return "\n".join(rows) + "\n"

    def _outcomes(self, mouse: int, cat: int, action: int, cells: int) -> Outcomes:
        moved = self._beside(mouse, action)
        if moved == self.cheese:
            return [(1.0, moved * cells + cat, _CHEESE, True)]
        if moved == cat:
            return [(1.0, moved * cells + cat, _CAUGHT, True)]
        places = sorted({cat, *(self._beside(cat, turn) for turn in range(len(STEPS)))})
        return [
            (
                1 / len(places),
                moved * cells + place,
                _CAUGHT if place == moved else _STEP,
                place == moved,
            )
            for place in places
        ]

    def _beside(self, cell: int, action: int) -> int:
        """The cell that a step leads to."""
        row, column = cell // self.width + STEPS[action][0], cell % self.width + STEPS[action][1]
        inside = 0 <= row < self.height and 0 <= column < self.width
        return row * self.width + column if inside and self.maze[row][column] != "#" else cell

    def _find(self, letter: str) -> int:
        return "".join(self.maze).index(letter)

    def _at(self, cell: int) -> str:
        return self.maze[cell // self.width][cell % self.width]

    def _distance(self, one: int, other: int) -> int:
        return abs(one // self.width - other // self.width) + abs(one % self.width - other % self.width)
