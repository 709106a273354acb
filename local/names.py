"""Believable names of artists, albums and labels, made from word lists of our own."""

from random import Random
from typing import Final

_FIRST: Final = (
    "Ada", "Bruno", "Celeste", "Dario", "Edda", "Farid", "Greta", "Hollis", "Ines", "Jonas", "Kemi", "Lorne",
    "Mireille", "Nils", "Odessa", "Pell", "Quill", "Rosalind", "Soren", "Tova", "Ulla", "Vesper", "Wren", "Yusuf",
)  # fmt: skip
_LAST: Final = (
    "Abernathy", "Brandt", "Castellan", "Drummond", "Ekwueme", "Fairlight", "Garrick", "Holloway", "Ibarra", "Jansen",
    "Kowalczyk", "Lindqvist", "Marchetti", "Nakagawa", "Okafor", "Prewitt", "Quintero", "Rasmussen", "Sato", "Thorne",
)  # fmt: skip
_MOOD: Final = (
    "Amber", "Broken", "Crooked", "Distant", "Electric", "Feral", "Golden", "Hollow", "Idle", "Jagged", "Kindled",
    "Lunar", "Muted", "Northern", "Ochre", "Paper", "Quiet", "Restless", "Silver", "Tidal", "Velvet", "Winter",
)  # fmt: skip
_THING: Final = (
    "Antenna", "Bridge", "Cartographer", "Delta", "Engine", "Furnace", "Garden", "Harbor", "Island", "Junction",
    "Kettle", "Lantern", "Meridian", "Needle", "Orchard", "Pylon", "Quarry", "River", "Signal", "Transistor", "Window",
)  # fmt: skip
_VARIOUS: Final = ("V/A", "Various Artists", "various", "V.A.")
_HOUSE: Final = ("Records", "Recordings", "Tapes", "Sound", "Discs", "Music")


def artist(rng: Random) -> str:
    """Return a band, a person, a duo, or now and then what a compilation is filed under."""
    form = rng.random()
    if form < 0.03:
        return rng.choice(_VARIOUS)
    if form < 0.4:
        return f"{rng.choice(_FIRST)} {rng.choice(_LAST)}"
    if form < 0.55:
        return f"{rng.choice(_LAST)} & {rng.choice(_LAST)}"
    return f"{rng.choice(('The ', ''))}{rng.choice(_MOOD)} {rng.choice(_THING)}{rng.choice(('s', ''))}"


def album(rng: Random) -> str:
    form = rng.random()
    if form < 0.3:
        return f"{rng.choice(_THING)} {rng.choice(('for', 'Without', 'Beyond', 'and'))} {rng.choice(_THING)}"
    if form < 0.5:
        return f"Songs from the {rng.choice(_MOOD)} {rng.choice(_THING)}"
    return f"{rng.choice(_MOOD)} {rng.choice(_THING)}{rng.choice((' EP', '', '', ' II'))}"


def label(rng: Random) -> str:
    return f"{rng.choice(_MOOD)} {rng.choice(_THING)} {rng.choice(_HOUSE)}"
