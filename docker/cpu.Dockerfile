# syntax=docker/dockerfile:1
# docker build -f docker/cpu.Dockerfile -t flownet-engine .

# The compiler is for the operators for OpenVINO.
FROM python:3.12.12-slim-bookworm AS build
# hadolint ignore=DL3008
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    apt-get update \
    && apt-get install --no-install-recommends --yes g++
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /opt/flow \
    && /opt/flow/bin/pip install --constraint constraints.txt '.[openvino,video,serve]'

FROM python:3.12.12-slim-bookworm AS runtime
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
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", \
    "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=4)"]
CMD ["serve", "--host", "0.0.0.0"]

FROM runtime AS flow
CMD ["doctor"]
