"""How a command's answer is printed."""

import pytest

from ops.answer import BOLD, Answer, give


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("a [bold]b[/] :warning: c", "a [bold]b[/] :warning: c"),
        (f"run {BOLD('r')}: [x]", "run r: [x]"),
        ("a\x1b[2J\rb\x07", "a[2Jb"),
        ("\x1b]0;title\x07", "]0;title"),
    ],
)
def test_what_others_wrote_is_printed_as_it_is_and_cannot_move_the_cursor(capsys, line, shown):
    with pytest.raises(SystemExit):
        give(lambda: Answer([line], {}), {}, as_json=False)

    assert capsys.readouterr().out == f"{shown}\n"
