"""The process of the local language model; arguments are MODEL PORT SLOTS CONTEXT NAME.

It serves the interface of OpenAI on the loopback address until SIGTERM.
"""

import signal
import sys

import xllamacpp

THREADS = 1
"""With two threads on two busy cores the server is ten times slower, because its threads wait for each other."""


def main(model: str, port: str, slots: str, context: str, name: str) -> None:
    """Serve a model until SIGTERM.

    Args:
        model: path of the GGUF file.
        slots: number of requests at the same time.
        context: tokens of all slots together.
        name: what answers call the model; without one it would be the file's path.
    """
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx, params.n_parallel = int(context), int(slots)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    params.hostnames, params.port = ["127.0.0.1"], int(port)
    params.model_alias = {name}
    params.endpoint_metrics = True
    params.warmup = True
    server = xllamacpp.Server(params)  # noqa: F841 - it serves as long as it is referenced
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main(*sys.argv[1:])
