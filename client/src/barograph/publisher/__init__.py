"""The publisher: a bounded queue between a serving process and Kafka."""
