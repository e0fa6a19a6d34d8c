# docker build --target lakedrop -t lakedrop:local .

FROM python:3.12.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
RUN python -m venv /opt/lakedrop
WORKDIR /src
COPY requirements.lock requirements-dev.lock ./
RUN /opt/lakedrop/bin/pip install --require-hashes --only-binary :all: -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY consumer consumer
COPY handlers handlers
# What builds the wheel stays out of the image; the lock of the development tools has it.
RUN sed -n '/^setuptools==/,/[^\\]$/p' requirements-dev.lock >build.lock \
  && pip install --require-hashes --only-binary :all: -r build.lock \
  && pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . && /opt/lakedrop/bin/pip install --no-deps /wheels/*.whl \
  && /opt/lakedrop/bin/pip uninstall --yes pip

FROM python:3.12.13-slim-bookworm AS lakedrop
# A new named volume takes the owner of the folder it is mounted on; without such a folder it is root's.
RUN useradd --system --uid 10001 --home-dir /var/lib/lakedrop --create-home lakedrop \
  && mkdir /definitions /var/lib/lakedrop/silo && chown lakedrop /definitions /var/lib/lakedrop/silo
COPY --from=build /opt/lakedrop /opt/lakedrop
ENV PATH=/opt/lakedrop/bin:$PATH LAKEDROP_HOME=/var/lib/lakedrop LAKEDROP_LOG_FORMAT=json PYTHONDONTWRITEBYTECODE=1
USER lakedrop
WORKDIR /var/lib/lakedrop
VOLUME /var/lib/lakedrop
EXPOSE 8410
STOPSIGNAL SIGTERM
# A process that serves no page, as set-up and bridge do, needs LAKEDROP_LISTEN set and empty: then there is nothing to ask.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["lakedrop", "health"]
ENTRYPOINT ["lakedrop"]
CMD ["run"]

# `silo-import` alone, with the few packages it needs. docker build --target silo-import -t lakedrop-silo-import .
FROM build AS silo-build
RUN python -m venv /opt/silo
COPY requirements-silo.lock ./
RUN /opt/silo/bin/pip install --require-hashes --only-binary :all: -r requirements-silo.lock \
  && /opt/silo/bin/pip install --no-deps /wheels/*.whl && /opt/silo/bin/pip uninstall --yes pip

FROM python:3.12.13-slim-bookworm AS silo-import
RUN useradd --system --uid 10001 lakedrop && mkdir /preprocessing && chown lakedrop /preprocessing
COPY --from=silo-build /opt/silo /opt/silo
ENV PATH=/opt/silo/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER lakedrop
VOLUME /preprocessing
STOPSIGNAL SIGTERM
ENTRYPOINT ["silo-import"]
