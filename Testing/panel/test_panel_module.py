"""What the module gives to other modules of Slicer, and what loading it costs."""

import importlib
import runpy
import subprocess
import sys
import unittest
from pathlib import Path
from types import ModuleType

import pytest
import slicer
from Testing.helpers.actions import edit, run
from Testing.helpers.builders import aCt, aGeometry
from Testing.helpers.panel import MODULE, ROOT, remove, wait

from PancreasSegLib.Plugins import SegmentStatistics
from PancreasSegLib.Scene import Segments, VolumeNodes
from PancreasSegLib.Work import SampleCts


class PluginBase:
    """SegmentStatisticsPluginBase as far as plugins use it."""

    def __init__(self) -> None:
        self.node = None

    def getParameterNode(self):
        return self.node

    requested: list[str] | None = None

    def getRequestedKeys(self):
        return self.keys if self.requested is None else self.requested

    @staticmethod
    def createCodedEntry(value, scheme, meaning, asString=False):
        entry = slicer.vtkCodedEntry()
        entry.SetValueSchemeMeaning(value, scheme, meaning)
        return entry.GetAsString() if asString else entry

    @staticmethod
    def createMeasurementInfo(name, title, description, units, quantityDicomCode=None, unitsDicomCode=None):
        assert name
        assert description
        return {"title": title, "units": units, "quantity": quantityDicomCode, "unit": unitsDicomCode}


@pytest.fixture
def core(monkeypatch):
    """The core modules that the module registers with."""
    statistics, plugins, samples = (
        ModuleType(n) for n in ("SegmentStatistics", "SegmentStatisticsPlugins", "SampleData")
    )
    plugins.SegmentStatisticsPluginBase = PluginBase
    statistics.registered = []
    statistics.SegmentStatisticsLogic = type("L", (), {"registerPlugin": staticmethod(statistics.registered.append)})
    samples.registered = []

    def registerCustomSampleDataSource(**source):
        samples.registered.append(source)

    samples.SampleDataLogic = type(
        "S", (), {"registerCustomSampleDataSource": staticmethod(registerCustomSampleDataSource)}
    )
    for module in (statistics, plugins, samples):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return statistics, samples


def test_when_slicer_has_started_the_module_registers_its_plugin_and_its_sample(module, core) -> None:
    slicer.app.start()
    statistics, samples = core
    assert [type(p).__name__ for p in statistics.registered][-1] == "PancreasSegStatisticsPlugin"
    assert samples.registered[-1]["sampleName"] == "PancreasSegPhantom"
    assert isinstance(samples.registered[-1]["uris"], str), "the core module counts its letters"


def test_without_those_modules_the_module_loads_all_the_same(module, monkeypatch) -> None:
    for name in ("SegmentStatistics", "SampleData"):
        monkeypatch.setitem(sys.modules, name, None)
    slicer.app.start()


@pytest.fixture
def plugin(panel, selected, core, scene):
    run(panel)
    made = SegmentStatistics.pluginClass()()
    made.node = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    made.node.SetParameter("Segmentation", panel.session.parameters.segmentationNode.GetID())
    return made


def test_segment_statistics_shows_the_same_numbers_as_the_panel(panel, plugin) -> None:
    edit(panel.session.parameters)
    panel.statistics.update()
    wait(lambda: panel.settled)
    shown = {m.name: m.value for m in panel.statistics.statistics.all}
    measured = plugin.computeStatistics(panel.session.parameters.segmentId)
    assert set(measured) == set(SegmentStatistics.KEYS)
    assert measured == {key: shown[key] for key in measured}
    assert 0 < measured["dsc"] < 1


def test_its_numbers_have_titles_units_and_codes(panel, plugin) -> None:
    assert plugin.getMeasurementInfo("hd95")["title"] == "hd95", "before anything was measured"
    plugin.computeStatistics(panel.session.parameters.segmentId)
    info = plugin.getMeasurementInfo("hd95")
    assert info["units"] == "mm"
    assert "UCUM" in info["unit"]
    assert plugin.getMeasurementInfo("no such key") is None


def test_segments_of_others_are_left_alone(panel, plugin, selected) -> None:
    node = Segments.addSegmentationNode(selected, "By hand")
    identifier = Segments.addPancreasSegment(node)
    plugin.node.SetParameter("Segmentation", node.GetID())
    assert plugin.computeStatistics(identifier) == {}
    plugin.node.SetParameter("Segmentation", "")
    assert plugin.computeStatistics(identifier) == {}


