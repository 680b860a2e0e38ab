#!/usr/bin/env python3
"""Ask a running Grafana whether everything that is deployed to it works: health, data source, dashboards, rules.

Run it by hand after `docker compose up`, or after `barograph apply` against a Grafana of your own:

    python3 deploy/grafana/smoke.py
    BAROGRAPH_GRAFANA_URL=https://grafana.example.com BAROGRAPH_GRAFANA_TOKEN=glsa_… python3 deploy/grafana/smoke.py

CI has no Grafana; a test runs this script with a stub. docs/operation.md lists what no real Grafana has confirmed and
this script checks. The script writes nothing, and needs Python and nothing else. Without a token it signs in as admin
with GRAFANA_PASSWORD, which the file .env has (`set -a; . ./.env; set +a`). It waits up to five minutes for rules that
were not evaluated yet, prints a line per check, and exits with 1 if one fails.
"""

import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

UID = "barograph"
DASHBOARDS = ("fleet", "model", "field", "shadow", "llm", "pipeline")
PATIENCE_S = 300.0
PAUSE_S = 5.0
TIMEOUT_S = 30

Check = tuple[bool, str]
"""Whether it holds, and what was found."""


def main(environ: Mapping[str, str] = os.environ, *, patience_s: float = PATIENCE_S, pause_s: float = PAUSE_S) -> int:
    """Run all checks, and return 0 where all hold."""
    url = environ.get("BAROGRAPH_GRAFANA_URL") or "http://127.0.0.1:3000"
    grafana = Grafana(url.rstrip("/"), _authorization(environ))
    failed = False
    for holds, found in checks(grafana, patience_s, pause_s):
        sys.stdout.write(f"{'ok  ' if holds else 'FAIL'} {found}\n")
        sys.stdout.flush()
        failed |= not holds
    return int(failed)


class Grafana:
    def __init__(self, url: str, authorization: str) -> None:
        self.url = url
        self._headers = {"Authorization": authorization}

    def get(self, path: str) -> Any:
        """Read one path below `/api`; None where it cannot be read, which `problem` then says."""
        request = urllib.request.Request(f"{self.url}/api/{path}", headers=self._headers)  # noqa: S310 - the user's own
        self.problem = ""
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            self.problem = f"{error.code} {' '.join(error.read().decode(errors='replace').split())[:200]}"
        except (OSError, ValueError) as error:
            self.problem = str(error)
        return None


def checks(grafana: Grafana, patience_s: float, pause_s: float) -> Iterator[Check]:
    """Ask for one thing after the other; the first that fails for all ends it."""
    health = grafana.get("health")
    yield health is not None, f"Grafana at {grafana.url}: {(health or {}).get('version') or grafana.problem}"
    if health is None:
        return
    source = grafana.get(f"datasources/uid/{UID}/health")
    works = source is not None and source.get("status") == "OK"
    yield works, f"data source: {grafana.problem or source.get('message')}"
    for name in DASHBOARDS:
        found = grafana.get(f"dashboards/uid/{UID}-{name}")
        panels = len(found["dashboard"].get("panels", [])) if found else 0
        yield panels > 0, f"dashboard {name}: {grafana.problem or f'{panels} panels'}"
    tree = grafana.get("v1/provisioning/policies")
    ours = [route for route in (tree or {}).get("routes", []) if UID in json.dumps(route.get("object_matchers"))]
    yield bool(ours), f"notification policy: {grafana.problem or (ours[0]['receiver'] if ours else 'none of ours')}"
    yield from _receivers(grafana, ours)
    yield from _folders(grafana)
    yield from _stored_rules(grafana)
    rules = _evaluated_rules(grafana, patience_s, pause_s)
    yield from _rules(grafana, rules)
    yield from _messages(rules)


def _receivers(grafana: Grafana, routes: list[dict[str, Any]]) -> Iterator[Check]:
    points = {point["name"] for point in grafana.get("v1/provisioning/contact-points") or []}
    pending, named = list(routes), set()
    while pending:
        route = pending.pop()
        named |= {route["receiver"]} if route.get("receiver") else set()
        pending += route.get("routes") or []
    missing = ", ".join(sorted(named - points))
    problem = grafana.problem or (f"not defined: {missing}" if missing else "")
    yield not problem, f"contact points: {problem or f'{len(named)} of our policies, all defined'}"


