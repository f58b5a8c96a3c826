"""Clean drawn datasets, made once, and one thread for the small matrices of these tests."""

from __future__ import annotations

import pytest
from threadpoolctl import threadpool_limits

from tests.pipelines.audit.planting import drawn, given_of


@pytest.fixture(scope="package", autouse=True)
def one_blas_thread():
    """Threads of linear algebra cost more than they bring here."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="package")
def clean_folder(tmp_path_factory):
    """A function from a seed to the folder of a clean dataset; nothing may be changed in it."""
    made = {}

    def folder(seed: int):
        if seed not in made:
            made[seed] = drawn(tmp_path_factory.mktemp("clean") / str(seed), seed)
        return made[seed]

    return folder


@pytest.fixture(scope="package")
def clean(clean_folder):
    """What the audit is given of a clean dataset."""
    return given_of(clean_folder(0))
