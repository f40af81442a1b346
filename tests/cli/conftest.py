"""The command line, run in this process."""

import pytest

from convlab import cli


@pytest.fixture
def convlab(capsys):
    """Return a function that runs the command line and gives (exit code, stdout, stderr)."""

    def run(*argv):
        code = cli.run([str(argument) for argument in argv])
        return code, *capsys.readouterr()

    return run