def _folders(grafana: Grafana) -> Iterator[Check]:
    titles = Counter(folder["title"] for folder in grafana.get("folders") or [])
    repeated = ", ".join(sorted(title for title, n in titles.items() if n > 1))
    problem = grafana.problem or (f"two with the title {repeated}" if repeated else "")
    yield not problem, f"folders: {problem or ', '.join(sorted(titles))}"


def _stored_rules(grafana: Grafana) -> Iterator[Check]:
    """Check that Grafana kept the keys that it spells differently in files and over HTTP."""
    rules = [rule for rule in grafana.get("v1/provisioning/alert-rules") or [] if _is_ours(rule)]
    for key in ("keep_firing_for", "missingSeriesEvalsToResolve"):
        without = sum(not rule.get(key) for rule in rules)
        problem = grafana.problem or (f"missing in {without} rules" if without else "" if rules else "no rule of ours")
        yield not problem, f"{key}: {problem or f'in all {len(rules)} rules'}"


def _messages(rules: list[dict[str, Any]]) -> Iterator[Check]:
    """Check the annotations that Grafana rendered for the instances of rules."""
    alerts = [(rule["name"], alert.get("annotations") or {}) for rule in rules for alert in rule.get("alerts") or []]
    n_bad, runbooks = 0, {}
    for name, texts in alerts:
        page, runbook = texts.get("page", ""), texts.get("runbook_url", "")
        text = " ".join(map(str, texts.values()))
        wrong = next((mark for mark in ("{{", "[no value]", "error expanding") if mark in text), "")
        if wrong or not page.startswith(("http://", "https://")):
            n_bad += 1
            yield False, f"message of {name}: {f'contains {wrong}' if wrong else f'the link {page!r} is relative'}"
        runbooks[runbook.rpartition("/")[2]] = runbook
    if not n_bad:
        yield True, f"messages: {len(alerts)} rendered" if alerts else "messages: not checked, no rule has an instance"
    for name, runbook in sorted(runbooks.items()):
        problem = _unreadable(runbook)
        yield not problem, f"runbook {name}: {problem or runbook}"


def _unreadable(url: str) -> str:
    """Read a page without credentials; return why it cannot be read."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S):  # noqa: S310 - a link that people open
            return ""
    except (OSError, ValueError) as error:
        return f"{url}: {error}"


def _evaluated_rules(grafana: Grafana, patience_s: float, pause_s: float) -> list[dict[str, Any]]:
    """Return our rules once all are evaluated, or as they are after the longest wait."""
    deadline = time.monotonic() + patience_s
    while True:
        found = grafana.get("prometheus/grafana/api/v1/rules")
        groups = (found or {}).get("data", {}).get("groups", [])
        rules = [rule for group in groups for rule in group["rules"] if _is_ours(rule)]
        if grafana.problem or all(map(_is_evaluated, rules)) or time.monotonic() > deadline:
            return rules
        time.sleep(pause_s)


def _rules(grafana: Grafana, rules: list[dict[str, Any]]) -> Iterator[Check]:
    states = ", ".join(f"{count} {state}" for state, count in sorted(Counter(r["state"] for r in rules).items()))
    yield bool(rules), f"rules: {grafana.problem or states or 'none of ours'}"
    for rule in rules:
        if rule["health"] in ("ok", "nodata"):
            continue
        why = rule.get("lastError") or (rule["health"] if _is_evaluated(rule) else "not evaluated yet")
        yield False, f"rule {rule['name']}: {why}"


def _is_evaluated(rule: dict[str, Any]) -> bool:
    return rule["health"] in ("ok", "error", "nodata")


def _is_ours(rule: dict[str, Any]) -> bool:
    return (rule.get("labels") or {}).get("source") == UID


def _authorization(environ: Mapping[str, str]) -> str:
    if environ.get("BAROGRAPH_GRAFANA_TOKEN"):
        return f"Bearer {environ['BAROGRAPH_GRAFANA_TOKEN']}"
    password = environ.get("GRAFANA_PASSWORD")
    if not password:
        sys.exit("Set GRAFANA_PASSWORD, for example with `set -a; . ./.env; set +a`, or BAROGRAPH_GRAFANA_TOKEN.")
    return "Basic " + base64.b64encode(f"admin:{password}".encode()).decode()


if __name__ == "__main__":
    sys.exit(main())
