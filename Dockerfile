# One image for all processes; docker-compose.yml defines which process each container runs.
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PATCHVOTE_DATA=/data \
    PATCHVOTE_HOST=0.0.0.0

WORKDIR /app
COPY requirements.txt ./
RUN pip install -r requirements.txt

COPY . .
RUN pip install --no-deps --editable . \
    && useradd --create-home --uid 10001 patchvote \
    && install --directory --owner patchvote --group patchvote /data

USER patchvote
VOLUME /data
EXPOSE 8000
CMD ["python", "manage.py", "serve", "web"]
