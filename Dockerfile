# The pipeline as a container, run by an unprivileged user in /project.
#
#   docker build -t hlynr .                             CPU
#   docker build -t hlynr --build-arg DEVICE=gpu .      GPU; run it with --gpus all
#   docker run --rm -v hlynr-runs:/project/mlruns -v hlynr-outputs:/project/outputs hlynr
#
# The default package index serves torch's CUDA build, which also runs on the CPU. TORCH_INDEX may name an index
# with CPU builds, for an image that is several GB smaller.
ARG DEVICE=cpu

FROM python:3.11-slim AS base
ARG TORCH_INDEX=""
ARG UID=1000
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid "${UID}" hlynr \
    && install --directory --owner hlynr --group hlynr /project
WORKDIR /project
USER hlynr
ENV VIRTUAL_ENV=/home/hlynr/venv \
    PATH=/home/hlynr/venv/bin:$PATH \
    PYTHONUNBUFFERED=1

# Dependencies before the code, since they change less often: the package is installed empty, then replaced.
COPY --chown=hlynr constraints.txt pyproject.toml README.md /home/hlynr/build/
RUN python -m venv "${VIRTUAL_ENV}" \
    && cd /home/hlynr/build \
    && if [ -n "${TORCH_INDEX}" ]; then \
         pip install --no-cache-dir --constraint constraints.txt --index-url "${TORCH_INDEX}" torch; \
       fi \
    && mkdir hlynr flows && touch hlynr/__init__.py flows/__init__.py \
    && pip install --no-cache-dir --constraint constraints.txt .

COPY --chown=hlynr . /project
RUN pip install --no-cache-dir --no-deps --editable . \
    && mkdir -p mlruns/artifacts outputs .hlynr/prefect .dvc/storage \
    && hlynr evaluate --policy zero --episodes 1 > /dev/null

FROM base AS device-cpu
ENV CUDA_VISIBLE_DEVICES=""

FROM base AS device-gpu

FROM device-${DEVICE}

CMD ["hlynr", "retrain"]
