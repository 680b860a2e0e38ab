"""The page Pipeline: can what the other pages show be relied on?"""

from __future__ import annotations

from dashboards.layout import Placed, Row
from dashboards.links import TO_MODEL, TO_MODEL_OF_LABEL
from dashboards.panels import About, AnyPanel, figure, graph, listing
from dashboards.style import STYLE
from warehouse.panels import pipeline

UNITS = STYLE.units


def _about(key: str, title: str, description: str, unit: str = UNITS.plain) -> About:
    return About("pipeline", key, title, description, unit)


def lag_now() -> AnyPanel:
    """How far behind processors are."""
    about = _about(
        "lag_now",
        "Messages behind",
        "Messages between the processors' committed offsets and the end of their partitions, summed over all.",
        UNITS.count,
    )
    return figure(about, pipeline.LAG_NOW)


def silent() -> AnyPanel:
    """Processors that are gone."""
    about = _about(
        "silent",
        "Silent processors",
        f"Processors that have not reported for {pipeline.GONE_S} s, up to the end of the range. One that was taken "
        "away on purpose stays here until the range has passed it.",
    )
    return figure(about, pipeline.SILENT, bad_from=1)


def completeness_now() -> AnyPanel:
    """The least complete window."""
    about = _about(
        "completeness_now",
        "Completeness",
        "The least complete window of the range: the share of its source offsets that was counted.",
        UNITS.share,
    )
    return figure(about, pipeline.COMPLETENESS, bad_under=1.0)


def late_now() -> AnyPanel:
    """Share of late events."""
    about = _about(
        "late_now",
        "Late",
        "Share of predictions that came after their pane was sealed. They are counted, and verdicts revised.",
        UNITS.share,
    )
    return figure(about, pipeline.LATE)


def dead_letters_now() -> AnyPanel:
    """Events that were put aside."""
    about = _about(
        "dead_letters_now",
        "Dead letters",
        "Events that were put aside within the range, those of unknown models too. They stand in predictions.dead and "
        "labels.dead.",
        UNITS.count,
    )
    return figure(about, pipeline.DEAD_LETTERS, bad_from=1)


def duplicates_now() -> AnyPanel:
    """Share of predictions that came twice."""
    about = _about(
        "duplicates_now",
        "Duplicates",
        "Share of the raw predictions in the last whole hour of the range whose id had come before in that hour. "
        "Unknown where no raw events are kept.",
        UNITS.share,
    )
    return figure(about, pipeline.DUPLICATES)


def processors() -> AnyPanel:
    """Every processor at its last report."""
    about = _about(
        "processors",
        "Processors",
        "Each processor's last report within the range, the one that is silent longest first.",
    )
    units = {
        "silent_s": UNITS.seconds,
        "last commit": UNITS.seconds,
        "rate": UNITS.per_second,
        "events": UNITS.count,
        "lag": UNITS.count,
    }
    return listing(about, pipeline.PROCESSORS, units=units)


def lag() -> AnyPanel:
    """Lag over time."""
    about = _about(
        "lag",
        "Messages behind",
        "By processor. A line that only grows is a processor that cannot keep up, or is stuck.",
        UNITS.count,
    )
    return graph(about, pipeline.LAG, at_least=0)


def rate() -> AnyPanel:
    """Throughput."""
    about = _about("rate", "Events handled", "Events per second, by processor.", UNITS.per_second)
    return graph(about, pipeline.RATE, at_least=0)


def sealed_age() -> AnyPanel:
    """How far each model is read and judged."""
    about = _about(
        "sealed_age",
        "How far models are read and judged",
        "Event time up to which verdicts are final and up to which everything was read, as time before the end of the "
        "range. `last progress` is before now, by the monitor's clock. A click opens the model.",
        UNITS.seconds,
    )
    return listing(about, pipeline.SEALED_AGE, link=TO_MODEL)


def completeness() -> AnyPanel:
    """Completeness over time."""
    about = _about(
        "completeness",
        "Completeness of windows",
        "The least complete window that ends in each step, by model. A dip lasts as long as the window.",
        UNITS.share,
    )
    return graph(about, pipeline.COMPLETENESS_OVER_TIME, link=TO_MODEL_OF_LABEL)


