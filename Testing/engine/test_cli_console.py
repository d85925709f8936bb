"""What the command line shows while it works."""

import io
import json
import sys

import pytest

from pancreasseg.cli import console
from pancreasseg.core.errors import InputError
from pancreasseg.core.finding import Finding, Severity

NOTICE = Finding("out-of-memory", Severity.WARNING, "Memory ran out; the computation went on in tiles.")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def work() -> None:
    with console.progress_shown(quiet=False) as progress:
        progress.plan([("read", 1.0), ("fine", 3.0)])
        with progress.stage("read"):
            pass
        with progress.stage("fine", 2):
            progress.advance()
            progress.notice(NOTICE)
            progress.advance()


def test_a_terminal_gets_a_bar_and_standard_output_stays_clean(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    work()
    assert "Segmenting" in terminal.getvalue()
    assert NOTICE.sentence in terminal.getvalue().replace("\n", " ")
    assert capsys.readouterr().out == ""


def test_without_a_terminal_there_is_one_line_a_stage(capsys: pytest.CaptureFixture[str]) -> None:
    work()
    said = capsys.readouterr()
    assert said.err.splitlines() == ["Reading the CT ...", "Segmenting ...", NOTICE.sentence]
    assert said.out == ""


def test_findings_come_with_the_most_serious_first(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_findings(
        [Finding("b", Severity.INFO, "By the way."), NOTICE, Finding("a", Severity.SERIOUS, "Look here.")]
    )
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["Serious", "Warning", "Info"]


def test_an_infinite_distance_is_valid_json(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_json({"hd": float("inf")})
    assert json.loads(capsys.readouterr().out) == {"hd": "inf"}


def test_markup_in_a_file_name_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_table("[bold]title", ("[red]name", "value"), [("[link=x]ct.nii.gz", "1.5")])
    said = capsys.readouterr().out
    assert "[link=x]ct.nii.gz" in said
    assert "[bold]title" in said
    assert "[red]name" in said


def test_what_comes_from_files_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    odd = "a\x1b[31mb\x07\u202ec"
    console.say(odd)
    console.show_error(InputError("odd", odd, odd), as_document=False)
    console.show_findings([Finding("odd", Severity.INFO, odd)])
    console.show_table("t", ("x",), [(odd,)])
    said = capsys.readouterr()
    assert not {"\x1b", "\x07", "\u202e"} & set(said.out + said.err)
