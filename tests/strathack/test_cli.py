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


def test_words_may_be_in_a_configuration_file(tmp_path, capsys):
    """Also several words, which those that follow the file replace."""
    file = tmp_path / "train.yaml"
    file.write_text(f"data: [{tmp_path / 'here'}]\nout: {tmp_path / 'run'}\n")
    for words, missing in (([], "here"), ([str(tmp_path / "there")], "there")):
        with pytest.raises(SystemExit, match="2"):
            main(["train", "--config", str(file), *words])
        assert f"{tmp_path / missing}: does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "old", "new"),
    [
        (["finetune", "--actors", "0"], "--actors", "--workers"),
        (["finetune", "--slices=3"], "--slices", "--env-groups"),
        (["finetune", "--game.keys", "north"], "--game.keys", "--game.actions"),
        (["finetune", "--appo.hold", "2"], "--appo.hold", "--appo.min-strategy-steps"),
        (["evaluate", "nobody", "--hold", "2"], "--hold", "--min-strategy-steps"),
    ],
)
def test_former_names_of_options_are_taken_and_told_of(words, old, new, capsys):
    with pytest.raises(SystemExit):  # of what else is wrong with the line
        main(words)
    said, error = capsys.readouterr().err.splitlines()
    assert said == f"strathack: {old} is called {new} now; the old name goes with the next release"
    assert error in (
        "strathack: error: out: no folder is given for the run",
        "strathack: error: what: 'nobody' is no checkpoint, no run's folder, no trained policy's name, "
        "no bot's folder, and neither autoascend nor random",
    )


def test_former_names_are_in_no_help(capsys):
    for command in ("finetune", "evaluate"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        out = capsys.readouterr().out
        assert not {"--actors", "--slices", "--hold", "--game.keys", "--appo.hold"} & set(out.split())


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("seeds: 5\nroles: [val, sam]\n", {"seeds": "'5'", "roles": "sam,val"}),
        ("seeds: [3, 4, 5]\nobservations: none\n", {"seeds": "'3:6'", "observations": "none"}),
        ("clock: 2024-02-29T08:00:00\nmax_seconds: 1e2\n", {"clock": "'2024-02-29T08:00:00'", "max_seconds": "100.0"}),
    ],
)
def test_values_are_parsed_at_the_door_and_written_as_they_are_read(text, values, tmp_path, capsys):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(SystemExit):
        main(["collect", "--config", str(tmp_path / "config.yaml"), "out", "--print_config"])
    printed = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert {name: printed[name] for name in values} == values


def printed(words, capsys):
    with pytest.raises(SystemExit) as end:
        main([*words, "--print_config"])
    assert end.value.code == 0
    told = capsys.readouterr()
    return dict(line.strip().split(": ", 1) for line in told.out.splitlines() if ": " in line), told.err


def test_a_former_name_in_a_file_does_not_come_before_the_command_line(tmp_path, capsys):
    (tmp_path / "old.yaml").write_text("slices: 1\nappo:\n  hold: 2\n")
    words = ["finetune", "--out", "o", "--config", str(tmp_path / "old.yaml")]
    values, told = printed(words, capsys)
    assert (values["env_groups"], values["min_strategy_steps"]) == ("1", "2")
    assert told.splitlines() == [
        "strathack: --slices is called --env-groups now; the old name goes with the next release",
        "strathack: --appo.hold is called --appo.min-strategy-steps now; the old name goes with the next release",
    ]
    values, _ = printed([*words, "--env-groups", "4", "--appo.min-strategy-steps", "8"], capsys)
    assert (values["env_groups"], values["min_strategy_steps"]) == ("4", "8")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["collect", "out", "--seeds", "5:"], "seeds: '5:' in '5:' is neither a number nor a range"),
        (["collect", "out", "--seeds", "  "], "seeds: '' in '  ' is neither a number nor a range"),
        (["collect", "out", "--seeds", ""], "seeds: none given"),
        (["collect", "out", "--roles", "null"], "roles: unknown role 'null'"),
        (
            ["finetune", "--out", "o", "--imitation.demos_weight", "5:"],
            "imitation.demos_weight: '5' in '5:' is unknown",
        ),
        (["finetune", "--out", "o", "--appo", "3"], "appo"),
        (["finetune", "--out", "o", "--imitation.demos-weight", "1"], "imitation.demos: demos_weight is 1, and no"),
        (
            ["finetune", "--out", "o", "--recipe", "kickstart", "--appo.value-weight", "0"],
            "appo.value_weight: 0, though",
        ),
        (["train", "--out", "o"], "data: no dataset is given, and no run to resume"),
        (["train", "d", "--out", "o", "--validate-every", "0"], "validate_every: 0 is below 1"),
        (["train", "d", "--out", "o", "--steps", "0"], "steps: 0 is not above 0"),
    ],
)
def test_what_an_option_does_not_take_is_said_in_one_line(words, line, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert line in error
