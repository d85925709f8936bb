"""One contract for everything that stands for a worker: the client of a real one, and the tests' doubles."""

import inspect

import pytest
from Testing.helpers.fakes import FakeClient, FakeUpload
from Testing.helpers.worker_double import Double

from pancreasseg.pipelines.base import Pipeline
from pancreasseg.worker.client import WorkerClient
from pancreasseg.worker.contract import Transfer, Worker
from pancreasseg.worker.folder import Upload


def promised(contract: type) -> dict[str, object]:
    """What a class asks of those that stand for it, by name."""
    abstract = getattr(contract, "__abstractmethods__", ())
    return {
        name: value for name, value in vars(contract).items() if name in abstract or not (abstract or name[0] == "_")
    }


def called_as(method: object) -> list[tuple]:
    """How a method is called: names, kinds and defaults of its arguments."""
    return [(it.name, it.kind, it.default) for it in inspect.signature(method).parameters.values()]


@pytest.mark.parametrize(
    ("contract", "kept_by"),
    [(Worker, WorkerClient), (Worker, FakeClient), (Transfer, Upload), (Transfer, FakeUpload), (Pipeline, Double)],
    ids=lambda it: it.__name__,
)
def test_doubles_can_be_called_just_as_what_they_stand_for(contract: type, kept_by: type) -> None:
    methods = {name: value for name, value in promised(contract).items() if callable(value)}
    assert methods
    for name, method in methods.items():
        assert called_as(getattr(kept_by, name)) == called_as(method), name


def test_the_contract_is_all_that_slicers_side_asks_of_a_worker() -> None:
    fake = FakeClient()
    for name in promised(Worker):
        assert hasattr(fake, name)