def test_a_hardened_copy_under_a_transform_gets_the_numbers_of_its_original(panel, plugin, scene) -> None:
    own = panel.session.parameters.segmentationNode
    copy = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"_tmp_{own.GetName()}_transformedForSegmentStatistics")
    plugin.node.SetParameter("Segmentation", copy.GetID())
    assert plugin.computeStatistics(panel.session.parameters.segmentId)["dsc"] == 1


def test_an_unreadable_ct_leaves_empty_cells(panel, plugin, selected) -> None:
    identifier = panel.session.parameters.segmentId
    selected.SetAndObserveImageData(None)
    assert plugin.computeStatistics(identifier) == {}


def test_a_package_that_is_missing_leaves_the_numbers_of_the_other_plugins(panel, plugin, monkeypatch) -> None:
    """An exception here would end the core module's Apply for all segments."""
    monkeypatch.setitem(sys.modules, "pancreasseg.measure.measurements", None)
    assert plugin.computeStatistics(panel.session.parameters.segmentId) == {}


def test_what_is_on_by_default_needs_no_surfaces(panel, plugin, monkeypatch) -> None:
    """It runs in every user's Segment Statistics, on the main thread."""
    plugin.requested = plugin.defaultKeys
    for module, name in (("compare", "surface_distances"), ("measurements", "centreline")):
        there = importlib.import_module(f"pancreasseg.measure.{module}")
        monkeypatch.setattr(there, name, lambda *_: pytest.fail("slow"))
    edit(panel.session.parameters)
    measured = plugin.computeStatistics(panel.session.parameters.segmentId)
    assert set(measured) == set(SegmentStatistics.OVERLAPS)
    assert 0 < measured["dsc"] < 1


def test_nothing_is_measured_when_nothing_is_asked_for(panel, plugin, monkeypatch) -> None:
    plugin.requested = []
    monkeypatch.setattr("PancreasSegLib.Plugins.SegmentStatistics.statisticsOf", lambda *_: pytest.fail("measured"))
    assert plugin.computeStatistics(panel.session.parameters.segmentId) == {}


def test_the_sample_is_made_and_shown(scene, monkeypatch) -> None:
    import numpy as np

    class FakeTask:
        def __init__(self, arguments, python) -> None:
            np.save(arguments[2], aCt(aGeometry()).array)
            self.news = [[], [{"geometry": aGeometry().as_dict()}]]

        def poll(self):
            return self.news.pop(0)

    monkeypatch.setattr("pancreasseg.worker.task.Task", FakeTask)
    view = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    (node,) = SampleCts.makePhantom()
    assert VolumeNodes.readVolumeNode(node).geometry == aGeometry()
    assert view.GetBackgroundVolumeID() == node.GetID()


def test_importing_the_module_loads_neither_torch_nor_simpleitk() -> None:
    code = (
        "import sys; from Testing.standins import install; install(); import scipy, numpy; before = set(sys.modules)\n"
        "import PancreasSeg, PancreasSegLib.Panel.Panel\n"
        "print(sorted({'torch', 'SimpleITK', 'skimage', 'monai', 'pydicom'} & (set(sys.modules) - before)))"
    )
    environment = {"PYTHONPATH": f"{ROOT}:{MODULE.parent}", "PATH": "/usr/bin:/bin", "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("failure", "status"), [(None, 0), (AssertionError("no"), 1)])
def test_the_self_tests_exit_status_says_how_it_went(module, monkeypatch, failure, status) -> None:
    import PancreasSeg

    def runTest(self):
        if failure is not None:
            raise failure

    left = []
    monkeypatch.setattr(PancreasSeg.PancreasSegTest, "runTest", runTest)
    monkeypatch.setattr(slicer.util, "exit", left.append)
    runpy.run_path(str(Path(ROOT) / "Testing" / "run_in_slicer.py"), run_name="__main__")
    assert left == [status]


@pytest.fixture
def selfTest(module):
    """The module's own tests, and its panel, which goes away at the end."""
    import PancreasSeg

    yield PancreasSeg.PancreasSegTest
    widget = module.widgetRepresentation().self()
    widget.cleanup()
    remove(widget.parent)


def test_on_a_machine_without_packages_the_self_test_is_skipped_and_does_not_fail(selfTest, monkeypatch) -> None:
    """As on those that build Slicer's extensions: they have no torch."""
    monkeypatch.setattr("PancreasSegLib.Work.Dependencies.missing", lambda: ("torch",))
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(selfTest).run(result)
    assert result.errors == result.failures == []
    assert {why for _test, why in result.skipped} == {"Python packages are missing: torch"}
    assert result.testsRun - len(result.skipped) == 1, "the panel is built all the same"
    selfTest().runTest()
