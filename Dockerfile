# syntax=docker/dockerfile:1
# A server in a small image: `docker build -t lorank .`, or as a part of docker-compose.yml.

FROM rust:1-trixie AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin lorank \
 && strip -o /usr/local/bin/lorank target/release/lorank

FROM debian:trixie-slim
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
