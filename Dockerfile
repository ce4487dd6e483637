# docker build -t greenserve .
# docker run --rm -p 8000:8000 -v "$PWD":/app greenserve myapp:app
#
# An application with dependencies has an image of its own on top of this one:
#   FROM greenserve
#   USER root
#   RUN pip install --no-cache-dir flask
#   USER 10001:10001
#   COPY . .
#   CMD ["myapp:app"]
#
# `docker stop` kills what has not ended after 10 seconds, so requests in progress have 8 here. To give them more, say both:
# docker run --stop-timeout 40 -e GREENSERVE_GRACEFUL_TIMEOUT=30 ... (in Kubernetes: terminationGracePeriodSeconds).

# The compiler and the sources stay in this stage; the environment alone goes on.
FROM python:3.13-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# The dependencies, those for rooms on Redis included, are a layer of their own, which a change of the sources leaves cached.
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY greenserve/version.py ./greenserve/version.py
RUN python -m venv /opt/greenserve \
    && GREENSERVE_COMPILED=no /opt/greenserve/bin/pip install --no-cache-dir --disable-pip-version-check ".[redis]"
COPY greenserve ./greenserve
# With the compiled codec: no image comes out without it.
RUN GREENSERVE_COMPILED=yes \
    /opt/greenserve/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --force-reinstall .

FROM python:3.13-slim-bookworm
LABEL org.opencontainers.image.title="greenserve" \
      org.opencontainers.image.licenses="MIT"
# The same path as in the build stage: an environment's scripts name their interpreter by its full path.
COPY --from=build /opt/greenserve /opt/greenserve
# 0.0.0.0 is the container's own network; what of it is published, `docker run -p` says.
ENV PATH=/opt/greenserve/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GREENSERVE_BIND=0.0.0.0:8000 \
    GREENSERVE_GRACEFUL_TIMEOUT=8
# By number, so that an orchestrator can see that it is not root.
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin greenserve
WORKDIR /app
USER 10001:10001
EXPOSE 8000
# It asks where the server was told to listen, by `--bind` too. Anything but a server error is healthy: an application need
# not have a page at /.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["greenserve", "health"]
ENTRYPOINT ["greenserve"]
CMD ["demo"]
