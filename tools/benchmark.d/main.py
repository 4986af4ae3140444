"""Measures the rows of tools/benchmark, writes each result as it comes, and at the end the table, the JSON and the page.

tools/benchmark --help says what the options mean.  This half needs nothing but Python's own library.
"""
import argparse
import datetime
import json
import os
import subprocess
import sys

import machine
import page
import peers
import rows
from wire import Broken

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def arguments():
    parser = argparse.ArgumentParser(prog="tools/benchmark", add_help=False)
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--build", required=True)
    parser.add_argument("--envoy")
    parser.add_argument("--json")
    parser.add_argument("--page")
    for name in ("--quick", "--fresh", "--list"):
        parser.add_argument(name, action="store_true")
    given = parser.parse_args()
    if not given.page and not given.rows and not given.quick:
        given.page = f"{TOP}/docs"
    return given


def chosen(table, names):
    """The rows that a name means: an id, or what ids begin with."""
    for name in names:
        if not any(means(name, row) for row in table):
            sys.exit(f"benchmark: no row's id begins with \"{name}\"; tools/benchmark --list names them")
    return [row for row in table if not names or any(means(name, row) for name in names)]


def means(name, row):
    return any(i == name or i.startswith(name + ".") or (i.startswith(name) and len(name) == 1) for i in row.ids)


class Journal:
    """Results, a line each, so that a run that is broken off is not lost.  The first line says what they are results of."""

    def __init__(self, path, header, fresh):
        self.path, self.done, lines = path, {}, []
        if not fresh and os.path.exists(path):
            with open(path) as file:
                lines = [json.loads(line) for line in file if line.endswith("\n")]
        if lines and lines[0] == header and not lines[-1].get("over"):
            self.done = {line["row"]: line for line in lines[1:]}
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(json.dumps(header) + "\n")

    def add(self, line):
        with open(self.path, "a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


def measure(table, context, journal):
    """[what each row gave: {row, figures, details} or {row, missing}]"""
    results = []
    for row in table:
        if row.id in journal.done:
            print(f"{row.id}: measured before this run was broken off", flush=True)
            results.append(journal.done[row.id])
            continue
        try:
            result = {"row": row.id, **row.measure(context)}
            journal.add(result)
        except Broken as broken:
            result = {"row": row.id, "missing": str(broken)}
        results.append(result)
        for line in rows.lines(result):
            print(line, flush=True)
    journal.add({"over": True})
    return results


def main():
    given = arguments()
    table = rows.table(given.build) + peers.rows()
    table = chosen(table, given.rows)
    if given.list:
        for row in table:
            print(f"{row.id:24} {row.words}" + (f"   ({row.needs})" if row.needs else ""))
        return 0
    context = rows.Context(TOP, given.build, given.quick, given.envoy, lambda words: print(f"  {words}", flush=True))
    about = machine.about(TOP, given.build)
    header = {"commit": about["commit"], "quick": given.quick, "envoy": bool(given.envoy), "rows": [row.id for row in table]}
    journal = Journal(f"{given.build}/benchmark.jsonl", header, given.fresh or about["commit"].endswith("+"))
    for words in machine.complaints(about):
        print(f"note: {words}", flush=True)
    results = measure(table, context, journal)
    everything = {"machine": about, "run": {"date": datetime.datetime.now().strftime("%F %H:%M"), "quick": given.quick},
                  "figures": [figure for result in results for figure in result.get("figures", [])],
                  "missing": {result["row"]: result["missing"] for result in results if "missing" in result},
                  "peers": next((result["peers"] for result in results if "peers" in result), None)}
    if given.json:
        with open(given.json, "w") as file:
            json.dump(everything, file, indent=1)
            file.write("\n")
    if given.page:
        page.write(given.page, everything)
        print(f"page: {os.path.relpath(given.page)}/BENCHMARKS.md", flush=True)
    return verdict(everything)


def verdict(everything):
    figures = [f for f in everything["figures"] if f["gate"] is not None]
    missed = [f["id"] for f in figures if f["value"] > f["gate"]]
    print(f"{len(figures) - len(missed)} gates held, {len(missed)} missed" + (f": {', '.join(missed)}" if missed else "")
          + (f"; not measured: {', '.join(everything['missing'])}" if everything["missing"] else ""))
    return 1 if missed or everything["missing"] else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except subprocess.SubprocessError as error:
        sys.exit(f"benchmark: {error}")
