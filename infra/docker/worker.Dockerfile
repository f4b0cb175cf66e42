# A GPU node of the Ray cluster.
#   docker build -f infra/docker/worker.Dockerfile -t REGISTRY/llavaflow-worker:TAG .
# PYTHON_IMAGE as in driver.Dockerfile. CUDA_IMAGE is where nvcc comes from, which DeepSpeed asks after; torch brings its
# own CUDA libraries, and the two have to be of one major version.
ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm
ARG CUDA_IMAGE=nvidia/cuda:13.0.1-devel-ubuntu22.04

FROM ${CUDA_IMAGE} AS cuda

FROM ${PYTHON_IMAGE} AS build
RUN apt-get update && apt-get install --yes --no-install-recommends g++ make && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/llavaflow
COPY . .
# The lock leaves CUDA's packages out (infra/setup/excluded.txt): torch's CUDA build pins them itself.
ARG TORCH_INDEX_URL=""
RUN make setup \
    && .venv/bin/uv pip install --python .venv/bin/python --reinstall-package torch \
       ${TORCH_INDEX_URL:+--index-url ${TORCH_INDEX_URL}} "$(grep --max-count=1 '^torch==' requirements.lock | cut -d';' -f1)" \
    && .venv/bin/python -c "import torch; assert torch.version.cuda, 'this torch knows no CUDA: set TORCH_INDEX_URL'"

FROM ${PYTHON_IMAGE}
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --shell /usr/sbin/nologin llavaflow \
    && mkdir --parents /var/llavaflow && chown llavaflow:llavaflow /var/llavaflow
COPY --from=cuda /usr/local/cuda-13.0 /usr/local/cuda
COPY --from=build /opt/llavaflow /opt/llavaflow
COPY --chmod=0755 infra/docker/entrypoint.sh /usr/local/bin/llavaflow-entrypoint
ENV PATH=/opt/llavaflow/.venv/bin:/usr/local/cuda/bin:$PATH PYTHONPATH=/opt/llavaflow PYTHONUNBUFFERED=1 \
    CUDA_HOME=/usr/local/cuda LLAVAFLOW_ROOT=/var/llavaflow/runs TORCH_EXTENSIONS_DIR=/var/llavaflow/torch_extensions \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /opt/llavaflow
USER 10001:10001
ENTRYPOINT ["llavaflow-entrypoint"]
CMD ["llavaflow", "--help"]
