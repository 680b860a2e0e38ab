"""The report: one page without references, deterministic, with every name escaped."""

import math
import re

from barograph_server.rollouts.report import render_report
from barograph_server.warehouse.rollouts.pair_histograms import PairHistograms
from tests.support.candidate_evaluation import HISTOGRAMS, made_evaluation


def test_a_page_refers_to_nothing_and_escapes_every_name() -> None:
    page = render_report(made_evaluation(60), HISTOGRAMS)
    assert not re.search(r"<script|<link|<img|https?:|src=|href=|url\(", page)
    assert "candidate time-outs (2.00%)" in page
    for name in ("a & b", "<4>", "<b>DE</b>", "<reason>", "<Error>"):
        assert name not in page, name
    assert "country=&lt;b&gt;DE&lt;/b&gt;" in page
    assert page == render_report(made_evaluation(60), HISTOGRAMS), "the same sums give the same page"


def test_histograms_of_pairs_add_sections() -> None:
    evaluation = made_evaluation(40)
    page, plain = render_report(evaluation, HISTOGRAMS), render_report(evaluation)
    for text in (
        "<h2>Latency by hour of the day</h2>",
        '<td>23</td><td class="n">1,200</td><td class="n">20</td><td class="n">30</td><td class="n">80</td>'
        '<td class="n">130</td>',
        '<td>&lt;Error&gt;</td><td class="n">0 (0%)</td>',
        "<b>0.988</b>",
    ):
        assert text in page
        assert text not in plain
    none = render_report(evaluation, PairHistograms([], math.nan, {}, {}))
    assert none == plain
