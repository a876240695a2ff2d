# BrainAnomaly on CPUs as a BIDS App; docs/cohorts.md says how to use it. Only building needs the network.
#     docker build --tag brain-anomaly .
#     docker run --rm --network none -v /data/bids:/bids:ro -v /data/out:/out brain-anomaly /bids /out participant
FROM python:3.12-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE.txt ./
COPY Resources Resources
COPY BrainAnomaly BrainAnomaly
COPY BrainAnomalyTraining BrainAnomalyTraining
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim-bookworm
ARG TORCH="torch>=2.4"
COPY --from=build /wheels /wheels
# torch for CPUs first: what the package index gives otherwise brings CUDA along. The wheel is named by its file.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu "$TORCH" \
    && pip install --no-cache-dir "brain-anomaly[cohort,dicom] @ file://$(ls /wheels/*.whl)" \
    && rm -r /wheels \
    && useradd --create-home --uid 1000 anomaly
ENV MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONSAFEPATH=1
USER 1000
WORKDIR /tmp
ENTRYPOINT ["brain-anomaly-bids"]
CMD ["--help"]
