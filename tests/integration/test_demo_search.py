"""The search of the LLM demo reads every message of the run, also what follows an aborted transaction."""

from __future__ import annotations

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from cli.demo.llm.search import topics_with
from cli.settings import Settings
from local.kafka import LocalKafka

SECRET = "4556 7375 8689 9855"


def test_a_text_is_found_in_keys_and_values_of_the_topics_of_the_run(broker: LocalKafka, topic_prefix: str) -> None:
    settings = Settings(bootstrap_servers=broker.bootstrap_servers, topic_prefix=topic_prefix)
    topics = {name: f"{topic_prefix}{name}" for name in ("clean", "keys", "values")}
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    for future in admin.create_topics([NewTopic(topic, 2, 1) for topic in topics.values()]).values():
        future.result(30)
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "transactional.id": topic_prefix})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topics["clean"], SECRET.encode(), partition=0)
    producer.flush(30)
    producer.abort_transaction(30)
    producer.begin_transaction()
    producer.produce(topics["clean"], b"an answer", partition=0)
    producer.produce(topics["keys"], b"an answer", f"card {SECRET}".encode(), partition=1)
    producer.produce(topics["values"], f"My card is {SECRET}.".encode(), partition=0)
    producer.commit_transaction(30)
    assert topics_with(settings, SECRET) == (3, [topics["keys"], topics["values"]])
    assert topics_with(settings, "another text") == (3, [])
