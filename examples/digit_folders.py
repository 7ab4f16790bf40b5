"""Write digits as image files: six classes in ``digits/first``, three in ``digits/later``.

    python examples/digit_folders.py

Each folder has ``train/<class>/*`` and ``test/<class>/*``. The later one holds further images of
"three", and the new classes "six" and "seven": the story of docs/guides/learning_on.md.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven")
#: folder -> classes, and which images of each: so many for training behind the first ones
PARTS = {"first": (range(6), 0), "later": ((3, 6, 7), 80)}
TRAIN, TEST = 50, 20


def main(root: Path = Path("digits")) -> None:
    """Write both folders."""
    data = load_digits()
    for part, (digits, skip) in PARTS.items():
        for digit in digits:
            rows = np.flatnonzero(data.target == digit)[skip : skip + TRAIN + TEST]
            for place, row in enumerate(rows.tolist()):
                kind = "train" if place < TRAIN else "test"
                folder = root / part / kind / NAMES[digit]
                folder.mkdir(parents=True, exist_ok=True)
                pixels = (data.images[row] * 15.9).astype(np.uint8)
                image = Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC)
                image.convert("RGB").save(folder / f"{row}.png")
    print(f"wrote {root / 'first'} and {root / 'later'}")


if __name__ == "__main__":
    main()
