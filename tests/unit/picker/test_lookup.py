import pytest

from core.picker.lookup import means_various


@pytest.mark.parametrize(
    "name",
    [
        "V/A", "v/a", "V.A.", "v.a.", "various", "Various", "VARIOUS", "various artist", "Various Artists",
        "VARIOUS ARTISTS", "various artist(s)", "Various Artist(s)", "var. artists", "Var. Artists",
        " Various  Artists ",
    ],
)  # fmt: skip
def test_a_name_that_stands_for_various_artists(name):
    assert means_various(name)


@pytest.mark.parametrize(
    "name",
    [
        "variety",
        "Variety Lights",
        "variations",
        "Various Production",
        "The Various",
        "Vari",
        "Va",
        "Av/a",
        "Artists",
        "",
    ],
)
def test_a_name_that_only_looks_so(name):
    """Various Production, for one, is a band."""
    assert not means_various(name)
