import pytest

from strathack import __version__
from strathack.cli import COMMANDS, main


def words_of(commands, before=()):
    for name, command in commands.items():
        if hasattr(command, "items"):
            yield from words_of(command, (*before, name))
        else:
            yield (*before, name)


@pytest.mark.parametrize("words", [(), *words_of(COMMANDS)])
def test_every_command_has_help_with_dashes_in_its_options(words, capsys):
    with pytest.raises(SystemExit) as end:
        main([*words, "--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "usage: strathack" in out
    assert not [word for word in out.split() if word.startswith("--") and "_" in word]


@pytest.mark.parametrize("words", [*words_of(COMMANDS)])
def test_every_command_takes_a_configuration_and_prints_it(words, capsys):
    with pytest.raises(SystemExit) as end:
        main([*words, "--print_config"])
    assert end.value.code == 0
    assert ": " in capsys.readouterr().out


def test_the_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == f"strathack {__version__}"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "expected"),
        (["colect"], "invalid choice: 'colect'"),
        (["analysis"], "expected"),
        (["collect"], "required: collect.out"),
        (["analysis", "strategies", "/nowhere"], "/nowhere: does not exist"),
    ],
)
def test_a_bad_line_is_refused_in_one_line_with_status_2(words, line, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("strathack: error: ")
    assert err.count("\n") == 1
    assert line in err
