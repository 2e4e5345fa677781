# The image holds the static binary and an empty folder for control's state, and
# nothing else. GO_IMAGE may be any image with the Go toolchain of go.mod.
ARG GO_IMAGE=golang:1.26
FROM ${GO_IMAGE} AS build
WORKDIR /out/state
WORKDIR /src
COPY . .
ENV CGO_ENABLED=0
RUN ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", "/out/bin/hoplab", "./cmd/hoplab"]

FROM scratch
COPY --from=build /out/bin/hoplab /bin/hoplab
COPY --from=build --chown=65532:65532 /out/state /state
USER 65532:65532
ENV PATH=/bin HOPLAB_STATE=/state
ENTRYPOINT ["/bin/hoplab"]
CMD ["help"]
