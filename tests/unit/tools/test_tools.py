#!/usr/bin/env python3
"""The parts of tools/benchmark and tools/pktgen that need neither root nor a network: what is resumed, judged, drawn and written."""
import contextlib
import io
import json
import os
import struct
import sys
import tempfile
import unittest
import xml.dom.minidom

TOP = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.dont_write_bytecode = True
sys.path[:0] = [f"{TOP}/tools/benchmark.d", f"{TOP}/tools/pktgen"]

import captures  # noqa: E402
import chart  # noqa: E402
import duel  # noqa: E402
import main  # noqa: E402
import page  # noqa: E402
import peers  # noqa: E402
import rows  # noqa: E402
from wire import Broken  # noqa: E402


class Resumed(unittest.TestCase):
    header = {"commit": "abc", "quick": False}

    def setUp(self):
        self.path = os.path.join(tempfile.mkdtemp(), "run.jsonl")

    def again(self, header=None, fresh=False):
        return main.Journal(self.path, header or self.header, fresh).done

    def test_a_run_that_was_broken_off_goes_on(self):
        main.Journal(self.path, self.header, False).add({"row": "A", "figures": []})
        self.assertEqual(list(self.again()), ["A"])

    def test_a_line_that_was_cut_off_counts_for_nothing(self):
        main.Journal(self.path, self.header, False).add({"row": "A"})
        with open(self.path, "a") as file:
            file.write('{"row": "B", "fig')
        self.assertEqual(list(self.again()), ["A"])

    def test_nothing_is_taken_from_another_tree_or_a_run_that_came_to_its_end(self):
        journal = main.Journal(self.path, self.header, False)
        journal.add({"row": "A"})
        self.assertEqual(self.again({"commit": "abd", "quick": False}), {})
        journal = main.Journal(self.path, self.header, False)
        journal.add({"row": "A"})
        self.assertEqual(self.again(fresh=True), {})
        journal.add({"over": True})
        self.assertEqual(self.again(), {})


class Chosen(unittest.TestCase):
    table = [rows.Row(name, "", "cycles", 1, 1) for name in ("A1.static", "A1.deadline", "B.static")] + peers.rows()

    def names(self, *words):
        return [row.id for row in main.chosen(self.table, words)]

    def test_by_name_and_by_beginning(self):
        self.assertEqual(self.names("A1"), ["A1.static", "A1.deadline"])
        self.assertEqual(self.names("H.haproxy", "B.static"), ["B.static", "H"])
        self.assertEqual(len(self.names()), 4)

    def test_a_name_that_means_nothing_is_refused(self):
        with self.assertRaises(SystemExit), contextlib.redirect_stderr(io.StringIO()):
            self.names("A1.statik")


class Judged(unittest.TestCase):
    class Proxy:
        name = "proxy"

        def check(self):
            return True

    class Sample:
        def __init__(self, second, answered, proxy, wrong=0):
            self.time, self.answered, self.proxy, self.wrong, self.around = second, answered, proxy, wrong, proxy

    def judge(self, words, failed=0, wrong=0):
        with tempfile.NamedTemporaryFile("w", suffix=".log") as log:
            log.write(words)
            log.flush()
            duel.judge(self.Proxy(), "c8m32", log.name, failed, self.Sample(0, (), 0, wrong))

    good = "requests: 900 total, 932 started, 900 done, 900 succeeded, 0 failed, 0 errored, 0 timeout"

    def test_every_way_to_fail_is_seen(self):
        self.judge(self.good)
        for words, failed, wrong in ((self.good.replace("900 succeeded, 0 failed", "899 succeeded, 1 failed"), 0, 0), (self.good.replace("0 timeout", "2 timeout"), 0, 0),
                                     (self.good.replace("900", "0"), 0, 0), ("connection refused", 0, 0), (self.good, 1, 0), (self.good, 0, 1)):
            with self.assertRaises(Broken):
                self.judge(words, failed, wrong)

    def test_busy_is_at_most_either_clock(self):
        before, after = self.Sample(0, (0, 0, 0), 0), self.Sample(2, (1000, 1000, 2000), 8_000_000)
        for busy, us in ((4_000_000, 1.0), (40_000_000, 2.0), (None, 2.0)):
            f = duel.figures(self.Proxy(), before, after, busy)
            self.assertAlmostEqual(f["busy_us"], us)
            self.assertAlmostEqual(f["cpu_us"], 2.0)
            self.assertEqual((f["rpcs"], f["rate"], f["skew"]), (4000, 2000, 0.5))

    def test_a_window_with_too_little_in_it_is_no_figure(self):
        with self.assertRaises(duel.TooFew):
            duel.figures(self.Proxy(), self.Sample(0, (0, 0, 0), 0), self.Sample(2, (9, 9, 9), 9), None)

    def test_a_ratio_is_taken_within_a_round(self):
        table = {"l": {"a": [{"busy_us": 1}, {"busy_us": 10}, {"busy_us": 3}], "b": [{"busy_us": 2}, {"busy_us": 20}, {"busy_us": 1}]}}
        self.assertEqual(duel.ratio(table, "l", "a", "b"), 0.5)

    def test_a_disturbed_run_is_not_believed(self):
        self.assertFalse(rows.credible({"unit": "cycles", "value": 96.3, "mean": 5739}))
        self.assertTrue(rows.credible({"unit": "cycles", "value": 4368, "mean": 4707}))
        self.assertFalse(rows.credible({"unit": "ratio", "value": 0.04, "mean": 1.6}))
        self.assertTrue(rows.credible({"unit": "bytes", "value": 640}))


