# One image for every process: workers, beat, Flower and the strata command differ in their arguments only.
#
#   docker build -t strata .
#   docker run --rm strata worker -n seal@%h -Q strata.seal -c 2
#   docker run --rm strata beat | flower | strata --help

FROM python:3.11-slim-bookworm AS builder

# The environment is copied as it is, so it must stand at its final place from the beginning.
RUN python -m venv /opt/strata
ENV PATH=/opt/strata/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1

WORKDIR /build
# Dependencies first: they change less often than the code, and this layer is kept as long as they do not.
COPY requirements.txt requirements-build.txt ./
# Wheels only: nothing is compiled here, and no setup.py of others is run.
RUN pip install --only-binary :all: --require-hashes -r requirements.txt -r requirements-build.txt

COPY pyproject.toml README.md beat_schedule.py ./
COPY strata strata
COPY tasks tasks
COPY workers workers
# Without isolation the pinned build backend is used, and nothing more is fetched.
RUN pip install --no-deps --no-build-isolation . \
    && pip uninstall --yes setuptools pip


FROM python:3.11-slim-bookworm

# What can install packages has no work to do here.
RUN python -m pip uninstall --yes setuptools wheel pip

# A fixed id, so that volumes, secrets and security policies can name it. The folders exist, and are its own, because
# a new named volume takes over the owner and the mode of the folder it covers.
RUN groupadd --gid 10001 strata \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/strata --shell /usr/sbin/nologin strata \
    && install -d -m 0700 -o 10001 -g 10001 \
        /var/lib/strata /var/lib/strata/spool /var/lib/strata/backups /var/lib/strata/beat /var/lib/strata/keys \
        /var/lib/strata/cache

COPY --from=builder /opt/strata /opt/strata
COPY --chmod=0555 docker-entrypoint.sh /usr/local/bin/strata-entrypoint

ENV PATH=/opt/strata/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1

# By number: Kubernetes' runAsNonRoot cannot judge a name.
USER 10001:10001
WORKDIR /var/lib/strata

# What is alive depends on the role (`python -m workers.probe ROLE`, Flower's /healthcheck), so the probes stand where
# the roles do: in docker-compose.yml and in the chart.
HEALTHCHECK NONE

# Celery ends warmly on SIGTERM: it finishes its stages. Give it STRATA_STAGE_SECONDS + 60 s before the kill.
STOPSIGNAL SIGTERM

ENTRYPOINT ["strata-entrypoint"]
CMD ["strata", "--help"]
