#!/usr/bin/env python
"""Django's own commands, on the database of `starter`, or of the distribution or file that LLAMA_STACK_CONFIG names."""

import os
import sys

from llamastack import environment
from llamastack.errors import StackError

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", environment.SETTINGS)
    try:
        environment.pass_on(environment.read(os.environ.get("LLAMA_STACK_CONFIG") or "starter"))
    except StackError as error:
        sys.exit(error.message)

    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