def losses() -> AnyPanel:
    """What was lost after Kafka took it."""
    about = _about(
        "losses",
        "Losses",
        "Ranges of source offsets whose events are in no pane, and why: what barograph rebuild can bring back as long "
        "as Kafka holds it.",
    )
    return listing(about, pipeline.LOSSES, units={"offsets": UNITS.count})


def producer_gaps() -> AnyPanel:
    """What was lost before Kafka."""
    about = _about(
        "producer_gaps",
        "Lost before Kafka",
        "Numbers that each publisher's events skip, over the last 30 days: events that it dropped or could not send. "
        "A write that was repeated after a crash hides as many until ClickHouse merges it; `producer_gaps` does not.",
    )
    return listing(about, pipeline.PRODUCER_GAPS, units={"share": UNITS.share, "received": UNITS.count})


def late() -> AnyPanel:
    """Late events over time."""
    about = _about(
        "late", "Late predictions", "By model, at the event time of the pane that they came late for.", UNITS.count
    )
    return graph(about, pipeline.LATE_OVER_TIME, counted=True, at_least=0, link=TO_MODEL_OF_LABEL)


def dead_letters() -> AnyPanel:
    """Dead letters by reason."""
    about = _about("dead_letters", "Dead letters by reason", "Per hour of receipt, by topic and reason.", UNITS.count)
    return graph(about, pipeline.DEAD_REASONS, counted=True, at_least=0)


def duplicates() -> AnyPanel:
    """Repeats over time."""
    about = _about(
        "duplicates",
        "Duplicates",
        "Further events of a prediction that was counted, per hour, as the scorer found them. Models with labels only.",
        UNITS.count,
    )
    return graph(about, pipeline.DUPLICATES_OVER_TIME, counted=True, at_least=0, link=TO_MODEL_OF_LABEL)


def unknown_labels() -> AnyPanel:
    """Labels without predictions."""
    about = _about(
        "unknown_labels", "Labels without a prediction", "Labels whose prediction has not come, per hour.", UNITS.count
    )
    return graph(about, pipeline.UNKNOWN_LABELS, counted=True, at_least=0, link=TO_MODEL_OF_LABEL)


def insert_times() -> AnyPanel:
    """How long writes take."""
    about = _about(
        "insert_times",
        "Time to write",
        "Longest of each step: flush is a flush or a batch from its first poll to its commit, transaction its Kafka "
        "transaction, insert one insert by table, write all that the monitor writes after a progress record, part the "
        "merge of one part, pass one look of the scorer at all models.",
        UNITS.seconds,
    )
    return graph(about, pipeline.INSERT_TIMES, at_least=0)


def retries() -> AnyPanel:
    """Writes that had to be tried again."""
    about = _about(
        "retries",
        "Writes tried again",
        "By processor: Kafka or ClickHouse was busy or away. Nothing is dropped meanwhile.",
        UNITS.count,
    )
    return graph(about, pipeline.RETRIES, counted=True, at_least=0)


def watchdog() -> AnyPanel:
    """What the watchdog sees."""
    about = _about(
        "watchdog",
        "Since the last commit",
        "Seconds since each processor committed last, or was started. Idle processors commit too. A line that falls to "
        "0 without a commit is a restart.",
        UNITS.seconds,
    )
    return graph(about, pipeline.WATCHDOG, at_least=0)


def committed_age() -> AnyPanel:
    """What the watchdog looks at."""
    about = _about(
        "committed_age",
        "Standing still",
        "committed_age: how long the committed offset of the slowest partition has stood still with messages behind "
        "it. loop_age: since the processor's loop came round. A processor is not healthy at 60 s, and its watchdog "
        "ends it at 300 s, unless it waits for ClickHouse (scorer: 330 s and 900 s).",
        UNITS.seconds,
    )
    return graph(about, pipeline.COMMITTED_AGE, at_least=0)


