/* librdkafka from C: fetch the messages of a partition in batches, and discard them.

   consume TOPIC MESSAGES [SETTING VALUE]… prints the number of messages and the CPU time of the process (user and system,
   all threads) in seconds. The declarations are those of librdkafka's rdkafka.h, which confluent-kafka's wheel lacks. */

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/types.h>

typedef struct {
	int err; /* the first member of rd_kafka_message_t; the others are not read */
} message_t;

void *rd_kafka_conf_new(void);
int rd_kafka_conf_set(void *conf, const char *name, const char *value, char *error, size_t size);
void *rd_kafka_new(int type, void *conf, char *error, size_t size);
void *rd_kafka_topic_new(void *client, const char *topic, void *conf);
void *rd_kafka_queue_new(void *client);
int rd_kafka_consume_start_queue(void *topic, int partition, long long offset, void *queue);
ssize_t rd_kafka_consume_batch_queue(void *queue, int timeout_ms, message_t **messages, size_t size);
void rd_kafka_message_destroy(message_t *message);

enum { CONSUMER = 1, BATCH = 10000, BEGINNING = -2 };

static double cpu_s(void) {
	struct rusage used;
	getrusage(RUSAGE_SELF, &used);
	return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void fail(const char *error) {
	fprintf(stderr, "%s\n", error);
	exit(1);
}

int main(int n_arguments, char **arguments) {
	static message_t *messages[BATCH];
	char error[512];
	size_t n = 0, expected = strtoull(arguments[2], NULL, 10);
	void *conf = rd_kafka_conf_new();
	for (int i = 3; i + 1 < n_arguments; i += 2)
		if (rd_kafka_conf_set(conf, arguments[i], arguments[i + 1], error, sizeof error))
			fail(error);
	void *client = rd_kafka_new(CONSUMER, conf, error, sizeof error);
	if (!client)
		fail(error);
	void *queue = rd_kafka_queue_new(client);
	double began = cpu_s();
	if (rd_kafka_consume_start_queue(rd_kafka_topic_new(client, arguments[1], NULL), 0, BEGINNING, queue))
		fail("the partition cannot be read");
	while (n < expected) {
		ssize_t size = rd_kafka_consume_batch_queue(queue, 100, messages, BATCH);
		for (ssize_t i = 0; i < size; i++) {
			if (messages[i]->err)
				fail("the partition cannot be read to its end");
			rd_kafka_message_destroy(messages[i]);
		}
		n += size > 0 ? size : 0;
	}
	printf("%zu %.6f\n", n, cpu_s() - began);
	fflush(stdout);
	_Exit(0); /* librdkafka's own end would wait for its threads */
}
