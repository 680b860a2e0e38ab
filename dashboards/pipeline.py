"""The page Pipeline: can the other pages be trusted?"""

from __future__ import annotations

from functools import partial

from barograph_server.dashboards.layout import PlacedPanel, Row
from barograph_server.dashboards.links import TO_MODEL, TO_MODEL_OF_LABEL
from barograph_server.dashboards.panels import AnyPanel, PanelInfo, stat_panel, table_panel, time_series
from barograph_server.dashboards.style import STYLE
from barograph_server.warehouse.panels import pipeline

UNITS = STYLE.units
_info = partial(PanelInfo, "pipeline")


def _lag_now() -> AnyPanel:
    info = _info(
        "lag_now",
        "Consumer lag",
        "Messages between the processors' committed offsets and the ends of their partitions, in total.",
        UNITS.count,
    )
    return stat_panel(info, pipeline.LAG_NOW)


def _silent() -> AnyPanel:
    info = _info(
        "silent",
        "Silent processors",
        f"Processors without a report for {pipeline.GONE_S} s at the end of the range. A processor that was removed on "
        "purpose stays here until it leaves the range.",
    )
    return stat_panel(info, pipeline.SILENT, bad_from=1)


def _completeness_now() -> AnyPanel:
    info = _info(
        "completeness_now",
        "Completeness",
        "Share of source offsets that were counted, in the least complete window of the range.",
        UNITS.share,
    )
    return stat_panel(info, pipeline.COMPLETENESS, bad_under=1.0)


def _late_now() -> AnyPanel:
    info = _info(
        "late_now",
        "Late",
        "Share of predictions that arrived after their pane was sealed. They are counted, and their verdicts are "
        "revised.",
        UNITS.share,
    )
    return stat_panel(info, pipeline.LATE)


def _dead_letters_now() -> AnyPanel:
    info = _info(
        "dead_letters_now",
        "Dead letters",
        "Events that were dead-lettered in the range, including events of unknown models. They are in "
        "predictions.dead and labels.dead.",
        UNITS.count,
    )
    return stat_panel(info, pipeline.DEAD_LETTERS, bad_from=1)


def _duplicates_now() -> AnyPanel:
    info = _info(
        "duplicates_now",
        "Duplicates",
        "Share of raw predictions in the last full hour of the range whose id occurred earlier in that hour. Unknown "
        "if raw events are not recorded.",
        UNITS.share,
    )
    return stat_panel(info, pipeline.DUPLICATES)


def _processors() -> AnyPanel:
    info = _info(
        "processors",
        "Processors",
        "Latest report of each processor in the range; the longest silent comes first. `last commit` is empty while "
        "there is nothing to commit.",
    )
    units = {
        "last report": UNITS.seconds,
        "last commit": UNITS.seconds,
        "rate": UNITS.per_second,
        "events": UNITS.count,
        "lag": UNITS.count,
    }
    return table_panel(info, pipeline.PROCESSORS, units=units)


def _lag() -> AnyPanel:
    info = _info(
        "lag",
        "Consumer lag",
        "By processor. A lag that only grows means that the processor cannot keep up or is stuck.",
        UNITS.count,
    )
    return time_series(info, pipeline.LAG, at_least=0)


def _rate() -> AnyPanel:
    info = _info("rate", "Events processed", "Events per second, by processor.", UNITS.per_second)
    return time_series(info, pipeline.RATE, at_least=0)


def _sealed_age() -> AnyPanel:
    info = _info(
        "sealed_age",
        "Progress by model",
        "Event time up to which panes are sealed, and up to which all events were read, as time before the end of the "
        "range. `last progress` is the time before now on the monitor's clock. Click to open the model.",
        UNITS.seconds,
    )
    return table_panel(info, pipeline.SEALED_AGE, link=TO_MODEL)


def _completeness() -> AnyPanel:
    info = _info(
        "completeness",
        "Completeness of windows",
        "The least complete window that ends in each step, by model. A dip lasts as long as the window.",
        UNITS.share,
    )
    return time_series(info, pipeline.COMPLETENESS_OVER_TIME, link=TO_MODEL_OF_LABEL)


