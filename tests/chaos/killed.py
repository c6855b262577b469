"""The run.yaml of a server that is killed: one upstream, files in its home, and one API more."""

SKY = """
version: 2
image_name: killed
apis: [inference, files, %s]
providers:
  inference:
  - provider_id: sky
    provider_type: remote::openai
    config: {{base_url: {url}, api_key: sk-1}}
  files:
  - provider_id: local
    provider_type: inline::localfs
    config: {{}}
"""