def waiting() -> AnyPanel:
    """Whether ClickHouse is waited for."""
    about = _about(
        "waiting",
        "Waiting for ClickHouse",
        "waiting: how long a processor has kept its batch because ClickHouse is busy or away; nothing is lost. "
        "registry_age: since contracts and baselines were read last. Reports are written to ClickHouse too, so while "
        "it is away nothing is drawn: /metrics tells it then.",
        UNITS.seconds,
    )
    return graph(about, pipeline.WAITING, at_least=0)


def healthy() -> AnyPanel:
    """What /healthz answers."""
    about = _about("healthy", "Healthy", "1 while /healthz of a processor answers 200, 0 while it answers 503.")
    return graph(about, pipeline.HEALTHY, at_least=0)


def memory() -> AnyPanel:
    """Memory of processors."""
    about = _about("memory", "Memory", "What lies in RAM of each processor (resident set).", UNITS.bytes)
    return graph(about, pipeline.MEMORY, at_least=0)


def cpu() -> AnyPanel:
    """Processor time."""
    about = _about("cpu", "CPU", "Share of one core that each processor uses.", UNITS.share)
    return graph(about, pipeline.CPU, at_least=0)


def events() -> AnyPanel:
    """Events by what became of them."""
    about = _about(
        "events",
        "Events by outcome",
        "counted by the sketcher, recorded by the recorder, merged by the monitor (late: of these, after their pane "
        "was sealed), scored by the scorer, dead where they were put aside. What is read again after a restart is "
        "counted again here, and nowhere else.",
        UNITS.count,
    )
    return graph(about, pipeline.EVENTS, counted=True, at_least=0)


def put_aside() -> AnyPanel:
    """Dead letters and lost offsets, by processor."""
    about = _about(
        "put_aside",
        "Put aside or lost, by processor",
        "dead_letters by reason, as processors met them; offsets_lost is what retention took before it was read.",
        UNITS.count,
    )
    return graph(about, pipeline.PUT_ASIDE, counted=True, at_least=0)


def inserted() -> AnyPanel:
    """Rows written."""
    about = _about("inserted", "Rows inserted", "Rows that ClickHouse took, by processor and table.", UNITS.count)
    return graph(about, pipeline.INSERTED, counted=True, at_least=0)


def scored() -> AnyPanel:
    """What the scorer measured."""
    about = _about(
        "scored", "Windows scored", "Windows whose performance was measured (new), and revised figures.", UNITS.count
    )
    return graph(about, pipeline.SCORED, counted=True, at_least=0)


def rows() -> list[Row]:
    """The page from the top down."""
    return [
        Row(
            "Now, at the end of the range",
            (
                Placed(lag_now(), 4, 4),
                Placed(silent(), 4, 4),
                Placed(completeness_now(), 4, 4),
                Placed(late_now(), 4, 4),
                Placed(dead_letters_now(), 4, 4),
                Placed(duplicates_now(), 4, 4),
                Placed(processors(), 24, 8),
            ),
        ),
        Row("Keeping up", (Placed(lag(), 12, 8), Placed(rate(), 12, 8), Placed(sealed_age(), 24, 7))),
        Row("Lost", (Placed(completeness(), 24, 7), Placed(losses(), 12, 8), Placed(producer_gaps(), 12, 8))),
        Row(
            "Late, put aside, doubled",
            (
                Placed(late(), 12, 7),
                Placed(dead_letters(), 12, 7),
                Placed(duplicates(), 12, 7),
                Placed(unknown_labels(), 12, 7),
            ),
            folded=True,
        ),
        Row(
            "Inside the processors",
            (
                Placed(committed_age(), 8, 8),
                Placed(watchdog(), 8, 8),
                Placed(waiting(), 8, 8),
                Placed(insert_times(), 8, 8),
                Placed(retries(), 8, 8),
                Placed(healthy(), 8, 8),
                Placed(events(), 12, 8),
                Placed(put_aside(), 12, 8),
                Placed(inserted(), 12, 8),
                Placed(scored(), 12, 8),
                Placed(memory(), 12, 8),
                Placed(cpu(), 12, 8),
            ),
            folded=True,
        ),
    ]