def _losses() -> AnyPanel:
    info = _info(
        "losses",
        "Losses",
        "Source offset ranges whose events are in no pane, with the reason. `barograph rebuild` recovers them while "
        "Kafka retains them.",
    )
    return table_panel(info, pipeline.LOSSES, units={"offsets": UNITS.count})


def _producer_gaps() -> AnyPanel:
    info = _info(
        "producer_gaps",
        "Lost before Kafka",
        "Gaps in the sequence numbers of each publisher over the last 30 days: events that it dropped or could not "
        "send. `silent` with `queued` above 0: the process ended without a farewell, or cannot reach Kafka. A write "
        "repeated after a crash can hide gaps here until ClickHouse merges the rows; `producer_gaps` is exact.",
    )
    return table_panel(
        info, pipeline.PRODUCER_GAPS, units={"share": UNITS.share, "received": UNITS.count, "queued": UNITS.count}
    )


def _late() -> AnyPanel:
    info = _info("late", "Late predictions", "By model, at the event time of the pane.", UNITS.count)
    return time_series(
        info, pipeline.LATE_OVER_TIME, pipeline.NONE_LATE, counted=True, at_least=0, link=TO_MODEL_OF_LABEL
    )


def _dead_letters() -> AnyPanel:
    info = _info("dead_letters", "Dead letters by reason", "Per hour of receipt, by topic and reason.", UNITS.count)
    return time_series(info, pipeline.DEAD_REASONS, pipeline.NONE_DEAD, counted=True, at_least=0)


def _duplicates() -> AnyPanel:
    info = _info(
        "duplicates",
        "Duplicates",
        "Additional events of an already counted prediction, per hour, as found by the scorer. Only models with "
        "labels.",
        UNITS.count,
    )
    return time_series(
        info, pipeline.DUPLICATES_OVER_TIME, pipeline.NONE_DUPLICATE, counted=True, at_least=0, link=TO_MODEL_OF_LABEL
    )


def _unmatched_labels() -> AnyPanel:
    info = _info(
        "unmatched_labels",
        "Labels without a prediction",
        "Labels whose prediction has not arrived, per hour.",
        UNITS.count,
    )
    return time_series(
        info, pipeline.UNMATCHED_LABELS, pipeline.NONE_UNMATCHED, counted=True, at_least=0, link=TO_MODEL_OF_LABEL
    )


def _insert_times() -> AnyPanel:
    info = _info(
        "insert_times",
        "Write duration",
        "Maximum per step. flush: a flush or batch from first poll to commit. transaction: its Kafka transaction. "
        "insert: one insert, by table. write: one commit of the monitor. partial: the merge of one partial. pass: one "
        "scorer pass over all models.",
        UNITS.seconds,
    )
    return time_series(info, pipeline.INSERT_TIMES, at_least=0)


def _retries() -> AnyPanel:
    info = _info(
        "retries",
        "Retried writes",
        "By processor: Kafka or ClickHouse was busy or unavailable. Retries drop nothing.",
        UNITS.count,
    )
    return time_series(info, pipeline.RETRIES, counted=True, at_least=0)


def _watchdog() -> AnyPanel:
    info = _info(
        "watchdog",
        "Time since last commit",
        "Seconds since the last commit or start of each processor. Idle processors commit too. A drop to 0 without a "
        "commit is a restart.",
        UNITS.seconds,
    )
    return time_series(info, pipeline.WATCHDOG, at_least=0)


def _committed_age() -> AnyPanel:
    info = _info(
        "committed_age",
        "Stalled offsets and loops",
        "committed age: time since the committed offset of the slowest partition last advanced while messages wait. "
        "loop age: time since the last iteration of the processor's loop. A processor is unhealthy at 60 s, and its "
        "watchdog ends it at 300 s unless it waits for ClickHouse (scorer: 330 s and 900 s).",
        UNITS.seconds,
    )
    return time_series(info, pipeline.COMMITTED_AGE, at_least=0)


def _waiting() -> AnyPanel:
    info = _info(
        "waiting",
        "Waiting for ClickHouse",
        "waiting: how long a processor has kept its batch because ClickHouse is busy or unavailable; nothing is lost. "
        "registry age: time since contracts and baselines were last read. Reports are stored in ClickHouse, so the "
        "panel is empty while it is down: use /metrics then.",
        UNITS.seconds,
    )
    return time_series(info, pipeline.WAITING, at_least=0)


