import pytest

from core.picker.lookup import means_various


@pytest.mark.parametrize(
    "name",
    [
        "V/A", "v/a", "VA", "va", "V.A.", "v.a.", "v.a", "V A", "v a", "V. A.", "v / a", "various", "Various",
        "VARIOUS",
        "various artist", "Various Artists", "VARIOUS ARTISTS", "Various Artiste", "Various Artistes",
        "various artist(s)", "Various Artist(s)", "var. artists", "Var. Artists", "Var Artists", "var artist",
        " Various  Artists ", "Various Artists - Soundtrack", "Various Artists \u2013 Soundtrack",
        "Various Artists- Soundtrack", "Various Artists (Soul Jazz Records)", "Various Artists(Trikont)",
        "Various Artistes - Stiff", "Various (Numero)", "Various - Ethiopiques", "V/A - Soundtrack", "VA (tape)",
        "v.a. \u2014 Nuggets", "Various Artist(s) - Box", "Var. Artists (2)",
    ],
)  # fmt: skip
def test_a_name_that_stands_for_various_artists(name):
    assert means_various(name)


@pytest.mark.parametrize(
    "name",
    [
        "variety", "Variety Lights", "variations", "Vashti", "Vashti Bunyan", "Various Production", "The Various",
        "Vari", "Av/a", "Artists", "Va Va Voom", "Va-Va-Voom", "V", "VAST", "V.A.S.T.", "Vartists", "Var",
        "Various Cruelties", "Various Artists United", "Ava", "- Various", "",
    ],
)  # fmt: skip
def test_a_name_that_only_looks_so(name):
    """Various Production, for one, is a band."""
    assert not means_various(name)
