# The server, in an image of its own: no root, nothing written, a health check.
#
#     docker build -t safelight .                                                              # for processors
#     docker build -t safelight:gpu --build-arg TORCH=https://download.pytorch.org/whl/cu128 . # for NVIDIA's GPUs
#
#     docker run --read-only --cap-drop ALL --security-opt no-new-privileges \
#         -e SAFELIGHT_TOKEN=... -p 7860:7860 safelight --allow-host pictures.example.org
#
# With `--gpus all` for the second. docs/server.md says more.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ARG TORCH=https://download.pytorch.org/whl/cpu
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python -m venv /opt/safelight \
    && /opt/safelight/bin/pip install --no-cache-dir --extra-index-url "$TORCH" ".[web]"

FROM python:${PYTHON}-slim
COPY --from=build /opt/safelight /opt/safelight
ENV PATH=/opt/safelight/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/nonexistent
USER 10001:10001
EXPOSE 7860
HEALTHCHECK --interval=15s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/healthz', timeout=2)"]
STOPSIGNAL SIGTERM
# Elsewhere than on loopback it starts with a token only: SAFELIGHT_TOKEN.
ENTRYPOINT ["safelight", "serve", "--host", "0.0.0.0"]
