"""The page Pipeline: can the other pages be trusted?"""

from __future__ import annotations

from dashboards.layout import PlacedPanel, Row
from dashboards.links import TO_MODEL, TO_MODEL_OF_LABEL
from dashboards.panels import AnyPanel, PanelInfo, stat_panel, table_panel, time_series
from dashboards.style import STYLE
from warehouse.panels import pipeline

UNITS = STYLE.units


def _info(key: str, title: str, description: str, unit: str = UNITS.plain) -> PanelInfo:
    return PanelInfo("pipeline", key, title, description, unit)


def lag_now() -> AnyPanel:
    """Consumer lag of all processors."""
    info = _info(
        "lag_now",
        "Consumer lag",
        "Messages between the processors' committed offsets and the ends of their partitions, in total.",
        UNITS.count,
    )
    return stat_panel(info, pipeline.LAG_NOW)


def silent() -> AnyPanel:
    """Processors that stopped reporting."""
    info = _info(
        "silent",
        "Silent processors",
        f"Processors without a report for {pipeline.GONE_S} s at the end of the range. A processor that was removed on "
        "purpose stays here until it leaves the range.",
    )
    return stat_panel(info, pipeline.SILENT, bad_from=1)


def completeness_now() -> AnyPanel:
    """The least complete window."""
    info = _info(
        "completeness_now",
        "Completeness",
        "Share of source offsets that were counted, in the least complete window of the range.",
        UNITS.share,
    )
    return stat_panel(info, pipeline.COMPLETENESS, bad_under=1.0)


def late_now() -> AnyPanel:
    """Share of late events."""
    info = _info(
        "late_now",
        "Late",
        "Share of predictions that arrived after their pane was sealed. They are counted, and their verdicts are "
        "revised.",
        UNITS.share,
    )
    return stat_panel(info, pipeline.LATE)


def dead_letters_now() -> AnyPanel:
    """Dead letters in the range."""
    info = _info(
        "dead_letters_now",
        "Dead letters",
        "Events that were dead-lettered in the range, including events of unknown models. They are in "
        "predictions.dead and labels.dead.",
        UNITS.count,
    )
    return stat_panel(info, pipeline.DEAD_LETTERS, bad_from=1)


def duplicates_now() -> AnyPanel:
    """Share of duplicate predictions."""
    info = _info(
        "duplicates_now",
        "Duplicates",
        "Share of raw predictions in the last full hour of the range whose id occurred earlier in that hour. Unknown "
        "if raw events are not recorded.",
        UNITS.share,
    )
    return stat_panel(info, pipeline.DUPLICATES)


def processors() -> AnyPanel:
    """Latest report of every processor."""
    info = _info(
        "processors",
        "Processors",
        "Latest report of each processor in the range; the longest silent comes first.",
    )
    units = {
        "silent_s": UNITS.seconds,
        "last commit": UNITS.seconds,
        "rate": UNITS.per_second,
        "events": UNITS.count,
        "lag": UNITS.count,
    }
    return table_panel(info, pipeline.PROCESSORS, units=units)


def lag() -> AnyPanel:
    """Consumer lag over time."""
    info = _info(
        "lag",
        "Consumer lag",
        "By processor. A lag that only grows means that the processor cannot keep up or is stuck.",
        UNITS.count,
    )
    return time_series(info, pipeline.LAG, at_least=0)


def rate() -> AnyPanel:
    """Throughput."""
    info = _info("rate", "Events processed", "Events per second, by processor.", UNITS.per_second)
    return time_series(info, pipeline.RATE, at_least=0)


def sealed_age() -> AnyPanel:
    """Progress of each model."""
    info = _info(
        "sealed_age",
        "Progress by model",
        "Event time up to which panes are sealed, and up to which all events were read, as time before the end of the "
        "range. `last progress` is the time before now on the monitor's clock. Click to open the model.",
        UNITS.seconds,
    )
    return table_panel(info, pipeline.SEALED_AGE, link=TO_MODEL)


def completeness() -> AnyPanel:
    """Completeness over time."""
    info = _info(
        "completeness",
        "Completeness of windows",
        "The least complete window that ends in each step, by model. A dip lasts as long as the window.",
        UNITS.share,
    )
    return time_series(info, pipeline.COMPLETENESS_OVER_TIME, link=TO_MODEL_OF_LABEL)


