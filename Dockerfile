# The image of the processors and the `barograph` command. docker-compose.yml runs it as each processor and as `apply`.

ARG PYTHON_IMAGE=python:3.12-slim
ARG RUST_IMAGE=rust:1.95-slim
FROM ${RUST_IMAGE} AS rust
FROM ${PYTHON_IMAGE} AS build
ENV UV_PYTHON_DOWNLOADS=never \
    UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1
WORKDIR /app
COPY tools/uv.txt tools/uv.txt
RUN pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes --requirement tools/uv.txt
# Rust and its linker, for barograph-native.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -r /var/lib/apt/lists
COPY --from=rust /usr/local/cargo /usr/local/cargo
COPY --from=rust /usr/local/rustup /usr/local/rustup
ENV CARGO_HOME=/usr/local/cargo RUSTUP_HOME=/usr/local/rustup PATH=/usr/local/cargo/bin:$PATH
COPY . .
# Installs the locked packages, without development tools and without the local stack, which the compose file replaces by servers, and
# the wheels of this project, which equal those of `make dist`.
RUN uv sync --locked --no-default-groups --extra server --extra text --no-install-workspace
RUN uv build --all-packages --out-dir dist/packages
RUN uv pip install --python .venv --no-index --no-deps dist/packages/*.whl

FROM ${PYTHON_IMAGE}
RUN useradd --uid 1000 --create-home barograph
COPY --from=build /app/.venv /app/.venv
COPY --from=build /app/LICENSE /app/LICENSE
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1
# Of the processor that the container runs; it exits after an unrecoverable error, or its watchdog ends it.
HEALTHCHECK --interval=15s --timeout=10s --retries=3 --start-period=60s CMD ["python", "-m", "barograph_server.streams.health"]
USER barograph
WORKDIR /home/barograph
ENTRYPOINT ["barograph"]
CMD ["--help"]