def a_run():
    rounds = [{"rpcs": 5000, "rate": 5000.0, "cpu_us": 8.0, "busy_us": 6.0 + i, "around_us": 7.0, "share": 0.5, "skew": 0.0} for i in range(3)]
    table = {load: {name: rounds for name in (peers.TAP, peers.VETH, "nghttpx", "haproxy")} for load in duel.LOADS}
    found = {"table": table, "congestion": "reno", "rounds": 3, "seconds": 1, "absent": ["nginx"]}
    return {"machine": {"cpu": "a <CPU>", "cores": 2, "memory_gib": 4, "virtual": "none", "kernel": "6", "load_before": 0.1, "interrupts_apart": False, "commit": "abc",
                        "build": "release", "compiler": "12", "dpdk": "22.11", "versions": {"haproxy": "2.6", "nginx": None}},
            "run": {"date": "2026-01-01 00:00", "quick": False}, "missing": {"K.workers": "one core"},
            "figures": [rows.figure("A1.static", 6000, "cycles", "words", 5750, 2300, quiet=5000, mean=7000)] + list(peers.figures(found)),
            "peers": peers.summary(found, None)}


class Written(unittest.TestCase):
    def test_the_page_says_what_was_missed_and_what_is_missing(self):
        run = json.loads(json.dumps(a_run()))
        with tempfile.TemporaryDirectory() as directory:
            page.write(directory, run)
            with open(f"{directory}/BENCHMARKS.md") as file:
                words = file.read()
            self.assertEqual(sorted(os.listdir(f"{directory}/charts")), ["benchmark.json", "gates.svg", "peers.svg"])
            for name in ("gates", "peers"):
                xml.dom.minidom.parse(f"{directory}/charts/{name}.svg")
            with open(f"{directory}/charts/benchmark.json") as file:
                self.assertEqual(json.load(file), run)
        for part in ("5,750: **missed**", "1: held", "Not measured: K.workers: one core", "Not installed: nginx", "HAProxy 2.6", "charged to nobody"):
            self.assertEqual(part in words, part != "charged to nobody", part)

    def test_a_chart_is_one_document_and_marks_what_was_missed(self):
        text = chart.gates("a < b", [("A", 2, 1, 0.5, "ns"), ("B", 0.5, 1, None, "ms")])
        bars = [r.getAttribute("class") for r in xml.dom.minidom.parseString(text).getElementsByTagName("rect")]
        self.assertEqual(bars, ["missed", "ours"])
        self.assertIn("prefers-color-scheme: dark", text)


class Captured(unittest.TestCase):
    def frames(self, kind, seed=1):
        out = io.BytesIO()
        maker = captures.Maker("02:00:00:00:00:01", seed=seed)
        captures.write(out, (captures.KINDS[kind](maker) for _ in range(300)))
        data, at, frames = out.getvalue(), 24, []
        self.assertEqual(struct.unpack("<I", data[:4])[0], 0xa1b2c3d4)
        while at < len(data):
            length = struct.unpack("<IIII", data[at:at + 16])[2]
            frames.append(data[at + 16:at + 16 + length])
            at += 16 + length
        return frames

    def test_frames_are_frames_and_drawn_by_the_seed(self):
        for kind in captures.KINDS:
            frames = self.frames(kind)
            self.assertEqual(len(frames), 300)
            self.assertTrue(all(60 <= len(frame) <= 1514 for frame in frames), kind)
            self.assertEqual(frames, self.frames(kind))
            self.assertNotEqual(frames, self.frames(kind, seed=2))

    @staticmethod
    def tcp_right(frame):
        """Sums over pseudo header and segment: 0 where the checksum is right."""
        length = struct.unpack("!H", frame[16:18])[0] - 20
        return captures.checksum(frame[26:34] + struct.pack("!HH", 6, length) + frame[34:34 + length]) == 0

    def test_only_wrong_checksums_are_wrong_and_senders_are_nobody(self):
        for kind, right in (("syn", True), ("stray", True), ("checksums", False)):
            frames = [frame for frame in self.frames(kind) if frame[12:14] == b"\x08\x00"]
            self.assertGreater(len(frames), 100)
            self.assertTrue(all(captures.checksum(frame[14:34]) == 0 and frame[26:28] == bytes([198, 19]) for frame in frames), kind)
            self.assertTrue(all(self.tcp_right(frame) == right for frame in frames), kind)


if __name__ == "__main__":
    unittest.main()
