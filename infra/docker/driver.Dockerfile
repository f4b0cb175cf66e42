# The driver: flow runs, the Ray head, commands. No GPU libraries.
#   docker build -f infra/docker/driver.Dockerfile -t REGISTRY/llavaflow-driver:TAG .
# PYTHON_IMAGE has to be the very one of worker.Dockerfile: Ray wants the same Python on every node. Pin it by digest
# where the registry is at hand: --build-arg PYTHON_IMAGE=python:3.11.15-slim-bookworm@sha256:...
ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
# The compiler is for DeepSpeed's all-reduce, which set-up compiles once.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ make && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/llavaflow
COPY . .
# Index of torch builds without CUDA; empty takes what the default index has.
ARG PIP_EXTRA_INDEX_URL=""
RUN PIP_EXTRA_INDEX_URL="${PIP_EXTRA_INDEX_URL}" make setup
# The driver of LLAVAFLOW_LEDGER_URL=postgresql+psycopg://...
RUN .venv/bin/uv pip install --python .venv/bin/python "psycopg[binary]==3.3.9"

FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin llavaflow \
    && mkdir --parents /var/llavaflow && chown llavaflow:llavaflow /var/llavaflow
# The same folder as where it was built: an environment knows its own path.
COPY --from=build /opt/llavaflow /opt/llavaflow
COPY --chmod=0755 infra/docker/entrypoint.sh /usr/local/bin/llavaflow-entrypoint
ENV PATH=/opt/llavaflow/.venv/bin:$PATH PYTHONPATH=/opt/llavaflow PYTHONUNBUFFERED=1 LLAVAFLOW_ROOT=/var/llavaflow/runs \
    DS_ACCELERATOR=cpu TORCH_EXTENSIONS_DIR=/opt/llavaflow/.venv/torch_extensions
WORKDIR /opt/llavaflow
USER 10001:10001
ENTRYPOINT ["llavaflow-entrypoint"]
CMD ["llavaflow", "--help"]
