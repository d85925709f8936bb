"""Results killed at every step: all of the new, or all of the old, and the next start puts it right."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from Testing.helpers.kill_points import contents, killed_everywhere

from pancreasseg.core.errors import OutputError
from pancreasseg.io.atomic import PREFIX, all_or_none, atomic_write, prepare_folder, staged
from pancreasseg.io.write import read_result

OLD = {"mask.nii": b"old mask", "attention/one.nii": b"old map", "table.csv": b"old table", "result.json": b"old"}
NEW = {"mask.nii": b"new mask", "more/two.nii": b"new map", "table.csv": b"new table", "result.json": b"new"}


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of deaths; none of them is a power cut."""
    monkeypatch.setattr("os.fsync", lambda _descriptor: None)


def write(folder: Path, files: dict[str, bytes], outdated: tuple[str, ...] = ()) -> None:
    with all_or_none(folder, list(files), outdated) as stage:
        for name, content in files.items():
            (stage / name).write_bytes(content)


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(PREFIX)]


@pytest.mark.parametrize("before", [OLD, {}], ids=["over an old result", "into an empty folder"])
def test_killed_at_any_step_a_result_is_the_old_or_the_new_one_after_the_next_start(tmp_path, before) -> None:
    folder, kept = tmp_path / "result", tmp_path / "kept"
    kept.mkdir()
    write(kept, {**before, "a file of the person": b"theirs"})

    def start_over() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(kept, folder)

    start_over()
    outdated = tuple(name for name in before if name not in NEW)
    points = 0
    seen = set()
    for points in killed_everywhere(lambda: write(folder, NEW, outdated)):
        found = contents(folder)
        assert found.pop("a file of the person") == b"theirs"
        if "result.json" in found:  # it vouches for the others, also before anything was put right
            assert found in (before, NEW), f"mixed after change {points}"
        prepare_folder(folder)
        found = contents(folder)
        assert found.pop("a file of the person") == b"theirs"
        assert found in (before, NEW), f"not put right after change {points}"
        seen.add(found.get("result.json"))
        start_over()
    assert points > 20
    assert seen == {before.get("result.json"), b"new"}


def test_putting_right_may_itself_be_killed_at_any_step(tmp_path) -> None:
    folder, broken = tmp_path / "result", tmp_path / "broken"
    folder.mkdir()
    write(folder, OLD)
    for number in killed_everywhere(lambda: write(folder, NEW, ("attention/one.nii",))):
        shutil.copytree(folder, broken / str(number))
        shutil.rmtree(folder)
        folder.mkdir()
        write(folder, OLD)
    half_done = sorted((p for p in broken.iterdir() if "result.json" not in contents(p)), key=lambda p: int(p.name))
    assert len(half_done) > 5
    for path in (half_done[1], half_done[-1]):
        kept = shutil.copytree(path, tmp_path / "kept" / path.name)
        for _ in killed_everywhere(lambda path=path: prepare_folder(path)):
            prepare_folder(path)
            assert contents(path) == OLD
            shutil.rmtree(path)
            shutil.copytree(kept, path)


def test_what_another_process_is_just_putting_in_place_is_left_alone(tmp_path) -> None:
    with staged(tmp_path) as stage:
        (stage.new / "a.txt").write_text("new")
        stage.write_journal(["a.txt"], [])
        prepare_folder(tmp_path)
        assert (stage.new / "a.txt").exists()
        (stage.path / "journal.json").unlink()
    assert hidden(tmp_path) == []


def test_when_not_even_taking_back_works_the_next_start_tries_again(tmp_path, monkeypatch) -> None:
    write(tmp_path, OLD)
    move = Path.replace

    def until_the_table(self: Path, target: Path) -> Path:
        if target.name == "table.csv" and target.parent == tmp_path:
            monkeypatch.setattr(Path, "replace", refused)
        return Path.replace(self, target) if Path.replace is refused else move(self, target)

    def refused(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", until_the_table)
    with pytest.raises(OutputError):
        write(tmp_path, NEW)
    monkeypatch.undo()
    assert hidden(tmp_path)
    prepare_folder(tmp_path)
    assert contents(tmp_path) == OLD
    assert hidden(tmp_path) == []


def test_a_file_killed_while_it_is_written_is_the_old_or_the_new_one(tmp_path) -> None:
    target = tmp_path / "cohort.csv"
    target.write_text("old")

    def work() -> None:
        with atomic_write(target) as partial:
            partial.write_text("new")

    seen = [target.read_text() for _ in killed_everywhere(work)]
    assert set(seen) == {"old", "new"}
    assert len(seen) > 2


@pytest.fixture
def result(tmp_path) -> Path:
    files = {"mask.nii": b"mask", "result.json": json.dumps({"files": ["mask.nii", "result.json"]}).encode()}
    write(tmp_path, files)
    return tmp_path


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "mask.nii").unlink(),
        lambda folder: (folder / "mask.nii").write_bytes(b""),
        lambda folder: (folder / "result.json").unlink(),
        lambda folder: (folder / "result.json").write_text("{"),
        lambda folder: (folder / "result.json").write_text("[" * 100_000),
        lambda folder: (folder / "result.json").write_text('{"files": 3}'),
        lambda folder: (folder / "result.json").write_text("[]"),
        lambda folder: shutil.rmtree(folder),
    ],
)
def test_a_result_that_is_not_whole_is_none(result: Path, damage: Callable[[Path], None]) -> None:
    assert read_result(result) == {"files": ["mask.nii", "result.json"]}
    damage(result)
    assert read_result(result) is None


def test_reading_a_result_puts_right_what_a_killed_process_left(result: Path) -> None:
    new = {"mask.nii": b"new", "result.json": b'{"files": []}'}
    states = set()
    before = contents(result)
    for _ in killed_everywhere(lambda: write(result, new)):
        states.add(json.dumps(read_result(result)))
        shutil.rmtree(result)
        result.mkdir()
        write(result, before)
    assert states == {'{"files": ["mask.nii", "result.json"]}', '{"files": []}'}
