# The service in one image: docker build -t flux1 . && docker run --rm -p 127.0.0.1:8000:8000 flux1 serve --host 0.0.0.0 --demo
FROM python:3.11-slim AS build
# what pip is told besides: an index with torch for CPUs alone makes a far smaller image
ARG PIP_EXTRA_INDEX_URL=""
WORKDIR /source
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY src ./src
RUN python -m venv /opt/flux1 \
    && /opt/flux1/bin/pip install --no-cache-dir -c constraints.txt '.[serve]'

FROM python:3.11-slim
COPY --from=build /opt/flux1 /opt/flux1
RUN useradd --system --uid 10001 --create-home flux1 \
    && install --directory --owner=flux1 --mode=700 /data \
    && install --directory /models
USER flux1
WORKDIR /home/flux1
ENV PATH="/opt/flux1/bin:$PATH" PYTHONUNBUFFERED=1 FLUX1_DATA=/data FLUX1_MODELS=/models
VOLUME ["/data"]
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=300s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
ENTRYPOINT ["flux1"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
