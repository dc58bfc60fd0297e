# CPU image: docker build -t robustbench-lift . && docker run --rm robustbench-lift
# Results are kept with:
#   mkdir -p runs && docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/runs:/work/runs" robustbench-lift
FROM python:3.12-slim-bookworm

# what opencv-python links against and a slim image lacks
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

COPY . /src
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu '/src[all]' && rm -rf /src

# any user may write the results and the caches
ENV HOME=/tmp
RUN mkdir /work && chmod 1777 /work
WORKDIR /work
USER nobody
ENTRYPOINT ["robustbench-lift"]
