# The service in a container:
#
#   docker build -t omnizap .
#   docker run --rm -p 127.0.0.1:8008:8008 -v omnizap-data:/data omnizap
#
# With a larger model inside, so that no copy has to fetch it (`omnizap models list` names them and
# what each may be used for):
#
#   docker build -t omnizap --build-arg MODEL=ViT-B-16-SigLIP2 .
#
# Pipelines of your own go to /etc/omnizap/pipelines, settings into the environment.

ARG RUST_VERSION=1.94
ARG DEBIAN=trixie

FROM rust:${RUST_VERSION}-slim-${DEBIAN} AS build
WORKDIR /src
COPY . .
# What was fetched and built stays with the builder, so that a second build takes only what changed.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked --bin omnizap \
    && install -D target/release/omnizap /out/omnizap

FROM debian:${DEBIAN}-slim AS base
# The certificates are for models, language models and databases that are asked over TLS.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 omnizap \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data \
        --shell /usr/sbin/nologin omnizap \
    && install -d -o 10001 -g 10001 /data /models /etc/omnizap
COPY --from=build /out/omnizap /usr/local/bin/omnizap
COPY LICENSE-MIT LICENSE-APACHE NOTICE /usr/share/doc/omnizap/
ENV HF_HOME=/models

# Fetches a model and keeps it folded, as the first start would. Without MODEL there is nothing in it.
FROM base AS model
ARG MODEL=""
ARG MODEL_TAG=""
# For models whose licence allows research only: any text says that yours is.
ARG ACCEPT_LICENCE=""
RUN if [ -n "$MODEL" ]; then \
        path=$(omnizap models pull "$MODEL${MODEL_TAG:+:$MODEL_TAG}" \
            ${ACCEPT_LICENCE:+--accept-licence}) \
        && omnizap models import "$path" --model "$MODEL"; \
    fi

FROM base
ARG MODEL=""
ARG MODEL_TAG=""
COPY --from=model --chown=10001:10001 /models /models
# One that is set to nothing counts as not set: without MODEL the one in the program answers.
ENV OMNIZAP_LISTEN=:8008 \
    OMNIZAP_DATA=/data \
    CLIP_MODEL_NAME=${MODEL} \
    CLIP_MODEL_PRETRAINED=${MODEL_TAG}
# As a number, so that Kubernetes can see that it is not root.
USER 10001:10001
WORKDIR /etc/omnizap
VOLUME /data
EXPOSE 8008
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["omnizap", "health"]
ENTRYPOINT ["omnizap"]
CMD ["serve"]
