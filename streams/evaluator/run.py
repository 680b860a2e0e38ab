"""Entry point of the evaluator's process."""

from contextlib import closing
from functools import partial
from pathlib import Path

from barograph_server.streams.broker.acl import require_acls
from barograph_server.streams.broker.consumer_lag import SourceTopic
from barograph_server.streams.evaluator.active import ActiveEvaluators
from barograph_server.streams.evaluator.anchor_schedule import AnchorSchedule
from barograph_server.streams.evaluator.judge_evaluators import JudgeEvaluators
from barograph_server.streams.evaluator.settings import EvaluatorSettings
from barograph_server.streams.evaluator.worker import GROUP, EvaluatorProcessor
from barograph_server.streams.run import ProcessorServices, run_processor
from barograph_server.streams.runtime.lifecycle import ShutdownSignal
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.client import connect


def run_evaluator(settings: ProcessorSettings, evaluator: EvaluatorSettings) -> int:
    """Run an evaluator until SIGTERM or SIGINT; return the exit code."""

    def work(services: ProcessorServices, shutdown: ShutdownSignal) -> None:
        require_acls(settings, "evaluator")
        judges = JudgeEvaluators(evaluator, shutdown.requested.wait)
        evaluators = ActiveEvaluators(services.registry, Path(evaluator.folder), judges.build)
        processor = EvaluatorProcessor(settings, evaluator, evaluators, services.report)
        first = settings.topics.predictions, 0
        schedule = AnchorSchedule(
            evaluators,
            partial(connect, settings.warehouse),
            # One process of the group has this partition, so that one process judges the anchors.
            is_responsible=lambda: first in processor.assigned_partitions(),
            stop=shutdown.requested,
        )
        schedule.start()
        with closing(judges):
            sources = [SourceTopic(name, label) for name, label in processor.topics.items()]
            services.run(processor, GROUP, sources, shutdown)

    return run_processor("evaluator", settings, work)
