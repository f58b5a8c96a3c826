"""The leakage audit as the page shows it: what was found first, then what passed and what does not apply."""

from __future__ import annotations

from dermfuse.features.console import printable
from dermfuse.pipelines.audit.check import Audit, sentence_of
from dermfuse.reports.runfolder import RunFolder
from dermfuse.reports.wording import listed, plural

SEVERITIES = ("error", "warning", "note")
# Runs of older versions do not say which of their checks looked at labels of the locked test split.
LOOKED = ("GROUP_LABELS", "SAME_FILE_LABELS", "NEAR_DUPLICATE")


def audit_facts(run: RunFolder) -> dict:
    """Return what the audit found.

    Returns
    -------
    dict
        ``present``: whether the run was audited; ``words``: one sentence; ``labels``: one sentence on whose labels
        were looked at; ``checks``: all of them; ``found``: checks by severity, the worst first; ``passed`` and
        ``not_applicable``: the others; ``errors``: how many; ``agreement``: of each pair of near-copies.
    """
    if run.audit is None:
        return {
            "present": False,
            "checks": [],
            "words": "",
            "labels": "",
            "found": [],
            "passed": [],
            "not_applicable": [],
            "errors": 0,
            "agreement": [],
        }
    checks = [_told(check) for check in run.audit["checks"]]
    found = [check for check in checks if check["state"] == "found"]
    found.sort(key=lambda check: SEVERITIES.index(check["severity"]))
    return {
        "present": True,
        "checks": checks,
        "words": _words(found, checks),
        "labels": _labels(checks),
        "found": found,
        "passed": [check for check in checks if check["state"] == "passed"],
        "not_applicable": [check for check in checks if check["state"] == "not applicable"],
        "errors": run.audit["errors"],
        "agreement": [] if run.audit_pairs is None else run.audit_pairs[2].tolist(),
    }


def audit_words(checks: list[dict]) -> str:
    """Return in one sentence what the checks of ``audit.json`` found."""
    return _words([check for check in checks if check["state"] == "found"], checks)


def _told(check: dict) -> dict:
    """A check with its sentence and whether it looked at labels of the locked test split, also of older versions."""
    looked = check["state"] != "not applicable" and check["code"] in LOOKED
    sentence = sentence_of(check["state"], check["title"], check["detail"], check.get("topic", ""))
    return {"looks_at_test_labels": looked, **check, "sentence": sentence}


def _labels(checks: list[dict]) -> str:
    """Whose labels the checks looked at."""
    alone = "What tells the label was judged by the labels of training rows alone"
    codes = [check["code"] for check in checks if check["looks_at_test_labels"]]
    if not codes:
        return f"{alone}."
    which = f"{listed(codes)} {'looks' if len(codes) == 1 else 'look'}"
    return f"{alone}. To find contradictions between labels, {which} at those of the locked test split, too."


def _words(found: list[dict], checks: list[dict]) -> str:
    counts = {severity: sum(check["severity"] == severity for check in found) for severity in SEVERITIES}
    told = [plural(n, severity) for severity, n in counts.items() if n]
    asked = sum(check["state"] != "not applicable" for check in checks)
    if not counts["error"] and not counts["warning"]:
        nothing = f"{plural(asked, 'check')} looked for leakage and raised no alarm"
        return f"{nothing}; {listed(told)} to read." if told else f"{nothing}."
    return f"{plural(asked, 'check')} looked for leakage and found {listed(told)}."


def print_audit(audit: Audit) -> None:
    """Say what an audit found, the worst first, then how many checks passed and what does not apply."""
    checks = [check.as_json() for check in audit.checks]
    found = sorted((c for c in checks if c["state"] == "found"), key=lambda c: SEVERITIES.index(c["severity"]))
    print(_words(found, checks))
    for check in found:
        print(printable(f"{check['severity']:8}{check['code']}: {check['sentence']}"))
    for state in ("passed", "not applicable"):
        codes = [check["code"] for check in checks if check["state"] == state]
        if codes:
            print(f"{state}: {', '.join(codes)}")
