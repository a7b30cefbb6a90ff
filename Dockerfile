# syntax=docker/dockerfile:1
# A server in a small image: `docker build -t lorank .`, or as a part of docker-compose.yml. For an NVIDIA GPU:
# `docker build --target gpu -t lorank:gpu .`, then `docker run --gpus all ...`.

FROM rust:1-trixie AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin lorank \
 && strip -o /usr/local/bin/lorank target/release/lorank

FROM debian:trixie-slim AS run
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin lorank \
 && install -d -o lorank -g lorank /data /data/index /data/adapters /data/models
COPY --from=build /usr/local/bin/lorank /usr/local/bin/lorank
USER lorank
WORKDIR /data
# Models from the Hub are kept on the volume.
ENV HF_HOME=/data/models LORANK_DATA=/data/lorank
VOLUME /data
EXPOSE 7788
# Alive, and not ready: a busy server is not helped by a restart. A base model from the Hub is downloaded before the first answer.
HEALTHCHECK --interval=15s --timeout=5s --retries=3 --start-period=5m CMD ["lorank", "health"]
# Asks for a polite end: requests under way are finished, within `shutdown_millis`.
STOPSIGNAL SIGTERM
ENTRYPOINT ["lorank"]
# Without keys it may listen to its own container alone; docker-compose.yml publishes it to the host's loopback.
CMD ["serve", "--index", "/data/index", "--listen", "0.0.0.0:7788", "--no-keys"]

# The libraries that the program looks for when it is told to use a GPU; the driver is the host's.
FROM python:3-slim-trixie AS cuda
RUN pip install --no-cache-dir --no-deps --target /cuda nvidia-cublas-cu12==12.9.3.13 nvidia-cuda-nvrtc-cu12==12.9.86

FROM run AS gpu
COPY --from=cuda /cuda/nvidia/cublas/lib/libcublasLt.so.12 /cuda/nvidia/cuda_nvrtc/lib/ /usr/local/lib/
USER root
RUN ldconfig
USER lorank
# What NVIDIA's container runtime adds.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
ENV LORANK_DEVICE=cuda:0

# The last stage is what a build without `--target` makes.
FROM run