def losses() -> AnyPanel:
    """Events lost after Kafka acknowledged them."""
    info = _info(
        "losses",
        "Losses",
        "Source offset ranges whose events are in no pane, with the reason. `barograph rebuild` recovers them while "
        "Kafka retains them.",
    )
    return table_panel(info, pipeline.LOSSES, units={"offsets": UNITS.count})


def producer_gaps() -> AnyPanel:
    """Events lost before Kafka."""
    info = _info(
        "producer_gaps",
        "Lost before Kafka",
        "Gaps in the sequence numbers of each publisher over the last 30 days: events that it dropped or could not "
        "send. A write repeated after a crash can hide gaps here until ClickHouse merges the rows; the view "
        "`producer_gaps` is exact.",
    )
    return table_panel(info, pipeline.PRODUCER_GAPS, units={"share": UNITS.share, "received": UNITS.count})


def late() -> AnyPanel:
    """Late events over time."""
    info = _info("late", "Late predictions", "By model, at the event time of the pane.", UNITS.count)
    return time_series(info, pipeline.LATE_OVER_TIME, counted=True, at_least=0, link=TO_MODEL_OF_LABEL)


def dead_letters() -> AnyPanel:
    """Dead letters by reason."""
    info = _info("dead_letters", "Dead letters by reason", "Per hour of receipt, by topic and reason.", UNITS.count)
    return time_series(info, pipeline.DEAD_REASONS, counted=True, at_least=0)


def duplicates() -> AnyPanel:
    """Repeats over time."""
    info = _info(
        "duplicates",
        "Duplicates",
        "Additional events of an already counted prediction, per hour, as found by the scorer. Only models with "
        "labels.",
        UNITS.count,
    )
    return time_series(info, pipeline.DUPLICATES_OVER_TIME, counted=True, at_least=0, link=TO_MODEL_OF_LABEL)


def unmatched_labels() -> AnyPanel:
    """Labels without predictions."""
    info = _info(
        "unmatched_labels",
        "Labels without a prediction",
        "Labels whose prediction has not arrived, per hour.",
        UNITS.count,
    )
    return time_series(info, pipeline.UNMATCHED_LABELS, counted=True, at_least=0, link=TO_MODEL_OF_LABEL)


def insert_times() -> AnyPanel:
    """Duration of writes."""
    info = _info(
        "insert_times",
        "Write duration",
        "Maximum per step. flush: a flush or batch from first poll to commit. transaction: its Kafka transaction. "
        "insert: one insert, by table. write: one commit of the monitor. partial: the merge of one partial. pass: one "
        "scorer pass over all models.",
        UNITS.seconds,
    )
    return time_series(info, pipeline.INSERT_TIMES, at_least=0)


def retries() -> AnyPanel:
    """Retried writes."""
    info = _info(
        "retries",
        "Retried writes",
        "By processor: Kafka or ClickHouse was busy or unavailable. Retries drop nothing.",
        UNITS.count,
    )
    return time_series(info, pipeline.RETRIES, counted=True, at_least=0)


def watchdog() -> AnyPanel:
    """Time since the last commit."""
    info = _info(
        "watchdog",
        "Time since last commit",
        "Seconds since the last commit or start of each processor. Idle processors commit too. A drop to 0 without a "
        "commit is a restart.",
        UNITS.seconds,
    )
    return time_series(info, pipeline.WATCHDOG, at_least=0)


def committed_age() -> AnyPanel:
    """Signals that the watchdog checks."""
    info = _info(
        "committed_age",
        "Stalled offsets and loops",
        "committed_age: time since the committed offset of the slowest partition last advanced while messages wait. "
        "loop_age: time since the last iteration of the processor's loop. A processor is unhealthy at 60 s, and its "
        "watchdog ends it at 300 s unless it waits for ClickHouse (scorer: 330 s and 900 s).",
        UNITS.seconds,
    )
    return time_series(info, pipeline.COMMITTED_AGE, at_least=0)


