# syntax=docker/dockerfile:1
# A small image with one binary: `docker build -t pullgate .`
#
# Not built where this project is developed (no container engine can pull base images there). What was proven instead: `tests/chart/run --install`
# assembles an image of the same contents (the binary, the libraries it is linked against, CA certificates, users) with the USER, ENTRYPOINT
# and CMD written here, pushes it to a registry, and runs it as pods in a real cluster. Report a build that fails.

FROM rust:1.95-slim-bookworm AS build
# A C compiler for aws-lc-sys; cmake and nasm are not needed for this target.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev ca-certificates \
 && rm -rf /var/lib/apt/lists/*
# Writes the list of dependencies into the binary (section .dep-v0), where scanners of images find it: the SBOM goes with the program.
RUN cargo install --locked cargo-auditable@0.7.7
# Seeds come from the kernel alone. Otherwise AWS-LC gathers some from the processor's jitter as well when TLS is first used, which is
# two fifths of the processor time of a short command.
ENV AWS_LC_SYS_NO_JITTER_ENTROPY=1
WORKDIR /src
# Dependencies first, in a layer of their own: they change seldom and take most of the time.
COPY Cargo.toml Cargo.lock ./
# (cargo refuses a manifest whose benches are not there; they are not built.)
RUN mkdir src benches \
 && echo 'fn main() {}' > src/main.rs \
 && touch src/lib.rs benches/gate.rs benches/throughput.rs \
 && cargo auditable build --locked --profile dist \
 && rm -rf src
COPY src src
# The stand-ins above are newer than the copied sources: without this, cargo would think them built.
RUN find src -name '*.rs' -exec touch {} + \
 && cargo auditable build --locked --profile dist

# glibc and nothing to log in with. Same Debian release as the build stage: the binary is linked against its glibc.
FROM gcr.io/distroless/cc-debian12:nonroot
# The roots that registries are checked against. (The base image has them too; this says that they are needed.)
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/dist/pullgate /usr/local/bin/pullgate
# By number, so that `runAsNonRoot` can be checked without a look into the image.
USER 65532:65532
EXPOSE 8443 8080
ENTRYPOINT ["/usr/local/bin/pullgate"]
CMD ["serve"]
