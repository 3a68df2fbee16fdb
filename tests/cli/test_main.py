"""The command line itself: usage errors, bugs, help."""

import io
import logging
import sys
import warnings

import pytest

import fastequi
from fastequi.cli import main as cli


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["rnu"], "Did you mean run?"),
        (["run"], "name an md.toml"),
        (["run", "md.toml", "--resum"], "Did you mean --resume?"),
    ],
)
def test_usage_errors_exit_2(capsys, arguments, expected):
    assert cli.run_command(arguments) == 2
    said = capsys.readouterr().err.replace("│", " ").replace('"', "")
    assert expected in " ".join(said.split())


def test_help_names_all_commands(capsys):
    assert cli.run_command(["--help"]) == 0
    out = capsys.readouterr().out
    for name, _, summary in cli.COMMANDS:
        assert name in out
        assert summary[:30] in out


@pytest.mark.parametrize("name", [name for name, *_ in cli.COMMANDS])
def test_help_of_each_command(capsys, name):
    assert cli.run_command([name, "--help"]) == 0
    assert f"Usage: fastequi {name}" in capsys.readouterr().out


def test_version(capsys):
    assert cli.run_command(["--version"]) == 0
    assert capsys.readouterr().out.strip() == fastequi.__version__


def test_main_exits(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["rnu"])
    assert caught.value.code == 2


def test_a_bug_says_how_to_report_it(monkeypatch, capsys):
    def broken(name):
        raise ZeroDivisionError("oh")

    monkeypatch.setitem(vars(fastequi), "load_model", broken)
    monkeypatch.delenv(cli.DEBUG_VARIABLE, raising=False)
    assert cli.run_command(["info", "sevennet-0"]) == 1
    err = capsys.readouterr().err
    assert "unexpected ZeroDivisionError: oh" in err
    assert "FASTEQUI_DEBUG=1" in err
    assert "Traceback" not in err
    monkeypatch.setenv(cli.DEBUG_VARIABLE, "1")
    assert cli.run_command(["info", "sevennet-0"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_warnings_are_for_those_who_run_commands(capsys):
    """Not what packages tell each other, as NumPy 2.5 tells ASE, even where filters let it pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = cli._show_warning
        warnings.warn("use something else", DeprecationWarning, stacklevel=1)
        warnings.warn("atoms are far apart", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: atoms are far apart\n"


def test_progress_goes_to_the_stderr_of_the_command(capsys, monkeypatch):
    """Not to that of an earlier one in the same process, which is closed."""
    logger = logging.getLogger("fastequi")
    monkeypatch.setattr(logger, "handlers", [])
    with monkeypatch.context() as earlier:
        earlier.setattr(sys, "stderr", io.StringIO())
        assert cli.run_command(["--version"]) == 0
        sys.stderr.close()
    assert cli.run_command(["--version"]) == 0
    logger.info("compiling kernel 1 of 2")
    assert capsys.readouterr().err == "compiling kernel 1 of 2\n"


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("train", ("[data]", "[data.keys]", "energy_shift", "[training.loss.huber_delta]", "0.99")),
        ("run", ("[system]", "[dynamics]", "friction_per_ps", "[[analysis]]", "r_max_A", "report")),
    ],
)
def test_help_has_every_key_of_the_file(command, shown, capfd):
    assert cli.run_command([command, "--help"]) == 0
    out = capfd.readouterr().out
    assert all(word in out for word in shown)


def test_help_of_others_has_no_table(capfd):
    assert cli.run_command(["info", "--help"]) == 0
    assert "Keys of" not in capfd.readouterr().out
