"""Commands that must fail as a mistake of the user, in one line."""

from vision_suite.cli import main


def fails(capsys, *argv):
    """Run a command that must fail as a user's mistake; returns its one line."""
    assert main(list(argv)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vision-suite: error: ")]
    assert len(lines) == 1
    return lines[0].removeprefix("vision-suite: error: ")
