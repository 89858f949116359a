"""Explanations from a language model at an endpoint that the user names, and their scores.

A built catalog flows in: its tables, without a model. `excerpts` chooses what is shown, `prompts` words it, `endpoint`
sends it and `answers` keeps what comes back; `judging` makes scores of it. `plan` says beforehand what would be sent,
and `run` puts all of it together and writes the file that `build --explanations` reads.
"""
