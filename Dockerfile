# docker build --target cpu -t oneformer:cpu .
# docker build --target gpu -t oneformer:gpu .     (the default)
#
# docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" oneformer:cpu doctor
# docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" -v "$HOME/.cache:/home/user/.cache" \
#   --gpus all --shm-size 8g oneformer:gpu predict street.jpg --model oneformer_swin-l_ade20k --out-dir predictions
#
# Weights are kept in /home/user/.cache. Workers of the data loader need --shm-size.

# ---- CPU: torch without CUDA's libraries
FROM python:3.11-slim-bookworm AS cpu
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/* \
    && mkdir -m 777 /home/user
WORKDIR /opt/oneformer
COPY . .
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
    -c requirements/constraints.txt ".[onedl]"
# any number of a user will do: files that are written are theirs
ENV HOME=/home/user USER=user
USER 1000
WORKDIR /work
ENTRYPOINT ["oneformer"]
CMD ["--help"]

# ---- mmcv's operators for GPUs: CUDA is that of torch's wheels, 12.8
FROM nvidia/cuda:12.8.1-devel-ubuntu24.04 AS build
ARG TORCH_CUDA_ARCH_LIST="7.5;8.0;8.6;8.9;9.0;10.0;12.0"
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /opt/oneformer
COPY . .
RUN pip install --no-cache-dir -c requirements/constraints.txt ".[onedl]"
# what `oneformer doctor` prints, for the version that is installed
RUN pip install --no-cache-dir "setuptools>=80" "wheel>=0.45" "ninja>=1.11" \
    && version="$(pip show onedl-mmcv | sed -n 's/^Version: //p')" \
    && MMCV_WITH_OPS=1 FORCE_CUDA=1 pip install --no-build-isolation --no-cache-dir \
       --force-reinstall --no-deps "onedl-mmcv==$version"

# ---- GPU: the same without a compiler; the driver comes from the host
FROM nvidia/cuda:12.8.1-base-ubuntu24.04 AS gpu
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0t64 python3 \
    && rm -rf /var/lib/apt/lists/* \
    && mkdir -m 777 /home/user
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH HOME=/home/user USER=user
USER 1000
WORKDIR /work
ENTRYPOINT ["oneformer"]
CMD ["--help"]
