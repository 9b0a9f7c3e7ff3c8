# The trading daemon. Non-root, root file system read-only at run time, one volume: /data.
#   docker build -t trading-daemon .
#   docker run --stop-timeout 100 --read-only --tmpfs /tmp -v td-data:/data trading-daemon start --mode demo
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS build
WORKDIR /app
COPY requirements.lock build-constraints.txt ./
RUN python3 -m venv /venv \
 && PIP_CONSTRAINT=/app/build-constraints.txt /venv/bin/pip install --no-cache-dir --disable-pip-version-check \
    --require-hashes -r requirements.lock

FROM ${BASE}
RUN useradd --uid 10001 --user-group --create-home --home-dir /home/trader trader \
 && install -d -o trader -g trader -m 0700 /data
COPY --from=build /venv /venv
WORKDIR /app
COPY run.py ./
COPY actors ./actors
COPY supervision ./supervision
COPY config ./config
COPY commands ./commands
COPY simulator ./simulator
RUN /venv/bin/python -m compileall -q /app
USER 10001:10001
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TRADING_DAEMON_DATA=/data
VOLUME /data
STOPSIGNAL SIGTERM
# Whether the tree is alive, HALTED and KILLED included: a healer must not restart what an operator stopped.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "run.py", "status", "--live"]
ENTRYPOINT ["python", "run.py"]
# The mode is always said: `start --mode demo`, `start --mode dry_run`.
CMD ["start", "--help"]
