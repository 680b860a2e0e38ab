// Publishes one prediction and waits until Kafka has it:
// java -cp 'kafka-clients.jar:slf4j-api.jar' Producer.java kafka:9092 [predictions]

import java.util.Map;
import java.util.Properties;
import java.util.stream.Collectors;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

public class Producer {
    /** The members of docs/events.md that this program knows. */
    record Prediction(
            String model, String version, String id, long atMs, Map<String, ?> features, double score, double latencyMs) {
        String json() {
            return "{\"model\":%s,\"version\":%s,\"id\":%s,\"at\":%d,\"features\":%s,\"score\":%s,\"latency_ms\":%s}"
                    .formatted(text(model), text(version), text(id), atMs, object(features), score, latencyMs);
        }
    }

    /** A few lines instead of a JSON library: numbers must be finite, and texts are escaped. */
    static String value(Object value) {
        return value instanceof Number || value instanceof Boolean ? value.toString() : text(value.toString());
    }

    static String object(Map<String, ?> members) {
        return members.entrySet().stream()
                .map(member -> text(member.getKey()) + ":" + value(member.getValue()))
                .collect(Collectors.joining(",", "{", "}"));
    }

    static String text(String text) {
        return text.codePoints()
                .mapToObj(c -> c < 0x20 || c == '"' || c == '\\' ? "\\u%04x".formatted(c) : Character.toString(c))
                .collect(Collectors.joining("", "\"", "\""));
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length < 1) {
            throw new IllegalArgumentException("usage: Producer BOOTSTRAP_SERVERS [TOPIC]");
        }
        String topic = arguments.length > 1 ? arguments[1] : "predictions";
        Properties settings = new Properties();
        // acks=all and idempotence are defaults.
        settings.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, StringSerializer.class);
        settings.put(ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, StringSerializer.class);
        Prediction prediction = new Prediction(
                "flight-delay", "3", "java-1", System.currentTimeMillis(),
                Map.of("temp", 71.6, "carrier", "B6"), 0.73, 12.3);
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings)) {
            // A server does not call get(), and counts the exceptions of a callback.
            producer.send(new ProducerRecord<>(topic, prediction.json())).get();
        }
    }
}
