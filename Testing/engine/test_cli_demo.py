"""The demo and the model that comes with the software."""

import json

from pancreasseg import phantom
from pancreasseg.cli.main import main
from pancreasseg.models.store import Store


def test_the_demo_segments_a_phantom_with_the_bundled_model(monkeypatch, tmp_path, capsys) -> None:
    make = phantom.make_phantom
    monkeypatch.setattr(phantom, "make_phantom", lambda seed: make(seed, spacing=(1.5, 1.5, 4.0), step=2.0))
    assert main(["demo", "--json", "--output", str(tmp_path)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["dsc"] > 0.8
    assert any(row["name"] == "expected_overlap" for row in document["measurements"])
    assert (tmp_path / "pancreas.seg.nrrd").is_file()


def test_the_bundled_model_is_whole_small_and_says_what_it_is_not_for() -> None:
    package = Store().get("pancreas-ct")
    package.verify()
    assert package.bundled
    assert package.card.weights.size < 10_000_000
    assert package.card.licence == "CC BY-SA 4.0"
    assert not package.card.synthetic
    assert any("unenhanced" in text for text in package.card.not_for)
    assert package.card.expected_overlap.cases > 50
