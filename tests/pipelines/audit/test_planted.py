"""Every planted leak is found by its own check, and a clean dataset raises no alarm, whatever the seed."""

from __future__ import annotations

import pytest

from tests.pipelines.audit.planting import LEAKS, audited, checked, given_of, planted

SEEDS = 20


def alarms_of_clean(clean_folder, seeds) -> list[tuple[int, str, str]]:
    found = [(seed, audited(given_of(clean_folder(seed), seed))) for seed in seeds]
    return [(seed, check.code, check.detail) for seed, audit in found for check in audit.alarms]


def missed(clean_folder, tmp_path, name: str, seed: int, whole: bool) -> str | None:
    """What became of a planted leak; None when it was found. `whole` runs the other checks beside its own, too."""
    leak = LEAKS[name]
    given = planted(leak, clean_folder(seed), tmp_path / f"{name}-{seed}", seed)
    check = audited(given)[leak.code] if whole else checked(given, leak.code)
    if (check.state, check.severity) == ("found", leak.severity):
        return None
    return f"{name}, seed {seed}: {check.state}, {check.severity}: {check.detail}"


@pytest.mark.slow
def test_a_clean_dataset_raises_no_alarm_whatever_the_seed(clean_folder, long):
    assert alarms_of_clean(clean_folder, range(SEEDS if long else 3)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", LEAKS)
def test_a_planted_leak_is_found_by_its_own_check(clean_folder, tmp_path, name, long):
    seeds = range(SEEDS if long else 1)
    assert [text for seed in seeds if (text := missed(clean_folder, tmp_path, name, seed, long))] == []


def test_the_whole_audit_asks_for_every_planted_leak(clean):
    assert {leak.code for leak in LEAKS.values()} <= {check.code for check in audited(clean).checks}


def test_there_are_twelve_kinds_of_leaks_at_least():
    assert len({(leak.code, leak.in_folder, leak.in_run) for leak in LEAKS.values()}) >= 12
