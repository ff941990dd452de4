# syntax=docker/dockerfile:1
# docker build -f docker/cuda.Dockerfile -t flownet-engine:cuda .

# The compiler and CUDA's headers are for PyCUDA, which has no wheels.
FROM nvidia/cuda:13.0.2-cudnn-devel-ubuntu24.04 AS build
# hadolint ignore=DL3008
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    apt-get update \
    && apt-get install --no-install-recommends --yes g++ python3-dev python3-venv
WORKDIR /source
COPY . .
# ONNX Runtime for CPU and for CUDA own the same folder.
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /opt/flow \
    && /opt/flow/bin/pip install --constraint constraints.txt '.[video,serve]' pycuda==2026.1 \
    && /opt/flow/bin/pip uninstall --yes onnxruntime \
    && /opt/flow/bin/pip install --constraint constraints.txt onnxruntime-gpu==1.31.1

FROM nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04 AS runtime
# hadolint ignore=DL3008
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    apt-get update \
    && apt-get install --no-install-recommends --yes python3
COPY --from=build /opt/flow /opt/flow
ENV PATH=/opt/flow/bin:$PATH FLOWNET_ENGINE_CACHE=/var/cache/flow
# Writable for everybody: `docker run --user` takes any number.
RUN useradd --uid 10001 flow && install -d -m 1777 /var/cache/flow
USER 10001
WORKDIR /data
ENTRYPOINT ["flow"]

# --target serve: the server, which needs a token (docs/serving.md).
FROM runtime AS serve
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python3", "-c", \
    "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=4)"]
CMD ["serve", "--host", "0.0.0.0", "--backend", "onnxruntime-cuda"]

FROM runtime AS flow
CMD ["doctor"]