def waiting() -> AnyPanel:
    """Time spent waiting for ClickHouse."""
    info = _info(
        "waiting",
        "Waiting for ClickHouse",
        "waiting: how long a processor has kept its batch because ClickHouse is busy or unavailable; nothing is lost. "
        "registry_age: time since contracts and baselines were last read. Reports are stored in ClickHouse, so the "
        "panel is empty while it is down: use /metrics then.",
        UNITS.seconds,
    )
    return time_series(info, pipeline.WAITING, at_least=0)


def healthy() -> AnyPanel:
    """Status of /healthz."""
    info = _info(
        "healthy",
        "Healthy",
        "healthy: 1 while /healthz of the processor returns 200, 0 while it returns 503. registry_readable: 0 while "
        "the processor cannot read the contract or a baseline of some model; its log names the model.",
    )
    return time_series(info, pipeline.HEALTHY, at_least=0)


def memory() -> AnyPanel:
    """Memory of processors."""
    info = _info("memory", "Memory", "Resident set size of each processor.", UNITS.bytes)
    return time_series(info, pipeline.MEMORY, at_least=0)


def cpu() -> AnyPanel:
    """CPU use."""
    info = _info("cpu", "CPU", "Share of one core that each processor uses.", UNITS.share)
    return time_series(info, pipeline.CPU, at_least=0)


def events() -> AnyPanel:
    """Events by outcome."""
    info = _info(
        "events",
        "Events by outcome",
        "counted (sketcher), recorded (recorder), merged (monitor; late: merged after their pane was sealed), scored "
        "(scorer), dead (dead-lettered). Events reread after a restart are counted again here, and only here.",
        UNITS.count,
    )
    return time_series(info, pipeline.EVENTS, counted=True, at_least=0)


def rejected() -> AnyPanel:
    """Dead letters and lost offsets, by processor."""
    info = _info(
        "rejected",
        "Dead-lettered or lost, by processor",
        "dead_letters: by reason, as counted by the processors. offsets_lost: offsets deleted by retention before "
        "they were read.",
        UNITS.count,
    )
    return time_series(info, pipeline.REJECTED, counted=True, at_least=0)


def inserted() -> AnyPanel:
    """Rows written."""
    info = _info("inserted", "Rows inserted", "Rows inserted into ClickHouse, by processor and table.", UNITS.count)
    return time_series(info, pipeline.INSERTED, counted=True, at_least=0)


def scored() -> AnyPanel:
    """Windows measured by the scorer."""
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
                PlacedPanel(lag_now(), 4, 4),
                PlacedPanel(silent(), 4, 4),
                PlacedPanel(completeness_now(), 4, 4),
                PlacedPanel(late_now(), 4, 4),
                PlacedPanel(dead_letters_now(), 4, 4),
                PlacedPanel(duplicates_now(), 4, 4),
                PlacedPanel(processors(), 24, 8),
            ),
        ),
        Row(
            "Lag and progress",
            (PlacedPanel(lag(), 12, 8), PlacedPanel(rate(), 12, 8), PlacedPanel(sealed_age(), 24, 7)),
        ),
        Row(
            "Lost",
            (PlacedPanel(completeness(), 24, 7), PlacedPanel(losses(), 12, 8), PlacedPanel(producer_gaps(), 12, 8)),
        ),
        Row(
            "Late, dead-lettered, duplicate",
            (
                PlacedPanel(late(), 12, 7),
                PlacedPanel(dead_letters(), 12, 7),
                PlacedPanel(duplicates(), 12, 7),
                PlacedPanel(unmatched_labels(), 12, 7),
            ),
            folded=True,
        ),
        Row(
            "Processor internals",
            (
                PlacedPanel(committed_age(), 8, 8),
                PlacedPanel(watchdog(), 8, 8),
                PlacedPanel(waiting(), 8, 8),
                PlacedPanel(insert_times(), 8, 8),
                PlacedPanel(retries(), 8, 8),
                PlacedPanel(healthy(), 8, 8),
                PlacedPanel(events(), 12, 8),
                PlacedPanel(rejected(), 12, 8),
                PlacedPanel(inserted(), 12, 8),
                PlacedPanel(scored(), 12, 8),
                PlacedPanel(memory(), 12, 8),
                PlacedPanel(cpu(), 12, 8),
            ),
            folded=True,
        ),
    ]
