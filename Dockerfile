# The server, its workers and beat, as a user without rights. `docker build .` has what remote providers, vector indexes and
# documents need; `--build-arg SETS="base local vectors documents"` has torch and runs models too. Any file of requirements/ may be
# named: `chroma`, `qdrant` and `milvus` are vector stores' own engines.
FROM python:3.11.13-slim-bookworm AS packages

ARG SETS="base vectors documents aws google oci"
COPY requirements /requirements
RUN python -m venv /opt/venv && \
    /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check $(printf -- '-r /requirements/%s.txt ' $SETS)


FROM python:3.11.13-slim-bookworm

RUN groupadd --gid 10001 llama && \
    useradd --system --uid 10001 --gid llama --create-home --home-dir /home/llama llama && \
    install --directory --owner=llama --group=llama /var/lib/llamastack
COPY --from=packages /opt/venv /opt/venv
COPY manage.py pyproject.toml README.md LICENSE /app/
COPY requirements /app/requirements
COPY templates /app/templates
COPY apps /app/apps
COPY llamastack /app/llamastack
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --editable /app && \
    /opt/venv/bin/python -m compileall -q /app

ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 LLAMA_STACK_HOME=/var/lib/llamastack LLAMA_STACK_AUTH=required
USER llama
WORKDIR /app
VOLUME /var/lib/llamastack
EXPOSE 8321
ENTRYPOINT ["llama"]
CMD ["stack", "run", "remote-only", "--host", "0.0.0.0"]
