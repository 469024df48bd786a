# SPDX-License-Identifier: MIT
"""The command dmabuf-sync: main.py has the table of its commands, each in a module of its own.

Such a module has a click.Command called ``command``, and is imported when that command runs. It
raises OSError, ValueError or :class:`failure.Failure`; main.py makes one sentence and an exit
status of that.
"""
