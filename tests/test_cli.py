"""The command as a whole: exit codes, one-line errors, --debug, Ctrl-C, broken pipes, missing extras."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from lightkern import FormatError, UnsupportedError
from lightkern.cli.app import App, app, describe

COMMANDS = {"bench", "compress", "cpu", "demo", "inspect", "profile", "run"}


def invoke(*args: Any) -> Result:
    return CliRunner().invoke(app, list(map(str, args)), prog_name="lightkern")


def failing(error: BaseException | Callable[[], None]) -> App:
    """The command group with one command that fails."""

    @click.group(cls=App)
    def group() -> None:
        pass

    @group.command()
    @click.option("--debug", is_flag=True, expose_value=False)
    def fail() -> None:
        if isinstance(error, BaseException):
            raise error
        error()

    assert isinstance(group, App)
    return group


def python(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


MAIN = "import sys; from lightkern.cli import main; sys.argv[0] = 'lightkern'; main()"


def test_help_names_every_command() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    assert set(app.commands) == COMMANDS
    assert all(name in result.stdout for name in COMMANDS)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help_json_and_debug(command: str) -> None:
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert "--json" in result.stdout
    assert "--debug" in result.stdout


def test_no_arguments_show_the_help_and_are_wrong_usage() -> None:
    result = invoke()
    assert result.exit_code == 2
    assert "Commands:" in result.stderr + result.stdout


def test_version() -> None:
    result = invoke("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("lightkern ")


@pytest.mark.parametrize(
    "args",
    [
        ("nonsense",),
        ("--nonsense",),
        ("bench",),
        ("bench", "no-such-file.lk"),
        ("demo", "--threads", "0"),
        ("demo", "--repeat", "many"),
        ("compress", __file__, "-o", "x.lk"),
        ("compress", __file__, "-o", "no/such/folder/x.lk", "--calibration", __file__),
        ("compress", __file__, "-o", "x.lk", "--calibration", __file__, "--preprocess", "imagnet"),
        ("compress", __file__, "-o", "x.lk", "--calibration", __file__, "--input-range", "x=1"),
        ("run", __file__, __file__, "-o", "y.txt"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_why(args: tuple[str, ...]) -> None:
    result = invoke(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FormatError("x.lk: is\ncut"), "lightkern: x.lk: is cut"),
        (UnsupportedError("node 'a' (LSTM): not an image op"), "lightkern: node 'a' (LSTM): not an image op"),
        (TypeError("input 'x': expected float32"), "lightkern: input 'x': expected float32"),
        (FileNotFoundError(2, "No such file or directory", "a.lk"), "lightkern: a.lk: No such file or directory"),
        (MemoryError(), "lightkern: MemoryError"),
        (KeyError("k"), "lightkern: internal error (KeyError: 'k'); --debug shows where"),
    ],
)
def test_failures_are_one_line_and_exit_with_1(error: Exception, line: str) -> None:
    assert f"lightkern: {describe(error)}" == line
    result = CliRunner().invoke(failing(error), ["fail"])
    assert result.exit_code == 1
    assert result.stderr == line + "\n"
    assert result.stdout == ""


def test_debug_shows_the_traceback_and_the_line() -> None:
    result = CliRunner().invoke(failing(FormatError("x.lk: is cut")), ["fail", "--debug"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Traceback (most recent call last):")
    assert result.stderr.endswith("lightkern: x.lk: is cut\n")


def test_ctrl_c_exits_with_130() -> None:
    result = CliRunner().invoke(failing(KeyboardInterrupt()), ["fail"])
    assert result.exit_code == 130
    assert result.stderr.strip() == "lightkern: interrupted"


def test_ctrl_c_from_a_terminal_exits_with_130() -> None:
    """A real SIGINT while a command works."""
    code = (
        "import signal, time\nfrom lightkern.cli import app as module\nimport click\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job starts with it ignored
        "@module.app.command()\ndef wait():\n    print('waiting', flush=True)\n    time.sleep(30)\n"
        "module.app(['wait'])"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr.strip() == "lightkern: interrupted"


@pytest.mark.parametrize("printer", ["click.echo(text)", "output.print_facts('t', [('a', text)] * 99)"])
def test_a_closed_pipe_is_quiet(printer: str) -> None:
    code = (
        "import click\nfrom lightkern.cli import output\nfrom lightkern.cli.app import app\ntext = 'x' * 99\n"
        f"@app.command()\ndef chat():\n    for _ in range(9999): {printer}\n"
        "app(['chat'])"
    )
    read, write = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert os.read(read, 10)
    os.close(read)
    _, stderr = process.communicate(timeout=60)
    assert stderr == ""
    assert process.returncode == 141


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_one_line_names_the_command_that_installs_it(missing: str) -> None:
    result = python(f"import sys; sys.modules[{missing!r}] = None\n{MAIN}", "demo")
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert f"'{missing}'" in result.stderr
    assert "pip install 'lightkern[cli]'" in result.stderr


def test_without_pillow_pictures_name_the_extra() -> None:
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "from pathlib import Path\nfrom lightkern.cli.pictures import read_picture\nread_picture(Path('a.png'), 3)"
    )
    result = python(code)
    assert "MissingExtraError" in result.stderr
    assert "pip install 'lightkern[cli]'" in result.stderr


def test_python_m_runs_the_command() -> None:
    command = [sys.executable, "-m", "lightkern", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0
    assert result.stdout.startswith("lightkern ")
