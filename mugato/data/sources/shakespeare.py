"""Shakespeare's plays and poems: text without observations.

The 42 modern-spelling works of the Open Shakespeare package (public domain, from Project Gutenberg;
the edition CC BY 2.5). The package also holds the First Folio's spelling of most plays
(`*_gut_f.txt`); it is left out, because it would show the held-out plays to training. Whole works
are held out: Twelfth Night for the score, The Two Gentlemen of Verona for tuning. The files start
at the title: there is no licence to strip.
"""

from mugato.data.language import TEXT_SPEC, document
from mugato.data.source import EpisodeList, check_split
from mugato.system.optional import package_path

SPLITS = ("train", "validation", "test")
HELD_OUT = {"validation": "two_gentlemen_of_verona", "test": "twelfth_night"}
NUM_WORKS = 42


def open_shakespeare(split: str) -> EpisodeList:
    """Open a split; every work is one episode of one timestep, its whole text the action."""
    check_split("shakespeare", split, SPLITS)
    episodes = [
        document(text, name=f"shakespeare {split}: {title}")
        for title, text in _works().items()
        if split == next((other for other in HELD_OUT if HELD_OUT[other] == title), "train")
    ]
    return EpisodeList(name="shakespeare", spec=TEXT_SPEC, episodes=episodes)


def _works() -> dict[str, str]:
    folder = package_path("shksprdata", "texts")
    works = {
        path.name.removesuffix("_gut.txt"): path.read_text(encoding="utf-8").strip() + "\n"
        for path in sorted(folder.glob("*_gut.txt"))
    }
    if len(works) != NUM_WORKS:
        raise ValueError(f"shakespeare: {len(works)} works, expected {NUM_WORKS}")
    return works
