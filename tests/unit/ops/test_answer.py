"""How a command's answer is printed."""

import pytest

from ops.answer import BOLD, Answer, give, print_line


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


def test_a_line_of_a_log_that_goes_on_cannot_move_the_cursor_either(capsys):
    print_line("a\x1b[2J\rb\x07", err=True)

    assert capsys.readouterr().err == "a[2Jb\n"
