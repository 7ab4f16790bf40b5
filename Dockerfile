# docker build -t cl-prompts . && docker run --rm -v "$PWD/runs:/work/runs" cl-prompts
FROM python:3.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /work
COPY . .
# The build of PyTorch without CUDA; leave the index out for a GPU.
ENV PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
RUN make .venv/.ready
CMD ["make", "run"]
