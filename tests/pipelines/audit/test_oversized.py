"""An id that stands for many lesions is found by the size of its group; large and small true groups are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dermfuse.pipelines.audit.oversized import check_sizes


def with_groups(clean, names):
    """The clean dataset with other groups in its whole table, repeated as often as needed."""
    rows = clean.whole.rows
    cells = np.resize(np.array(names, dtype=object), len(rows))
    return replace(clean, whole=replace(clean.whole, rows=rows.assign(group=cells)))


@pytest.mark.parametrize(
    "name", ["0", "-1", "000", "999", "Anonymous", "xxx", "patient 0", "ID_0000", "UNKNOWN_ID", "IP_77"]
)
def test_one_id_for_a_third_of_the_rows_is_found(clean, name):
    lone = [f"L{i}" for i in range(len(clean.whole.rows))]
    cells = [name if i % 3 == 0 else own for i, own in enumerate(lone)]
    check = check_sizes(with_groups(clean, cells))[0]
    assert (check.state, check.severity, check.count) == ("found", "warning", 1)
    assert set(check.rows["group"]) == {name}
    assert len(check.rows) == cells.count(name)
    assert f"'{name}'" not in check.detail


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_groups_of_one_size_are_true_groups_even_one_that_is_called_0(clean, size):
    cells = [str(i // size) for i in range(len(clean.whole.rows))]
    assert check_sizes(with_groups(clean, cells))[0].state == "passed"


def test_a_patient_with_three_times_the_usual_images_is_a_true_group(clean):
    sizes = [12] + [4] * len(clean.whole.rows)
    cells = np.repeat([f"P{i}" for i in range(len(sizes))], sizes)[: len(clean.whole.rows)]
    assert check_sizes(with_groups(clean, cells))[0].state == "passed"


def test_a_few_groups_or_none_do_not_tell(clean):
    assert check_sizes(with_groups(clean, ["a", "b", "c"]))[0].state == "not applicable"
    alone = replace(clean.dataset, layout=replace(clean.dataset.layout, group=None))
    assert check_sizes(replace(clean, dataset=alone))[0].state == "not applicable"


@pytest.mark.real_data
@pytest.mark.parametrize("folder", ["ham10000", "siim_isic_2020"])
def test_no_lesion_or_patient_of_published_tables_is_too_large(shared, folder):
    from dermfuse.features.data.dataset import load_dataset
    from dermfuse.pipelines.audit.given import AuditInput

    whole = load_dataset(shared / folder).whole
    assert check_sizes(AuditInput(whole, whole))[0].state == "passed"
