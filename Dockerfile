# syntax=docker/dockerfile:1
# One image for each program, and one with all of them, which is the default and
# what deploy/k8s runs:
#
#   docker build .                     all programs, at /
#   docker build --target ingest .     one
#
# hack/verify-images does the steps of the stage "build" without an engine.
ARG GO_VERSION=1.26

FROM golang:${GO_VERSION} AS build
# What is stamped into the programs: hack/images and the release set it.
ARG VERSION=development
WORKDIR /src
# Modules first: they change seldom.
COPY go.work go.work.sum ./
COPY pkg/go.mod pkg/go.sum ./pkg/
COPY services/go.mod services/go.sum ./services/
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY pkg ./pkg
COPY services ./services
COPY hack/build-image ./hack/build-image
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    hack/build-image /out "$VERSION"

# Nothing but certificates of authorities, a folder for temporary files, and the
# program. Users are numbers: there is no /etc/passwd.
FROM scratch AS root
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
USER 65532:65532
LABEL org.opencontainers.image.title="Posthaste" \
      org.opencontainers.image.description="Parcel tracking and push" \
      org.opencontainers.image.licenses="Apache-2.0"

FROM root AS ingest
COPY --from=build /out/ingest /ingest
ENTRYPOINT ["/ingest"]

FROM root AS normalizer
COPY --from=build /out/normalizer /normalizer
ENTRYPOINT ["/normalizer"]

FROM root AS subscription
COPY --from=build /out/subscription /subscription
ENTRYPOINT ["/subscription"]

FROM root AS delivery
COPY --from=build /out/delivery /delivery
ENTRYPOINT ["/delivery"]

FROM root AS poller
COPY --from=build /out/poller /poller
ENTRYPOINT ["/poller"]

FROM root AS posthaste
COPY --from=build /out/ /
ENTRYPOINT ["/posthaste"]