def _healthy() -> AnyPanel:
    info = _info(
        "healthy",
        "Healthy",
        "healthy: 1 while /healthz of the processor returns 200, 0 while it returns 503. registry readable: 0 while "
        "the processor cannot read the contract or a baseline of some model; its log names the model.",
    )
    return time_series(info, pipeline.HEALTHY, at_least=0)


def _memory() -> AnyPanel:
    info = _info("memory", "Memory", "Resident set size of each processor.", UNITS.bytes)
    return time_series(info, pipeline.MEMORY, at_least=0)


def _cpu() -> AnyPanel:
    info = _info("cpu", "CPU", "Share of one core that each processor uses.", UNITS.share)
    return time_series(info, pipeline.CPU, at_least=0)


def _events() -> AnyPanel:
    info = _info(
        "events",
        "Events by outcome",
        "counted (sketcher), recorded (recorder), merged (monitor; late: merged after their pane was sealed), scored "
        "(scorer), dead (dead-lettered). Events reread after a restart are counted again here, and only here.",
        UNITS.count,
    )
    return time_series(info, pipeline.EVENTS, counted=True, at_least=0)


def _rejected() -> AnyPanel:
    info = _info(
        "rejected",
        "Dead-lettered or lost, by processor",
        "dead letters: by reason, as counted by the processors. offsets lost: offsets deleted by retention before "
        "they were read.",
        UNITS.count,
    )
    return time_series(info, pipeline.REJECTED, pipeline.NONE_REJECTED, counted=True, at_least=0)


def _inserted() -> AnyPanel:
    info = _info("inserted", "Rows inserted", "Rows inserted into ClickHouse, by processor and table.", UNITS.count)
    return time_series(info, pipeline.INSERTED, counted=True, at_least=0)


def _scored() -> AnyPanel:
    info = _info(
        "scored", "Windows scored", "Windows measured for the first time (new), and revised metrics.", UNITS.count
    )
    return time_series(info, pipeline.SCORED, counted=True, at_least=0)


def rows() -> list[Row]:
    """The rows of the page, from top to bottom."""
    return [
        Row(
            "Now, at the end of the range",
            (
                PlacedPanel(_lag_now(), 4, 4),
                PlacedPanel(_silent(), 4, 4),
                PlacedPanel(_completeness_now(), 4, 4),
                PlacedPanel(_late_now(), 4, 4),
                PlacedPanel(_dead_letters_now(), 4, 4),
                PlacedPanel(_duplicates_now(), 4, 4),
                PlacedPanel(_processors(), 24, 8),
            ),
        ),
        Row(
            "Lag and progress",
            (PlacedPanel(_lag(), 12, 8), PlacedPanel(_rate(), 12, 8), PlacedPanel(_sealed_age(), 24, 7)),
        ),
        Row(
            "Lost",
            (PlacedPanel(_completeness(), 24, 7), PlacedPanel(_losses(), 12, 6), PlacedPanel(_producer_gaps(), 12, 6)),
        ),
        Row(
            "Late, dead-lettered, duplicate",
            (
                PlacedPanel(_late(), 12, 7),
                PlacedPanel(_dead_letters(), 12, 7),
                PlacedPanel(_duplicates(), 12, 7),
                PlacedPanel(_unmatched_labels(), 12, 7),
            ),
            folded=True,
        ),
        Row(
            "Processor internals",
            (
                PlacedPanel(_committed_age(), 8, 8),
                PlacedPanel(_watchdog(), 8, 8),
                PlacedPanel(_waiting(), 8, 8),
                PlacedPanel(_insert_times(), 8, 8),
                PlacedPanel(_retries(), 8, 8),
                PlacedPanel(_healthy(), 8, 8),
                PlacedPanel(_events(), 12, 8),
                PlacedPanel(_rejected(), 12, 8),
                PlacedPanel(_inserted(), 12, 8),
                PlacedPanel(_scored(), 12, 8),
                PlacedPanel(_memory(), 12, 8),
                PlacedPanel(_cpu(), 12, 8),
            ),
            folded=True,
        ),
    ]
