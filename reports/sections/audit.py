"""The leakage audit as the page shows it: what was found first, then what passed and what does not apply."""

from __future__ import annotations

from dermfuse.features.console import printable
from dermfuse.pipelines.audit.check import FOUND, NOT_APPLICABLE, PASSED, SEVERITIES, Audit
from dermfuse.reports.runfolder import RunFolder
from dermfuse.reports.wording import listed, plural


def audit_facts(run: RunFolder) -> dict:
    """Return what the audit found.

    Returns
    -------
    dict
        ``words``: one sentence; ``labels``: one sentence on whose labels were looked at; ``checks``: all of them;
        ``found``: checks by severity, the worst first; ``others``: those that passed, then those that do not apply;
        ``errors``: how many; ``agreement``: of each pair of near-copies.
    """
    checks = run.audit["checks"]
    found = _found(checks)
    return {
        "checks": checks,
        "words": _words(found, checks),
        "labels": _labels(checks),
        "found": found,
        "others": [check for state in (PASSED, NOT_APPLICABLE) for check in checks if check["state"] == state],
        "errors": run.audit["errors"],
        "agreement": [] if run.audit_pairs is None else run.audit_pairs[2].tolist(),
    }


def audit_words(checks: list[dict]) -> str:
    """Return in one sentence what the checks of ``audit.json`` found."""
    return _words(_found(checks), checks)


def _found(checks: list[dict]) -> list[dict]:
    """What was found, the worst first."""
    found = [check for check in checks if check["state"] == FOUND]
    return sorted(found, key=lambda check: SEVERITIES.index(check["severity"]))


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
    asked = sum(check["state"] != NOT_APPLICABLE for check in checks)
    if not counts["error"] and not counts["warning"]:
        nothing = f"{plural(asked, 'check')} looked for leakage and raised no alarm"
        return f"{nothing}; {listed(told)} to read." if told else f"{nothing}."
    return f"{plural(asked, 'check')} looked for leakage and found {listed(told)}."


def print_audit(audit: Audit) -> None:
    """Say what an audit found, the worst first, then how many checks passed and what does not apply."""
    checks = [check.as_json() for check in audit.checks]
    found = _found(checks)
    print(_words(found, checks))
    for check in found:
        print(printable(f"{check['severity']:8}{check['code']}: {check['sentence']}"))
    for state in (PASSED, NOT_APPLICABLE):
        codes = [check["code"] for check in checks if check["state"] == state]
        if codes:
            print(f"{state}: {', '.join(codes)}")
